import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import radhard as rh
from radhard.faults.model import FaultModel, fault_model_named

WIDTHS = (2, 8, 16, 32, 64)
MODELS = (
    rh.BitFlip(),
    rh.MultiBitFlip(2),
    rh.MultiBitFlip(5),
    rh.Burst(3),
    rh.StuckAt(0),
    rh.StuckAt(1),
    rh.RandomValue(),
)


def masks(model: FaultModel, bit: int, width: int, n: int = 50) -> tuple[list[int], list[int]]:
    """Keep and flip as patterns of ``width`` bits."""
    keep, flip = model.masks(np.full(n, bit), np.full(n, width), np.random.default_rng(bit))
    below = (1 << width) - 1
    if width < 64:
        assert all(int(k) | below == -1 for k in keep), "bits above the width are kept"
        assert all(0 <= int(f) <= below for f in flip), "bits above the width are not flipped"
    return [int(k) & below for k in keep], [int(f) & below for f in flip]


@given(width=st.sampled_from(WIDTHS), data=st.data())
def test_masks_do_what_the_models_say(width: int, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, width - 1))
    ones = (1 << width) - 1
    assert masks(rh.BitFlip(), bit, width) == ([ones] * 50, [1 << bit] * 50)
    for keep, flip in zip(*masks(rh.MultiBitFlip(3), bit, width), strict=True):
        assert (keep, flip.bit_count()) == (ones, min(3, width))
        assert flip >> bit & 1
    burst = masks(rh.Burst(3), bit, width)[1][0]
    assert burst == (0b111 << bit) & ones
    assert masks(rh.StuckAt(0), bit, width) == ([ones ^ (1 << bit)] * 50, [0] * 50)
    keep, flip = masks(rh.StuckAt(1), bit, width)
    assert all(((old & keep[0]) ^ flip[0]) == old | 1 << bit for old in (0, ones))


@pytest.mark.parametrize("width", WIDTHS)
def test_random_values_are_uniform(width: int) -> None:
    """Each bit is set in half of 4,000 draws, within 5 standard deviations (1 in 10^6)."""
    keep, flip = masks(rh.RandomValue(), 0, width, n=4000)
    assert set(keep) == {0}
    for bit in range(width):
        assert abs(sum(f >> bit & 1 for f in flip) - 2000) < 5 * 32


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_names_lead_back(model: FaultModel) -> None:
    assert fault_model_named(model.name) == model


@pytest.mark.parametrize("name", ["", "bitflip", "burst", "burst:x", "stuck-at:2", "bit-flip:3"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"use|can't be"):
        fault_model_named(name)


@pytest.mark.parametrize("bits", [0, 65])
@pytest.mark.parametrize("kind", [rh.MultiBitFlip, rh.Burst])
def test_impossible_numbers_of_bits(kind, bits: int) -> None:
    with pytest.raises(ValueError, match="use 1 to 64"):
        kind(bits)
