"""Slopes through steps, against what steps do on average over a stretch."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.foresight.margin import Margins
from radhard.foresight.straight import Straight
from radhard.network.workload import Workload

Function = Callable[[Tensor], Tensor]
#: Deviation of the values, large against the steps of those that round.
SIZE = 3.0

STEPS: dict[str, Function] = {
    "round": torch.round,
    "round to tenths": lambda x: torch.round(x, decimals=1),
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "fix": torch.fix,
    "floor of a ratio": lambda x: torch.div(x, 0.4, rounding_mode="floor"),
    "floor_divide": lambda x: x // 0.4,
    "rounded and cut off": lambda x: torch.round(x.clamp(0, 6)) * 0.5,
    "straight-through by detach": lambda x: x + (torch.round(x) - x).detach(),
    "sign": torch.sign,
    "sgn": torch.sgn,
    "copysign": lambda x: torch.copysign(torch.ones_like(x), x),
    "heaviside": lambda x: torch.heaviside(x, torch.zeros(())),
    "where": lambda x: torch.where(x > 0, 1.0, -1.0),
    "where the other way": lambda x: torch.where(x <= 0, -1.0, 1.0),
    "where with tensors": lambda x: torch.where(x.ge(0), torch.ones_like(x), -torch.ones_like(x)),
    "truth value": lambda x: (x > 0).type_as(x),
    "moved truth value": lambda x: (x > 0).unsqueeze(1).flatten(1).type_as(x),
    "truth value times 2 less 1": lambda x: (x > 0) * 2.0 - 1.0,
    "not": lambda x: (~(x < 0)).type_as(x),
    "and": lambda x: ((x > 0) & (x < 12)).type_as(x),
    "three values": lambda x: (x > 1).type_as(x) - (x < -1).type_as(x),
    "gate": lambda x: x * (x > 0),
    "masked": lambda x: x.masked_fill(x < 0, 0.0),
}
#: Relative error of the mean where a step is not at 0, or 0 is in a longer stretch than others.
ROUGH = {"and": 0.3, "three values": 0.3, "trunc": 0.2, "fix": 0.2}


class Net(nn.Module):
    """Functions of the images side by side, then a layer."""

    def __init__(self, functions: Sequence[Function], size: int) -> None:
        super().__init__()
        self.functions, self.head = functions, nn.Linear(len(functions) * size, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([function(x) for function in self.functions], 1))


def captured(functions: Sequence[Function], images: Tensor) -> Workload:
    torch.manual_seed(0)
    model = Net(functions, images.shape[1])
    return rh.capture(model, images, torch.zeros(len(images), dtype=torch.int64))


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Values that are normal around 0, as quantiles: (40, 500)."""
    places = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    values = SIZE * torch.special.ndtri(places)
    return values[torch.randperm(20_000, generator=torch.Generator().manual_seed(0))].float().view(
        40, 500
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts(images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """By name: what each function makes of the images, and its slopes."""
    work = captured(tuple(STEPS.values()), images)
    straight, leaf = Straight(work.program), images.clone().requires_grad_(True)

    def evaluate(step: int, values: Callable[[int], Tensor]) -> Tensor:
        value = straight.run(step, values)
        if isinstance(value, Tensor):
            assert torch.equal(value, work.program.steps[step].run(values))
        return value

    joined = work.program.values(leaf, evaluate)[work.layers[0].operands[0]]
    values = joined.chunk(len(STEPS), 1)
    slopes = [torch.autograd.grad(v.sum(), leaf, retain_graph=True)[0] for v in values]
    return dict(zip(STEPS, zip(values, slopes, strict=True), strict=True))


@pytest.mark.parametrize("name", STEPS)
def test_slopes_are_what_steps_do_on_average(name: str, parts, images: Tensor) -> None:
    """Of values that are normal around 0: the mean difference quotient over a short stretch."""
    function, (value, slope) = STEPS[name], parts[name]
    assert torch.equal(value, function(images))
    stretch = 0.2
    change = function(images + stretch).double() - function(images - stretch).double()
    assert float(slope.mean()) == pytest.approx(
        float(change.mean()) / (2 * stretch), rel=ROUGH.get(name, 0.03)
    )


def test_steps_with_slopes_keep_them(images: Tensor) -> None:
    smooth = (torch.relu, nn.functional.gelu, nn.functional.hardtanh, torch.frac, STEPS["gate"])
    work = captured(smooth, images)
    found = []
    for run in (Straight(work.program).run, None):
        leaf = images.clone().requires_grad_(True)
        value = work.program.values(leaf, run)[work.layers[0].operands[0]]
        weights = torch.linspace(1, 2, value.shape[1])
        found.append(torch.autograd.grad((value * weights).sum(), leaf)[0])
    assert torch.equal(*found)


def test_values_of_size_0_have_slopes() -> None:
    """Where all are 0 there is no scale: one is taken as good as another, but no infinity."""
    work = captured([torch.sign], torch.zeros(2, 500))
    assert all(slopes.results.isfinite().all() for slopes in Margins.of(work).slopes)
