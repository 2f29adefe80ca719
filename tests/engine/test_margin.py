"""What scores say of faults, against what the faults do."""

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.accel.chip import Accelerator
from radhard.campaign.collect import collect
from radhard.engine.margin import Margins
from radhard.engine.trace import images_within
from radhard.faults.corruption import Corruption
from radhard.network.workload import Workload
from radhard.sampling.proposals import Importance


class Block(nn.Module):
    """A residual block whose sum is rectified, then two classes: margins are linear from there."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.skip = nn.Conv2d(2, 6, 1, stride=2)
        self.head = nn.Linear(6 * 9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beside = self.skip(x)
        return self.head(torch.relu(self.norm(self.first(x)) + beside).flatten(1))


@pytest.fixture(scope="module")
def work() -> Workload:
    torch.manual_seed(3)
    model = Block().eval()
    model.norm.running_mean, model.norm.running_var = torch.randn(6), torch.rand(6) + 0.5
    return rh.capture(model, torch.randn(1, 2, 5, 5), torch.tensor([0]))


def struck(work: Workload, chip: Accelerator, n: int = 4000) -> Corruption:
    space = rh.Campaign(work, chip).space()
    return chip.corrupt(work, space, Importance().draw(space, n, np.random.default_rng(1)))


def moved(work: Workload, corruption: Corruption) -> np.ndarray:
    """By how much each fault really changes the margin, relative to it."""
    run = rh.resume(rh.record(work), corruption)
    margins = [(logits[:, 0] - logits[:, 1]).double() for logits in (run.logits, run.golden)]
    return ((margins[0] - margins[1]).abs() / margins[1].abs()).numpy()


@pytest.mark.parametrize("chip", [rh.chips.Software(("activation",)), rh.chips.SYSTOLIC(4, 4)])
def test_one_wrong_output_moves_the_margin_as_the_score_says(work, chip) -> None:
    """Where the rest is linear and there is one image, scores of outputs and sums are exact.

    Not for the branch that is computed first: what is added to it is not at hand yet.
    """
    corruption = struck(work, chip)
    later = [work.layers[number].name != "skip" for number in corruption.layer]
    one = np.isin(corruption.operand, ("output", "psum")) & later
    assert one.sum() > 300
    said = Margins.of(work).ratio(rh.record(work), corruption[one])
    truth = moved(work, corruption[one])
    usual = np.isfinite(truth) & (truth > 1e-3) & (truth < 1e3)
    assert usual.sum() > 100
    logit = np.array([work.layers[number].name == "head" for number in corruption.layer[one]])
    widened = logit & (said <= 1e-12)  # the winner has won by more
    assert 0 < widened.sum() < 0.6 * logit.sum()
    usual &= ~widened
    assert said[usual] == pytest.approx(truth[usual], rel=0.02)
    assert (said[truth == 0] < 1e-4).mean() > 0.99


@pytest.mark.parametrize("chip", [rh.chips.SYSTOLIC(4, 4), rh.chips.NVDLA_SMALL])
def test_shared_values_are_judged_by_some_of_their_reads(work, chip) -> None:
    """Wrong weights and inputs that many outputs read: sums of sizes, so no less than the truth."""
    corruption = struck(work, chip)
    said, truth = Margins.of(work).ratio(rh.record(work), corruption), moved(work, corruption)
    shared = np.isin(corruption.operand, ("weight", "input")) & np.isfinite(truth)
    telling = shared & (truth > 0.01) & (truth < 1e6) & (said > 1e-12)  # not wins by more
    assert telling.sum() > 50
    assert np.median(np.abs(np.log10(said[telling] / truth[telling]))) < 0.3
    assert (said[telling] > truth[telling] / 3).mean() > 0.9
    run = rh.resume(rh.record(work), corruption)
    changed = shared & (run.logits.argmax(1) != run.golden.argmax(1)).numpy()
    assert changed.sum() >= 10
    assert said[changed].min() > 0.3


def test_logits_that_change_together_are_judged_each_for_itself() -> None:
    """One falling more than another rises does not hide the one that rises."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 6))
    work = rh.capture(model, torch.randn(8, 8, 1, 1), torch.zeros(8, dtype=torch.int64))
    corruption = struck(work, rh.chips.NVDLA_SMALL)
    run = rh.resume(rh.record(work), corruption)
    changed = (run.logits.argmax(1) != run.golden.argmax(1)).numpy()
    assert (changed & (corruption.operand == "input")).sum() > 50
    said = Margins.of(work).ratio(rh.record(work), corruption)
    assert said[changed].min() > 0.99


@pytest.mark.parametrize("format", [rh.FLOAT16, rh.INT8, rh.FLOAT64, rh.FIXED16_10])
def test_scores_rank_faults_in_every_format(residual, images, labels, format) -> None:
    """Faults that change the answer were given a higher chance than most that don't."""
    work = rh.capture(residual, images, labels, format=format)
    for chip in (rh.chips.EYERISS, rh.chips.SYSTOLIC(4, 4)):
        corruption = struck(work, chip, 3000)
        chance = Margins.of(work).chance(rh.record(work), corruption)
        assert ((chance >= 0) & (chance < 1)).all()
        run = rh.resume(rh.record(work), corruption)
        changed = (run.logits.argmax(1) != run.golden.argmax(1)).numpy()
        if changed.sum() >= 5:
            assert np.median(chance[changed]) > np.quantile(chance[~changed], 0.9)


def test_segments_of_images_give_the_same_faults(residual, images, labels) -> None:
    """Under a memory that holds few images' values, candidates are scored alike."""
    work = rh.capture(residual, images, labels)
    campaign = rh.Campaign(work, sampler=rh.GradientImportance(candidates=20))
    roomy = campaign.run(until=150)

    memory = next(k << 16 for k in range(1, 1 << 12) if 1 < images_within(work, k << 16, 6) < 6)
    tight = next(collect([campaign], 150, memory=memory))
    assert tight["sdc1"] == roomy["sdc1"]
