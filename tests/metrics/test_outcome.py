import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from radhard.metrics.fit import Verdict, fit, judged, raw_fit, total_fit
from radhard.metrics.outcome import classify
from radhard.network.task import Classification
from radhard.stats.ball import proportion

NAN, INF = math.nan, math.inf
GOLDEN = [3.0, 2.0, 1.0, 0.0, -1.0, -2.0]
TASK = Classification(6)


def outcome(faulty: list[float], golden: list[float] = GOLDEN, label: int = 0) -> dict[str, bool]:
    found = classify(
        Classification(len(golden)),
        torch.tensor([faulty]),
        torch.tensor([golden]),
        torch.tensor([label]),
        torch.zeros(1, dtype=torch.bool),
    )
    return {name: bool(column[0]) for name, column in found.columns.items()}


def hits(faulty: list[float], golden: list[float] = GOLDEN) -> set[str]:
    found = {name for name, hit in outcome(faulty, golden).items() if hit}
    assert ("sdc1_undetected" in found) == ("sdc1" in found)  # nothing watches these runs
    return found - {"sdc1_undetected"}


def test_nothing_happened() -> None:
    assert hits(GOLDEN) == {"correct", "masked"}


def test_a_small_change_is_no_corruption() -> None:
    assert hits([3.0, 2.0, 1.0, 0.0, -1.0, -2.1]) == {"correct"}


def test_second_class_on_top_is_sdc1_only_within_the_top_five() -> None:
    assert hits([2.0, 3.0, 1.0, 0.0, -1.0, -2.0]) == {"sdc1", "sdc10", "sdc20", "lost"}
    every = {"sdc1", "sdc5", "sdc10", "sdc20"}
    assert hits([3.0, 2.0, 1.0, 0.0, -1.0, 9.0]) == every | {"lost"}


@pytest.mark.parametrize(
    ("share", "found"),
    [(1.05, set()), (1.15, {"sdc10"}), (1.25, {"sdc10", "sdc20"}), (0.85, {"sdc10"})],
)
def test_confidence_is_compared_relatively(share: float, found: set[str]) -> None:
    golden = [0.6, 0.2, 0.2]
    faulty = [0.6 * share, (1 - 0.6 * share) / 2, (1 - 0.6 * share) / 2]
    logits = [math.log(p) for p in faulty], [math.log(p) for p in golden]
    assert hits(*logits) - {"correct"} == found


def shifts_by_hand(faulty: list[float], golden: list[float]) -> dict[str, float]:
    """Relative change of both confidences, number by number."""

    def shares(logits: list[float]) -> list[float]:
        powers = [math.exp(logit) for logit in logits]
        return [power / sum(powers) for power in powers]

    now, then = shares(faulty), shares(golden)
    top = then.index(max(then))
    return {
        "top-class": abs(now[top] - then[top]) / then[top],
        "top-score": abs(max(now) - max(then)) / max(then),
    }


@pytest.mark.parametrize("confidence_of", ["top-class", "top-score"])
def test_whose_confidence_is_compared(confidence_of: str) -> None:
    random = torch.Generator().manual_seed(3)
    golden = torch.randn(400, 4, generator=random, dtype=torch.float64)
    faulty = golden + 0.3 * torch.randn(400, 4, generator=random, dtype=torch.float64)
    golden[:100, 0] += 5
    faulty[:100] = golden[:100].flip(1)  # another class on top, as sure of it as before
    nothing = torch.zeros(400, dtype=torch.int64)
    found = classify(
        Classification(4), faulty, golden, nothing, nothing.bool(), confidence_of=confidence_of
    )
    pairs = zip(faulty.tolist(), golden.tolist(), strict=True)
    shifts = torch.tensor([shifts_by_hand(*pair)[confidence_of] for pair in pairs])
    assert torch.equal(found["sdc10"], shifts > 0.1)
    assert torch.equal(found["sdc20"], shifts > 0.2)
    assert bool(found["sdc20"][:100].all()) == (confidence_of == "top-class")


def test_unknown_confidences_are_refused() -> None:
    row = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="use top-class or top-score"):
        classify(Classification(2), row, row, torch.zeros(1), row[:, 0], None, "top")  # type: ignore[arg-type]


def test_silence_is_corruption_of_every_kind() -> None:
    assert hits([NAN] * 6) == {"sdc1", "sdc5", "sdc10", "sdc20", "nan", "lost"}


def test_infinite_logits_take_all_confidence() -> None:
    found = outcome([INF, 2.0, 1.0, 0.0, -1.0, -2.0])
    assert not found["sdc1"]
    assert found["sdc10"]
    assert not found["nan"]


def test_few_classes_are_all_in_the_top_five() -> None:
    assert "sdc5" not in hits([0.0, 1.0], [1.0, 0.0])


def criterion(faulty: Tensor, golden: Tensor, labels: Tensor) -> Tensor:
    return (faulty - golden).abs().amax(1) > 0.5


def test_a_criterion_of_one_s_own() -> None:
    rows = torch.tensor([GOLDEN, [9.0, *GOLDEN[1:]]])
    none = torch.zeros(2, dtype=torch.bool)
    golden = torch.tensor([GOLDEN, GOLDEN])
    found = classify(TASK, rows, golden, torch.tensor([0, 0]), none, {"far": criterion})
    assert found["far"].tolist() == [False, True]
    with pytest.raises(ValueError, match="radhard has one of that name"):
        classify(TASK, rows, golden, torch.tensor([0, 0]), none, {"nan": criterion})
    with pytest.raises(ValueError, match=r"criterion far gave torch.float32 \(2, 6\)"):
        classify(TASK, rows, golden, torch.tensor([0, 0]), none, {"far": lambda a, b, c: a})
    with pytest.raises(RuntimeError, match="criterion far raised KeyError: 'b'"):
        classify(TASK, rows, golden, torch.tensor([0, 0]), none, {"far": lambda a, b, c: {}["b"]})


