"""Weight maps: the figures of the literature's rule, and a brute force for the other one."""

import numpy as np
import pytest

import radhard as rh
from radhard.arith.elements import elements
from radhard.arith.weightmap import variance_map, weight_map

EXACT = rh.multiplier_named("mul8s_exact")
SIGNED = np.arange(256).astype(np.uint8).view(np.int8).astype(np.int64)
UNSIGNED = np.arange(256)

#: Sum of errors as it is, with the best map, and codes that move; by exhaustive search.
CIRCUITS = [
    ("mul8s_1KV8@v1", 0, 0, 0),
    ("mul8s_1L2H@v1", 3495296, 3487104, 64),
    ("mul8s_1L2D@v1", 9816264, 8248974, 95),
    ("mul8s_1L1G@v1", 22278548, 17921942, 109),
    ("mul8s_1KR8@v1", 2097152, 2097152, 0),
    ("mul8s_1KTY@v1", 14680064, 14680064, 0),
    ("mul8s_1KR3@v1", 132120576, 119345140, 251),
    ("mul8s_1KVA@v1", 81920, 81920, 0),
    ("mul8s_1KVB@v1", 278528, 278528, 0),
    ("mul8s_1KX2@v1", 802816, 802816, 0),
    ("mul8s_1KR6@v1", 2181120, 2181120, 0),
    ("mul8s_1KRC@v1", 2394368, 2394368, 0),
    ("mul8s_1KVL@v1", 6637632, 6590466, 30),
]
#: The same of the exact circuit with a product bit (bit, value) that is stuck.
STUCK = [
    (10, 1, 33800192, 33679232, 14),
    (12, 0, 133185536, 116982276, 97),
    (12, 1, 135249920, 134616848, 63),
    (13, 0, 266354688, 200544384, 190),
    (14, 0, 532692992, 268419200, 254),
    (14, 1, 541048832, 537943936, 127),
    (15, 0, 1065353216, 268435456, 255),
    (15, 1, 1082130432, 1074815104, 129),
]


def figures(products, codes):
    found = weight_map(products.astype(np.int64), codes, codes)
    return int(found.before.sum()), int(found.after.sum()), int((found.to != UNSIGNED).sum())


@pytest.mark.parametrize(("name", "before", "after", "moved"), CIRCUITS)
def test_maps_of_circuits(name, before, after, moved):
    table = rh.multiplier_named(name).table()
    assert figures(table.T, SIGNED) == (before, after, moved)


@pytest.mark.parametrize(("bit", "value", "before", "after", "moved"), STUCK)
def test_maps_of_stuck_products(bit, value, before, after, moved):
    array = rh.Array(1, 1, defects=(rh.Defect(0, 0, "product", value, bit),))
    products = elements(array, EXACT).products(0)
    assert figures(products, SIGNED) == (before, after, moved)


def test_maps_of_unsigned_circuits_and_of_nothing():
    table = rh.multiplier_named("mul8u_array:columns=8").table()
    assert figures(table.T, UNSIGNED) == (29376512, 14470614, 246)
    zero = weight_map(np.zeros((256, 256), np.int64), SIGNED, SIGNED)
    assert (zero.to == UNSIGNED).all()


def test_variances_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    products, codes = rng.integers(-50, 50, (16, 16)), np.arange(16) - 8
    shares = rng.dirichlet(np.ones(16))
    found = variance_map(products, codes, codes, shares)
    for code, weight in enumerate(codes):
        off = products - codes * weight
        mean = off @ shares
        wanted = ((off - mean[:, None]) ** 2) @ shares
        assert found.before[code] == pytest.approx(wanted[code])
        assert found.after[code] == pytest.approx(wanted.min())
        assert wanted[found.to[code]] == pytest.approx(wanted.min())
