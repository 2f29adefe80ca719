"""Sums of products on a GPU, where one table says them all."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from radhard.arith.elements import Elements
from radhard.arith.wide import WideElements
from radhard.network.terms import Place

#: Products of a matrix below which a kernel is not worth its start.
_LEAST = 1 << 16


def sums_there(
    made: Elements | WideElements, x: Tensor, w: Tensor, place: Place, moved: bool
) -> Tensor | None:
    """Sums (b, t, m) of codes (b, t, k) and (b or 1, m, k) where they are, or ``None``.

    That is where they are on a GPU without Triton, or not on one; where the products of one element
    are not those of another, sums are cut at some terms or wrap round, or matrices are small.

    Args:
        made: the array's elements.
        x: operands.
        w: weights.
        place: which products these are.
        moved: whether terms have other places than their own on the array.
    """
    b, t, k = x.shape
    if not _has_kernel(x) or isinstance(made, WideElements) or place.kept is not None:
        return None
    if t * k * w.shape[1] < _LEAST:
        return None
    table = made.one_table(k, moved)
    if table is None:
        return None
    from radhard.arith.device import table_sums

    there = torch.from_numpy(table).to(x.device)
    return torch.stack([table_sums(x[i], w[i % len(w)].T, there) for i in range(b)])


def _has_kernel(x: Tensor) -> bool:
    return x.is_cuda and find_spec("triton") is not None
