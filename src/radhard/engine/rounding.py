"""How compiled kernels round: by arithmetic where a format has it, else by a table of its steps.

Rounding that never decreases is a staircase over the real numbers in their order. The steps of a
format of few bits fit into a table, which is found by asking the format's own ``round`` and serves
any format, posits or those of users; ties, infinities, zeros and saturation are what it makes them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from radhard.formats.catalogue import FLOAT32, FLOAT64
from radhard.formats.fixed import FixedFormat
from radhard.formats.floating import FloatFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat

#: How sums become outputs, and inputs operands.
AS_IS, TO_FLOAT, TO_INTEGER, TO_FIXED, TO_TABLE, TO_CUT = range(6)
#: Bits of a format whose steps are put into a table, and steps of one, at most.
_TABLE_BITS, _MOST_STEPS = 16, 1 << 17
#: Bits of sums of which a cut format's range must leave some, so that any overflow saturates.
_SUM_BITS = 60
#: The places, in the order of all float32, of the two infinities.
_LOWEST, _HIGHEST = -0x7F800001, 0x7F800000
#: Bits of a place within one of the parts that `Rounding.first` tells apart.
_PART = 16
#: Places that a table is tried on beside those that it was made from.
_TRIED = 1 << 16

#: Far enough from subnormal numbers, and back.
_UP, _DOWN = np.float32(2.0**64), np.float32(2.0**-64)

_compiled = njit(cache=True, error_model="numpy", nogil=True)


class Rounding(NamedTuple):
    """A rule of rounding as compiled kernels take it.

    Attributes:
        kind: one of the codes of this module.
        numbers: what its arithmetic needs.
        first: (parts + 1,) with `TO_TABLE`, the step in which each part of the places begins; the
            first entry of ``results`` is what not-a-number becomes.
        steps: (n,) the places at which steps begin, ascending.
        results: (n + 1,) what not-a-number and each step become.
    """

    kind: int
    numbers: NDArray[Any]
    first: NDArray[np.int32]
    steps: NDArray[np.int32]
    results: NDArray[np.float32]

    @classmethod
    def by(cls, kind: int, *numbers: float) -> Rounding:
        """One that works by arithmetic."""
        held = np.array([*numbers, *[0.0] * 5][:5])
        none = np.zeros(0, np.int32)
        return cls(kind, held, none, none, np.zeros(0, np.float32))

    @property
    def parts(self) -> tuple[int, NDArray[Any], Rounding | None]:
        """Kind, numbers and table; loops are compiled apart where there is no table."""
        return self.kind, self.numbers, self if self.kind == TO_TABLE else None

    def on(self, real: Any) -> Rounding:
        """The same with its numbers in the type of what is rounded."""
        return self._replace(numbers=self.numbers.astype(real))


@_compiled
def to_float(x, par):
    """A float32 in a smaller float, to nearest, ties to even; without branches.

    ``par``: bits dropped, smallest normal value, its quantum times 2^64, largest finite value, what
    is beyond. Quanta that are subnormal themselves, as of bf16, are slow to divide by.
    """
    one = np.int32(1)
    drop = np.int32(par[0])
    bits = np.float32(x).view(np.int32)
    up = ((one << (drop - one)) - one) + ((bits >> drop) & one)
    near = np.int32((bits + up) & ~((one << drop) - one)).view(np.float32)
    small = np.float32(np.rint(x * _UP / par[2]) * par[2] * _DOWN)
    found = small if abs(x) < par[1] else near
    beyond = np.float32(par[4]) if x > 0 else np.float32(-par[4])
    found = beyond if abs(found) > par[3] else found
    return found if x == x else np.float32(x)


@_compiled
def to_integer(x, par):
    """The integer, as a real, that ``x`` is stored as; ``par``: scale, lowest, highest."""
    return _within(np.rint(x / par[0]), par[1], par[2])


@_compiled
def to_fixed(x, par):
    """The same for fixed point; ``par``: value of 1, lowest, highest, its inverse."""
    return _within(np.trunc(x * par[3]), par[1], par[2])


@_compiled
def _within(steps, low, high):
    """Saturated, and 0 for not-a-number."""
    steps = steps if steps == steps else low - low
    steps = steps if steps > low else low
    return steps if steps < high else high


@_compiled
def by_table(x, how):
    """A float32 by the table of a format's steps."""
    if x != x:
        return how.results[0]
    bits = np.float32(x).view(np.int32)
    place = bits if bits >= 0 else np.int32(bits ^ np.int32(0x7FFFFFFF))
    part = (place >> _PART) + (1 << (31 - _PART))
    low, high = how.first[part], how.first[part + 1]
    while low < high:
        middle = (low + high + 1) >> 1
        if how.steps[middle] <= place:
            low = middle
        else:
            high = middle - 1
    return how.results[low + 1]


@_compiled
def to_cut(total, par):
    """Fixed point from a 64-bit sum; ``par``: value of 1, lowest, highest, bits that are cut."""
    whole, bits = np.int64(total), np.int64(par[3])
    steps = whole >> bits
    if whole < 0 and whole & ((1 << bits) - 1):
        steps += 1
    return min(max(steps, np.int64(par[1])), np.int64(par[2])) * par[0]


@_compiled
def as_operand(kind, x, par):
    """An input as it is multiplied, by arithmetic."""
    if kind == TO_FLOAT:
        return to_float(x, par)
    if kind == TO_INTEGER:
        return to_integer(x, par)
    if kind == TO_FIXED:
        return to_fixed(x, par)
    return x


