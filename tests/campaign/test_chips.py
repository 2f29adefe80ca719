"""Chips with permanent faults: what is counted, kept and said of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh

CUT = rh.multiplier_named("mul8s_1KR6@v1")


def network(images=40):
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4))
    x = torch.randn(images, 1, 3, 3, generator=random)
    labels = model(x).argmax(1)
    labels[::5] = 3 - labels[::5]
    return rh.capture(model, x, labels, rh.INT8)


def question(permanent="product sa1 bit=14 rate=0.3", **given):
    return rh.Chips(network(), rh.Array(4, 3), rh.Permanent.parsed(permanent), CUT, **given)


def test_answers_are_those_of_each_chip():
    chips = question()
    found = rh.under_defects(chips, maps=6)
    work = chips.workload
    for number, array in enumerate(found.arrays):
        alone = work.with_(multiplier=CUT, array=array)
        answers = alone.logits(work.images).argmax(1)
        assert (answers == work.labels).numpy().tolist() == found.correct[number].tolist()
        own = chips.fault_free.logits(work.images).argmax(1)
        assert (answers != own).numpy().tolist() == found.changed[number].tolist()
    assert found.accuracy.value == pytest.approx(found.correct.mean())
    assert found.loss.value == pytest.approx(found.golden.mean() - found.correct.mean())
    lost = found.losses
    assert found.yield_of(0.05).value == np.mean(lost <= 0.05)
    exact = work.logits(work.images).argmax(1) == work.labels
    assert found.exact_accuracy.value == pytest.approx(float(exact.float().mean()))
    row, col = found.arrays[0].defects[0].row, found.arrays[0].defects[0].col
    hit = [any((d.row, d.col) == (row, col) for d in a.defects) for a in found.arrays]
    assert found.map[row, col] == pytest.approx(lost[hit].mean())


def test_layers_alone_are_faulty():
    work = network()
    chips = question(layers=(work.layers[1].name,))
    own = chips.on(chips.arrays(1)[0][0])
    faulty = [bool(how.own.array.defects) for how in own.arithmetic]
    assert faulty == [False, True]


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    chips = question()
    whole = rh.under_defects(chips, maps=5)
    seen = []

    def stop(done, of):
        seen.append((done, of))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rh.under_defects(chips, 5, tmp_path, stop)
    ran = []
    run = type(chips.workload).logits

    def counted(self, images):
        ran.append(len(images))
        return run(self, images)

    monkeypatch.setattr(type(chips.workload), "logits", counted)
    again = rh.under_defects(chips, 5, tmp_path)
    assert len(ran) == 2  # the two chips that were left
    assert (again.correct == whole.correct).all()
    assert (again.changed == whole.changed).all()
    damaged = next(tmp_path.glob("*/chip-1.npz"))
    damaged.write_bytes(damaged.read_bytes()[:40])
    with pytest.warns(UserWarning, match="damaged.*renamed"):
        third = rh.under_defects(chips, 5, tmp_path)
    assert (third.correct == whole.correct).all()
    other = rh.under_defects(question("product sa0 bit=14 rate=0.3"), 5, tmp_path)
    assert other.chips.id != chips.id


def test_few_single_faults_are_enumerated():
    found = rh.under_defects(question("weight bit=7"), maps=30)
    assert found.every
    assert len(found.arrays) == 4 * 3 * 2
    assert found.yield_of(0.1).low == found.yield_of(0.1).high
    assert set(found.by(lambda one: one.value)) == {0, 1}


def test_intervals_hold_the_mean_of_all_chips():
    every = rh.under_defects(question("product"), maps=10_000)
    assert every.every
    truth, held = every.loss.value, 0
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows = rng.integers(len(every.arrays), size=30)
        arrays = tuple(every.arrays[row] for row in rows)
        parts = {"correct": every.correct[rows], "changed": every.changed[rows]}
        some = replace(every, arrays=arrays, every=False, **parts)
        held += some.loss.low <= truth <= some.loss.high
    assert held >= 54


def test_leads_are_paired_by_chip():
    found = rh.under_defects(question(), maps=4)
    assert found.lead(found).value == 0
    with pytest.raises(ValueError, match="same chips"):
        found.lead(rh.under_defects(question(), maps=3))
    with pytest.raises(ValueError, match="no layer 'x'"):
        question(layers=("x",))
    with pytest.raises(ValueError, match="use a whole number"):
        rh.under_defects(question(), maps=0)
    with pytest.raises(ValueError, match="0 to 1"):
        found.yield_of(2)


def test_each_chip_is_retuned_for_itself_and_once(tmp_path, monkeypatch):
    learning = network(60)
    given = {"retune": rh.Retune(rh.Bypass()), "learning": learning}
    chips = question(**given)
    found = rh.under_defects(chips, 3, tmp_path)
    work = chips.workload
    for number, array in enumerate(found.arrays):
        chip, taught = (one.with_(multiplier=CUT, array=array) for one in (work, learning))
        tuned = given["retune"].fit(taught).retune(chip)
        right = tuned.logits(work.images).argmax(1) == work.labels
        assert (right.numpy() == found.correct[number]).all()
    plain = rh.under_defects(question(), 3, tmp_path)
    assert found.lead(plain).value == pytest.approx(found.correct.mean() - plain.correct.mean())
    assert len({question().id, chips.id, question(retune=rh.Retune(), learning=learning).id}) == 3
    with pytest.raises(ValueError, match="give both retune and learning"):
        question(retune=rh.Retune())
    monkeypatch.setattr(rh.Retune, "fit", lambda *_: pytest.fail("fitted again"))
    monkeypatch.setattr(type(work), "logits", lambda *_: pytest.fail("run again"))
    again = rh.under_defects(chips, 3, tmp_path)
    assert (again.correct == found.correct).all()


def test_files_of_other_chips_are_set_aside(tmp_path):
    chips = question()
    whole = rh.under_defects(chips, 3, tmp_path)
    (folder,) = {path.parent for path in tmp_path.glob("*/chip-1.npz")}
    (folder / "chip-2.npz").write_bytes((folder / "chip-1.npz").read_bytes())
    with pytest.warns(UserWarning, match="holds other numbers.*renamed"):
        again = rh.under_defects(chips, 3, tmp_path)
    assert (again.correct == whole.correct).all()


def test_a_workload_s_own_multiplier_is_kept():
    chips = question()
    own = replace(chips, workload=chips.workload.with_(multiplier=CUT), multiplier=None)
    assert own.fault_free.computing == chips.fault_free.computing
    assert own.id != replace(chips, multiplier=None).id
    found = [rh.under_defects(one, maps=2).correct for one in (own, chips)]
    assert (found[0] == found[1]).all()
    with pytest.raises(ValueError, match="use a whole number"):
        rh.under_defects(chips, maps=2.5)


def test_chips_do_not_depend_on_processes(tmp_path):
    chips = question(retune=rh.Retune(), learning=network(60))
    alone = rh.under_defects(chips, 3)
    rh.under_defects(chips, 1, tmp_path)
    seen = []
    found = rh.under_defects(chips, 3, tmp_path, lambda *n: seen.append(n), workers=2)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert np.array_equal(alone.correct, found.correct)
    assert np.array_equal(alone.changed, found.changed)
    assert len(list(tmp_path.glob(f"{chips.id}/chip-*.npz"))) == 3
    with pytest.raises(ValueError, match="0 workers can't be"):
        rh.under_defects(question(), 3, workers=0)
