import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radhard.arith.exact import exact_product, shift_toward_zero, split_product, wide_product

wide = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(st.tuples(wide, wide), min_size=1, max_size=6))
def test_wide_products_are_exact(pairs) -> None:
    x = torch.tensor([[float(a) for a, _ in pairs]], dtype=torch.float64)
    w = torch.tensor([[float(b)] for _, b in pairs], dtype=torch.float64)
    exact = sum(a * b for a, b in pairs)
    found = int(wide_product(torch.matmul, x, w))
    if -(2**62) <= exact < 2**62:
        assert found == exact
    else:
        assert abs(found) >= 2**61
        assert (found > 0) == (exact > 0)


@pytest.mark.parametrize("bound", [2**20, 2**24, 2**30, 2**53])
def test_products_are_exact_within_the_bound(bound: int) -> None:
    x = torch.tensor([[3.0, -7.0]], dtype=torch.float64)
    w = torch.tensor([[5.0], [11.0]], dtype=torch.float64)
    found = exact_product(torch.matmul, x, w, bound)
    assert found.dtype == (torch.float32 if bound <= 2**24 else torch.float64)
    assert found.item() == -62


bytes_ = st.integers(-255, 255)


@given(st.lists(st.tuples(bytes_, st.integers(-128, 127)), min_size=1, max_size=40))
def test_split_products_are_exact(pairs) -> None:
    x = torch.tensor([[float(a) for a, _ in pairs]])
    w = torch.tensor([[float(b)] for _, b in pairs])
    assert int(split_product(torch.matmul, x, w)) == sum(a * b for a, b in pairs)


def test_a_bound_past_float64_is_refused() -> None:
    with pytest.raises(ValueError, match="wide_product"):
        exact_product(torch.matmul, torch.ones(1, 1), torch.ones(1, 1), 2.0**54)


@given(st.integers(-(2**62), 2**62), st.integers(0, 40))
def test_shift_cuts_toward_zero(value: int, bits: int) -> None:
    exact = abs(value) >> bits
    assert int(shift_toward_zero(torch.tensor([value]), bits)) == (exact if value >= 0 else -exact)
