"""Protections of nothing: names that are not there, and bounds that no code can pass."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from conftest import seeded
from radhard.engine.guard import step_guard
from radhard.network.program import Span
from radhard.protect.idle import idle
from radhard.view.wording import notes_of


@pytest.fixture(scope="module")
def work(residual, images, labels):
    return rh.capture(residual, images, labels, format=rh.INT8)


@pytest.mark.parametrize(
    ("protection", "message"),
    [
        (rh.Parity(("global_buffer",)), "no component 'global_buffer'.*did you mean global-buffer"),
        (rh.SECDED(("sram",)), "no component 'sram'.*did you mean filter-sram"),
        (rh.BitTriplication((99,)), "no value in the chip has bit 99.*use bits from 0 to 31"),
        (rh.BitTriplication((7, 12), ("filter-sram",)), "no value in filter-sram has bit 12"),
        (rh.BitTriplication((7,), ("filtersram",)), "did you mean filter-sram"),
        (rh.Parity("global-buffer"), r"'global-buffer' is one name.*\('global-buffer',\)"),
        (rh.WeightSignature(), "after weights were checked and loaded: protect those by Parity"),
        (rh.WeightSignature(components=("filter-sram",)), "WeightSignature on filter-sram"),
        (rh.Redundancy(layers=("stemm",)), "no layer 'stemm'.*did you mean stem"),
        (rh.Redundancy(layers=("stem",), channels=((0, 6),)), "channels 0 to 5, not 6"),
        (rh.Checksum(layers=("stemm",)), "no layer 'stemm'.*did you mean stem"),
    ],
    ids=str,
)
def test_what_protects_nothing_is_refused(work, protection, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        protection.cost(work, rh.chips.EYERISS)
    with pytest.raises(ValueError, match=message):
        rh.Campaign(work, rh.chips.EYERISS, protections=(protection,)).run(until=10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rh.BitTriplication(()), "no bits protects nothing"),
        (lambda: rh.BitTriplication((7, 7)), "bit 7 is given twice"),
        (lambda: rh.Redundancy(layers=("stem", "stem")), "layer stem is given twice"),
        (lambda: rh.Redundancy(layers=("stem",), channels=((1, 1),)), "channel 1 is given twice"),
        (lambda: rh.Redundancy(layers="stem"), "'stem' is one name"),
        (lambda: rh.Checksum(margin=np.nan), "margin of 1 or more"),
        (lambda: rh.Checksum(margin=np.inf), "margin of 1 or more"),
        (lambda: rh.Checksum(channels=True, inputs="never"), "use read, written"),
        (lambda: rh.RangeDetector(cushion=np.inf), "cushion inf can't be"),
        (lambda: rh.RangeRestriction(cushion=np.nan), "cushion nan can't be"),
        (lambda: rh.ValueThreshold(kappa=np.inf), "use more than 0"),
    ],
)
def test_what_says_nothing_can_t_be_made(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bits_are_protected_against_faults_of_bits(work) -> None:
    """Several wrong bits of a value, or as many as what was stored decides, are not known."""
    by_bit = rh.BitTriplication((9,)), rh.HardenedLatches(target=10.0)
    by_flips = rh.Parity(), rh.SECDED()
    several, held = [rh.MultiBitFlip(2), rh.Burst(3)], [rh.StuckAt(1), rh.StuckAt(0)]
    wrong = {by_bit: [*several, rh.RandomValue()], by_flips: [*held, rh.RandomValue()]}
    right = {by_bit: [rh.BitFlip(), *held], by_flips: [rh.BitFlip(), *several]}
    for parts, models in wrong.items():
        for part, model in product(parts, models):
            name = f"{type(part).__name__} under {model.name} can't be judged"
            with pytest.raises(ValueError, match=name):
                rh.Campaign(work, rh.chips.EYERISS, model=model, protections=(part,))
    for parts, models in right.items():
        for part, model in product(parts, models):
            rh.Campaign(work, rh.chips.EYERISS, model=model, protections=(part,))


def test_guards_that_find_nothing_to_watch_are_idle() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    work = rh.capture(model, torch.randn(40, 1, 3, 3), torch.zeros(40, dtype=torch.int64))
    parts = [rh.RangeRestriction(), rh.ValueThreshold(), rh.NeuronGradientSuppressor()]
    learned = [part.learned(work) for part in parts]
    assert idle(learned, work) == tuple(type(part).__name__ for part in parts)


def test_signatures_are_of_weights_in_memory(work) -> None:
    assert rh.WeightSignature().cost(work, rh.chips.SOFTWARE).memory_bits > 0
    with pytest.raises(ValueError, match=r"no component 'weights'.*did you mean weight"):
        rh.WeightSignature(components=("weights",)).harden(rh.chips.SOFTWARE.sites(work))
    with pytest.raises(ValueError, match="WeightSignature on activation"):
        rh.WeightSignature(components=("activation",)).harden(rh.chips.SOFTWARE.sites(work))


@pytest.fixture(scope="module")
def plain():
    """Convolution, rectifier, pooling and a linear layer, with their images."""
    parts = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    model = seeded(nn.Sequential(*parts, nn.Linear(36, 5)))
    images = torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    return model, images, torch.zeros(40, dtype=torch.int64)


@pytest.mark.parametrize("cushion", [0.0, 0.5])
@pytest.mark.parametrize("fmt", [rh.INT8, rh.FIXED16_10, rh.FLOAT16], ids=lambda f: f.name)
def test_bounds_are_idle_where_no_code_passes_them(plain, fmt, cushion: float) -> None:
    """As all codes at all places, one after the other, show."""
    work = rh.capture(*plain, format=fmt)
    guards = [rh.RangeDetector(cushion), rh.RangeRestriction(cushion), rh.ClippedActivation()]
    learned = [guard.learned(work) for guard in guards]
    expected = [] if fmt == rh.FLOAT16 else [_said(guard, work) for guard in learned]
    assert list(idle(learned, work)) == [name for name in expected if name]
    if fmt == rh.INT8 and cushion:
        assert expected[:2] == ["RangeDetector at 1 of 2 steps", "RangeRestriction"]
    if fmt == rh.FIXED16_10:
        assert not any(expected)


def _said(guard, work) -> str:
    """The same from layers whose outputs are nothing but one code, for each code."""
    watching = step_guard(guard.guard(work), work)
    bounds = {step: watching.bounds(step) for step in watching.steps}
    passed = set()
    for number, layer in enumerate(work.layers):
        fmt, rows = work.arithmetic[number].output, work.program.rows[layer.step]
        for code in range(0, 1 << fmt.width, 1 if fmt.width == 8 else 257):
            value = fmt.decode(torch.tensor([code])).float()
            held = {layer.step: rows.join(value.expand(1, rows.elements))}
            for step in range(layer.step, len(work.program.steps)):
                at = work.program.steps[step]
                if step > layer.step and step in work.numbers:
                    break
                if step not in held and at.op is not None and set(at.inputs) & held.keys():
                    span = Span(step, step + 1, (step,), work.program.last_readers())
                    held[step] = work.program.run(held, 1, span)[step]
                if step in bounds and step in held:
                    low, high = bounds[step].low, bounds[step].high
                    if not ((held[step] >= low) & (held[step] <= high)).all():
                        passed.add(step)
    name, left = type(guard).__name__, len(bounds) - len(passed)
    return f"{name} at {left} of {len(bounds)} steps" if left and passed else name * (left > 0)


def test_answers_say_which_guards_are_idle(plain) -> None:
    work = rh.capture(*plain, format=rh.INT8)
    campaign = rh.Campaign(work, protections=(rh.RangeRestriction(0.5),))
    result = campaign.run(until=50)
    assert result.idle == ("RangeRestriction",)
    assert any("RangeRestriction can raise no alarm" in note for note in notes_of(result))
    assert result["detected"].value == 0
    floats = campaign.with_(workload=rh.capture(*plain, format=rh.FLOAT16)).run(until=50)
    assert not floats.idle
