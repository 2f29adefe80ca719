"""What outputs mean, against one place after the other."""

import math

import pytest
import torch
from torch import Tensor

from radhard.metrics.outcome import classify
from radhard.network.task import Classification

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("faulty", "top"),
    [
        ([NAN, 1.0, 0.0], 1),
        ([NAN, -INF, NAN], 1),
        ([NAN, NAN, NAN], -1),
        ([-INF, -INF, -INF], 0),
        ([INF, 0.0, INF], 0),
        ([1.0, 1.0, 0.0], 0),
    ],
)
def test_ranking_of_odd_values(faulty: list[float], top: int) -> None:
    assert Classification(3).answer(torch.tensor([faulty])).tolist() == [top]


def some(seed: int, *shape: int) -> Tensor:
    """Random outputs, some of which are no numbers or infinite."""
    random = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=random)
    odd = torch.rand(shape, generator=random)
    found[odd < 0.05], found[odd > 0.97] = NAN, INF
    return found


@pytest.mark.parametrize("places", [(), (3,), (2, 2)])
def test_an_answer_of_several_places_is_that_of_each(places: tuple[int, ...]) -> None:
    n, classes = 60, 7
    count = math.prod(places)
    task = Classification(classes, places)
    golden = some(0, n, count, classes)
    faulty = torch.where(torch.rand(n, count, 1) < 0.3, some(1, n, count, classes), golden)
    labels = torch.randint(0, classes, (n, *places))
    labels[:30] = task.answer(golden)[:30].clamp(min=0)
    none = torch.zeros(n, dtype=torch.bool)
    whole = classify(task, faulty.flatten(1), golden.flatten(1), labels, none)
    each = [
        classify(
            Classification(classes), faulty[:, k], golden[:, k], labels.reshape(n, -1)[:, k], none
        )
        for k in range(count)
    ]
    for name in ("sdc1", "sdc5", "sdc10", "sdc20", "nan"):
        assert torch.equal(whole[name], torch.stack([part[name] for part in each]).any(0)), name
        assert 0 < whole[name].sum() < n
    for name in ("correct", "masked"):
        assert torch.equal(whole[name], torch.stack([part[name] for part in each]).all(0)), name
    ahead = torch.stack([Classification(classes).lead(golden[:, k]) for k in range(count)])
    found = task.lead(golden.flatten(1))
    torch.testing.assert_close(found, ahead.amin(0), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(task.shaped(golden.flatten(1)).flatten(1).isnan(), golden.flatten(1).isnan())
    assert task.shaped(golden.flatten(1)).shape == (n, *places, classes)
    number = golden.nan_to_num(0.0, 9.0, -9.0)
    loss = sum(-number.log_softmax(2)[i, k, c] for i in range(n) for k, c in
               enumerate(labels.reshape(n, -1)[i]))  # fmt: skip
    torch.testing.assert_close(task.loss(number.flatten(1), labels), loss / (n * count))
    assert task.guessed == classes ** -float(count)
