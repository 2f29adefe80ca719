"""The innermost loop of sparse convolutions, written in the language of the compiler.

Compiled from Python, sums would go through memory at every step. Here they stay in vector registers
while the weights of one changed value after the other are added to them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_POINTER = types.intp


def _multiply_add(width: int, bits: int, unroll: int) -> Any:
    """``sums[:width] += sum_k change[k] * weights[offset[k] : offset[k] + width]`` in registers."""

    def typed(_: Any, sums: Any, weights: Any, offset: Any, change: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            real = ir.FloatType() if bits == 32 else ir.DoubleType()
            pointers = [builder.inttoptr(arg, kind.as_pointer()) for arg, kind in
                        zip(args, (real, real, ir.IntType(32), real), strict=False)]  # fmt: skip
            _Loops(builder, real, width, pointers).emit(args[4], unroll)
            return context.get_dummy_value()

        return types.void(*[_POINTER] * 5), generate

    return intrinsic(typed)


class _Loops:
    """Emits the loop of `_multiply_add`: sums stay in registers, weights come from memory."""

    def __init__(self, builder: Any, real: Any, width: int, pointers: list[Any]) -> None:
        lanes = 16 if isinstance(real, ir.FloatType) else 8
        self.builder, self.real = builder, real
        self.vector, self.blocks = ir.VectorType(real, lanes), width // lanes
        self.sums, self.weights, self.offset, self.change = pointers

    def emit(self, count: Any, unroll: int) -> None:
        i64 = ir.IntType(64)
        sums = [self._place(self.sums, block) for block in range(self.blocks)]
        first = [self._load(place) for place in sums]
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        several = self.builder.and_(count, ir.Constant(i64, -unroll))
        start = [first, *([zero] * self.blocks for _ in range(unroll - 1))]
        held = self._loop(ir.Constant(i64, 0), several, start)
        total = held[0]
        for more in held[1:]:
            total = [self.builder.fadd(a, b) for a, b in zip(total, more, strict=True)]
        if unroll > 1:
            total = self._loop(several, count, [total])[0]
        for place, value in zip(sums, total, strict=True):
            self.builder.store(value, place).align = 4

    def _loop(self, begin: Any, end: Any, start: list[list[Any]]) -> list[list[Any]]:
        builder, i64 = self.builder, ir.IntType(64)
        before = builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(i64)
        k.add_incoming(begin, before)
        held = [[builder.phi(self.vector) for _ in part] for part in start]
        for part, values in zip(held, start, strict=True):
            for phi, value in zip(part, values, strict=True):
                phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", k, end), body, after)
        builder.position_at_end(body)
        for number, part in enumerate(held):
            for phi, value in zip(part, self._step(k, number, part), strict=True):
                phi.add_incoming(value, body)
        k.add_incoming(builder.add(k, ir.Constant(i64, len(start))), body)
        builder.branch(head)
        builder.position_at_end(after)
        return held

    def _step(self, k: Any, number: int, held: list[Any]) -> list[Any]:
        builder, i32 = self.builder, ir.IntType(32)
        at = builder.add(k, ir.Constant(ir.IntType(64), number))
        change = builder.load(builder.gep(self.change, [at]))
        offset = builder.sext(builder.load(builder.gep(self.offset, [at])), ir.IntType(64))
        unset = ir.Constant(self.vector, ir.Undefined)
        one = builder.insert_element(unset, change, ir.Constant(i32, 0))
        zeros = ir.Constant(ir.VectorType(i32, self.vector.count), [0] * self.vector.count)
        many = builder.shuffle_vector(one, unset, zeros)
        weights, flags = builder.gep(self.weights, [offset]), ("contract",)
        return [
            builder.fadd(
                builder.fmul(many, self._load(self._place(weights, block)), flags=flags),
                value, flags=flags,
            )
            for block, value in enumerate(held)
        ]  # fmt: skip

    def _place(self, base: Any, block: int) -> Any:
        at = ir.Constant(ir.IntType(64), block * self.vector.count)
        return self.builder.bitcast(self.builder.gep(base, [at]), self.vector.as_pointer())

    def _load(self, place: Any) -> Any:
        value = self.builder.load(place)
        value.align = 4
        return value


_madd_16 = _multiply_add(16, 32, 4)
_madd_32 = _multiply_add(32, 32, 2)
_madd_64 = _multiply_add(64, 32, 1)
_wide_16 = _multiply_add(16, 64, 2)
_wide_32 = _multiply_add(32, 64, 1)
_wide_64 = _multiply_add(64, 64, 1)


@njit(cache=True, nogil=True)
def add_product(wide, width, sums, weights, offset, change, count):
    """``sums[:width] += sum_k change[k] * weights[offset[k] : offset[k] + width]``, k < count.

    All but the numbers ``width`` (16, 32 or 64) and ``count`` are addresses: of float32, of float64
    where ``wide``, offsets of int32.
    """
    if wide:
        if width == 64:
            _wide_64(sums, weights, offset, change, count)
        elif width == 32:
            _wide_32(sums, weights, offset, change, count)
        else:
            _wide_16(sums, weights, offset, change, count)
    elif width == 64:
        _madd_64(sums, weights, offset, change, count)
    elif width == 32:
        _madd_32(sums, weights, offset, change, count)
    else:
        _madd_16(sums, weights, offset, change, count)
