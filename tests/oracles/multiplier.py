"""Multipliers by definitions that are obvious: one pair, one bit or one digit at a time."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

A, B = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
#: Operands in two's complement in the order of their bit patterns.
SA, SB = ((x + 128) % 256 - 128 for x in (A, B))


def cleared(x, count: int):
    """With low bits cleared: the multiple of 2**count below."""
    return np.floor_divide(x, 2**count) * 2**count


def dropped(h: int, v: int):
    """The partial products in rows from h and columns below v."""
    return sum(
        ((A >> i) & 1) * ((B >> j) & 1) * 2 ** (i + j)
        for i in range(h, 8)
        for j in range(8)
        if i + j < v
    )


#: The signed circuits of EvoApproxLib by their names in v1.
EVOAPPROX = {
    "1KV8": SA * SB,
    "1L2H": cleared(SA, 1) * cleared(SB, 1),
    "1L2D": cleared(SA, 2) * cleared(SB, 2),
    "1L1G": cleared(SA, 3) * cleared(SB, 3),
    "1KR8": cleared(SA, 1) * SB,
    "1KTY": cleared(SA, 3) * SB,
    "1KR3": cleared(SA, 6) * SB,
    "1KVA": SA * SB - dropped(0, 2),
    "1KVB": SA * SB - dropped(0, 3),
    "1KX2": SA * SB - dropped(0, 4),
    "1KR6": cleared(SA, 1) * SB - dropped(1, 3),
    "1KRC": cleared(SA, 1) * SB - dropped(1, 4),
    "1KVL": cleared(SA, 2) * SB - dropped(2, 5),
}


def array(a: int, b: int, columns: int, signed: bool, width: int = 8) -> np.ndarray:
    """Cell by cell, the sign bit counting negative."""
    codes = np.arange(2**width)
    total = np.zeros((2**width, 2**width), np.int64)
    for i in range(a, width):
        for j in range(b, width):
            minus = (-1) ** (signed * ((i == width - 1) + (j == width - 1)))
            if i + j >= columns:
                total += minus * 2 ** (i + j) * np.outer(codes >> i & 1, codes >> j & 1)
    return total


def table(product: Callable[[int, int], int], width: int = 8) -> np.ndarray:
    """Of an unsigned multiplier, pair by pair."""
    return np.array([[product(a, b) for b in range(2**width)] for a in range(2**width)])


def drum(bits: int) -> Callable[[int, int], int]:
    def part(x: int) -> int:
        text = f"{x:b}"
        if len(text) <= bits:
            return x
        return int(text[: bits - 1] + "1" + "0" * (len(text) - bits), 2)

    parts = [part(x) for x in range(2**8)]
    return lambda a, b: parts[a] * parts[b]


def ssm(bits: int) -> Callable[[int, int], int]:
    def part(x: int) -> int:
        text = f"{x:08b}"
        if "1" not in text[: 8 - bits]:
            return x
        return int(text[:bits] + "0" * (8 - bits), 2)

    parts = [part(x) for x in range(2**8)]
    return lambda a, b: parts[a] * parts[b]


def roba(a: int, b: int) -> int:
    def near(x: int) -> int:
        if x in (0, 3):
            return {0: 0, 3: 2}[x]
        return min((2**k for k in range(9)), key=lambda power: (abs(power - x), -power))

    return near(a) * b + near(b) * a - near(a) * near(b)


def kulkarni(a: int, b: int, width: int = 8) -> int:
    """Four blocks of half the width, down to 2 x 2 bits."""
    if width == 2:
        return 7 if a == b == 3 else a * b
    half = width // 2
    high_a, low_a = divmod(a, 2**half)
    high_b, low_b = divmod(b, 2**half)
    cross = kulkarni(high_a, low_b, half) + kulkarni(low_a, high_b, half)
    high, low = kulkarni(high_a, high_b, half), kulkarni(low_a, low_b, half)
    return (high << width) + (cross << half) + low


def mitchell(a: int, b: int) -> int:
    """Fractions added as fractions."""
    if not a or not b:
        return 0
    k, m = a.bit_length() - 1, b.bit_length() - 1
    x = Fraction(a, 2**k) - 1 + Fraction(b, 2**m) - 1
    found = 2 ** (k + m) * (1 + x) if x < 1 else 2 ** (k + m + 1) * x
    assert found.denominator == 1
    return int(found)


def etm(a: int, b: int) -> int:
    high_a, low_a, high_b, low_b = a >> 4, a & 15, b >> 4, b & 15
    if high_a == high_b == 0:
        return low_a * low_b
    ones, found = False, ""
    for place in (3, 2, 1, 0):
        ones = ones or bool(low_a >> place & 1) or bool(low_b >> place & 1)
        found += "1" if ones else "0"
    found += 4 * found[-1]
    return high_a * high_b * 256 + int(found, 2)
