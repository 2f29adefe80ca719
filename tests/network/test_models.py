"""Networks of every style are captured, and their faults are those of a plain forward pass."""

import pytest
from benchmarks.architectures import by_hand
from benchmarks.models import measure

BY_HAND = list(by_hand())
#: A share of them: those that ask for something of their own, and are quick.
SOME = (
    "channel shuffle", "gate by comparison", "transposed convolution", "GRU", "LSTM cells",
    "words and mask and numbers", "language with tied weights", "two branches and two results",
)  # fmt: skip


def test_there_are_at_least_sixty() -> None:
    assert len(BY_HAND) >= 60
    assert len({subject.name for subject in BY_HAND}) == len(BY_HAND)


@pytest.mark.parametrize("name", SOME)
def test_faults_are_those_of_a_plain_pass(name: str) -> None:
    (subject,) = (one for one in BY_HAND if one.name == name)
    row = measure(subject, timed=20)
    assert row.message == ""
    assert (row.agree, row.compared) == (20, 20)
    assert row.changed >= 10
    assert row.macs == 1.0
    assert row.parameters > 0.8
