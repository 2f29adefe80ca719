"""Sums of products looked up in vector registers, on processors that permute bytes (AVX-512 VBMI).

All products of one weight are 256 numbers of 16 bits: two planes of bytes, which fill eight vector
registers. Rows of operands are the lanes, and two permutations and a choice look up a byte of 64
products. Bytes are added up in 16 bits, even and odd lanes apart, for at most 256 terms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from radhard.arith.cell import Codes, Rows, room

#: Terms whose bytes are added up in 16 bits: 257 of them would fit.
PIECE = 256
#: Lanes of a vector, vectors that a wide tile has, and bytes of a weight's products.
LANES, WIDE, ROW = 64, 4, 512

#: Columns whose sums are written at once; bytes of operands, and tiles, taken through all columns.
BLOCK, _NEAR, _MOST = 32, 3 << 18, 8

_compiled = njit(cache=True, nogil=True)
_POINTER = types.intp
_BYTES, _WORDS = ir.VectorType(ir.IntType(8), LANES), ir.VectorType(ir.IntType(16), LANES // 2)
_INTS = ir.VectorType(ir.IntType(32), LANES // 2)
_PERMUTE = "llvm.x86.avx512.vpermi2var.qi.512"


@lru_cache(maxsize=1)
def permutes() -> bool:
    """Whether the processor that is compiled for has these instructions."""
    return "+avx512vbmi" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")


def permuted(a: Codes, w: Codes, products: Rows, listed: NDArray[np.bool_],
             found: NDArray[np.int64]) -> None:  # fmt: skip
    """Add the products of cells that are listed, (rows, cols), to what is found, (t, n).

    Args:
        a: operands (t, k).
        w: weights (k, n).
        products: of cells.
        listed: which of them.
        found: the sums.
    """
    low = bool(a.size) and int(a.max()) < 128
    tiles = _tiles(a, LANES * (WIDE if len(a) > 2 * LANES else 1))
    _permuted(tiles, low, np.ascontiguousarray(w.T), products, listed, found)


def _piece(vectors: int, low: bool) -> Any:
    """``sums[:64 * vectors] = sum_i products[where[i]][operands[term[i]]]``, i < count <= 256.

    Where ``low``, all operands are below 128.
    """

    def typed(_: Any, operands: Any, term: Any, where: Any, count: Any, sums: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _Piece(builder, vectors, low, args).emit()
            return context.get_dummy_value()

        return types.void(*[_POINTER] * 5), generate

    return intrinsic(typed)


class _Piece:
    """Emits the loop of `_piece`: two sums of each plane of each vector stay in registers."""

    def __init__(self, builder: Any, vectors: int, low: bool, args: Any) -> None:
        self.builder, self.vectors, self.low = builder, vectors, low
        self.operands, self.term, self.where, self.count, self.sums = args
        self.permute = builder.module.declare_intrinsic(
            _PERMUTE, (), ir.FunctionType(_BYTES, [_BYTES] * 3)
        )

    def emit(self) -> None:
        builder, i64 = self.builder, ir.IntType(64)
        before = builder.block
        body, after = (builder.append_basic_block(name) for name in ("body", "after"))
        zero = ir.Constant(_WORDS, [0] * _WORDS.count)
        builder.cbranch(builder.icmp_signed(">", self.count, ir.Constant(i64, 0)), body, after)
        builder.position_at_end(body)
        i = builder.phi(i64)
        held = [builder.phi(_WORDS) for _ in range(4 * self.vectors)]
        found = self._step(i, held)
        following = builder.add(i, ir.Constant(i64, 1))
        builder.cbranch(builder.icmp_signed("<", following, self.count), body, after)
        last = builder.block
        builder.position_at_end(after)
        total = [builder.phi(_WORDS) for _ in held]
        i.add_incoming(ir.Constant(i64, 0), before)
        i.add_incoming(following, last)
        for phi, end, value in zip(held, total, found, strict=True):
            phi.add_incoming(zero, before)
            phi.add_incoming(value, last)
            end.add_incoming(zero, before)
            end.add_incoming(value, last)
        for vector in range(self.vectors):
            self._leave(vector, total[4 * vector : 4 * vector + 4])

    def _step(self, i: Any, held: list[Any]) -> list[Any]:
        """The products of a term, added to all sums."""
        builder = self.builder
        row = self._number(self.where, i)
        term = self._number(self.term, i)
        size = ir.Constant(ir.IntType(64), LANES * self.vectors)
        first = builder.add(self.operands, builder.mul(term, size))
        table = [self._load(row, LANES * part) for part in range(8)]
        eight = ir.Constant(_WORDS, [8] * _WORDS.count)
        found = []
        for vector in range(self.vectors):
            codes = self._load(first, LANES * vector)
            for plane in range(2):
                byte = builder.bitcast(self._chosen(table[4 * plane :], codes), _WORDS)
                both, odd = held[4 * vector + 2 * plane : 4 * vector + 2 * plane + 2]
                found.append(builder.add(both, byte))
                found.append(builder.add(odd, builder.lshr(byte, eight)))
        return found

    def _chosen(self, table: list[Any], codes: Any) -> Any:
        """Of a plane the bytes of the codes."""
        builder = self.builder
        below = builder.call(self.permute, [table[0], codes, table[1]])
        if self.low:
            return below
        above = builder.call(self.permute, [table[2], codes, table[3]])
        negative = builder.icmp_signed("<", codes, ir.Constant(_BYTES, [0] * LANES))
        return builder.select(negative, above, below)

    def _leave(self, vector: int, total: list[Any]) -> None:
        """Store the sums of a vector in the order of its lanes."""
        builder = self.builder
        eight = ir.Constant(_WORDS, [8] * _WORDS.count)
        wide = ir.Constant(_INTS, [8] * _INTS.count)
        lanes = []
        for part in range(2):
            planes = []
            for plane in range(2):
                both, odd = total[2 * plane : 2 * plane + 2]
                even = builder.sub(both, builder.shl(odd, eight))
                planes.append(builder.zext((even, odd)[part], _INTS))
            lanes.append(builder.add(planes[0], builder.shl(planes[1], wide)))
        half = LANES // 2
        order = [lane // 2 + half * (lane % 2) for lane in range(LANES)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
        both = builder.shuffle_vector(lanes[0], lanes[1], mask)
        at = ir.Constant(ir.IntType(64), 4 * LANES * vector)
        place = builder.inttoptr(builder.add(self.sums, at), both.type.as_pointer())
        builder.store(both, place).align = 4

    def _number(self, base: Any, i: Any) -> Any:
        pointer = self.builder.inttoptr(base, ir.IntType(64).as_pointer())
        return self.builder.load(self.builder.gep(pointer, [i]))

    def _load(self, base: Any, offset: int) -> Any:
        at = self.builder.add(base, ir.Constant(ir.IntType(64), offset))
        value = self.builder.load(self.builder.inttoptr(at, _BYTES.as_pointer()))
        value.align = 1
        return value


_narrow, _narrow_low, _wide, _wide_low = (
    _piece(vectors, low) for vectors in (1, WIDE) for low in (False, True)
)


@_compiled
def _add_piece(vectors, low, operands, term, where, count, sums):
    """As `_piece`; all but the first two and ``count`` are addresses.

    Of operands (k, 64 * vectors), int64 numbers of terms, int64 addresses of rows of products (two
    planes of 256 bytes), int32 sums.
    """
    if vectors == 1:
        if low:
            _narrow_low(operands, term, where, count, sums)
        else:
            _narrow(operands, term, where, count, sums)
    elif low:
        _wide_low(operands, term, where, count, sums)
    else:
        _wide(operands, term, where, count, sums)


@_compiled
def _tiles(a, lanes):
    """Operands (t, k) as (tiles, k, lanes), filled up with 0."""
    count, terms = a.shape
    tiles = (count + lanes - 1) // lanes
    found = room(tiles * terms * lanes).reshape((tiles, terms, lanes))
    if count % lanes:
        found[tiles - 1] = 0
    for tile in range(tiles):
        many = min(lanes, count - tile * lanes)
        for k in range(terms):
            for i in range(many):
                found[tile, k, i] = a[tile * lanes + i, k]
    return found


@_compiled
def _planes(words):
    """The low and the high bytes of words (s, 256, 256), (s, 256, 2, 256)."""
    found = room(words.size * 2).reshape((len(words), 256, 2, 256))
    for s in range(len(words)):
        for w in range(256):
            for a in range(256):
                found[s, w, 0, a] = np.uint8(words[s, w, a])
                found[s, w, 1, a] = np.uint8(words[s, w, a] >> 8)
    return found


@_compiled
def _write_planes(planes, s, weight, operand, word, row, col, into, at):
    """The products of a weight and all operands in a cell, in two planes."""
    kept, as_set = operand[0, row, col], operand[1, row, col]
    for plane in range(2):
        keep = np.uint8(word[0, row, col] >> 8 * plane)
        to = np.uint8(word[1, row, col] >> 8 * plane)
        if kept == 255 and as_set == 0:
            for a in range(256):
                into[at, plane, a] = (planes[s, weight, plane, a] & keep) | to
        else:
            for a in range(256):
                code = (a & kept) | as_set
                into[at, plane, a] = (planes[s, weight, plane, code] & keep) | to


@_compiled
def _rows_found(n, weights, products, listed, planes, own, term, where):
    """Which terms of a column are listed, and where the products of their weights are."""
    _, which, operand, word, sound, _ = products
    height, cols = sound.shape
    count, row, col, base = 0, 0, n % cols, planes.ctypes.data
    for k in range(len(weights)):
        if listed[row, col]:
            s, weight = which[row, col], weights[k]
            term[count] = k
            where[count] = base + (s * 256 + weight) * ROW
            if not sound[row, col]:
                _write_planes(planes, s, weight, operand, word, row, col, own, count)
                where[count] = own.ctypes.data + count * ROW
            count += 1
        row = row + 1 if row + 1 < height else 0
    return count


@_compiled
def _permuted(tiles, low, w, products, listed, found):
    terms, lanes = w.shape[1], tiles.shape[2]
    planes, own = _planes(products.words), room(terms * ROW).reshape((terms, 2, 256))
    term, where = np.empty(terms, np.int64), np.empty(terms, np.int64)
    group = max(1, min(_MOST, int(_NEAR / (lanes * max(1, terms) * max(0.01, listed.mean())))))
    held = np.empty((BLOCK, group * lanes + 8), np.int64)  # by 8: lines of a cache, apart
    for begin in range(0, len(tiles), group):
        some = tiles[begin : begin + group]
        many = min(len(some) * lanes, len(found) - begin * lanes)
        for first in range(0, len(w), BLOCK):
            wide = min(BLOCK, len(w) - first)
            for j in range(wide):
                n = first + j
                count = _rows_found(n, w[n], products, listed, planes, own, term, where)
                held[j] = -count * products.less
                _column(some, low, term, where, count, held[j])
            _written(held, wide, found[begin * lanes : begin * lanes + many], first)


@_compiled
def _written(held, wide, found, first):
    """Add sums (columns, t) to what is found, (t, n)."""
    for i in range(len(found)):
        if wide == BLOCK:
            for j in range(BLOCK):
                found[i, first + j] += held[j, i]
        else:
            for j in range(wide):
                found[i, first + j] += held[j, i]


@_compiled
def _column(tiles, low, term, where, count, held):
    """Add the products of listed terms to the sums of a column."""
    lanes = tiles.shape[2]
    sums = room(4 * lanes).view(np.int32)
    for tile in range(len(tiles)):
        operands = tiles.ctypes.data + tile * tiles.shape[1] * lanes
        for piece in range(0, count, PIECE):
            _add_piece(lanes // LANES, low, operands, term.ctypes.data + 8 * piece,
                       where.ctypes.data + 8 * piece, min(PIECE, count - piece),
                       sums.ctypes.data)  # fmt: skip
            for i in range(lanes):
                held[tile * lanes + i] += sums[i]
