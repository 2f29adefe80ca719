"""Convolutions of one dimension are those of maps of one row, for every road there is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import radhard as rh
from radhard.accel.chips import chip_named
from radhard.engine.resume import resume
from radhard.engine.stage import planned
from radhard.engine.trace import record


class Line(nn.Module):
    """Strides, dilation, groups, padding, pools and sums along a line; or along maps of one row."""

    def __init__(self, rows: bool) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, kernel: int, groups: int = 1, **how: int) -> nn.Module:
            if not rows:
                return nn.Conv1d(inputs, outputs, kernel, groups=groups, **how)
            own = {name: (int(name != "padding"), size) for name, size in how.items()}
            own |= {"padding": (0, how.get("padding", 0))}
            return nn.Conv2d(inputs, outputs, (1, kernel), groups=groups, **own)

        self.first = layer(3, 8, 5, stride=2, padding=2)
        self.apart = layer(8, 8, 3, padding=2, dilation=2, groups=4)
        self.norm = (nn.BatchNorm2d if rows else nn.BatchNorm1d)(8)
        self.beside = layer(8, 8, 3, padding=1)
        self.last = layer(8, 6, 3)
        self.head = nn.Linear(6 * 7, 5)
        pools = (nn.MaxPool2d, nn.AvgPool2d) if rows else (nn.MaxPool1d, nn.AvgPool1d)
        sizes = ((1, 3), (1, 2), (0, 1)) if rows else (3, 2, 1)
        self.largest = pools[0](*sizes)
        self.mean = pools[1]((1, 2) if rows else 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(x + self.norm(self.apart(x)))
        x = torch.cat([F.pad(x, (2, -1))[..., :-1], x[:, :, ::1]], 1)[:, 3:11]
        x = self.largest(x)
        x = torch.relu(x + self.beside(x))  # whose first operand is no layer's output
        x = self.mean(torch.relu(self.last(x)))
        return self.head(x.flatten(1))


def work(rows: bool, format: rh.NumberFormat | str = rh.FLOAT32) -> rh.Workload:
    images = torch.randn(5, 3, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(3)
    model, given = Line(rows=False).eval(), images
    if rows:
        values = model.state_dict()
        model, given = Line(rows=True).eval(), images[:, :, None]
        model.load_state_dict({k: v[:, :, None] if v.dim() == 3 else v for k, v in values.items()})
    with torch.no_grad():
        labels = model(given).argmax(1)
    return rh.capture(model, given, labels, format, name="line")


def outcomes(campaigns: list[rh.Campaign], count: int) -> list[dict]:
    """Of the same faults in each: those that the first one draws."""
    faults = campaigns[0].draw(campaigns[0].space(), 2, count)
    found = []
    for campaign in campaigns:
        assert campaign.space().strata == campaigns[0].space().strata
        found.append(campaign.outcomes(campaign.space(), campaign.golden(), faults))
    return found


@pytest.mark.parametrize("format", [rh.FLOAT32, rh.INT8, rh.FIXED16_10])
@pytest.mark.parametrize("chip", ["software", "eyeriss", "systolic:4x4:ws"])
def test_faults_do_what_they_do_in_a_row(format: rh.NumberFormat, chip: str) -> None:
    """The same sites, and of the same faults the same logits, whichever way they are run."""
    campaigns = [rh.Campaign(work(rows, format), chip_named(chip)) for rows in (False, True)]
    faults, found = campaigns[0].draw(campaigns[0].space(), 2, 300), []
    for campaign in campaigns:
        space = campaign.space()
        corruption = campaign.chip.corrupt(campaign.workload, space, faults)
        trace = record(campaign.workload)
        fast, slow = resume(trace, corruption), resume(trace, corruption, patches=False)
        found += [space.strata, fast.logits, slow.logits]
        assert len(planned(trace).entrances) == len(campaign.workload.layers)  # no barrier between
    assert found[0] == found[3]
    for other in (found[2], found[4]):
        assert torch.allclose(found[1], other, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    "guard",
    [
        rh.RangeRestriction(), rh.Checksum(), rh.NeuronGradientSuppressor(), rh.RangeDetector(),
        rh.MedianFeature(), rh.ValueThreshold(),
    ],
    ids=lambda guard: type(guard).__name__,
)  # fmt: skip
def test_guards_see_a_row(guard: rh.Protection) -> None:
    one, two = outcomes([rh.Campaign(work(k), protections=[guard]) for k in (False, True)], 200)
    assert one.keys() == two.keys()
    for name in one:
        assert np.array_equal(one[name], two[name]), name


@pytest.mark.parametrize(
    ("format", "how"),
    [
        (replace(rh.Formats.of(rh.FIXED16_10), rounding="each-step"), {}),
        (rh.INT8, {"multiplier": rh.multiplier_named("mul8s_1L2H@v1")}),
    ],
)
def test_arithmetic_of_a_row(format: rh.NumberFormat, how: dict) -> None:
    """Latches that round at each step, and products of an approximate multiplier."""
    line, row = (work(rows, format).with_(**how) for rows in (False, True))
    assert torch.equal(line.logits(line.images), row.logits(row.images))
    one, two = outcomes([rh.Campaign(held) for held in (line, row)], 200)
    assert all(np.array_equal(one[name], two[name]) for name in one)


class Moving(nn.Module):
    """Margins, slices and joins of maps between convolutions."""

    def __init__(self, moved: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.one, self.two = nn.Conv2d(2, 6, 3, padding=1), nn.LazyConv2d(4, 3, padding=1)
        self.moved, self.head = moved, nn.LazyLinear(5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.moved(torch.relu(self.one(x))))
        return self.head(torch.relu(self.two(x)).flatten(1))


@pytest.mark.parametrize(
    "moved",
    [
        lambda x: F.pad(x, (0, 1, 2, 0)),
        lambda x: F.pad(x, (-2, 1, 1, -3), value=-1.5),
        lambda x: F.pad(x, (1, 1, 0, 0, 2, 1)),
        lambda x: F.pad(x, (0, 0, 0, 0, -2, 1)),
        lambda x: x[:, :, 1:-2, 3:],
        lambda x: x[:, :, ::2, 1::3],
        lambda x: x[:, 2:-1, -5:, :100],
        lambda x: torch.cat([x[:, 4:], x, x[:, :1]], 1),
        lambda x: torch.cat([x[:, :, 1:], x[:, :, :-1]], -3),
    ],
)
def test_values_that_move(moved: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """Followed to their places, and dropped where nothing takes them."""
    model = Moving(moved).eval()
    with torch.no_grad():
        labels = model(images).argmax(1)
    campaign = rh.Campaign(rh.capture(model, images, labels, rh.INT8))
    space, trace = campaign.space(), record(campaign.workload)
    assert len(planned(trace).entrances) == 3
    corruption = campaign.chip.corrupt(campaign.workload, space, campaign.draw(space, 2, 500))
    fast, slow = resume(trace, corruption), resume(trace, corruption, patches=False)
    assert torch.equal(fast.logits, slow.logits)
    assert bool((fast.logits != fast.golden).any())
