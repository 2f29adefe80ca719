"""Sums of products by laying products out: many rows of operands share the weights.

For some terms and a block of columns, the products of all 256 operands are laid out as rows, and
for each row of operands its rows of products are added up. Products are words of 16 bits. Their sum
needs more, but two sums of 16 bits tell it: that of the words, as it wraps round, and that of their
high bytes, which leaves less than 2**16 for the low ones. Emitted in the language of the compiler,
since from Python words are widened before they are added; nothing asks for a certain processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from radhard.arith.cell import Cells, Codes, Rows, extended, room, write_row

#: Columns of a block, and terms that are laid out at once: they fit a core's second cache.
WIDTH, DEPTH = 32, 16
#: Terms whose high bytes are added up in 16 bits, and whose words are in 32.
_LONGEST, _LONGER = 256, 1 << 14

_compiled = njit(cache=True, nogil=True)
_emitted: Any = intrinsic
_POINTER = types.intp
_I64 = ir.IntType(64)
_WORDS, _WIDE = ir.VectorType(ir.IntType(16), WIDTH), ir.VectorType(_I64, WIDTH)
_EIGHT = ir.VectorType(ir.IntType(16), 8)


def expanded(a: Codes, w: Codes, cells: Cells, products: Rows, restart: int,
             found: NDArray[np.int64]) -> None:  # fmt: skip
    """Add the sums of operands (t, k) and weights (k, n) to what is found, (t, n).

    Where bits of sums are stuck, what is found is what sums start from.

    Args:
        a: operands.
        w: weights.
        cells: of the array.
        products: of the cells, as words.
        restart: after how many terms stuck sums start anew from 0; 0 for never.
        found: the sums.
    """
    tile = restart if restart and cells.bits[2] else max(1, len(w))
    begin = [k for first in range(0, len(w), tile)
             for k in range(first, min(first + tile, len(w)), DEPTH)]  # fmt: skip
    groups = np.array([*begin, len(w)], np.int64)
    codes = _packed(a, groups)
    if cells.bits[2]:
        kind = np.dtype(np.int32 if abs(cells.bits[1]) <= 32 else np.int64)
        sums = room(kind.itemsize * len(a) * WIDTH).view(kind).reshape((len(a), WIDTH))
        masks = room(kind.itemsize * DEPTH * 2 * WIDTH).view(kind).reshape((DEPTH, 2, WIDTH))
        _through_latches(codes, w, products, cells, groups, restart, sums, masks, found)
    else:
        _added_up(codes, w, products, groups, found)


def _load(builder: Any, kind: Any, base: Any, first: int = 0) -> Any:
    at = builder.add(base, ir.Constant(_I64, first))
    value = builder.load(builder.inttoptr(at, kind.as_pointer()))
    value.align = 1
    return value


def _store(builder: Any, value: Any, base: Any, first: int = 0) -> None:
    at = builder.add(base, ir.Constant(_I64, first))
    builder.store(value, builder.inttoptr(at, value.type.as_pointer())).align = 1


def _row(builder: Any, rows: Any, codes: Any, depth: int) -> Any:
    """The products of the code of a term, of rows (DEPTH, 256, WIDTH)."""
    code = builder.zext(_load(builder, ir.IntType(8), codes, depth), _I64)
    at = builder.add(rows, builder.mul(code, ir.Constant(_I64, 2 * WIDTH)))
    return _load(builder, _WORDS, at, 2 * WIDTH * 256 * depth)


@_emitted
def _add_rows(_, rows, codes, sums):
    """``sums[0] += sum_d word, sums[1] += sum_d word >> 8``, of the words of DEPTH codes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, codes, sums = args
        total, high = (_load(builder, _WORDS, sums, 2 * WIDTH * i) for i in range(2))
        eight = ir.Constant(_WORDS, [8] * WIDTH)
        for depth in range(DEPTH):
            word = _row(builder, rows, codes, depth)
            total = builder.add(total, word)
            high = builder.add(high, builder.lshr(word, eight))
        _store(builder, total, sums)
        _store(builder, high, sums, 2 * WIDTH)
        return context.get_dummy_value()

    return types.void(*[_POINTER] * 3), generate


