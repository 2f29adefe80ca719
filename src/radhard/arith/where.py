"""Which sums are asked of an array, and where on it they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.arith.multiplier import Integers


class Where(NamedTuple):
    """Which sums are asked for: position (b, t), channel within its group (b, m), term (b, k).

    ``kept`` (b, k) says which terms are added up, all where ``None``.
    """

    position: Integers
    column: Integers
    term: Integers
    kept: NDArray[np.bool_] | None = None


def in_places(
    a: NDArray[Any], w: NDArray[Any], where: Where, gated: bool
) -> tuple[NDArray[Any], NDArray[Any], Where]:
    """Operands and weights at the places of their terms; places between have zeros."""
    term = where.term[0]
    if len(where.term) > 1 or len(term) < 2 or (term == np.arange(len(term))).all():
        return a, w, where
    size = int(term.max()) + 1

    def placed(values: NDArray[Any]) -> NDArray[Any]:
        found = np.zeros((*values.shape[:-1], size), values.dtype)
        found[..., term] = values
        return found

    kept = where.kept
    if kept is None and gated and size > len(term):
        kept = np.ones((1, len(term)), np.bool_)
    kept = None if kept is None else placed(kept)
    return placed(a), placed(w), where._replace(term=np.arange(size)[None], kept=kept)
