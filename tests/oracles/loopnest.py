"""A layer executed multiply-accumulate by multiply-accumulate with struck storage, in integers.

The loop nest of Li et al., SC'17: output channel, input channel, position, kernel row and column.
Codes are 16-bit integers with 10 fraction bits; the accumulator loses nothing, a latch holds a
partial sum cut to 10 fraction bits and saturated.
"""

from dataclasses import dataclass

import numpy as np

FRACTION, LOW, HIGH = 10, -(2**15), 2**15 - 1


@dataclass
class Shape:
    """A convolution; a linear layer has a 1 x 1 plane, kernel and stride."""

    m: int
    c: int
    groups: int
    plane: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: int
    padding: int


def held_code(total: int) -> int:
    cut = abs(total) >> FRACTION
    return max(LOW, min(HIGH, cut if total >= 0 else -cut))


def flipped(code: int, bit: int) -> int:
    pattern = (code & 0xFFFF) ^ (1 << bit)
    return pattern - 0x10000 if pattern & 0x8000 else pattern


def run(shape: Shape, x: np.ndarray, w: np.ndarray, bias: np.ndarray, strike: dict) -> np.ndarray:
    """Output codes (m, e, f) of input codes (c, y, x) and weight codes (m, c, r, s).

    ``strike``: ``held``, ``bit`` and the site, as `site` gives it.
    """
    s, held, bit = shape, strike["held"], strike["bit"]
    e, f = s.out
    p = s.padding
    padded = np.pad(x, ((0, 0), (p, p), (p, p))).astype(object)
    w = w.astype(object)
    out = np.zeros((s.m, e, f), dtype=object)
    for m in range(s.m):
        group = m // (s.m // s.groups)
        for c in range(s.c):
            for place in range(e * f):
                row, column = divmod(place, f)
                acc = out[m, row, column]
                now = (m, c, place)
                if held == "inputs-of-layer" and now == strike["time"]:
                    k, y, z = strike["element"]
                    padded[k, y + p, z + p] = flipped(padded[k, y + p, z + p], bit)
                if held in {"sum-before"} and now == strike["time"]:
                    acc = struck(acc, acc, bit)
                window = 0
                for r in range(s.kernel[0]):
                    for t in range(s.kernel[1]):
                        here = (m, c, place, r, t)
                        weight = w[m, c, r, t]
                        y, z = row * s.stride + r, column * s.stride + t
                        value = padded[group * s.c + c, y, z]
                        if weight_is_struck(held, strike, here, f):
                            weight = flipped(weight, bit)
                        if input_is_struck(held, strike, here, (group * s.c + c, y - p, z - p), s):
                            value = flipped(value, bit)
                        product = weight * value
                        window += product
                        if held == "product" and here == strike["mac"]:
                            window = struck(window, product, bit)
                        if held == "window-sum" and here == strike["mac"]:
                            part = window if s.kernel != (1, 1) else acc + window
                            window = struck(window, part, bit)
                acc += window
                if held in {"sum-after", "stored-sum"} and now == strike["time"]:
                    acc = struck(acc, acc, bit)
                out[m, row, column] = acc
    for m in range(s.m):
        out[m] += int(bias[m])
    return np.vectorize(held_code, otypes=[np.int64])(out)


def struck(total: int, part: int, bit: int) -> int:
    """``total`` after the latch that holds ``part`` of it was struck."""
    code = held_code(part)
    return total + ((flipped(code, bit) - code) << FRACTION)


def weight_is_struck(held: str, strike: dict, here: tuple, columns: int) -> bool:
    if held == "weight-once":
        return here == strike["mac"]
    if held not in {"weights-of-plane", "weights-of-row"}:
        return False
    m, c, place, r, t = here
    own = (m, c, r, t) == strike["weight"] and place >= strike["position"]
    same_row = place // columns == strike["position"] // columns
    return own and (same_row or held == "weights-of-plane")


def input_is_struck(held: str, strike: dict, here: tuple, where: tuple, s: Shape) -> bool:
    if held == "input-once":
        return here == strike["mac"]
    if held != "inputs-of-row":
        return False
    m, _, place, r, _ = here
    row, column = divmod(place, s.out[1])
    own = m % (s.m // s.groups) // strike["filters"] == strike["block"]
    inside = 0 <= where[1] < s.plane[0]
    at = (where[0], row, r, where[2])
    return own and inside and at == strike["row"] and column >= strike["column"]


def site(held: str, shape: Shape, index: int, filters: int) -> dict:
    """What a site's number means."""
    s, positions = shape, shape.out[0] * shape.out[1]
    if held in {"weight-once", "input-once", "product", "window-sum"}:
        return {"mac": _split(index, (s.m, positions, s.c, *s.kernel), (0, 2, 1, 3, 4))}
    if held in {"sum-before", "sum-after", "stored-sum"}:
        return {"time": _split(index, (s.m, positions, s.c), (0, 2, 1))}
    if held == "inputs-of-layer":
        sizes = (s.c * s.groups, *s.plane, s.m, s.c, positions)
        parts = _split(index, sizes, range(6))
        return {"element": parts[:3], "time": parts[3:]}
    if held in {"weights-of-plane", "weights-of-row"}:
        parts = _split(index, (s.m, s.c, *s.kernel, positions), range(5))
        return {"weight": parts[:4], "position": parts[4]}
    blocks = -(-(s.m // s.groups) // filters)
    sizes = (blocks, s.groups, s.c, s.out[0], s.kernel[0], s.plane[1], s.out[1])
    block, group, c, e, r, z, f = _split(index, sizes, range(7))
    return {"block": block, "row": (group * s.c + c, e, r, z), "column": f, "filters": filters}


def _split(index: int, sizes: tuple, order) -> tuple:
    parts = [int(part) for part in np.unravel_index(index, sizes)]
    return tuple(parts[k] for k in order)
