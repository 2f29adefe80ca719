"""How many more observations decide, against intervals worked out one after the other."""

import math

import numpy as np
import pytest

from radhard.stats.ball import Cells, contrast, proportion
from radhard.stats.estimate import Estimate
from radhard.stats.samplesize import more_to_exclude


def interval(share: float, weight: float, n: int, confidence: float, anytime: bool) -> Estimate:
    """Of n observations that tell as much as ``weight * n`` unweighted ones."""
    shares, none = np.full((1, 1), share), np.zeros((1, 1), bool)
    cells = Cells(np.ones(1), np.full(1, weight * n), shares, none, n, (round(share * n),))
    return contrast(cells, [1.0], confidence, anytime)


def counted(found: Estimate, weight: float, bound: float, anytime: bool) -> int:
    """By trying one number of observations after the other; the share stays."""
    n = found.n
    while True:
        n += 1 + n // 2000
        ends = interval(found.value, weight, n, found.confidence, anytime)
        if not ends.low <= bound < ends.high:
            return n - found.n


@pytest.mark.parametrize("anytime", [False, True])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("bound", [0.01, 0.03, 0.45, 0.9])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_number_is_the_first_that_decides(
    anytime: bool, confidence: float, share: float, bound: float, weight: float
) -> None:
    found = interval(share, weight, 20, confidence, anytime)
    said = more_to_exclude(found, bound, anytime)
    if not found.low <= bound < found.high:
        assert said == 0
    else:
        assert said is not None
        tried = counted(found, weight, bound, anytime)
        assert abs(said - tried) <= 1 + tried // 1000


def test_no_number_tells_a_share_from_itself() -> None:
    assert more_to_exclude(proportion(5, 100), 0.05) is None
    assert more_to_exclude(proportion(0, 0), 0.05) is None


def test_what_no_share_can_be_is_left_out_from_the_start() -> None:
    assert more_to_exclude(proportion(0, 10), -0.1) == 0
    assert more_to_exclude(proportion(10, 10), math.inf) == 0