def _latch_rows(bits: int) -> Any:
    """``sums = ((sums + word - less) & masks[d, 0]) | masks[d, 1]`` for DEPTH codes in turn.

    Sums and masks are integers of as many bits.
    """
    whole = ir.VectorType(ir.IntType(bits), WIDTH)

    def typed(_: Any, rows: Any, codes: Any, masks: Any, less: Any, sums: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            rows, codes, masks, less, sums = args
            total = _load(builder, whole, sums)
            one = builder.trunc(less, whole.element) if bits < 64 else less
            many = ir.Constant(whole, ir.Undefined)
            for lane in range(WIDTH):
                many = builder.insert_element(many, one, ir.Constant(_I64, lane))
            for depth in range(DEPTH):
                word = builder.zext(_row(builder, rows, codes, depth), whole)
                total = builder.add(total, builder.sub(word, many))
                for i, logic in enumerate((builder.and_, builder.or_)):
                    at = bits // 8 * WIDTH * (2 * depth + i)
                    total = logic(total, _load(builder, whole, masks, at))
            _store(builder, total, sums)
            return context.get_dummy_value()

        return types.void(*[_POINTER] * 5), generate

    return _emitted(typed)


_latch_32, _latch_64 = _latch_rows(32), _latch_rows(64)


@_emitted
def _turn(_, where, first, into):
    """Write eight words at ``where[0..7] + first`` as columns of eight rows (8, WIDTH)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where, first, into = args
        held = [
            _load(builder, _EIGHT, builder.add(_load(builder, _I64, where, 8 * i), first))
            for i in range(8)
        ]
        halves = [
            ir.Constant(ir.VectorType(ir.IntType(32), 8), [half, half + 8, half + 1, half + 9,
                        half + 2, half + 10, half + 3, half + 11]) for half in (0, 4)
        ]  # fmt: skip
        for _ in range(3):
            held = [
                builder.shuffle_vector(held[i], held[i + 4], half)
                for i in range(4)
                for half in halves
            ]
        for i, row in enumerate(held):
            _store(builder, row, into, 2 * WIDTH * i)
        return context.get_dummy_value()

    return types.void(*[_POINTER] * 3), generate


@_compiled
def _packed(a, groups):
    """Codes (t, k) as (groups, t, DEPTH); what fills a group up does not matter."""
    found = np.zeros((len(groups) - 1, len(a), DEPTH), np.uint8)
    for g in range(len(found)):
        begin, deep = groups[g], groups[g + 1] - groups[g]
        for i in range(len(a)):
            if deep == DEPTH:
                for d in range(DEPTH):
                    found[g, i, d] = a[i, begin + d]
            else:
                for d in range(deep):
                    found[g, i, d] = a[i, begin + d]
    return found


@_compiled
def _laid_out(w, begin, end, first, products, own, where, into):
    """The rows of a group and a block; those that are missing have products of 0."""
    words, which, operand, word, sound, less = products
    height, cols = sound.shape
    wide, base, out = min(WIDTH, w.shape[1] - first), words.ctypes.data, into.ctypes.data
    for k in range(begin, end):
        row, col = k % height, first % cols
        for j in range(wide):
            s, weight = which[row, col], w[k, first + j]
            if sound[row, col]:
                where[j] = base + (s * 256 + weight) * 512
            else:
                write_row(words, s, weight, operand, word, row, col, own, j)
                where[j] = own.ctypes.data + 512 * j
            col = col + 1 if col + 1 < cols else 0
        where[wide:] = where[0]
        at = out + 2 * WIDTH * 256 * (k - begin)
        for part in range(0, WIDTH, 8):
            for a in range(0, 256, 8):
                _turn(where.ctypes.data + 8 * part, 2 * a, at + 2 * (WIDTH * a + part))
    if end - begin < DEPTH:
        into[end - begin :] = less


@_compiled
def _added_up(codes, w, products, groups, found):
    count = codes.shape[1]
    rows = room(2 * DEPTH * 256 * WIDTH).view(np.uint16).reshape((DEPTH, 256, WIDTH))
    own, where = np.empty((WIDTH, 256), np.uint16), np.empty(WIDTH, np.int64)
    sums = room(4 * count * WIDTH).view(np.uint16).reshape((count, 2, WIDTH))
    held = room(4 * count * WIDTH).view(np.int32).reshape((count, WIDTH))
    for first in range(0, w.shape[1], WIDTH):
        sums[:], held[:] = 0, 0
        for g in range(len(codes)):
            _laid_out(w, groups[g], groups[g + 1], first, products, own, where, rows)
            at = codes.ctypes.data + g * count * DEPTH
            for i in range(count):
                _add_rows(rows.ctypes.data, at + i * DEPTH, sums.ctypes.data + i * 4 * WIDTH)
            if (g + 1) % (_LONGEST // DEPTH) == 0 or g == len(codes) - 1:
                _carried(sums, held)
            if (g + 1) % (_LONGER // DEPTH) == 0 or g == len(codes) - 1:
                _left(held, (g % (_LONGER // DEPTH) + 1) * DEPTH * products.less, first, found)


@_compiled
def _carried(sums, held):
    """Add sums of 16 bits to those of 32, and begin anew."""
    for i in range(len(sums)):
        for j in range(WIDTH):
            high = np.int32(sums[i, 1, j]) << np.int32(8)
            held[i, j] += high + ((np.int32(sums[i, 0, j]) - high) & np.int32(65535))
    sums[:] = 0


@_compiled
def _left(held, less, first, found):
    """Add sums of 32 bits to what is found, and begin anew."""
    for i in range(len(held)):
        for j in range(min(WIDTH, found.shape[1] - first)):
            found[i, first + j] += held[i, j] - less
    held[:] = 0


@_compiled
def _through_latches(codes, w, products, cells, groups, restart, sums, masks, found):
    count = codes.shape[1]
    rows = room(2 * DEPTH * 256 * WIDTH).view(np.uint16).reshape((DEPTH, 256, WIDTH))
    own, where = np.empty((WIDTH, 256), np.uint16), np.empty(WIDTH, np.int64)
    for first in range(0, w.shape[1] if len(w) else 0, WIDTH):
        wide = min(WIDTH, w.shape[1] - first)
        for i in range(count):
            sums[i, :wide], sums[i, wide:] = found[i, first : first + wide], 0
        found[:, first : first + wide] = 0
        for g in range(len(codes)):
            begin, end = groups[g], groups[g + 1]
            _laid_out(w, begin, end, first, products, own, where, rows)
            _masked(begin, end, first, cells.psum, masks)
            at, latches = codes.ctypes.data + g * count * DEPTH, masks.ctypes.data
            for i in range(count):
                codes_at, sums_at = at + i * DEPTH, sums.ctypes.data + i * WIDTH * sums.itemsize
                if sums.itemsize == 4:
                    _latch_32(rows.ctypes.data, codes_at, latches, products.less, sums_at)
                else:
                    _latch_64(rows.ctypes.data, codes_at, latches, products.less, sums_at)
            if (restart and end % restart == 0) or end == len(w):
                for i in range(count):
                    for j in range(wide):
                        found[i, first + j] += extended(sums[i, j], cells.bits[1])
                sums[:] = 0


@_compiled
def _masked(begin, end, first, psum, masks):
    """Which bits of sums the terms of a group keep and set."""
    height, cols = psum.shape[1:]
    masks[:, 0], masks[:, 1] = -1, 0
    for k in range(begin, end):
        row, col = k % height, first % cols
        for j in range(WIDTH):
            masks[k - begin, 0, j], masks[k - begin, 1, j] = psum[0, row, col], psum[1, row, col]
            col = col + 1 if col + 1 < cols else 0
