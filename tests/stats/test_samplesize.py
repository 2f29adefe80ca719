"""How many more observations decide, against intervals worked out one after the other."""

import math

import pytest

from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson, wilson_effective
from radhard.stats.samplesize import more_to_exclude


def counted(found: Estimate, effective: float, bound: float, anytime: bool) -> int:
    """By trying one number of observations after the other; the share stays."""
    n = found.n
    while True:
        n += 1
        ends = wilson_effective(found.value, effective * n / found.n, n, found.confidence, anytime)
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
    found = wilson_effective(share, 20 * weight, 20, confidence, anytime)
    said = more_to_exclude(found, bound, anytime)
    if not found.low <= bound < found.high:
        assert said == 0
    else:
        assert said is not None
        assert abs(said - counted(found, 20 * weight, bound, anytime)) <= 1


def test_no_number_tells_a_share_from_itself() -> None:
    assert more_to_exclude(wilson(5, 100), 0.05) is None
    assert more_to_exclude(wilson(0, 0), 0.05) is None


def test_what_no_share_can_be_is_left_out_from_the_start() -> None:
    assert more_to_exclude(wilson(0, 10), -0.1) == 0
    assert more_to_exclude(wilson(10, 10), math.inf) == 0
