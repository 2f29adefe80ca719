"""What a store says is what was asked and run: nothing twice, nothing foreign, nothing damaged."""

import errno
import json
import os
import pickle
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import radhard as rh
from radhard import cli
from radhard.campaign.ask import Ask, asked
from radhard.campaign.prepare import prepare
from radhard.campaign.question import SEMANTICS
from radhard.campaign.sealed import keep_arrays, read_table, reusable_arrays
from radhard.campaign.store import Folder, read_arrays
from radhard.cli import app
from radhard.engine.segment import Golden
from radhard.faults.fault import Faults
from radhard.view import page
from radhard.view.wording import flat_words

SHARD = 100


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radhard.campaign.shard.SHARD", SHARD)


@pytest.fixture(scope="module")
def campaign(residual: nn.Module, images: Tensor, labels: Tensor) -> rh.Campaign:
    return rh.Campaign(rh.capture(residual, images, labels, format=rh.FLOAT16), name="tiny")


def run(campaign: rh.Campaign, store: Path, until: int = 300) -> rh.Result:
    return next(rh.collect([campaign], until, store))


@pytest.fixture
def stored(campaign: rh.Campaign, tmp_path: Path) -> Path:
    """The folder of a campaign with three shards."""
    run(campaign, tmp_path)
    return tmp_path / "tiny"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same(one: rh.Result, other: rh.Result) -> bool:
    return one.id == other.id and all(one[metric] == other[metric] for metric in one.metrics)


OWN = """
from dataclasses import dataclass, replace
import numpy as np
import torch
from torch import nn
import radhard as rh
from radhard.sampling.sampler import Tilted

def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    return model, torch.rand(6, 1, 8, 8), torch.arange(6) % 5

def moved(logits, golden, labels):
    return (logits - golden).abs().amax(1) > 0.01

@dataclass(frozen=True, slots=True)
class Top(Tilted):
    share: float = 0.5
    @property
    def name(self):
        return "top"
    def proposal(self, space):
        high = np.array([s.bit >= s.width // 2 for s in space.strata], float)
        own = space.probability
        return (1 - self.share) * own + self.share * own * high / (own * high).sum()

@dataclass(frozen=True, slots=True)
class Halved(rh.Protection):
    factor: float
    def harden(self, space):
        from radhard.protect.protection import spared
        return spared(space, np.full(len(space.strata), self.factor))
    def cost(self, workload, chip):
        return rh.Cost(area=1 - self.factor)

@dataclass(frozen=True, slots=True)
class WeightsOnly:
    name: str = "weights-only"
    about: str = "a memory of weights"
    inner: rh.chips.Software = rh.chips.Software(("weight",), 20.0)
    def sites(self, workload):
        return self.inner.sites(workload)
    def corrupt(self, workload, space, faults):
        return self.inner.corrupt(workload, space, faults)

@dataclass(frozen=True, slots=True)
class TopBit:
    name: str = "top-bit"
    def masks(self, bit, width, rng):
        return np.full(len(bit), -1), np.left_shift(1, width - 1)
"""


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> rh.Campaign:
    """Asked in Python, with protections, a sampler's own parameters and a criterion."""
    import importlib
    import sys

    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    own = importlib.import_module("own_network")
    work = rh.capture(*own.network(), format=rh.FLOAT16, name="mine")
    clamp = rh.RangeRestriction(cushion=0.25).learned(work)
    return rh.Campaign(
        work,
        rh.chips.EYERISS,
        sampler=rh.GradientImportance(candidates=5),
        model=rh.Burst(2),
        protections=(clamp, rh.Parity(("global-buffer",))),
        criteria={"moved": own.moved},
        seed=7,
        name="guarded",
    )