@dataclass(frozen=True)
class Boxes:
    """A task of its own: two numbers, which differ where they are further off than a unit."""

    guessed = 0.0

    def shaped(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(-1, 1, 2)

    def differ(self, outputs: Tensor, others: Tensor) -> Tensor:
        return ~((outputs - others).abs() <= 1).all(1)

    def graded(self, outputs: Tensor, golden: Tensor, confidence_of: str) -> dict[str, Tensor]:
        return {
            name: ~((outputs - golden).abs() <= 2).all(1) for name in ("sdc5", "sdc10", "sdc20")
        }

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return ~self.differ(outputs, labels)

    def lead(self, outputs: Tensor) -> Tensor:
        return outputs.amin(1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - labels).abs().mean()


def test_a_task_says_what_differs_and_what_is_right() -> None:
    golden = torch.tensor([[1.0, 2.0]] * 4)
    faulty = golden + torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 1.5], [NAN, 0.0]])
    labels = torch.tensor([[1, 2], [2, 2], [1, 4], [1, 2]])
    seen = []

    def flat(now: Tensor, before: Tensor, labels: Tensor) -> Tensor:
        seen.append((now.shape, before.shape, labels.shape))
        return now.isfinite().flatten(1).all(1)

    found = classify(Boxes(), faulty, golden, labels, torch.zeros(4).bool(), {"flat": flat})
    assert found["sdc1"].tolist() == [False, False, True, True]
    assert found["sdc5"].tolist() == [False, False, False, True]
    assert found["correct"].tolist() == [True, True, True, False]
    assert found["lost"].tolist() == [False, False, False, True]
    assert found["gained"].tolist() == [False, False, True, False]
    assert found["masked"].tolist() == [True, False, False, False]
    assert found["flat"].tolist() == [True, True, True, False]
    assert seen == [((4, 1, 2), (4, 1, 2), (4, 2))]


def test_fit_has_units() -> None:
    sdc = proportion(64, 1000)
    rate = raw_fit(20.49, bits=784 * 1024 * 8)
    assert rate == pytest.approx(125.5, abs=0.01)
    found = fit(sdc, rate)
    assert found.value == pytest.approx(rate * 0.064)
    assert (found.low, found.high) == (sdc.low * rate, sdc.high * rate)
    with pytest.raises(ValueError, match="-1 FIT"):
        fit(sdc, -1)


def test_rates_add() -> None:
    parts = [fit(proportion(64, 1000), 10.0), fit(proportion(1, 1000), 100.0)]
    total = total_fit(parts)
    assert total.value == pytest.approx(0.74)
    assert total.low < total.value < total.high
    assert total.half_width < sum(part.half_width for part in parts)
    with pytest.raises(ValueError, match="0 rates"):
        total_fit([])


def test_a_budget_is_met_missed_or_undecided() -> None:
    """1 of 1,000 FIT is allowed: a share of 0.1 %."""
    good, bad, open_ = proportion(0, 10_000), proportion(100, 1000), proportion(0, 1000)
    assert judged(good, 1000.0, budget_fit=1.0) == Verdict(1.0, "met", 0)
    assert judged(bad, 1000.0, budget_fit=1.0) == Verdict(1.0, "missed", 0)
    found = judged(open_, 1000.0, budget_fit=1.0)
    assert found.verdict == "undecided"
    assert found.more_faults is not None
    enough = 1000 + found.more_faults
    assert judged(proportion(0, enough), 1000.0, budget_fit=1.0).verdict == "met"
    assert judged(proportion(0, enough - 1), 1000.0, budget_fit=1.0).verdict == "undecided"


def test_what_is_known_is_part_of_the_rate() -> None:
    assert judged(proportion(0, 10_000), 10.0, known_fit=20.0) == Verdict(10.0, "missed", 0)
    above, without = (judged(proportion(45, 1000), 100.0, *part) for part in ((5.0,), (0.0, 5.0)))
    assert above.verdict == without.verdict == "undecided"
    assert above.more_faults == without.more_faults
    assert judged(proportion(5, 10), 0.0).verdict == "met"
    with pytest.raises(ValueError, match="budget of 0"):
        judged(proportion(0, 10), 1.0, budget_fit=0)


def test_equal_logits_are_in_the_top_five_by_class_number() -> None:
    """Ties in any number: what is unchanged is no corruption of any kind."""
    golden = torch.tensor([[0.0] * 12, [1.0] * 3 + [2.0] * 9])
    found = classify(
        Classification(12), golden, golden, torch.zeros(2), torch.zeros(2, dtype=torch.bool)
    )
    assert found["masked"].all()
    assert not (found["sdc1"] | found["sdc5"] | found["sdc10"]).any()
    moved = golden.clone()
    moved[:, 8] += 1  # class 8 is not among the first five of equal ones
    changed = classify(
        Classification(12), moved, golden, torch.zeros(2), torch.zeros(2, dtype=torch.bool)
    )
    assert changed["sdc5"].tolist() == [True, True]
