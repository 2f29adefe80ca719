"""Explored designs against enumerated faults, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.network.quantisation import Quantisation
from radhard.network.workload import Workload
from radhard.rtl.design import ArrayDesign
from radhard.rtl.hardware import Hardware
from radhard.rtl.latency import Running
from radhard.search.explore import Plan, explore
from radhard.search.point import Needs, Point, front, recommended
from radhard.stats.estimate import Estimate
from radhard.view.explore import needs_words

IMAGES = 6


def network() -> tuple[Workload, torch.Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    images = torch.randn(40, 1, 3, 3)
    labels = model(images[:IMAGES]).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    return rh.capture(model, images[:IMAGES], labels, name="tiny"), images[IMAGES:]


def quantised(words: str) -> tuple[Workload, Workload]:
    work, seen = network()
    bits, _, headroom = words.partition("+")
    plan = replace(Quantisation.parse(bits), headroom=int(headroom or 0))
    found = rh.quantise(work, plan, seen)
    return found, found.with_(seen, torch.zeros(len(seen), dtype=torch.int64))


def of_activations(work: Workload, spared: int, bounds: tuple[float, float] | None) -> float:
    """SDC-1 of any one bit of any output of a layer, flip by flip.

    Args:
        work: the network.
        spared: top bits of each code that no fault changes.
        bounds: that what the first rectifier gives is held to.
    """
    first, second = work.arithmetic
    wrong = sites = 0
    x = work.images.flatten(1).double()
    weight = [work.weight(k).double() for k in (0, 1)]
    bias = [how.bias(given) for how, given in zip(work.arithmetic, work.parameters, strict=True)]
    units = [how.unit(given) for how, given in zip(work.arithmetic, work.parameters, strict=True)]
    hidden = first.output.round(
        first.input.round(x) @ weight[0].T + bias[0].reshape(-1) * units[0].reshape(-1)
    )

    def answer(values: torch.Tensor) -> torch.Tensor:
        sums = second.input.round(values) @ weight[1].T
        return second.output.round(sums + bias[1].reshape(-1) * units[1].reshape(-1))

    def behind(values: torch.Tensor) -> torch.Tensor:
        values = values.clamp(min=0)
        return values if bounds is None else values.clamp(*bounds)

    golden = answer(behind(hidden))
    for value, fmt in ((hidden, first.output), (golden, second.output)):
        for k in range(value.shape[1]):
            for bit in range(fmt.width):
                sites += len(x)
                if bit >= fmt.width - spared:
                    continue
                struck = value.clone()
                mask = torch.full((len(x),), 1 << bit)
                struck[:, k] = fmt.flip(value[:, k].float(), mask).double()
                logits = answer(behind(struck)) if value is hidden else struck
                wrong += int((logits.argmax(1) != golden.argmax(1)).sum())
    return wrong / sites


@pytest.mark.parametrize("words", ["8", "4", "5+1"])
def test_faults_in_activations_are_those_of_plain_flips(words: str, tmp_path: Path) -> None:
    kinds = ("none", "clamp", "msb", "psum", "tmr")
    plan = Plan((words,), ((4, 4),), kinds, where="activations", faults=6000, seed=3)
    points = {p.design.protect: p for p in explore(plan, quantised, tmp_path)}
    work, learning = quantised(words)
    rows = learning.images.flatten(1).double()
    first = work.arithmetic[0]
    values = learning.program.values(learning.images, learning.evaluate)
    hidden = values[work.layers[0].step].clamp(min=0)
    assert rows.shape[1] == work.layers[0].fan_in
    ends = float(hidden.min()), float(hidden.max())
    truths = {
        "none": of_activations(work, 0, None),
        "clamp": of_activations(work, 0, ends),
        "psum": of_activations(work, 0, None),
        "tmr": 0.0,
    }
    assert first.output == work.arithmetic[1].input
    for kind, truth in truths.items():
        assert points[kind].sdc1.low <= truth <= points[kind].sdc1.high, kind
    top = of_activations(work, 2, None)
    assert points["msb"].sdc1.low <= top <= points["msb"].sdc1.high
    assert truths["none"] > top > 0


def test_votes_on_the_array_are_those_of_a_hardened_campaign(tmp_path: Path) -> None:
    """What is left of one campaign's faults, against campaigns on hardened chips."""
    plan = Plan(("6",), ((2, 3),), ("none", "msb", "psum", "voted"), faults=4000)
    points = {p.design.protect: p for p in explore(plan, quantised, tmp_path)}
    design = points["msb"].design
    work, _ = quantised("6")
    held = work.with_(format=replace(work.formats, sum_bits=design.widths["p"]))
    chip = rh.chips.CLOCKED(2, 3, "ws")
    for kind, part, width in (("msb", "input-register", 6), ("psum", "psum-register", 20)):
        top = points[kind].design.voted("a" if kind == "msb" else "p")
        bits = tuple(range(width - top, width))
        guard = rh.BitTriplication(bits, (part,))
        own = rh.Campaign(held, chip, protections=[guard], seed=9).run(until=8_000)
        for metric, found in (("sdc1", points[kind].sdc1), ("ra", points[kind].ra)):
            assert own[metric].low <= found.high, (kind, metric)
            assert found.low <= own[metric].high, (kind, metric)
    assert design.widths["p"] == 20
    assert points["voted"].sdc1.high == 0
    assert (points["voted"].improved.low, points["voted"].improved.high) == (1, 1)
    assert points["voted"].ra.value == points["none"].accuracy.value
    assert points["psum"].fit.value < points["none"].fit.value


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    plan = Plan(("4",), ((2, 2),), ("none", "clamp"), faults=500)
    seen: list[int] = []
    first = list(explore(plan, quantised, tmp_path, lambda told: seen.append(told.done)))
    ran = len(seen)
    again = list(explore(plan, quantised, tmp_path, lambda told: seen.append(told.done)))
    assert [p.sdc1 for p in again] == [p.sdc1 for p in first]
    assert ran > 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def point(bits: str, sdc1: float, luts: int | None, accuracy: float = 0.9) -> Point:
    def known(value: float) -> Estimate:
        return Estimate(value, value * 0.9, value * 1.1, 0.95, 100, "made up")

    hardware = Hardware(luts, 10, 100, 16, None, "formula", {})
    return Point(
        "tiny", bits, "exact", ArrayDesign(4, 4), known(accuracy), known(sdc1), known(0.8),
        known(sdc1), known(0.1), ("", known(0.0)), None, None, known(0.1), known(0.5), hardware,
        Running(100, 5.0), "run",
    )  # fmt: skip