def test_what_is_read_again_is_what_was_run(guarded: rh.Campaign, tmp_path: Path) -> None:
    live = run(guarded, tmp_path / "st", 250)
    folder = Folder(tmp_path / "st" / "guarded")
    read = folder.result()
    assert same(live, read)
    assert (read.sampler, read.cost, read.protections) == (
        guarded.sampler, guarded.cost, live.protections,
    )  # fmt: skip
    page = rh.report(tmp_path / "st").read_text()
    for words in (
        "gradient-importance(candidates=5, least=1e-05, proofs=True)",
        "RangeRestriction(cushion=0.25, zero=False, fitted learned)",
        "Parity(components=(global-buffer))",
        "bits of memory",
    ):
        assert words in page


def test_layers_without_slopes_are_remembered(images, labels, tmp_path: Path) -> None:
    """Only of samplers that score; not asked again of a campaign that is all stored."""
    torch.manual_seed(0)
    steps = nn.Flatten(), nn.Linear(128, 4), Ranked(), nn.Linear(4, 5)
    work = rh.capture(nn.Sequential(*steps), images, labels)
    plain = rh.Campaign(work, sampler=rh.Importance(), name="plain")
    scored = plain.with_(sampler=rh.GradientImportance(candidates=5), name="scored")
    live = {found.name: found for found in rh.collect([plain, scored], 20, tmp_path)}
    assert (live["plain"].flat, live["scored"].flat) == ((), ("1",))
    folders = {name: Folder(tmp_path / name, live[name].id) for name in live}
    assert "flat" not in folders["plain"].about()["identity"]
    assert folders["plain"].result().flat == ()
    assert folders["scored"].result().flat == folders["scored"].told(scored.id, "flat") == ("1",)
    assert folders["scored"].told("another", "flat") is None
    assert next(rh.collect([scored], 20, tmp_path)).flat == ("1",)
    assert flat_words(("1",)) in rh.report(tmp_path).read_text()


class Ranked(nn.Module):
    """Whether values are 0, which has no slope."""

    def forward(self, x: Tensor) -> Tensor:
        return x.round().eq(0).type_as(x)


def test_a_store_s_file_asks_the_same_again(guarded: rh.Campaign, tmp_path: Path) -> None:
    live = run(guarded, tmp_path / "st", 250)
    file = tmp_path / "st" / "guarded" / "campaign.toml"
    with pytest.raises(ValueError, match="asks about 'mine', which was given as a Python object"):
        asked(file)
    ask = asked(file, "own_network:network")
    again = prepare(ask).campaign
    assert again.id == guarded.id
    assert ask.budget() == 250
    assert same(run(again, tmp_path / "other", 250), live)
    command = ["run", str(file), "--model", "own_network:network", "--json", "--out"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "fresh")])
    shown = json.loads(done.stdout.partition("\n")[0])
    assert shown["id"] == guarded.id
    for metric in ("sdc1", "moved"):
        assert shown["metrics"][metric]["value"] == live[metric].value
        assert shown["metrics"][metric]["high"] == live[metric].high
    assert shown["cost"]["memory_bits"] == guarded.cost.memory_bits
    assert [part["type"] for part in shown["protections"]] == ["RangeRestriction", "Parity"]
    in_place = CliRunner().invoke(app, [*command, str(tmp_path / "st")])
    assert json.loads(in_place.stdout.partition("\n")[0])["seconds"] == round(live.seconds, 3)
    assert asked(file).model == "own_network:network"  # the store knows it by now


def test_weights_that_are_one_in_memory_are_another_question(images, labels, tmp_path) -> None:
    def network(tied: bool) -> rh.Workload:
        torch.manual_seed(0)
        one, two = nn.Linear(128, 128), nn.Linear(128, 128)
        if tied:
            two.weight = one.weight
        else:
            two.weight.data.copy_(one.weight)
        model = nn.Sequential(nn.Flatten(), one, nn.ReLU(), two, nn.ReLU(), nn.Linear(128, 5))
        return rh.capture(model, images, labels)

    tied, apart = rh.Campaign(network(True), name="tied"), rh.Campaign(network(False))
    assert tied.id != apart.id
    assert rh.Campaign(network(True)).id == tied.id
    live = run(tied, tmp_path, 100)
    read = Folder(tmp_path / "tied").result()
    assert same(live, read)
    assert read.space.strata == tied.space().strata
    assert any(stratum.also for stratum in read.space.strata)


