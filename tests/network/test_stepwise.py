"""Fixed point that rounds at each step, against plain loops over latches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from oracles.stepwise import Latches, Struck, layer
from radhard.faults.corruption import Corruption, whole_box

FORMATS = {"fixed16_10": Latches(16, 10), "fixed32_26": Latches(32, 26)}


@pytest.fixture(scope="module")
def chain() -> nn.Sequential:
    """Sums of this size saturate now and then in both formats."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, groups=2),
        nn.Flatten(),
        nn.Linear(36, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )
    for part in seeded(model, 3):
        for parameter in part.parameters():
            parameter.data *= 1.5
    return model


@pytest.fixture(scope="module", params=FORMATS)
def work(request, chain: nn.Sequential, images: Tensor, labels: Tensor) -> rh.Workload:
    fmt = rh.format_named(request.param)
    formats = replace(rh.Formats.of(fmt), rounding="each-step")
    return rh.capture(chain, images, labels % 3, format=formats)


def integers(work: rh.Workload, values: Tensor) -> np.ndarray:
    return work.formats.weight.integers(values.detach()).to(torch.int64).numpy()


def by_loops(
    work: rh.Workload, chain: nn.Sequential, image: int, number: int = -1, hit=None
) -> np.ndarray:
    """Logits of one image as integers; ``hit`` is a `Struck` latch, or changes operands."""
    latches = FORMATS[work.formats.weight.name]
    held, count = integers(work, work.images[image]), 0
    for part in chain:
        if isinstance(part, nn.ReLU):
            held = np.maximum(held, 0)
        elif isinstance(part, nn.Flatten):
            held = held.reshape(-1)
        else:
            w, b = integers(work, part.weight), integers(work, part.bias)
            own = hit if count == number else None
            if callable(own):
                held = own(part, held, w, b, latches)
            else:
                held = layer(part, held, w, b, latches, own)
            count += 1
    return held


def logits_as_integers(work: rh.Workload, logits: Tensor) -> np.ndarray:
    return (logits.double().numpy() / work.formats.weight.scale).astype(np.int64)


def test_golden_runs(work, chain) -> None:
    trace = rh.record(work)
    found = logits_as_integers(work, trace.logits)
    expected = np.stack([by_loops(work, chain, image) for image in range(len(work.images))])
    assert np.array_equal(found, expected)
    once = work.with_(format=work.formats.weight)
    assert not np.array_equal(logits_as_integers(once, rh.record(once).logits), expected)
    assert once.formats.name == work.formats.name.removesuffix("/each-step")
    assert rh.Campaign(once).id != rh.Campaign(work).id


KINDS = ("product", "window", "before", "after")


def struck_latch(work, number: int, kind: str, rng: np.random.Generator) -> tuple:
    """A place, its terms and element, as the loops and as corruptions name it."""
    part = work.layers[number]
    taps = part.bounds["r"] * part.bounds["s"]
    c, k = int(rng.integers(part.bounds["c"])), int(rng.integers(taps))
    m, p = int(rng.integers(part.channels)), int(rng.integers(part.positions))
    place = [m, *divmod(p, part.bounds["f"]), c]
    terms = {
        "product": (c * taps + k, c * taps + k + 1),
        "window": (c * taps, c * taps + k + 1),
        "before": (0, c * taps),
        "after": (0, (c + 1) * taps),
    }[kind]
    if kind in {"product", "window"}:
        place += [*divmod(k, part.bounds["s"])]
    return tuple(place), terms, int(part.output_element(np.array(m), np.array(p)))


