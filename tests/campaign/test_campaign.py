import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import Tensor, nn

import radhard as rh
from radhard.accel.chips import chips
from radhard.campaign.progress import Progress
from radhard.campaign.store import Folder, folders
from radhard.engine.segment import Golden
from radhard.protect.catalogue import protection_named


@pytest.fixture(scope="module")
def campaign(residual: nn.Module, images: Tensor, labels: Tensor) -> rh.Campaign:
    return rh.Campaign(rh.capture(residual, images, labels, format=rh.FLOAT16, name="tiny"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 100 faults, so that a few hundred faults make several files."""
    monkeypatch.setattr("radhard.campaign.shard.SHARD", 100)


def rows(store: Path, name: str = "tiny-fp16-software") -> list[dict]:
    paths = sorted((store / name).glob("rows-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_identity_is_of_meaning(campaign: rh.Campaign, residual, images, labels) -> None:
    again = rh.Campaign(rh.capture(residual, images, labels, format=rh.FLOAT16, name="other"))
    assert again.id == campaign.id
    assert campaign.with_(seed=1).id != campaign.id
    assert campaign.with_(model=rh.StuckAt(0)).id != campaign.id
    other = campaign.workload.with_(format=rh.BFLOAT16)
    assert campaign.with_(workload=other).id != campaign.id
    assert campaign.with_(name="renamed").id == campaign.id
    assert campaign.with_(confidence_of="top-score").id != campaign.id
    assert campaign.with_(confidence_of="top-score").with_(seed=0).confidence_of == "top-score"


ELSEWHERE = """
import torch, radhard as rh
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten())
model.eval()
work = rh.capture(model, torch.zeros(1, 1, 4, 4), torch.tensor([0]))
print(rh.Campaign(work).id)
"""


def test_identity_is_the_same_in_every_process() -> None:
    said = {
        subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(said) == 1


def test_fault_i_depends_on_id_and_i_alone(campaign: rh.Campaign) -> None:
    space = campaign.space()
    whole, part = campaign.draw(space, 3), campaign.draw(space, 3, 10)
    assert np.array_equal(whole.id[:10], np.arange(300, 310))
    assert np.array_equal(whole.index[:10], part.index)
    assert not np.array_equal(whole.index, campaign.draw(space, 4).index)
    assert not np.array_equal(whole.index, campaign.with_(seed=1).draw(space, 3).index)


def test_a_result_answers(campaign: rh.Campaign) -> None:
    result = campaign.run(until=250)
    assert result.n == result["sdc1"].n == 250
    assert result.ra == result["correct"]
    assert sum(part.n for part in result.strata) == 250
    assert sum(part.probability for part in result.strata) == pytest.approx(1)
    layers = result.by(lambda s: (s.layer,))
    assert [part.label for part in layers] == [("stem",), ("left",), ("right",), ("head",)]
    with pytest.raises(KeyError, match="no outcome 'sdc2'"):
        result["sdc2"]
    with pytest.raises(ValueError, match="no raw rates"):
        result.fit("sdc1")


def test_fit_is_rate_times_probability(campaign: rh.Campaign) -> None:
    chip = rh.chips.Software(rate_fit_per_mbit=20.49)
    result = campaign.with_(chip=chip).run(until=200)
    bits = result.space.exposure.sum()
    expected = result["sdc1"].value * 20.49 * bits / 2**20
    assert result.fit("sdc1").value == pytest.approx(expected)
    with pytest.raises(ValueError, match="FIT/Mbit"):
        rh.chips.Software(rate_fit_per_mbit=-1)


def test_budgets_extend_one_another(campaign: rh.Campaign, tmp_path: Path) -> None:
    next(rh.collect([campaign], 130, tmp_path))
    assert len(rows(tmp_path)) == 130
    first = rows(tmp_path)
    grown = next(rh.collect([campaign], 350, tmp_path))
    assert grown.n == 350
    assert rows(tmp_path)[:130] == first
    fewer = next(rh.collect([campaign], 50, tmp_path))
    assert fewer.n == 50
    assert len(rows(tmp_path)) == 350
    memory = campaign.run(until=350)
    assert memory["sdc1"] == grown["sdc1"]
    assert memory["masked"] == grown["masked"]


def test_stored_faults_are_not_run_again(campaign, tmp_path, monkeypatch) -> None:
    whole = next(rh.collect([campaign], 200, tmp_path))

    def never(*_: object) -> None:
        raise AssertionError("ran again")

    monkeypatch.setattr(Golden, "resume", never)
    assert next(rh.collect([campaign], 200, tmp_path))["sdc1"] == whole["sdc1"]


def test_an_interrupted_run_goes_on(campaign, tmp_path: Path) -> None:
    def stop(step: Progress) -> None:
        if step.done >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(rh.collect([campaign], 500, tmp_path, stop))
    assert len(rows(tmp_path)) == 200
    assert not list(tmp_path.glob("*/*.partial"))
    done = next(rh.collect([campaign], 500, tmp_path))
    assert done["sdc1"] == campaign.run(until=500)["sdc1"]


def test_halves_merge_by_copying(campaign, tmp_path: Path) -> None:
    next(rh.collect([campaign], 300, tmp_path / "a"))
    folder = tmp_path / "b" / campaign.name
    next(rh.collect([campaign], 100, tmp_path / "b"))
    for shard in (1, 2):
        name = f"rows-{shard:06d}.parquet"
        (folder / name).write_bytes((tmp_path / "a" / campaign.name / name).read_bytes())
    assert Folder(folder).result()["sdc1"] == campaign.run(until=300)["sdc1"]


def test_another_question_is_refused(campaign, tmp_path: Path) -> None:
    next(rh.collect([campaign], 100, tmp_path))
    other = campaign.with_(seed=5, name=campaign.name)
    with pytest.raises(rh.StoreError, match="holds the answer to another question"):
        rh.collect([other], 100, tmp_path)


def test_several_campaigns_share_a_store(campaign, tmp_path: Path) -> None:
    weights = campaign.with_(chip=rh.chips.Software(("weight",)), name="weights only")
    results = list(rh.collect([campaign, weights], 100, tmp_path))
    assert [result.name for result in results] == ["tiny-fp16-software", "weights only"]
    assert len(folders(tmp_path)) == 2
    with pytest.raises(ValueError, match="share a name"):
        rh.collect([campaign, campaign], 100)


@pytest.mark.parametrize("until", [0, -5])
def test_budgets_are_positive(campaign, until: int) -> None:
    with pytest.raises(ValueError, match="ask for 1 or more"):
        campaign.run(until=until)


def test_precision_is_about_a_known_outcome(campaign) -> None:
    with pytest.raises(ValueError, match="no outcome 'sdc7'"):
        campaign.run(until=rh.Precision(0.01, metric="sdc7"))


def test_progress_foresees_the_end(campaign) -> None:
    seen: list[Progress] = []
    list(rh.collect([campaign], rh.Precision(0.05), watch=seen.append))
    assert seen[0].done == 0
    assert seen[-1].estimate.half_width <= 0.05
    assert all(step.goal >= step.done for step in seen)


def test_own_criteria_are_stored(campaign, tmp_path: Path) -> None:
    work = campaign.workload
    own = rh.Campaign(work, criteria={"moved": lambda a, b, c: (a != b).any(1)}, name="own")
    result = next(rh.collect([own], 100, tmp_path))
    assert result["moved"].value == pytest.approx(1 - result["masked"].value)
    assert "moved" in Folder(tmp_path / "own").result().metrics
    with pytest.raises(ValueError, match="radhard has those itself"):
        rh.Campaign(work, criteria={"sdc1": lambda a, b, c: a})


@pytest.mark.parametrize("name", ["a/b", "..", " "])
def test_names_are_names_of_folders(campaign, name: str) -> None:
    with pytest.raises(ValueError, match="names a folder"):
        campaign.with_(name=name)


def test_damaged_files_are_named(campaign, tmp_path: Path) -> None:
    next(rh.collect([campaign], 100, tmp_path))
    folder = Folder(tmp_path / campaign.name)
    (folder.path / "rows-000000.parquet").write_bytes(b"no parquet")
    with pytest.raises(rh.StoreError, match=r"rows-000000.parquet is damaged"):
        folder.result()
    (folder.path / "campaign.toml").write_text("[identity]\n")
    with pytest.raises(rh.StoreError, match="no record of a campaign"):
        folder.about()
    with pytest.raises(rh.StoreError, match="holds no campaign"):
        folders(tmp_path / "nowhere")


def test_parts_estimate_when_they_are_asked(campaign, monkeypatch) -> None:
    result, asked = campaign.run(until=250), []
    estimate = type(result)._estimate

    def counted(self: object, metric: str, *rest: object, **more: object) -> object:
        asked.append(metric)
        return estimate(self, metric, *rest, **more)

    monkeypatch.setattr(type(result), "_estimate", counted)
    parts = result.strata
    assert not asked
    assert parts[0]["sdc1"] == parts[0]["sdc1"]
    assert asked == ["sdc1"]
    with pytest.raises(KeyError):
        parts[0]["no such outcome"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"chip": rh.chips.SYSTOLIC},
            TypeError,
            "chip <class .*Systolic'> can't be: use an object",
        ),
        ({"chip": "eyeriss"}, TypeError, "chip 'eyeriss' can't be"),
        ({"sampler": rh.Importance}, TypeError, "sampler <class"),
        ({"model": "bit-flip"}, TypeError, "model 'bit-flip' can't be"),
        ({"seed": 1.5}, ValueError, "seed 1.5 can't be"),
        ({"seed": True}, ValueError, "seed True can't be"),
        ({"images": 2.5}, ValueError, "2.5 images at a time can't be"),
        ({"images": True}, ValueError, "True images at a time can't be"),
    ],
)
def test_parts_that_are_none_are_refused(campaign, given, error, message) -> None:
    with pytest.raises(error, match=message):
        rh.Campaign(campaign.workload, **given)


@pytest.mark.parametrize("until", [1.5, "100", 0, True])
def test_budgets_that_are_none_are_refused(campaign, until) -> None:
    with pytest.raises(ValueError, match="faults can't be: ask for 1 or more"):
        campaign.run(until=until)
    with pytest.raises(ValueError, match="most 0 can't be"):
        rh.Precision(0.1, most=0)


@pytest.mark.parametrize("chip", chips(), ids=lambda chip: chip.name)
@pytest.mark.parametrize("name", ["Checksum", "Redundancy", "RangeDetector", "Parity"])
def test_every_protection_costs_something_on_every_chip(campaign, chip, name: str) -> None:
    cost = protection_named(name).cost(campaign.workload, chip)
    assert max(cost.macs, cost.operations, cost.memory_bits, cost.area) > 0
