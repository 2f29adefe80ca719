"""How often the rule for not-a-number decides the answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.engine.segment import Golden
from radhard.network.source import subject


@pytest.fixture(scope="module")
def digits() -> rh.Workload:
    whole = subject("digits-cnn")
    return rh.capture(whole.model, whole.images[:32], whole.labels[:32])


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("nan", ["zero", "propagate"])
@pytest.mark.parametrize("chip", ["eyeriss", "software"])
def test_the_share_that_the_rule_decides(digits, name: str, nan: str, chip: str) -> None:
    """Against all faults run under both rules; only few runs are repeated to find it."""
    work = digits.with_(format=rh.format_named(name), nan=nan)
    campaign = rh.Campaign(work, rh.chips.chip_named(chip), sampler=rh.BitImportance())
    space, golden = campaign.space(), Golden(work)
    faults = rh.Uniform().draw(space, 3000, np.random.default_rng(2))
    found = campaign.outcomes(space, golden, faults)
    corruption = campaign.chip.corrupt(work, space, faults)
    says = {
        rule: work.task.answer(rh.resume(rh.record(work.with_(nan=rule)), corruption).logits)
        for rule in ("zero", "propagate")
    }
    decided = (says["zero"] != says["propagate"]).numpy()
    assert np.array_equal(found["nan_decided"], decided)
    assert decided.any() == (name != "int8")


def test_a_network_that_says_nothing_is_refused() -> None:
    """Where all fault-free logits are not-a-number; of a few images, a warning will do."""
    model = nn.Sequential(nn.Linear(2, 3), Less())
    images, labels = torch.tensor([[1e6, 1e6], [1e6, -1e6]]), torch.tensor([0, 1])
    with pytest.warns(UserWarning, match="logits of some images are not numbers"):
        silent = rh.capture(model, images * torch.inf, labels)
    with pytest.raises(ValueError, match=r"all 2 images are not-a-number in fp32: .* wider range"):
        rh.Campaign(silent, rh.chips.SOFTWARE).run(10)
    with pytest.warns(UserWarning, match="logits of some images are not numbers"):
        partly = rh.capture(model, torch.stack([images[0], images[1] * torch.inf]), labels)
    assert rh.Campaign(partly, rh.chips.SOFTWARE).run(10).n == 10


class Less(nn.Module):
    """Less itself: zero, or not-a-number for what has no end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (x - x)


def test_the_rule_decides_nothing_where_a_code_stops_the_fault(digits) -> None:
    decided, names = {}, ("psum-register", "psum-in-latch")
    parts = tuple(part for part in rh.chips.EYERISS.components if part.name in names)
    chip = replace(rh.chips.EYERISS, components=parts)
    for protections in ((), (rh.Parity(names[:1]),)):
        campaign = rh.Campaign(digits, chip, protections=protections)
        space, golden = campaign.space(), Golden(campaign.network)
        faults = rh.Uniform().draw(space, 6000, np.random.default_rng(2))
        held = np.array([stratum.component for stratum in space.strata])[faults.stratum]
        found = campaign.outcomes(space, golden, faults)["nan_decided"]
        inside = held == names[0]
        decided[len(protections)] = int(found[inside].sum()), int(found[~inside].sum())
    assert decided[0][0] > 0
    assert decided[1] == (0, decided[0][1])
