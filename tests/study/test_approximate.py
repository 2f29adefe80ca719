"""The study of permanent faults in approximate arrays, small."""

from dataclasses import replace

import numpy as np
import pytest

import radhard as rh
from radhard.campaign.ask import Ask
from radhard.campaign.prepare import chips_of
from radhard.cli.approximate import planned_of
from radhard.network.source import subject
from radhard.study.approximate import (
    EXACT,
    Case,
    Plan,
    approximate_study,
    cases,
    faulty,
    relative_energy,
)
from radhard.view.approximate import approximate_page, show_approximate, worst_words

COARSE = "mul8s_1L1G@v1"
PLAN = Plan((EXACT, COARSE), (3, 15), 0.02, (0.02,), maps=2, learning=20)
ASK = Ask(model="digits-cnn", images=40, format="int8", chip="systolic:16x16:ws", seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("af")


@pytest.fixture(scope="module")
def found(folder):
    return next(approximate_study([ASK], PLAN, folder))


def direct(case):
    """The same chips, asked for one by one."""
    chips, _, _ = chips_of(ASK, rh.Permanent("product", case.value, case.bit, count=case.faulty))
    retune = PLAN.mitigations[case.mitigation]
    learning = None
    if retune is not None:
        training = subject("digits-cnn", None, None, train=True)
        learning = chips.workload.with_(training.images[-20:], training.labels[-20:])
    layers = (case.layer,) if case.layer else ()
    multiplier = rh.multiplier_named(case.multiplier)
    given = {"multiplier": multiplier, "layers": layers, "retune": retune, "learning": learning}
    return rh.under_defects(replace(chips, **given), maps=2)


def test_cells_are_those_of_direct_calls(found):
    layer = found.layers[0]
    for case in (
        Case(COARSE, 1, 15, 5),
        Case(EXACT, 0, 15, 5, layer),
        Case(COARSE, 0, 15, 5, "", "map"),
        Case(EXACT, 1, 15, 5, "", "hybrid, placed"),
    ):
        alone = direct(case)
        assert alone.arrays == found.cells[case].arrays
        assert (alone.correct == found.cells[case].correct).all()
        assert alone.loss == found.cells[case].loss


def test_every_case_is_there_and_the_worst_pair_is_the_widest(found):
    parts = cases(PLAN, 256, found.layers)
    assert set(found.cells) == {case for part in parts.values() for case in part}
    curves = cases(replace(PLAN, rates=(0.0, 6e-5, 0.5)), 256, ["a"])["curves"]
    assert sorted({case.faulty for case in curves}) == [1, 5, 128]
    worst, gap = found.worst
    plain = [c for c in found.cells if c.mitigation == "none"]
    lost = {c: found.cells[c].losses.mean() for c in plain}
    gaps = {c: lost[c] - lost[c._replace(multiplier=EXACT)] for c in plain}
    assert gaps[worst] == pytest.approx(max(gaps.values()))
    assert gap.low <= gap.value == pytest.approx(gaps[worst])
    assert gap.half_width > found.gap(worst).half_width  # as it was picked
    own = [lost[c] for c in parts["bits"] if c.multiplier == COARSE]
    assert found.resilience(COARSE).value == pytest.approx(np.mean(own))
    hybrid = Case(EXACT, 1, 15, 5, "", "hybrid")
    lead = found.lead(hybrid, "map")
    own, other = (found.cells[hybrid._replace(mitigation=m)].correct for m in ("hybrid", "map"))
    assert lead.value == pytest.approx(own.mean() - other.mean())


def test_nothing_is_run_twice(found, folder, monkeypatch):
    monkeypatch.setattr(rh.Retune, "fit", lambda *_: pytest.fail("fitted again"))
    run = type(found.cells[Case(EXACT, 1, 15, 5)].chips.workload)
    logits, ran = run.logits, []
    monkeypatch.setattr(run, "logits", lambda w, x: ran.append(w.datapaths) or logits(w, x))
    seen = []
    again = next(approximate_study([ASK], PLAN, folder, seen.append))
    assert not any(ran)  # capture alone ran the plain network
    assert all((one.correct == found.cells[case].correct).all()
               for case, one in again.cells.items())  # fmt: skip
    assert {step.name.partition(": ")[2] for step in seen} == {"bits", "layers", "curves"}
    assert seen[-1].done == seen[-1].goal


def test_energy_is_that_of_the_layers(found):
    assert found.energy == {EXACT: 1.0, COARSE: pytest.approx(0.126 / 0.425)}
    work = found.cells[Case(EXACT, 1, 15, 5)].chips.workload
    first, coarse = work.layers[0], rh.multiplier_named(COARSE)
    share = first.macs / sum(layer.macs for layer in work.layers)
    mixed = relative_energy(work, {first.name: coarse})
    assert mixed == pytest.approx(share * 0.126 / 0.425 + 1 - share)
    assert relative_energy(work, rh.multiplier_named("mul8s_drum:bits=4")) is None


def test_the_page_has_it_all(found, folder, capsys):
    page = approximate_page([found], folder).read_text()
    for words in ("56 %", "66 %", "Loss by layer", "Resilience against energy", "hybrid, placed"):
        assert words in page
    two = approximate_page([found, replace(found, model="another")], folder).read_text()
    assert "another, digits" in two
    assert two.count("Accuracy without faults") == 1 > page.count("Accuracy without faults")
    assert str(found.free(COARSE)).partition(" [")[0] in two
    show_approximate([found])
    shown = capsys.readouterr().out
    assert "bit 15 stuck at 1" in shown
    assert worst_words(found) in shown


def test_plans_that_can_not_be_are_refused():
    for given, words in (
        ({"multipliers": COARSE}, "mul8s_exact among them"),
        ({"multipliers": f"{EXACT},none"}, "no multiplier 'none'"),
        ({"bits": "16"}, "bit 16 can't be: products have 16"),
        ({"bits": "3,3"}, "each once"),
        ({"bits": "-1"}, "bit '-1' can't be"),
        ({"bits": ","}, "--bits names none"),
        ({"rates": "often"}, "rate 'often' can't be"),
        ({"rates": "1.5"}, "a rate of 1.5 can't be"),
        ({"maps": 0}, "maps of 0 can't be: use 1 or more"),
        ({"epochs": -1}, "epochs of -1 can't be"),
    ):
        with pytest.raises(ValueError, match=words):
            planned_of(given, quick=True)
    assert planned_of({"maps": 3, "bits": None}, quick=True).maps == 3
    assert faulty(1.2e-4, 128 * 128) == 2
    assert faulty(0.0, 4) == 1
    assert "bypass, trained" in Plan(epochs=1).mitigations


def test_networks_without_training_images_are_refused(folder, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import torch\ndef net():\n    m = torch.nn.Sequential(torch.nn.Flatten(), "
        "torch.nn.Linear(4, 3))\n    return m, torch.rand(9, 1, 2, 2), torch.arange(9) % 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = Ask(model="mine:net", format="int8", chip="systolic:16x16:ws")
    with pytest.raises(ValueError, match="gives its own images"):
        next(approximate_study([own], PLAN, folder))
    with pytest.raises(ValueError, match="9999 images to retune with asked for, but digits has"):
        next(approximate_study([ASK], replace(PLAN, learning=9999), folder))