def test_parts_of_ones_own_are_asked_again(guarded: rh.Campaign, tmp_path: Path) -> None:
    import own_network as own

    fmt = rh.Formats(rh.FloatFormat("fp9", 4, 4), rh.FLOAT16, None)
    campaign = rh.Campaign(
        guarded.workload.with_(format=fmt), own.WeightsOnly(), own.Top(0.25), own.TopBit(),
        protections=(own.Halved(0.5),), name="own",
    )  # fmt: skip
    live = run(campaign, tmp_path, 200)
    read = Folder(tmp_path / "own").result()
    assert same(live, read)
    assert (read.sampler, read.cost.area) == (own.Top(0.25), 0.5)
    again = prepare(asked(tmp_path / "own" / "campaign.toml", "own_network:network")).campaign
    assert again.id == campaign.id
    assert (again.chip, again.model) == (campaign.chip, campaign.model)
    assert again.workload.formats == fmt
    assert same(again.run(until=200), live)


def test_another_network_is_told_from_the_one_asked(guarded: rh.Campaign, tmp_path: Path) -> None:
    run(guarded, tmp_path / "st", 100)
    file = tmp_path / "st" / "guarded" / "campaign.toml"
    (tmp_path / "other_network.py").write_text(OWN.replace("seed(0)", "seed(1)"))
    with pytest.raises(ValueError, match="not the network that was asked about: weights, images"):
        prepare(asked(file, "other_network:network"))
    (file.parent / "tensors.npz").unlink()
    with pytest.raises(rh.StoreError, match=r"tensors.npz"):
        prepare(asked(file, "own_network:network"))


def test_a_campaign_file_says_protections_and_parameters(tmp_path: Path) -> None:
    file = tmp_path / "ask.toml"
    file.write_text(
        'model = "digits-cnn"\nimages = 4\nformat = "int8"\n'
        'sampler = "gradient-importance:candidates=5"\nprotections = ["RangeDetector", '
        '{type = "RangeRestriction", cushion = 0.1}]\n'
        'chip = {type = "Systolic", rows = 4, cols = 4, dataflow = "ws"}\n'
        "until = 0.02\nconfidence = 0.9\nmost = 5000\n"
    )
    ask = asked(file)
    campaign = prepare(ask).campaign
    assert campaign.chip == rh.chips.SYSTOLIC(4, 4, "ws")
    assert campaign.sampler == rh.GradientImportance(candidates=5)
    detector, clamp = campaign.protections  # that have learned on training images
    assert replace(detector, ranges=()) == rh.RangeDetector()
    assert replace(clamp, fitted=rh.RangeRestriction().fitted) == rh.RangeRestriction(cushion=0.1)
    assert detector.ranges
    assert clamp.fitted
    assert ask.budget() == rh.Precision(0.02, 0.9, most=5000)
    with pytest.raises(ValueError, match="confidence goes with until"):
        Ask(model="digits-cnn", confidence=0.9).budget()


def test_precision_is_asked_again_as_it_was(guarded: rh.Campaign, tmp_path: Path) -> None:
    goal = rh.Precision(0.2, 0.9, "moved", most=400)
    next(rh.collect([guarded], goal, tmp_path))
    file = tmp_path / "guarded" / "campaign.toml"
    assert asked(file, "own_network:network").budget() == goal
    run(guarded, tmp_path, 100)
    assert asked(file, "own_network:network").budget() == 100


def test_a_copy_over_another_shard_is_not_counted(campaign, stored: Path) -> None:
    before, first = Folder(stored).result(), (stored / "rows-000000.parquet").read_bytes()
    shutil.copy(stored / "rows-000001.parquet", stored / "rows-000000.parquet")
    with pytest.raises(rh.StoreError, match=r"is rows-000001.parquet under another name: move it"):
        Folder(stored).result()
    with pytest.warns(UserWarning, match=r"renamed to rows-000000.parquet.aside-1, and its faults"):
        assert same(run(campaign, stored.parent), before)
    assert (stored / "rows-000000.parquet.aside-1").exists()
    held = pq.read_table(stored / "rows-000000.parquet")
    assert held.equals(pq.read_table(pa.BufferReader(first)))
    assert same(Folder(stored).result(), before)


