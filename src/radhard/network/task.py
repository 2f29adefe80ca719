"""What the outputs of a network mean: its answer, when two answers differ, when one is right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

#: Whose confidence is compared for SDC-10 % and SDC-20 %: that of the class which is on top without
#: a fault, before and after, or the highest before and the highest after, of whatever class.
ConfidenceOf = Literal["top-class", "top-score"]


class Task(Protocol):
    """What a network is asked; everything that judges its outputs asks this.

    Outputs are those of n runs, (n, elements) or in the model's own shape (n, ...).
    """

    @property
    def guessed(self) -> float:
        """Share of right answers that guessing gives."""
        ...

    def shaped(self, outputs: Tensor) -> Tensor:
        """Outputs as the model gives them, which is how criteria of the user's own see them."""
        ...

    def differ(self, outputs: Tensor, others: Tensor) -> Tensor:
        """Whether the answers are others, (n,): SDC-1."""
        ...

    def graded(
        self, outputs: Tensor, golden: Tensor, confidence_of: ConfidenceOf
    ) -> Mapping[str, Tensor]:
        """How far outputs are off: ``sdc5``, ``sdc10`` and ``sdc20``, (n,) of bool each."""
        ...

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Whether the answers are right, (n,)."""
        ...

    def lead(self, outputs: Tensor) -> Tensor:
        """How far each answer is from another one, (n,), in the outputs' own type."""
        ...

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What training makes small, of no dimension."""
        ...


@dataclass(frozen=True, slots=True)
class Classification:
    """A class for each input, or for each of several places of it.

    An answer is right where all of its places are, and another one where any place is. Not-a-number
    ranks below every number, minus infinity included; where every logit is not-a-number the network
    says nothing, which is never right and counts as SDC of every kind. The lowest class number wins
    ties.

    Attributes:
        classes: how many are told apart.
        places: the shape of places; none for one answer.

    >>> task = Classification(2)
    >>> golden = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    >>> faulty = torch.tensor([[3.0, 2.0], [torch.nan, 1.0]])
    >>> task.answer(faulty).tolist(), task.differ(faulty, golden).tolist()
    ([0, 1], [True, False])
    """

    classes: int
    places: tuple[int, ...] = ()

    @property
    def guessed(self) -> float:
        """See `Task`; each class as likely, place by place."""
        return float(self.classes ** -math.prod(self.places))

    def shaped(self, outputs: Tensor) -> Tensor:
        """Logits (n, *places, classes)."""
        return outputs.reshape(len(outputs), *self.places, self.classes)

    def answer(self, outputs: Tensor) -> Tensor:
        """The class on top at each place, (n, *places); -1 where the network says nothing."""
        return _top(self.shaped(outputs))

    def differ(self, outputs: Tensor, others: Tensor) -> Tensor:
        """Whether another class is on top at any place, (n,)."""
        return _any(self.answer(outputs) != self.answer(others))

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Whether the classes on top are the labels (n, *places), (n,)."""
        return ~_any(self.answer(outputs) != labels)

    def lead(self, outputs: Tensor) -> Tensor:
        """How far the best logit is ahead of the next, at the place where it is least so, (n,)."""
        rows = outputs.reshape(len(outputs), -1, self.classes)
        best = rows.topk(min(2, self.classes), dim=2).values
        return (best[:, :, 0] - best[:, :, -1]).amin(1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, on average over runs and places."""
        return F.cross_entropy(outputs.reshape(-1, self.classes), labels.reshape(-1))

    def graded(
        self, outputs: Tensor, golden: Tensor, confidence_of: ConfidenceOf
    ) -> Mapping[str, Tensor]:
        """Whether the top class left the fault-free top 5, or a confidence changed, at any place.

        Confidences are softmax values; "off by 10 %" is relative to the fault-free confidence.
        """
        now, before = self.shaped(outputs), self.shaped(golden)
        says = _top(now)
        top5 = _ranked(before).sort(dim=-1, descending=True, stable=True).indices[..., :5]
        shift = _confidence_shift(now, before, confidence_of)
        return {
            "sdc5": _any(~(top5 == says[..., None]).any(-1)),
            "sdc10": _any((says < 0) | (shift > 0.1)),
            "sdc20": _any((says < 0) | (shift > 0.2)),
        }


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


def _any(flags: Tensor) -> Tensor:
    """Whether flags (n, *places) hold anywhere, (n,)."""
    return flags.reshape(len(flags), -1).any(1)


def _top(logits: Tensor) -> Tensor:
    """The class on top of (..., classes); -1 where all are not-a-number."""
    best = _ranked(logits).argmax(-1)
    return torch.where(torch.isnan(logits).all(-1), -1, best)


def _ranked(logits: Tensor) -> Tensor:
    """Logits as float64 with not-a-number below minus infinity."""
    ranked = logits.to(torch.float64)
    ranked = ranked.clamp(min=torch.finfo(torch.float64).min)
    return torch.where(torch.isnan(logits), -torch.inf, ranked)


def _confidence_shift(logits: Tensor, golden: Tensor, confidence_of: ConfidenceOf) -> Tensor:
    """Relative change of the confidence that is compared, (...)."""
    now, before = _confidence(logits), _confidence(golden)
    if confidence_of == "top-score":
        new, old = now.amax(-1), before.amax(-1)
    else:
        place = _top(golden).clamp(min=0)[..., None]
        new, old = (part.gather(-1, place)[..., 0] for part in (now, before))
    return (new - old).abs() / old.clamp(min=torch.finfo(torch.float64).tiny)


def _confidence(logits: Tensor) -> Tensor:
    """Softmax; classes at plus infinity share all, not-a-number has none."""
    ranked = _ranked(logits)
    highest = torch.isposinf(ranked)
    some = highest.any(-1, keepdim=True)
    ranked = torch.where(some, torch.where(highest, 0.0, -torch.inf), ranked)
    silent = torch.isnan(logits).all(-1, keepdim=True)
    return torch.softmax(torch.where(silent, 0.0, ranked), -1)
