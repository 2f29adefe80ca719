"""Sums of products of a table on a GPU, by a kernel of Triton (extra ``gpu``).

Compiled when it is first used. It has been run through Triton's interpreter, not on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Sums that a program computes, rows by columns.
ROWS, COLUMNS = 32, 64
#: Terms whose products of at most 17 bits with their sign surely add up in 32 bits.
_TERMS = 1 << 14

_jit: Any = triton.jit


def table_sums(a: Tensor, w: Tensor, table: Tensor) -> Tensor:
    """``sum_k table[w[k, n], a[t, k]]``, (t, n), int64.

    Args:
        a: operands (t, k), uint8.
        w: weights (k, n), likewise.
        table: products by weight and operand, (256, 256), int32, of at most 17 bits with their
            sign.

    Raises:
        ValueError: where shapes or devices differ.
    """
    if a.shape[1] != w.shape[0] or table.shape != (256, 256):
        raise ValueError(
            f"operands {tuple(a.shape)}, weights {tuple(w.shape)} and a table "
            f"{tuple(table.shape)} do not fit: use (t, k), (k, n) and (256, 256)"
        )
    if len({a.device, w.device, table.device}) > 1:
        raise ValueError(f"{a.device}, {w.device} and {table.device}: put all on one device")
    a, w, table = a.contiguous(), w.contiguous(), table.contiguous()
    (t, k), n = a.shape, w.shape[1]
    found = torch.zeros((t, n), dtype=torch.int64, device=a.device)
    if not found.numel():
        return found
    grid = (triton.cdiv(t, ROWS), triton.cdiv(n, COLUMNS))
    for first in range(0, k, _TERMS):
        end = min(first + _TERMS, k)
        _add[grid](a, w, table, found, t, n, k, first, end, ROWS=ROWS, COLUMNS=COLUMNS)
    return found


@_jit
def _add(a, w, table, found, t, n, k, first, end, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # noqa: N803
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < t)[:, None] & (column < n)[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.int32)
    for term in range(first, end):
        operand = tl.load(a + row.to(tl.int64) * k + term, mask=row < t, other=0)
        weight = tl.load(w + (term * n + column), mask=column < n, other=0)
        at = weight.to(tl.int32)[None, :] * 256 + operand.to(tl.int32)[:, None]
        total += tl.load(table + at, mask=inside, other=0)
    place = found + row.to(tl.int64)[:, None] * n + column[None, :]
    tl.store(place, tl.load(place, mask=inside, other=0) + total, mask=inside)
