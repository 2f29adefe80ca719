"""Which images are struck, and when."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.campaign.store import Folder
from radhard.campaign.windows import Window, Windows, spread
from radhard.engine import segment
from radhard.engine.segment import Golden
from radhard.sampling.sampler import Sampler
from radhard.view.wording import notes_of

TOTAL = 40


@pytest.fixture(scope="module")
def many(residual: nn.Module) -> rh.Workload:
    """Forty images of five classes, one of which is rare."""
    images = torch.randn(TOTAL, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(TOTAL) % 4
    labels[7] = 4
    return rh.capture(residual, images, labels, format=rh.FLOAT16, name="many")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radhard.campaign.shard.SHARD", 100)


@pytest.mark.parametrize("seed", range(20))
def test_first_images_hold_classes_in_proportion(seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat([3, 5, 0, 9], [400, 200, 90, 10]))
    order = spread(labels, seed)
    assert sorted(order) == list(range(700))
    shares = np.bincount(labels) / 700
    for first in (1, 7, 64, 350, 699):
        held = np.bincount(labels[order[:first]], minlength=10)
        assert (np.abs(held - shares * first) <= 2.5).all()
    assert (order == spread(labels, seed)).all()
    assert (order != spread(labels, seed + 1)).any()


def test_each_image_is_as_likely_to_come_first() -> None:
    """Also those of rare classes: over many seeds, each is among the first of the order equally."""
    labels = np.repeat([0, 1, 2], [30, 9, 1])
    first = np.zeros(40)
    for seed in range(4000):
        first[spread(labels, seed)[:8]] += 1
    expected, deviation = 4000 * 8 / 40, (4000 * 0.2 * 0.8) ** 0.5
    for own in (first[:30], first[30:39], first[39:]):
        assert own.mean() == pytest.approx(expected, abs=5 * deviation / len(own) ** 0.5 + 25)


@pytest.mark.parametrize("seed", range(20))
def test_any_window_holds_hard_and_easy_images(seed: int) -> None:
    """Ten of 500 images decide: by chance a window of 64 would have none of them in a quarter."""
    rng = np.random.default_rng(seed)
    labels, margin = rng.integers(0, 10, 500), rng.lognormal(2, 1, 500)
    hard = rng.choice(500, 10, replace=False)
    margin[hard] = rng.uniform(1e-4, 1e-3, 10)
    windows = Windows.of(labels, margin, 64, seed)
    rest = np.setdiff1d(np.arange(500), windows.always)
    assert set(hard) <= set(windows.always)
    assert margin[windows.always].max() <= margin[rest].min() * 1.08
    assert (len(windows.always), len(windows.images)) == (32, 15)
    ranks, shares = np.argsort(np.argsort(margin)), np.bincount(labels[rest]) / 468
    for window in windows.images:
        assert ranks[window].mean() == pytest.approx(32 + 233.5, abs=9)  # independent draws: 24
        assert (np.abs(np.bincount(labels[window], minlength=10) - shares * 31) <= 2.5).all()
    again = Windows.of(labels, margin * (1 + 1e-9), 64, seed)
    assert (again.always == windows.always).all()
    assert all((a == b).all() for a, b in zip(windows.images, again.images, strict=True))


def test_each_image_is_as_likely_to_be_in_any_window() -> None:
    held, labels = np.zeros((5, 40)), np.repeat([0, 1, 2], [30, 9, 1])
    margin = np.random.default_rng(2).lognormal(0, 1, 40)
    for seed in range(2000):
        windows = Windows.of(labels, margin, 13, seed)
        assert (windows.always == np.argsort(margin)[:6]).all()
        for window, images in enumerate(windows.images):
            held[window, images] += 1
    held = np.delete(held, windows.always, 1)
    assert held == pytest.approx(np.full((5, 34), 400), rel=0.25)


@pytest.mark.parametrize(
    ("total", "size", "always", "count"),
    [(500, 64, 32, 15), (500, 500, 0, 1), (65, 64, 0, 1), (100, 64, 32, 2), (7, 2, 1, 6),
     (10, 1, 0, 10), (1, 1, 0, 1), (9, 3, 1, 4)],
)  # fmt: skip
def test_windows_part_the_images_and_are_visited_alike(
    total: int, size: int, always: int, count: int
) -> None:
    margin = np.linspace(1, 9, total)
    windows = Windows.of(np.arange(total) % 3, margin, size, 4)
    assert (len(windows.always), len(windows.images)) == (always, count)
    assert sorted(np.concatenate([windows.always, *windows.images])) == list(range(total))
    assert np.ptp([len(window) for window in windows.images]) <= 1
    # over as many visits as images are sampled, each image is struck alike
    struck = np.zeros(total)
    for visit in range(total - always):
        window = Window(windows.always, windows.visited(visit), total)
        np.add.at(struck, window.at(np.arange(window.places)), 1 / window.places)
    assert struck == pytest.approx(np.full(total, (total - always) / total))
    first = [windows.visited(visit) for visit in range(count)]
    assert all(a is b for a, b in zip(first, windows.images, strict=True))


def test_shards_strike_windows_of_their_own() -> None:
    windows = Windows.of(np.arange(10_000) % 10, np.arange(1.0, 10_001), 64, 0)
    for shard in range(12):
        window = windows.of_shard(shard)
        assert sorted(window.rest) == sorted(windows.images[shard])
        assert (window.always == np.arange(32)).all()
    few = Windows.of(np.arange(10), np.ones(10), 10, 0)
    assert all(len(few.of_shard(shard).rest) == 10 for shard in range(12))


@pytest.mark.parametrize(("size", "sampled"), [(1, 32), (4, 32), (8, 32), (16, 32), (150, 75)])
def test_a_shard_samples_enough_images(size: int, sampled: int) -> None:
    windows = Windows.of(np.zeros(300, int), np.arange(1.0, 301), size, 0)
    struck = [windows.of_shard(shard).rest for shard in range(4)]
    assert all(len(rest) == pytest.approx(sampled, abs=4) for rest in struck)
    assert len(np.unique(np.concatenate(struck))) > 0.7 * min(4 * sampled, 300 - size // 2)
    small = Windows.of(np.zeros(20, int), np.arange(1.0, 21), size, 0) if size < 20 else windows
    rest = small.of_shard(0).rest
    assert size >= 20 or sorted([*small.always, *rest]) == list(range(20))


def test_images_are_hard_by_any_measure() -> None:
    """Small by its own size counts as small: scales of images say nothing of their answers."""
    near = np.full((2, 100), 8.0)
    near[0, :5], near[1, 5:10] = 0.1, 0.2
    assert set(Windows.of(np.zeros(100, int), near, 20, 0).always) == set(range(10))


@pytest.mark.parametrize("sampler", [rh.Importance(), rh.GradientImportance(candidates=5)])
def test_faults_carry_the_numbers_of_their_images(many: rh.Workload, sampler: Sampler) -> None:
    """Each shard strikes its window, and its outcomes are those of a plain run over all images."""
    campaign = rh.Campaign(many, sampler=sampler, images=10, seed=3)
    space, golden = campaign.space(), campaign.golden()
    assert space.images == TOTAL
    score, met = campaign.score(space, golden), Counter()
    for shard in range(9):
        faults = campaign.draw(space, shard, score=score)
        window = campaign.windows.of_shard(shard)
        assert set(faults.image) <= {*window.always, *window.rest}
        assert len(set(faults.image)) >= 8
        met.update(faults.image.tolist())
        found = campaign.outcomes(space, golden, faults)
        plain = campaign.outcomes(space, Golden(campaign.network), faults)
        for name, column in plain.items():
            assert np.array_equal(found[name], column), name
    assert len(met) == TOTAL


def test_scores_see_the_images_that_are_struck(many: rh.Workload) -> None:
    campaign = rh.Campaign(many, sampler=rh.GradientImportance(candidates=5), images=10)
    space, seen = campaign.space(), []
    inner = campaign.score(space, campaign.golden())
    assert inner is not None

    def score(faults: rh.Faults) -> object:
        seen.append(set(faults.image))
        return inner(faults)

    for shard in range(4):
        campaign.draw(space, shard, score=score)
        window = campaign.windows.of_shard(shard)
        assert set().union(*seen) == {*window.always, *window.rest}
        seen.clear()


def test_only_a_window_is_recorded(many: rh.Workload, monkeypatch) -> None:
    sizes, record = [], segment.record

    def recorded(work: rh.Workload, *more: object, **other: object) -> object:
        if work.nan == "propagate":  # some runs are repeated by the other rule
            sizes.append(len(work.images))
        return record(work, *more, **other)

    monkeypatch.setattr(segment, "record", recorded)
    campaign = rh.Campaign(many, sampler=rh.GradientImportance(candidates=5), images=10)
    campaign.run(until=100)
    assert set(sizes) == {10}  # several small windows, one after another
    sizes.clear()
    monkeypatch.setattr("radhard.campaign.windows._SAMPLED", 5)
    campaign.run(until=500)  # five shards, a window each
    assert sizes == [10] * 5


def test_a_run_in_pieces_is_one_run(many: rh.Workload, tmp_path: Path) -> None:
    campaign = rh.Campaign(many, rh.chips.Published(2, 2), images=10, name="many")
    for until in (70, 150, 420):
        pieces = next(rh.collect([campaign], until, tmp_path / "pieces"))
    whole = next(rh.collect([campaign], 420, tmp_path / "whole"))
    assert pieces["sdc1"] == whole["sdc1"] == campaign.run(until=420)["sdc1"]
    assert pieces.ra == whole.ra == Folder(tmp_path / "pieces" / "many").result().ra
    rows = [
        [row for path in sorted((tmp_path / name / "many").glob("rows-*.parquet"))
         for row in pq.read_table(path).to_pylist()]
        for name in ("pieces", "whole")
    ]  # fmt: skip
    assert rows[0] == rows[1]
    assert len({row["image"] for row in rows[0]}) > 0.6 * TOTAL


def test_fault_free_accuracy_is_over_all_images(many: rh.Workload, tmp_path: Path) -> None:
    campaign = rh.Campaign(many, images=10)
    right = (many.logits(many.images).argmax(1) == many.labels).double().mean()
    assert campaign.golden_accuracy() == pytest.approx(float(right))
    result = next(rh.collect([campaign], 100, tmp_path))
    assert result.golden_accuracy == pytest.approx(float(right))
    text = rh.Campaign(many, images=10).draw(campaign.space(), 1).to_text(campaign.space())
    assert rh.Faults.from_text(text, campaign.space()).to_text(campaign.space()) == text


def test_the_question_says_how_many_images(many: rh.Workload) -> None:
    all_at_once = rh.Campaign(many)
    assert all_at_once.question.keys["images"] == TOTAL
    assert rh.Campaign(many, images=TOTAL).id == all_at_once.id
    some = rh.Campaign(many, images=10)
    assert some.id != all_at_once.id
    assert some.with_(seed=2).images == 10
    assert some.with_(images=20).images == 20
    for wrong in (0, -1, TOTAL + 1):
        with pytest.raises(ValueError, match=f"{wrong} images at a time can't be.*use 1 to 40"):
            rh.Campaign(many, images=wrong)
        with pytest.raises(ValueError, match=f"{wrong} images at a time can't be"):
            some.with_(images=wrong)


class Watched:
    """Counts what it sees, and leaves it."""

    def __init__(self) -> None:
        self.seen = 0

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(output)
        return output, torch.zeros(len(output), dtype=torch.bool)


def test_answers_of_segments_are_those_of_a_record(many: rh.Workload) -> None:
    guard, limits = (
        Watched(),
        rh.RangeDetector().learned(many.with_(many.images[:2], many.labels[:2])),
    )
    windows = rh.Campaign(many, images=10, seed=1).windows
    for watching in (guard, limits.guard(many)):
        whole = rh.record(many, watching, rows=16)
        logits, alarms = Golden(many, watching, None, windows.images, windows.always).answers()
        assert torch.equal(logits, whole.logits)
        assert torch.equal(alarms, whole.alarms)
    assert guard.seen > 0
    assert alarms.any()


PROTECTIONS = {
    "clamp": lambda work: rh.RangeRestriction().learned(work),
    "detector": lambda work: rh.RangeDetector().learned(work),
    "median": lambda work: rh.MedianFeature(),
    "clipped": lambda work: rh.ClippedActivation().learned(work),
}


@pytest.mark.parametrize("name", PROTECTIONS)
@pytest.mark.parametrize("sampler", [rh.Importance(), rh.GradientImportance(candidates=10)])
def test_protections_do_not_choose_the_faults(many, sampler: Sampler, name: str) -> None:
    few = many.with_(many.images[:5], many.labels[:5])
    plain = rh.Campaign(many, rh.chips.Published(2, 2), sampler, images=10)
    guarded = plain.with_(protections=(PROTECTIONS[name](few),))
    judged = plain.with_(confidence_of="top-score")
    assert len({plain.id, guarded.id, judged.id}) == 3
    for shard in (0, 2):
        drawn = []
        for campaign in (plain, guarded, judged):
            space = campaign.space()
            score = campaign.score(space, campaign.golden())
            drawn.append(campaign.draw(space, shard, score=score))
        for one, other in itertools.pairwise(drawn):
            for column in ("stratum", "index", "image", "keep", "flip", "weight", "cell"):
                assert np.array_equal(getattr(one, column), getattr(other, column)), column


def test_memory_is_shared_with_the_plain_network(many: rh.Workload) -> None:
    few = many.with_(many.images[:5], many.labels[:5])
    clamp = rh.RangeRestriction().learned(few)
    told = rh.Campaign(many, sampler=rh.GradientImportance(candidates=5), protections=(clamp,))
    assert told.golden(1000).memory == 500
    assert told.golden().memory is None
    assert told.with_(sampler=rh.Importance()).golden(1000).memory == 1000
    assert told.with_(protections=()).golden(1000).memory == 1000


def test_an_answer_says_that_images_stand_for_others(many: rh.Workload, tmp_path: Path) -> None:
    some, whole = rh.Campaign(many, images=2, name="some"), rh.Campaign(many, name="whole")
    told = [notes_of(result) for result in rh.collect([some, whole], 20, tmp_path)]
    assert "of 40 images were struck" in told[0][0]
    assert told[1] == []
    page = rh.report(tmp_path).read_text()
    assert told[0][0] in page