@_compiled
def as_output(how, total, unit):
    """What a sum becomes whose value of 1 is ``unit``."""
    if how.kind == TO_FLOAT:
        return to_float(np.float32(total), how.numbers)
    if how.kind == TO_INTEGER:
        return to_integer(total * unit, how.numbers) * how.numbers[0]
    if how.kind == TO_FIXED:
        return to_fixed(total * unit, how.numbers) * how.numbers[0]
    if how.kind == TO_TABLE:
        return by_table(np.float32(total), how)
    if how.kind == TO_CUT:
        return to_cut(total, how.numbers)
    return total


def rounding_of(fmt: NumberFormat, real: Any = np.float32) -> Rounding | None:
    """The rule of a format on values of a type; ``None`` where no kernel knows one."""
    if np.dtype(real) == np.float64:
        found = Rounding.by(AS_IS) if fmt == FLOAT64 else _fixed(fmt)
    else:
        found = _narrow(fmt) if fmt.significant <= 24 else None
    return found.on(real) if found is not None else None


def cut_of(fmt: NumberFormat, unit: float) -> Rounding | None:
    """The rule for 64-bit sums whose 1 is worth ``unit``; ``None`` where no kernel knows one."""
    if not isinstance(fmt, FixedFormat):
        return None
    bits = round(math.log2(fmt.scale / unit))
    fits = bits >= 0 and fmt.width + bits < _SUM_BITS
    return Rounding.by(TO_CUT, fmt.scale, *fmt.limits, bits) if fits else None


def _narrow(fmt: NumberFormat) -> Rounding | None:
    """On float32."""
    if fmt == FLOAT32:
        return Rounding.by(AS_IS)
    if isinstance(fmt, FloatFormat) and fmt.mantissa < 23:
        quantum = 2.0 ** (1 - fmt.offset - fmt.mantissa)
        largest = float(fmt.decode(torch.tensor(fmt.largest)))
        if quantum >= 2.0**-149 and largest < np.inf:
            tiny = 2.0 ** (1 - fmt.offset)
            scaled = quantum * float(_UP)
            return Rounding.by(TO_FLOAT, 23 - fmt.mantissa, tiny, scaled, largest, fmt.overflow)
    if isinstance(fmt, IntegerFormat):
        ends = [end - zero for zero in fmt.zero for end in fmt.limits]
        return Rounding.by(TO_INTEGER, *fmt.scale, *ends) if len(fmt.scale) == 1 else None
    if isinstance(fmt, FixedFormat):
        return _fixed(fmt)
    key: Any = fmt
    return _table_of(key) if fmt.width <= _TABLE_BITS else None


def _fixed(fmt: NumberFormat) -> Rounding | None:
    if not isinstance(fmt, FixedFormat):
        return None
    return Rounding.by(TO_FIXED, fmt.scale, *fmt.limits, 1 / fmt.scale)


@lru_cache(maxsize=64)
def _table_of(fmt: NumberFormat) -> Rounding | None:
    """The steps of a format's ``round``; ``None`` where these are too many, or go down.

    Where the ends of an interval become the same, all between does; others are halved.
    """
    low = np.append(np.arange(_LOWEST, _HIGHEST, 1 << _PART), _HIGHEST)
    low, high = low[:-1], low[1:]
    steps = [np.array([_LOWEST])]
    while len(low):
        differ = _asked(fmt, low) != _asked(fmt, high)
        low, high = low[differ], high[differ]
        next_to = high - low == 1
        steps.append(high[next_to])
        low, high = low[~next_to], high[~next_to]
        if sum(map(len, steps)) + len(low) > _MOST_STEPS:
            return None
        middle = (low + high) >> 1
        low, high = np.append(low, middle), np.append(middle, high)
    places = np.sort(np.concatenate(steps)).astype(np.int32)
    nothing = fmt.round(torch.tensor([torch.nan])).numpy()
    results = np.append(nothing, _asked(fmt, places).view(np.float32)).astype(np.float32)
    starts = np.arange(-(1 << (31 - _PART)), (1 << (31 - _PART)) + 1) << _PART
    first = (np.searchsorted(places, starts, side="right") - 1).clip(0).astype(np.int32)
    found = Rounding(TO_TABLE, np.zeros(5, np.float32), first, places, results)
    finite = results[1:][~np.isnan(results[1:])]
    return found if (np.diff(finite) >= 0).all() and _agrees(found, fmt) else None


def _real(places: NDArray[Any]) -> NDArray[np.float32]:
    """The float32 at places of their order, from minus infinity on."""
    narrow = places.astype(np.int32)
    return np.where(narrow >= 0, narrow, narrow ^ 0x7FFFFFFF).astype(np.int32).view(np.float32)


def _asked(fmt: NumberFormat, places: NDArray[Any]) -> NDArray[np.int32]:
    """The bits of what ``round`` makes of the float32 at some places; one code for not-a-number."""
    found = fmt.round(torch.from_numpy(_real(places))).numpy()
    return np.where(np.isnan(found), np.float32(np.nan), found).view(np.int32)


def _agrees(found: Rounding, fmt: NumberFormat) -> bool:
    """Whether a table says what ``round`` says, on both sides of every step and elsewhere."""
    rng = np.random.default_rng(0)
    edges = found.steps.astype(np.int64)
    places = np.concatenate([edges, edges[1:] - 1, rng.integers(_LOWEST, _HIGHEST + 1, _TRIED)])
    held = np.empty(len(places), np.float32)
    _all_by_table(_real(places), found, held)
    same = np.where(np.isnan(held), np.float32(np.nan), held).view(np.int32) == _asked(fmt, places)
    return bool(same.all())


@_compiled
def _all_by_table(values, how, into):
    for k in range(len(values)):
        into[k] = by_table(values[k], how)