def test_front_and_recommendation() -> None:
    points = [
        point("8", 0.1, 100),
        point("6", 0.2, 50),
        point("4", 0.3, 60),
        point("3", 0.05, None),
    ]
    names = ("sdc1", "area")
    assert [p.bits for p in front(points, names)] == ["8", "6"]
    assert recommended(points, Needs(), names) is points[0]
    assert recommended(points, Needs(luts=60), names) is points[1]
    assert recommended(points, Needs(fit=0.05), names) is None
    assert Needs(fit=0.12, luts=200).missed(points[0]) == []
    assert "unknown look-up tables" in Needs(luts=200).missed(points[3])[0]
    assert Needs(accuracy=0.9).missed(points[0])  # whole intervals have to keep to it
    assert front(points, ("delay",)) == []  # of none is it known


def test_a_recommendation_without_a_front() -> None:
    coarse, fine = point("3", 0.0, None, 0.8), point("4", 0.0, None)
    names = ("accuracy", "sdc1", "area")
    assert front([coarse, fine], names) == []
    assert recommended([coarse, fine], Needs(), names) is fine
    said = needs_words(Needs(), [coarse, fine], fine, names)
    assert "not of the front (area of it not known" in said
    known = point("8", 0.1, 9)
    assert "front's lowest" in needs_words(Needs(), [known], known, names)
    for wrong in ({"accuracy": float("nan")}, {"luts": -1}, {"fit": float("inf")}):
        with pytest.raises(ValueError, match="can't be asked for"):
            Needs(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bits": ()}, "at least one"),
        ({"protect": ("none", "none")}, "each once"),
        ({"protect": ("parity",)}, "'parity'"),
        ({"objectives": ("beauty",)}, "'beauty'"),
        ({"arrays": ((0, 4),)}, "0 x 4"),
        ({"multipliers": ("mul8s_none",)}, "mul8s_none"),
        ({"where": "activations", "objectives": ("fit",)}, "leave fit out"),
        ({"where": "nowhere"}, "nowhere"),
        ({"faults": 0}, "0 faults"),
    ],
)
def test_plans_that_cannot_be(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Plan(**given)  # type: ignore[arg-type]


def test_floats_have_no_array(tmp_path: Path) -> None:
    def of_floats(words: str) -> tuple[Workload, Workload]:
        work, _ = network()
        return work, work

    with pytest.raises(ValueError, match="no format of integers"):
        list(explore(Plan(("8",), ((2, 2),), ("none",)), of_floats, tmp_path))
    assert not np.any([p.is_file() for p in tmp_path.rglob("*")])