def test_all_that_can_t_be_counted_is_set_aside_before_a_run(campaign, stored: Path) -> None:
    before = Folder(stored).result()
    shutil.copy(stored / "rows-000000.parquet", stored / "rows-000005.parquet")
    (stored / "rows-000007.parquet").write_bytes(b"PAR1")
    with pytest.raises(rh.StoreError, match="or run the campaign again, which does so"):
        Folder(stored).result()
    with pytest.warns(UserWarning, match=r"renamed to rows-00000[57].parquet.aside-1") as told:
        assert same(run(campaign, stored.parent, 100), campaign.run(until=100))
    assert len(told) == 2
    assert same(Folder(stored).result(), before)


def test_a_page_is_not_made_anew_when_nothing_is(campaign, tmp_path: Path, monkeypatch) -> None:
    def ask() -> None:
        next(rh.collect([campaign], 200, tmp_path, about={"data": "random", "model": "residual"}))

    ask()
    before = rh.report(tmp_path).read_bytes()
    ask()
    monkeypatch.setattr(page, "_section", None)
    assert rh.report(tmp_path).read_bytes() == before


def no_file(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_read(campaign, stored: Path, kind: str) -> None:
    before = Folder(stored).result()
    no_file(stored / "rows-000001.parquet", kind)
    no_file(stored / "rows-000004.parquet", kind)
    with pytest.raises(rh.StoreError, match=r"rows-000001.parquet can't be read: it .* move it"):
        rh.report(stored.parent)
    with pytest.warns(UserWarning, match=r"can't be read: it .* renamed to rows-00000"):
        assert same(run(campaign, stored.parent), before)
    assert same(Folder(stored).result(), before)
    no_file(stored / "campaign.toml", kind)
    with pytest.raises(rh.StoreError, match=r"campaign.toml can't be read|no campaign.toml says"):
        rh.report(stored)


@pytest.mark.parametrize("name", ["rows-000001 (2)", "Copy of rows-000001", "rows-0000001"])
def test_stray_copies_are_named_and_not_counted(campaign, stored: Path, name: str) -> None:
    before = Folder(stored).result()
    shutil.copy(stored / "rows-000001.parquet", stored / f"{name}.parquet")
    for again in (lambda: run(campaign, stored.parent), Folder(stored).result):
        with pytest.warns(UserWarning, match="is not counted, since no shard has that name"):
            assert same(again(), before)


def test_rows_of_another_seed_are_not_counted(campaign, stored: Path, tmp_path: Path) -> None:
    before = Folder(stored).result()
    other = campaign.with_(seed=1, name="tiny")
    run(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "tiny" / "rows-000002.parquet", stored)
    match = f"belongs to campaign {other.id[:8]}, not to {campaign.id[:8]}"
    with pytest.raises(rh.StoreError, match=match):
        Folder(stored).result()
    with pytest.warns(UserWarning, match=match):
        assert same(run(campaign, stored.parent), before)


def test_every_flipped_bit_and_every_cut_is_seen(campaign, stored: Path) -> None:
    path = stored / "rows-000001.parquet"
    whole = path.read_bytes()
    assert read_table(path, campaign.id)[0].num_rows == SHARD
    rng = np.random.default_rng(0)
    for place in {*rng.integers(0, len(whole), 100).tolist(), *range(len(whole) - 200, len(whole))}:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(rh.StoreError, match="is damaged: its bytes are not those"):
            read_table(path, campaign.id)
    for length in (0, 1, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(rh.StoreError, match="is damaged"):
            read_table(path, campaign.id)
    before = campaign.run(until=300)
    with pytest.warns(UserWarning, match=r"rows-000001.parquet is damaged.* run again"):
        assert same(run(campaign, stored.parent), before)


def test_a_damaged_population_is_made_anew(campaign, stored: Path) -> None:
    before = Folder(stored).result()
    (stored / "strata.parquet").write_bytes(b"PAR1")
    with pytest.raises(rh.StoreError, match=r"strata.parquet is damaged.* run the campaign again"):
        Folder(stored).result()
    with pytest.warns(UserWarning, match="strata.parquet.aside-1, and made anew"):
        run(campaign, stored.parent)
    assert same(Folder(stored).result(), before)


def test_a_changed_record_is_seen(campaign, stored: Path) -> None:
    path, before = stored / "campaign.toml", Folder(stored).result()
    text = path.read_text()
    accuracy = f"golden_accuracy = {before.golden_accuracy}"
    for old, new in ((accuracy, "golden_accuracy = 0.9"), ("seed = 0\n", "seed = 1\n"),
                     ("faults = 300\nconfidence", "faults = 301\nconfidence")):  # fmt: skip
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(rh.StoreError, match="was changed since it was written"):
            Folder(stored).result()
    for head in ("faults = 300\n", "images = 6\n"):
        assert text.count(head) >= 1
        path.write_text(text.replace(head, head.replace(" = ", " = 1"), 1))
        with pytest.raises(rh.StoreError, match="was changed since it was written"):
            rh.report(stored)
    for line in ('model = "own:network"\n', "until = 0.5\n", "# said by me\n"):
        path.write_text(line + text)
        if line.startswith("#"):
            assert same(Folder(stored).result(), before)
            continue
        with pytest.raises(rh.StoreError, match="was changed since it was written"):
            Folder(stored).result()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(rh.StoreError, match=r"is no record of a campaign.* keeps the finished"):
        run(campaign, stored.parent)
    path.unlink()
    rows = (stored / "rows-000000.parquet").read_bytes()
    assert same(run(campaign, stored.parent), before)
    assert (stored / "rows-000000.parquet").read_bytes() == rows


OLD = """
model = "digits-cnn"
faults = 100

[identity]
id = "0123456789abcdef0123456789abcdef"
name = "tiny"
model = "tiny"
sampler = "importance"
images = 6
metrics = ["sdc1"]
golden_accuracy = 0.5
known = []
"""


def test_old_stores_are_recognised_and_left_alone(campaign, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "campaign.toml").write_text(OLD)
    (folder / "rows-000000.parquet").write_bytes(b"what an earlier version wrote")
    before = files(folder)
    for attempt in (lambda: run(campaign, tmp_path), lambda: rh.report(tmp_path)):
        with pytest.raises(
            rh.StoreError, match=r"was written by radhard of before.* left as it is"
        ):
            attempt()
    newer = OLD.replace("[identity]", f"[identity]\nsemantics = {SEMANTICS + 1}\nradhard = '9.9'")
    (folder / "campaign.toml").write_text(newer)
    with pytest.raises(rh.StoreError, match=r"was written by radhard 9.9"):
        rh.report(tmp_path)
    (folder / "campaign.toml").write_text(OLD)
    assert files(folder) == before
    assert asked(folder / "campaign.toml").model == "digits-cnn"  # the question can still be asked


def test_the_masks_that_are_stored_are_those_applied(residual, images, labels, tmp_path) -> None:
    control = rh.chips.StorageMix(
        "control", "", (rh.chips.StorageClass("local-control", "local-control", 1.0),)
    )
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    campaign = rh.Campaign(work, control, name="control")
    run(campaign, tmp_path, 200)
    faults, columns, _ = Folder(tmp_path / "control").kept("rows-000001")
    space = campaign.space()
    assert (faults.keep == 0).all()
    assert len(np.unique(faults.flip)) > SHARD / 2
    seen = control.corrupt(work, space, faults)
    assert np.array_equal(seen.flip, faults.flip)
    again = campaign.outcomes(space, Golden(campaign.network), faults)
    for name, hits in again.items():
        assert np.array_equal(hits, columns[name])
    listed = Faults.from_text(faults.to_text(space), space)
    width = 2 ** np.array([s.width for s in space.strata])[faults.stratum]
    assert np.array_equal(listed.flip % width, faults.flip % width)


def test_damaged_arrays_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "cells" / "x.npz"
    assert reusable_arrays(path) is None
    keep_arrays(path, {"correct": np.arange(1000) % 7 == 0})
    assert reusable_arrays(path)["correct"].sum() == 143
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 4
    path.write_bytes(whole)
    with pytest.warns(UserWarning, match=r"x.npz is damaged.* what it held is run again"):
        assert reusable_arrays(path) is None
    assert [p.name for p in path.parent.iterdir()] == ["x.npz.aside-1"]


def test_arrays_under_another_name_or_of_others_are_set_aside(tmp_path: Path) -> None:
    """A file that was copied over another one, or written by other means, is no answer."""
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    for path, value in ((one, 1), (other, 2)):
        keep_arrays(path, {"x": np.full(9, value)})
    other.write_bytes(one.read_bytes())
    with pytest.warns(UserWarning, match="holds other numbers than were kept under this name"):
        assert reusable_arrays(other) is None
    held = dict(np.load(one)) | {"x": np.full(9, 3)}
    np.savez(one, **held)
    with pytest.warns(UserWarning, match="holds other numbers"):
        assert reusable_arrays(one) is None
    np.savez(one, x=np.full(9, 1))
    with pytest.warns(UserWarning, match="has no seal"):
        assert reusable_arrays(one) is None


@pytest.mark.parametrize("name", ["../tensors.npz", "/etc/passwd", "", "..", 5])
def test_learned_numbers_lie_beside_the_file(tmp_path: Path, name: object) -> None:
    file = tmp_path / "ask.toml"
    file.write_text(f'model = "digits-cnn"\ntensors = {json.dumps(name)}\n')
    with pytest.raises(ValueError, match="is no name of a file beside it: copy the file"):
        asked(file)


def test_what_holds_no_arrays_is_told_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "tensors.npz"
    np.savez(path, odd=np.array([{}], object))
    holding = path.read_bytes()
    for content in (b"a text\n", pickle.dumps([1]), holding):
        path.write_bytes(content)
        with pytest.raises(rh.StoreError, match=r"tensors.npz is damaged(?!.*pickle)"):
            read_arrays(path)


def test_an_edited_copy_asks_another_question(guarded: rh.Campaign, tmp_path: Path) -> None:
    run(guarded, tmp_path / "st", 100)
    held, copy = tmp_path / "st" / "guarded", tmp_path / "copy.toml"
    text = (held / "campaign.toml").read_text().replace("faults = 100\n", "faults = 120\n", 1)
    copy.write_text(text.replace("seed = 7\n", "seed = 8\n", 1))
    shutil.copy(held / "tensors.npz", tmp_path)
    ask = asked(copy, "own_network:network")
    assert ask.budget() == 120
    assert prepare(ask).campaign.id == guarded.with_(seed=8).id


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_a_failure_that_keeps_what_is_finished(
    campaign, stored: Path, monkeypatch, capsys, number: int
) -> None:
    (stored / "rows-000002.parquet").unlink()
    before = files(stored)

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(cli, "app", lambda: run(campaign, stored.parent))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{stored}" in said
    assert f"can't be written: {os.strerror(number)}; what is finished is kept" in said
    assert files(stored) == before


def test_learned_numbers_are_those_of_their_names(guarded: rh.Campaign, tmp_path: Path) -> None:
    run(guarded, tmp_path, 100)
    path = tmp_path / "guarded" / "tensors.npz"
    with np.load(path) as held:
        arrays = {name: held[name] + 1 for name in held.files if name != "radhard.seal"}
    keep_arrays(path, arrays)
    with pytest.raises(rh.StoreError, match="not those that were learned"):
        Folder(path.parent).result()
    assert tomllib.loads((path.parent / "campaign.toml").read_text())["tensors"] == "tensors.npz"