@pytest.mark.parametrize("kind", KINDS)
def test_struck_latches(work, chain, kind: str) -> None:
    rng, n, width = np.random.default_rng(KINDS.index(kind)), 40, work.formats.weight.width
    number, image = rng.integers(0, len(work.layers), n), rng.integers(0, len(work.images), n)
    mask = np.left_shift(1, rng.integers(width // 2, width, n))
    sites = [struck_latch(work, int(k), kind, rng) for k in number]
    box, none = whole_box(n), np.zeros(n, np.int64)
    corruption = Corruption(
        number, np.full(n, "psum"), np.array([site[2] for site in sites]), image,
        np.full(n, -1), mask, box, box, none, np.array([site[1] for site in sites]),
    )  # fmt: skip
    run = rh.resume(rh.record(work), corruption)
    found, changed = logits_as_integers(work, run.logits), 0
    for k, (place, _, _) in enumerate(sites):
        # a dense layer has no windows of several products: its sum is the one behind each
        plain = work.layers[number[k]].geometry is None and kind == "window"
        hit = Struck("product" if plain else kind, place, int(mask[k]))
        expected = by_loops(work, chain, int(image[k]), int(number[k]), hit)
        assert np.array_equal(found[k], expected), (k, hit)
        changed += not np.array_equal(found[k], logits_as_integers(work, run.golden[k]))
    assert changed > 10


@pytest.mark.parametrize("operand", ["weight", "input"])
@pytest.mark.parametrize("reads", ["all", "one", "late"])
def test_struck_operands(work, chain, operand: str, reads: str) -> None:
    rng, n, width = np.random.default_rng(len(reads)), 24, work.formats.weight.width
    trace, box = rh.record(work), whole_box(24)
    number, image = rng.integers(0, len(work.layers), n), rng.integers(0, len(work.images), n)
    mask = np.left_shift(1, rng.integers(width - 6, width, n))
    element, channels, positions = np.zeros(n, np.int64), box.copy(), box.copy()
    terms, first = box.copy(), np.zeros(n, np.int64)
    for k in range(n):
        part = work.layers[number[k]]
        source = work.program.rows[part.operands[0]].elements
        m, p = int(rng.integers(part.channels)), int(rng.integers(part.positions))
        t = int(rng.integers(part.fan_in))
        element[k] = rng.integers(part.channels * part.fan_in if operand == "weight" else source)
        if reads == "one":
            at = (torch.tensor(part) for part in (m, p, t))
            element[k] = m * part.fan_in + t if operand == "weight" else int(part.tap(*at))
            channels[k], positions[k], terms[k] = (m, m + 1), (p, p + 1), (t, t + 1)
        first[k] = part.positions * part.channels // 2 if reads == "late" else 0
    read = element >= 0  # padding is no element
    corruption = Corruption(
        number, np.full(n, operand), element, image, np.full(n, -1), mask, channels, positions,
        first, terms,
    )[np.flatnonzero(read)]  # fmt: skip
    run = rh.resume(trace, corruption)
    changed = 0
    for row, k in enumerate(np.flatnonzero(read)):

        def hit(part, x, w, b, latches, k=k):
            golden = layer(part, x, w, b, latches)
            x, w = x.copy(), w.copy()
            target = (w if operand == "weight" else x).reshape(-1)
            target[element[k]] = latches.flipped(int(target[element[k]]), int(mask[k]))
            faulty = layer(part, x, w, b, latches)
            own = np.zeros((len(golden), golden.size // len(golden)), bool)
            own[slice(*np.minimum(channels[k], 999)), slice(*np.minimum(positions[k], 999))] = True
            own.reshape(-1)[: first[k]] = False
            return np.where(own.reshape(golden.shape), faulty, golden)

        expected = by_loops(work, chain, int(image[k]), int(number[k]), hit)
        assert np.array_equal(logits_as_integers(work, run.logits[row : row + 1])[0], expected), k
        changed += not torch.equal(run.logits[row], run.golden[row])
    assert changed > 3


def test_what_can_t_be_rounded_at_each_step_is_refused(residual, attention, images, labels) -> None:
    with pytest.raises(ValueError, match="use fixed point"):
        replace(rh.Formats.of(rh.INT8), rounding="each-step")
    with pytest.raises(ValueError, match="use once or each-step"):
        replace(rh.Formats.of(rh.FIXED16), rounding="twice")  # type: ignore[arg-type]
    formats = replace(rh.Formats.of(rh.FIXED16), rounding="each-step")
    with pytest.raises(ValueError, match="can't be rounded at each step"):
        rh.capture(attention, images, labels, format=formats)
    work = rh.capture(residual, images, labels, format=formats)
    result = rh.Campaign(work, rh.chips.EYERISS).run(until=100)
    assert result["sdc1"].n == 100
