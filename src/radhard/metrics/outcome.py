"""What the user of the network sees of a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from radhard.network.task import ConfidenceOf, Task, known_confidence

#: A criterion of the user's own: (faulty outputs, golden outputs, labels) to (n,) of bool; outputs
#: are as the model gives them, (n, ...).
Criterion = Callable[[Tensor, Tensor, Tensor], Tensor]

#: The outcomes that every campaign counts, and what each means.
STANDARD: Mapping[str, str] = {
    "sdc1": "another top class than fault-free",
    "sdc5": "top class not in fault-free top 5",
    "sdc10": "top confidence off by over 10 %",
    "sdc20": "top confidence off by over 20 %",
    "correct": "the top class is the label",
    "lost": "right when fault-free, wrong now",
    "gained": "wrong when fault-free, right now",
    "masked": "logits unchanged, bit for bit",
    "nan": "some logit is not a number",
    "nan_decided": "another top class by the other NaN rule",
    "detected": "a guard raised an alarm",
    "sdc1_undetected": "another top class, and no alarm",
    "activated": "something read the struck value",
}

#: Ratios of outcomes that say what alarms are worth.
OF_ALARMS: Mapping[str, str] = {
    "recall": "of faults that change the top class, those with an alarm",
    "precision": "of alarms, those of faults that change the top class",
}

#: Outcomes that no fault has whose struck value nothing reads.
ONLY_ACTIVATED = frozenset(
    {"sdc1", "sdc5", "sdc10", "sdc20", "lost", "gained", "sdc1_undetected", "activated"}
)


#: From which proof on an outcome can't be: 1 says that the top class stays, 2 that all logits do,
#: which are numbers. "changed" is the opposite of "masked".
RULED_OUT: Mapping[str, int] = {
    "sdc1": 1, "sdc5": 1, "lost": 1, "gained": 1, "sdc1_undetected": 1, "sdc10": 2, "sdc20": 2,
    "nan": 2, "changed": 2,
}  # fmt: skip


def counted_as(metric: str) -> str:
    """The outcome of which a metric is the share: ``ra``, resiliency accuracy, of ``correct``.

    >>> counted_as("ra"), counted_as("sdc1")
    ('correct', 'sdc1')
    """
    return "correct" if metric == "ra" else metric


def metrics_of(outcomes: Iterable[str]) -> list[str]:
    """What can be asked where these are counted: ratios of alarms, too, where there are any.

    >>> metrics_of(("sdc1", "correct"))
    ['ra', 'sdc1', 'recall', 'precision']
    """
    return ["ra", *(name for name in outcomes if name != "correct"), *OF_ALARMS]


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Outcome columns by name, (n,) of bool each: those of `STANDARD`, then the user's own.

    All but ``activated``, which logits don't tell.
    """

    columns: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]


def classify(
    task: Task,
    outputs: Tensor,
    golden: Tensor,
    labels: Tensor,
    detected: Tensor,
    criteria: Mapping[str, Criterion] | None = None,
    confidence_of: ConfidenceOf = "top-class",
    otherwise: Tensor | None = None,
) -> Outcomes:
    """The outcomes of n faulty runs (Li et al., SC'17, section 4.6).

    Args:
        task: what the outputs mean.
        outputs: of the faulty runs, (n, elements).
        golden: of the fault-free runs of the same images, alike.
        labels: (n, ...), as the task has them.
        detected: (n,) alarms of guards.
        criteria: more columns by name; they see outputs as the model gives them.
        confidence_of: ``top-class`` compares the confidence in the fault-free top class then and
            now; ``top-score`` the highest confidence then and now, whatever the class, which is
            what the logs of the source's own injector allow.
        otherwise: outputs of the runs under the other rule for not-a-number, (n, elements), which
            tell where the rule decides; ``None`` where it decides nothing.

    Raises:
        ValueError: when a criterion's name is taken, its result is not (n,) of bool, or
            ``confidence_of`` is neither.
        RuntimeError: naming a criterion that raises.

    >>> from radhard.network.task import Classification
    >>> golden = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    >>> faulty = torch.tensor([[0.0, 2.0], [torch.nan, 1.0]])
    >>> none = torch.zeros(2, dtype=torch.bool)
    >>> found = classify(Classification(2), faulty, golden, torch.tensor([1, 1]), none)
    >>> found["sdc1"].tolist(), found["masked"].tolist(), found["nan"].tolist()
    ([False, False], [True, False], [False, True])
    """
    differs = task.differ(outputs, golden)
    graded = task.graded(outputs, golden, known_confidence(confidence_of))
    right, was_right = task.right(outputs, labels), task.right(golden, labels)
    columns = {
        "sdc1": differs,
        **graded,
        "correct": right,
        "lost": was_right & ~right,
        "gained": ~was_right & right,
        "masked": (outputs == golden).flatten(1).all(1),
        "nan": torch.isnan(outputs).flatten(1).any(1),
        "nan_decided": task.differ(outputs, outputs if otherwise is None else otherwise),
        "detected": detected,
        "sdc1_undetected": differs & ~detected,
    }
    for name, criterion in (criteria or {}).items():
        given = task.shaped(outputs), task.shaped(golden), labels
        columns[name] = _asked(name, criterion, given, columns)
    return Outcomes(columns)


def _asked(
    name: str,
    criterion: Criterion,
    arguments: tuple[Tensor, Tensor, Tensor],
    taken: Mapping[str, Tensor],
) -> Tensor:
    if name in taken:
        raise ValueError(f"a criterion can't be called {name!r}: radhard has one of that name")
    try:
        result = criterion(*arguments)
    except (Exception, SystemExit) as error:
        raise RuntimeError(
            f"criterion {name} raised {type(error).__name__}: {error}: mend it"
        ) from error
    n = len(arguments[0])
    if not isinstance(result, Tensor) or result.dtype != torch.bool or result.shape != (n,):
        found = (
            f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else repr(result)
        )
        raise ValueError(f"criterion {name} gave {found}: it must give a bool tensor of ({n},)")
    return result
