"""What the user of the network sees of a fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

#: A criterion of the user's own: (faulty logits, golden logits, labels) to (n,) of bool.
Criterion = Callable[[Tensor, Tensor, Tensor], Tensor]

#: Whose confidence is compared for SDC-10 % and SDC-20 %: that of the class which is on top without
#: a fault, before and after, or the highest before and the highest after, of whatever class.
ConfidenceOf = Literal["top-class", "top-score"]

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


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Outcome columns by name, (n,) of bool each: those of `STANDARD`, then the user's own.

    All but ``activated``, which logits don't tell.
    """

    columns: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]


def classify(
    logits: Tensor,
    golden: Tensor,
    labels: Tensor,
    detected: Tensor,
    criteria: Mapping[str, Criterion] | None = None,
    confidence_of: ConfidenceOf = "top-class",
    otherwise: Tensor | None = None,
) -> Outcomes:
    """The outcomes of n faulty runs (Li et al., SC'17, section 4.6).

    A network that gives an answer for each of several places is right where all of them are; what
    is said of a top class or a confidence holds where it does at any place.

    Not-a-number ranks below every number, minus infinity included; where every logit is
    not-a-number the network says nothing, which counts as SDC of every kind and as not correct.
    The lowest class number wins ties. Confidences are softmax values; "off by 10 %" is relative
    to the fault-free confidence.

    Args:
        logits: of the faulty runs, (n, classes), or (n, places * classes).
        golden: of the fault-free runs of the same images, alike.
        labels: (n,), or (n, places, ...).
        detected: (n,) alarms of guards.
        criteria: more columns by name; they see logits as (n, places, ..., classes).
        confidence_of: ``top-class`` compares the confidence in the fault-free top class then and
            now; ``top-score`` the highest confidence then and now, whatever the class, which is
            what the logs of the source's own injector allow.
        otherwise: logits of the runs under the other rule for not-a-number, (n, classes), which
            tell where the rule decides; ``None`` where it decides nothing.

    Raises:
        ValueError: when a criterion's name is taken, its result is not (n,) of bool, or
            ``confidence_of`` is neither.
        RuntimeError: naming a criterion that raises.

    >>> golden = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    >>> faulty = torch.tensor([[0.0, 2.0], [torch.nan, 1.0]])
    >>> found = classify(faulty, golden, torch.tensor([1, 1]), torch.zeros(2, dtype=torch.bool))
    >>> found["sdc1"].tolist(), found["masked"].tolist(), found["nan"].tolist()
    ([False, False], [True, False], [False, True])
    """
    n, own = len(logits), labels.reshape(-1)
    other = logits if otherwise is None else otherwise
    now, before, ruled = (part.reshape(len(own), -1) for part in (logits, golden, other))

    def anywhere(flags: Tensor) -> Tensor:
        return flags.view(n, -1).any(1)

    says, said = top_class(now), top_class(before)
    silent = says < 0
    top5 = _ranked(before).sort(dim=1, descending=True, stable=True).indices[:, :5]
    shift = _confidence_shift(now, before, known_confidence(confidence_of))
    right, was_right = ~anywhere(says != own), ~anywhere(said != own)
    columns = {
        "sdc1": anywhere(says != said),
        "sdc5": anywhere(~(top5 == says[:, None]).any(1)),
        "sdc10": anywhere(silent | (shift > 0.1)),
        "sdc20": anywhere(silent | (shift > 0.2)),
        "correct": right,
        "lost": was_right & ~right,
        "gained": ~was_right & right,
        "masked": (logits == golden).flatten(1).all(1),
        "nan": torch.isnan(logits).flatten(1).any(1),
        "nan_decided": anywhere(says != top_class(ruled)),
        "detected": detected,
        "sdc1_undetected": anywhere(says != said) & ~detected,
    }
    shape = (*labels.shape, now.shape[1])
    for name, criterion in (criteria or {}).items():
        given = logits.reshape(shape), golden.reshape(shape), labels
        columns[name] = _asked(name, criterion, given, columns)
    return Outcomes(columns)


def right_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """Which of n runs give the right answer, (n,), at all places; as for `classify`."""
    own = labels.reshape(-1)
    return (top_class(logits.reshape(len(own), -1)) == own).view(len(labels), -1).all(1)


def top_class(logits: Tensor) -> Tensor:
    """The class that each row of (n, classes) puts on top; -1 where all are not-a-number."""
    best = _ranked(logits).argmax(1)
    return torch.where(torch.isnan(logits).all(1), -1, best)


def _ranked(logits: Tensor) -> Tensor:
    """Logits as float64 with not-a-number below minus infinity."""
    ranked = logits.to(torch.float64)
    ranked = ranked.clamp(min=torch.finfo(torch.float64).min)
    return torch.where(torch.isnan(logits), -torch.inf, ranked)


def known_confidence(confidence_of: str) -> ConfidenceOf:
    """``confidence_of``, where it is one of `ConfidenceOf`.

    Raises:
        ValueError: where it is not.
    """
    for known in get_args(ConfidenceOf):
        if confidence_of == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(
        f"confidence of {confidence_of!r} can't be: use {' or '.join(get_args(ConfidenceOf))}"
    )


def _confidence_shift(logits: Tensor, golden: Tensor, confidence_of: ConfidenceOf) -> Tensor:
    """Relative change of the confidence that is compared."""
    now, before = _confidence(logits), _confidence(golden)
    if confidence_of == "top-score":
        new, old = now.amax(1), before.amax(1)
    else:
        place = top_class(golden).clamp(min=0)[:, None]
        new, old = (part.gather(1, place)[:, 0] for part in (now, before))
    return (new - old).abs() / old.clamp(min=torch.finfo(torch.float64).tiny)


def _confidence(logits: Tensor) -> Tensor:
    """Softmax; classes at plus infinity share all, not-a-number has none."""
    ranked = _ranked(logits)
    highest = torch.isposinf(ranked)
    some = highest.any(1, keepdim=True)
    ranked = torch.where(some, torch.where(highest, 0.0, -torch.inf), ranked)
    silent = torch.isnan(logits).all(1, keepdim=True)
    return torch.softmax(torch.where(silent, 0.0, ranked), 1)


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
