"""A systolic array with memories around it, tile by tile: each tile fetches what it multiplies.

Tiles of output channels are the outermost loop. Memories are arrays that are struck in place before
a fetch; a memory of one tile is a copy of the other, made for it. Values of one fault at a time.
"""

from itertools import product

import numpy as np

from oracles.bench import Bench

#: Output channels of one group, positions and terms of a tile: (first, end) each.
Span = tuple[int, int]


def spans(count: int, step: int) -> list[Span]:
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def tiled(
    bench: Bench,
    array: tuple[int, int],
    dataflow: str,
    held: str,
    image: int,
    site: tuple[int, int],
    checker: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Sums (m, positions) of an image, with one value of a memory struck.

    With a ``checker`` each group has one channel more, of the sums of its weights: sums (groups,
    channels, positions), and those of the windows that it is fetched, (groups, terms).

    Args:
        bench: the layer.
        array: rows and columns.
        dataflow: what stays in the array.
        held: the memory.
        image: number of the image.
        site: number of the site, in the order of the struck value and then its fetches; the bit.
    """
    (rows, cols), shape, (number, bit) = array, bench.shape, site
    own, terms = shape.m // shape.groups, shape.c * shape.kernel[0] * shape.kernel[1]
    positions = shape.out[0] * shape.out[1]
    cut = {"os": (cols, rows, terms), "ws": (cols, positions, rows), "is": (own, cols, rows)}
    sizes = zip((own, positions, terms), cut[dataflow], strict=True)
    channel_tiles, position_tiles, term_tiles = (spans(count, step) for count, step in sizes)
    fetches = {"i": channel_tiles, "w": position_tiles, "s": term_tiles}[held[0]]
    value, fetch = divmod(number, len(fetches))
    plane, weights = bench.x[image].copy(), bench.w.reshape(shape.groups, own, terms).copy()
    if checker:
        channel_tiles = spans(own + 1, own + 1 if dataflow == "is" else cut[dataflow][0])
        summed, met = weights.sum(1, keepdims=True), np.zeros((shape.groups, terms), np.int64)
    if held == "inputs-of-layer" and shape.linear:  # vectors one after the other
        place, c = divmod(value, shape.c)
        value = c * positions + place
    out = np.zeros((shape.groups, own + checker, positions), np.int64)
    for group, (a, channels) in product(range(shape.groups), enumerate(channel_tiles)):
        windows = gathered(bench, plane)[group]
        if held == "inputs-of-layer" and a >= fetch:
            windows = gathered(bench, flipped(bench.how.input, plane, value, bit))[group]
        if held == "inputs-of-tile" and a == fetch:
            here, rest = divmod(value, positions * terms)
            if here == group:
                windows = flipped(bench.how.input, windows, rest, bit)
        for (u, at), (t, some) in product(enumerate(position_tiles), enumerate(term_tiles)):
            taken = weights
            now = u >= fetch if held == "weights-of-layer" else u == fetch
            if held.startswith("weights") and now:
                taken = flipped(bench.how.weight, weights, value, bit)
            left = windows[at[0] : at[1], some[0] : some[1]]
            if checker:
                taken = np.concatenate([taken, summed], 1)
                if channels[1] > own:
                    met[group, some[0] : some[1]] += left.sum(0)
            right = taken[group, channels[0] : channels[1], some[0] : some[1]]
            out[group, channels[0] : channels[1], at[0] : at[1]] += right @ left.T
            if held == "sums-of-tile" and t == fetch:
                m, p = divmod(value, positions)
                g, c = divmod(m, own)
                if g == group and channels[0] <= c < channels[1] and at[0] <= p < at[1]:
                    total = out[g, c, p : p + 1]
                    out[g, c, p] = bench.how.struck(total, total, np.array([bit]))[0]
    return (out, met) if checker else out.reshape(shape.m, positions)


def flipped(word, values: np.ndarray, place: int, bit: int) -> np.ndarray:
    """A copy with one bit of one value inverted."""
    after = values.copy().reshape(-1)
    after[place] = word.flipped(after[place : place + 1], np.array([bit]))[0]
    return after.reshape(values.shape)


def gathered(bench: Bench, plane: np.ndarray) -> np.ndarray:
    """What the outputs of one image multiply, (groups, positions, terms); 0 in the padding."""
    shape = bench.shape
    found = np.zeros((shape.groups, shape.out[0] * shape.out[1], bench.w[0].size), np.int64)
    for group, (p, (e, f)), (q, (c, r, s)) in product(
        range(shape.groups),
        enumerate(np.ndindex(*shape.out)),
        enumerate(np.ndindex(shape.c, *shape.kernel)),
    ):
        y, z = shape.place(0, e, r), shape.place(1, f, s)
        if y is not None and z is not None:
            found[group, p, q] = plane[group * shape.c + c, y, z]
    return found
