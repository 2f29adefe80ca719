"""Slopes of products by tables, against definitions and by hand."""

import numpy as np
import pytest

import radhard as rh
from oracles import slopes as obvious
from radhard.arith.multiplier import operands
from radhard.arith.slopes import add_slopes, smoothed_slopes

SIGNED = operands(8, True)


@pytest.mark.parametrize("reach", [0, 1, 7, 126])
@pytest.mark.parametrize("name", ["mul8s_1L1G@v1", "mul8u_mitchell"])
def test_tables_against_means_and_differences(name: str, reach: int) -> None:
    one = rh.multiplier_named(name)
    integers = operands(8, one.signed)
    order = np.argsort(integers)
    for rows in (one.table()[::37], one.table().T[::51]):
        found = smoothed_slopes(rows, integers, reach)
        wanted = [obvious.smoothed_slopes(row[order].tolist(), reach) for row in rows]
        assert np.allclose(found[:, order], wanted, rtol=1e-6)


@pytest.mark.parametrize("reach", [0, 4, 126])
def test_those_of_exact_products_are_the_other_operand(reach: int) -> None:
    table = rh.multiplier_named("mul8s_exact").table()
    found = smoothed_slopes(table, SIGNED, reach)
    assert np.array_equal(found, np.broadcast_to(SIGNED[:, None], found.shape))


def test_those_of_a_truncated_operand_by_hand() -> None:
    """``a`` has its two low bits cleared: steps of 4 b at every fourth operand, else none."""
    table = rh.multiplier_named("mul8s_array:a=2").table()
    by_a = smoothed_slopes(table.T, SIGNED, 0)  # [b, a]
    assert by_a[5, 8:13].tolist() == [10.0, 0.0, 0.0, 10.0, 10.0]
    by_a = smoothed_slopes(table.T, SIGNED, 1)
    assert np.allclose(by_a[5, 8:13], [20 / 3, 10 / 3, 10 / 3, 20 / 3, 20 / 3])
    by_b = smoothed_slopes(table, SIGNED, 3)  # [a, b]
    assert by_b[[7, 8, 9], 100].tolist() == [4.0, 8.0, 8.0]


def test_sums_of_slopes_against_a_triple_loop() -> None:
    random = np.random.default_rng(0)
    a, w = (random.integers(0, 256, size, np.uint8) for size in ((7, 5), (7, 4)))
    kind = random.integers(-1, 2, (7, 4))
    tables = random.normal(size=(2, 2, 256, 256)).astype(np.float32)
    slopes = random.normal(size=(4, 5)).astype(np.float32)
    found = np.zeros(a.shape, np.float32), np.zeros(w.shape, np.float32)
    add_slopes(a, w, kind, *tables, slopes, *found)
    for one, wanted in zip(found, obvious.back(a, w, kind, *tables, slopes), strict=True):
        assert np.allclose(one, wanted, rtol=1e-5, atol=1e-5)


def test_reach_beyond_the_operands() -> None:
    with pytest.raises(ValueError, match=r"127 operands .* of 256 use 0 to 126"):
        smoothed_slopes(np.zeros((1, 256)), SIGNED, 127)
