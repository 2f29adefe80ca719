"""Accumulators as hardware holds them."""

import numpy as np
import pytest
import torch

import radhard as rh
from radhard.network.arithmetic import Parameters


@pytest.mark.parametrize("bit", [0, 7, 29, 30, 31])
def test_the_accumulator_of_integers_has_32_bits_and_wraps_round(bit: int) -> None:
    work = rh.capture(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)),
        torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT8,
    )  # fmt: skip
    how = work.arithmetic[0]
    given = Parameters(None, None, torch.ones((), dtype=torch.float64))
    rng = np.random.default_rng(bit)
    partial = rng.integers(-(2**20), 2**20, 1000)
    rest = rng.integers(-(2**20), 2**20, 1000)
    assert how.latch.width == 32
    for kind in (torch.int64, torch.float64):
        held = how.held(torch.from_numpy(partial).to(kind), given)
        wrong = how.latch.decode(how.latch.encode(held) ^ (1 << bit)).to(torch.float64)
        sums = torch.from_numpy(partial + rest).to(kind)
        got = how.with_altered(sums, held, wrong, given)
        mask = np.uint32(1 << bit)
        want = (partial.astype(np.int32).view(np.uint32) ^ mask).view(np.int32) + rest.astype(
            np.int32
        )
        assert got.tolist() == want.tolist()


def test_sums_of_wide_integers_get_a_wider_accumulator() -> None:
    work = rh.capture(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)),
        torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT16,
    )  # fmt: skip
    assert work.arithmetic[0].latch.width == 48
