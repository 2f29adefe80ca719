"""Compiled kernels that push sparse differences through one operation, run by run.

A **state** is what n runs differ by in one value of the network, as five arrays: ``box`` (n, 4), the
top, left, height and width of the part of the map that may differ; ``base`` (n,), where the run's
row pointers begin in ``start``; and ``chan`` and ``value``, the channels and faulty values of the
entries. Row k of a run is position k of its box; its entries are ``start[base + k] <= j <
start[base + k + 1]``. Maps are channels-last, (images, positions, channels), in float32.

Every kernel computes a **tile** per run, all channels of a box of results, passes it through a chain
of elementwise operations, and keeps what differs from the golden result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

#: Elementwise operations of a chain.
AFFINE, AFFINE_FUSED, RELU, CLAMP, ADD = range(5)
#: How sums become outputs, and inputs operands.
AS_IS, TO_FLOAT, TO_INTEGER, TO_FIXED = range(4)
#: How a window becomes a value.
LARGEST, MEAN = range(2)
#: Output channels that are computed together, and input channels whose weights stay in the cache.
LANES, CHANNELS_CACHED = 64, 64

_POINTER = types.intp
_compiled = njit(cache=True, error_model="numpy", nogil=True)


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
    """Emits the loop of `_multiply_add`: sums stay in vector registers, weights come from memory."""

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


_madd_16: Callable[..., None] = _multiply_add(16, 32, 4)
_madd_32: Callable[..., None] = _multiply_add(32, 32, 2)
_madd_64: Callable[..., None] = _multiply_add(64, 32, 1)
_wide_16: Callable[..., None] = _multiply_add(16, 64, 2)
_wide_32: Callable[..., None] = _multiply_add(32, 64, 1)
_wide_64: Callable[..., None] = _multiply_add(64, 64, 1)


@_compiled
def _add_product(wide, width, sums, weights, offset, change, count):  # type: ignore[no-untyped-def]
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


@_compiled
def _rounded(x, par):  # type: ignore[no-untyped-def]
    """A float32 in a smaller IEEE float, to nearest, ties to even.

    ``par``: bits dropped, smallest normal value, its quantum, largest finite value.
    """
    if x != x:
        return x
    if abs(x) < par[1]:
        return np.rint(x / par[2]) * par[2]
    drop = np.int32(par[0])
    one = np.int32(1)
    bits = np.float32(x).view(np.int32)
    bits = np.int32(bits + ((one << (drop - one)) - one) + ((bits >> drop) & one))
    bits = np.int32(bits & ~((one << drop) - one))
    near = bits.view(np.float32)
    if abs(near) > par[3]:
        return np.float32(np.inf) if x > 0 else np.float32(-np.inf)
    return near


@_compiled
def _integer(x, par):  # type: ignore[no-untyped-def]
    """The integer, as a real, that ``x`` is stored as; ``par``: scale, lowest, highest."""
    steps = np.rint(x / par[0])
    if steps != steps:
        steps = par[0] - par[0]
    return min(max(steps, par[1]), par[2])


@_compiled
def _fixed(x, par):  # type: ignore[no-untyped-def]
    """The same for fixed point; ``par``: value of 1, lowest, highest, its inverse."""
    steps = np.trunc(x * par[3])
    if steps != steps:
        steps = par[0] - par[0]
    return min(max(steps, par[1]), par[2])


@_compiled
def _operand(kind, x, par):  # type: ignore[no-untyped-def]
    if kind == TO_FLOAT:
        return _rounded(x, par)
    if kind == TO_INTEGER:
        return _integer(x, par)
    if kind == TO_FIXED:
        return _fixed(x, par)
    return x


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"})
def _affine_fused(work, first, slope, offset):  # type: ignore[no-untyped-def]
    for m in range(len(slope)):
        work[first + m] = work[first + m] * slope[m] + offset[m]


@_compiled
def _affine(work, first, slope, offset):  # type: ignore[no-untyped-def]
    for m in range(len(slope)):
        work[first + m] = work[first + m] * slope[m] + offset[m]


@_compiled
def _chained(work, count, channels, codes, numbers, side):  # type: ignore[no-untyped-def]
    """Elementwise operations on ``count`` values; ``side`` is what `ADD` adds."""
    for k in range(len(codes)):
        code = codes[k]
        if code == RELU:
            for j in range(count):
                if work[j] < 0:
                    work[j] = 0
        elif code == CLAMP:
            low, high = numbers[k, 0], numbers[k, 1]
            for j in range(count):
                if work[j] < low:
                    work[j] = low
                elif work[j] > high:
                    work[j] = high
        elif code == ADD:
            for j in range(count):
                work[j] += side[j]
        elif code == AFFINE:
            for j in range(0, count, channels):
                _affine(work, j, numbers[k, :channels], numbers[k, channels : 2 * channels])
        else:
            for j in range(0, count, channels):
                _affine_fused(work, j, numbers[k, :channels], numbers[k, channels : 2 * channels])


@_compiled
def _laid_out(state, i, golden, columns, box, into):  # type: ignore[no-untyped-def]
    """A run's values, (positions, channels), in ``box``, golden where it doesn't differ."""
    boxes, base, start, chan, value = state
    channels = golden.shape[1]
    top, left, height, width = box
    for y in range(height):
        for x in range(width):
            place = (y * width + x) * channels
            row = golden[(top + y) * columns + left + x]
            for c in range(channels):
                into[place + c] = row[c]
    own_top, own_left, own_height, own_width = boxes[i]
    for y in range(max(own_top, top), min(own_top + own_height, top + height)):
        for x in range(max(own_left, left), min(own_left + own_width, left + width)):
            k = base[i] + (y - own_top) * own_width + x - own_left
            place = ((y - top) * width + x - left) * channels
            for j in range(start[k], start[k + 1]):
                into[place + chan[j]] = value[j]


@_compiled
def _kept(work, golden, columns, i, box, out, used):  # type: ignore[no-untyped-def]
    """Append what differs of a tile to ``out``, in the smallest box; gives (rows, entries) used."""
    boxes, base, start, chan, value = out
    channels = golden.shape[1]
    top, left, height, width = box
    first, entries = used
    base[i] = first
    y_low, y_high, x_low, x_high = height, -1, width, -1
    for y in range(height):
        for x in range(width):
            start[first + y * width + x] = entries
            place = (y * width + x) * channels
            row = golden[(top + y) * columns + left + x]
            before = entries
            for c in range(channels):
                v = work[place + c]
                chan[entries] = c
                value[entries] = v
                entries += v != row[c]
            if entries > before:
                y_low, y_high = min(y_low, y), y
                x_low, x_high = min(x_low, x), max(x_high, x)
    if y_high < 0:
        boxes[i] = 0
        start[first] = entries
        return first + 1, entries
    rows = 0
    for y in range(y_low, y_high + 1):
        for x in range(x_low, x_high + 1):
            start[first + rows] = start[first + y * width + x]
            rows += 1
    start[first + rows] = entries
    boxes[i, 0], boxes[i, 1] = top + y_low, left + x_low
    boxes[i, 2], boxes[i, 3] = y_high + 1 - y_low, x_high + 1 - x_low
    return first + rows + 1, entries


@_compiled
def _changes(state, i, golden, columns, kind, par, stride, pointers, offset, change):  # type: ignore[no-untyped-def]
    """By how much operands change: pointers (rows, blocks + 1), weight offsets, amounts; sum of sizes."""
    boxes, base, start, chan, value = state
    top, left, height, width = boxes[i]
    blocks = pointers.shape[1] - 1
    count, size = 0, 0.0
    for k in range(height * width):
        row = golden[(top + k // width) * columns + left + k % width]
        block = 0
        pointers[k, 0] = count
        for j in range(start[base[i] + k], start[base[i] + k + 1]):
            c = chan[j]
            while blocks > 1 and c >= (block + 1) * CHANNELS_CACHED:
                block += 1
                pointers[k, block] = count
            moved = _operand(kind, value[j], par) - _operand(kind, row[c], par)
            offset[count] = c * stride
            change[count] = moved
            count += moved != 0
            size += abs(moved)
        for later in range(block + 1, blocks + 1):
            pointers[k, later] = count
    return size


@_compiled
def _spread(box, tile, geometry, shape, lists, weights, sums, wide):  # type: ignore[no-untyped-def]
    """Add products of changes to ``sums`` (blocks, positions, lanes), weights in cached portions."""
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    inputs, lanes, _ = shape
    pointers, offset, change = lists
    top, left, height, width = box
    tile_top, tile_left, tile_height, tile_width = tile
    bytes_each = 8 if wide else 4
    p_weights, p_sums = weights.ctypes.data, sums.ctypes.data
    p_offset, p_change = offset.ctypes.data, change.ctypes.data
    taps, positions = kernel_rows * kernel_columns, tile_height * tile_width
    for m in range(weights.shape[0]):
        for tap in range(taps):
            r, s = tap // kernel_columns, tap % kernel_columns
            portion = p_weights + bytes_each * lanes * inputs * (m * taps + tap)
            for block in range(pointers.shape[1] - 1):
                for y in range(height):
                    e = top + y + above - r * apart_y
                    if e % down:
                        continue
                    e = e // down - tile_top
                    if e < 0 or e >= tile_height:
                        continue
                    for x in range(width):
                        f = left + x + before - s * apart_x
                        if f % right:
                            continue
                        f = f // right - tile_left
                        if f < 0 or f >= tile_width:
                            continue
                        k = y * width + x
                        first = pointers[k, block]
                        count = pointers[k, block + 1] - first
                        if count:
                            place = (m * positions + e * tile_width + f) * lanes
                            _add_product(
                                wide, lanes, p_sums + bytes_each * place, portion,
                                p_offset + 4 * first, p_change + bytes_each * first, count,
                            )  # fmt: skip


@_compiled
def _spread_grouped(box, tile, geometry, shape, lists, weights, sums):  # type: ignore[no-untyped-def]
    """The same where groups of inputs have outputs of their own: ``sums`` (1, positions, outputs)."""
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    inputs, outputs, groups = shape
    pointers, offset, change = lists
    top, left, height, width = box
    tile_top, tile_left, tile_height, tile_width = tile
    own, members = outputs // groups, inputs // groups
    for k in range(height * width):
        for tap in range(kernel_rows * kernel_columns):
            e = top + k // width + above - tap // kernel_columns * apart_y
            f = left + k % width + before - tap % kernel_columns * apart_x
            if e % down or f % right:
                continue
            e, f = e // down - tile_top, f // right - tile_left
            if e < 0 or e >= tile_height or f < 0 or f >= tile_width:
                continue
            for j in range(pointers[k, 0], pointers[k, 1]):
                c = offset[j]
                place = (e * tile_width + f) * outputs + c // members * own
                for m in range(own):
                    sums[place + m] += change[j] * weights[0, tap, c, m]


@_compiled
def _finished(kind, par, golden, unit, moved, lanes, columns, tile, work):  # type: ignore[no-untyped-def]
    """Outputs (positions, channels) of a tile from golden sums and what they move by."""
    top, left, height, width = tile
    channels, positions = golden.shape[1], height * width
    for k in range(positions):
        row = golden[(top + k // width) * columns + left + k % width]
        for m in range(0, channels, lanes):
            place = (m // lanes * positions + k) * lanes
            end = min(lanes, channels - m)
            into = k * channels + m
            if kind == AS_IS:
                for j in range(end):
                    work[into + j] = row[m + j] + moved[place + j]
            elif kind == TO_FLOAT:
                for j in range(end):
                    work[into + j] = _rounded(np.float32(row[m + j] + moved[place + j]), par)
            elif kind == TO_INTEGER:
                for j in range(end):
                    total = row.dtype.type(row[m + j] + moved[place + j])
                    real = total * unit[m + j]
                    work[into + j] = _integer(real, par) * par[0]
            else:
                for j in range(end):
                    total = row.dtype.type(row[m + j] + moved[place + j])
                    real = total * unit[m + j]
                    work[into + j] = _fixed(real, par) * par[0]


@_compiled
def convolve(state, other, image, tiles, maps, layer, weights, finish, chain, out):  # type: ignore[no-untyped-def]
    """A convolution or dense layer, and the chain behind it; gives (rows, entries) used of ``out``.

    Args:
        state: what runs differ by in the layer's input.
        other: the same in what `ADD` adds, where the chain has it.
        image: (n,) golden maps of which image.
        tiles: (n, 4) boxes of results.
        maps: of the input, of sums, of what is added, of the chain's result, and columns of the
            input's and the result's map.
        layer: geometry of eight numbers, (input channels, lanes, groups), kind and parameters of
            operands; with groups all output channels are lanes.
        weights: (blocks, taps, input channels, lanes) in float32, in float64, and the largest sum of
            changes for which float32 is exact; with groups (1, taps, inputs, outputs per group).
        finish: kind, parameters, value of a sum of 1 per channel.
        chain: codes, their numbers, and whether it adds.
        out: arrays for the result.
    """
    golden_in, sums, golden_side, golden_out, columns_in, columns = maps
    geometry, shape, kind, par = layer
    narrow, wide_weights, limit = weights
    finish_kind, finish_par, unit = finish
    codes, numbers, adds = chain
    channels, lanes, groups = golden_out.shape[2], shape[1], shape[2]
    most, rows = 1, 1
    for i in range(len(image)):
        box = state[0][i]
        entries = state[2][state[1][i] + box[2] * box[3]] - state[2][state[1][i]]
        most, rows = max(most, entries), max(rows, box[2] * box[3])
    largest = 1
    for i in range(len(image)):
        largest = max(largest, tiles[i, 2] * tiles[i, 3])
    whole = groups > 1 or golden_in.shape[1] == 1
    blocks = 1 if whole else -(-shape[0] // CHANNELS_CACHED)
    stride = 1 if groups > 1 else lanes
    pointers = np.empty((rows, blocks + 1), np.int64)
    offset = np.empty(most + 1, np.int32)
    change = np.empty(most + 1, np.float32)
    moved = np.empty(narrow.shape[0] * largest * lanes, np.float32)
    wide_moved = np.empty(narrow.shape[0] * largest * lanes if limit < np.inf else 1, np.float64)
    work = np.empty(largest * channels, np.float32)
    side = np.empty(largest * channels if adds else 1, np.float32)
    used = (0, 0)
    for i in range(len(image)):
        b = image[i]
        tile = (tiles[i, 0], tiles[i, 1], tiles[i, 2], tiles[i, 3])
        box = (state[0][i, 0], state[0][i, 1], state[0][i, 2], state[0][i, 3])
        size = _changes(
            state, i, golden_in[b], columns_in, kind, par, stride, pointers, offset, change
        )
        held = narrow.shape[0] * tile[2] * tile[3] * lanes
        lists = (pointers, offset, change)
        if size <= limit or size != size or limit == np.inf:
            moved[:held] = 0
            if groups > 1:
                _spread_grouped(box, tile, geometry, shape, lists, narrow, moved)
            else:
                _spread(box, tile, geometry, shape, lists, narrow, moved, False)
            _finished(
                finish_kind, finish_par, sums[b], unit, moved, lanes, columns, tile, work
            )
        else:
            wide_moved[:held] = 0
            wide_lists = (pointers, offset, change.astype(np.float64))
            if groups > 1:
                _spread_grouped(box, tile, geometry, shape, wide_lists, wide_weights, wide_moved)
            else:
                _spread(box, tile, geometry, shape, wide_lists, wide_weights, wide_moved, True)
            _finished(
                finish_kind, finish_par, sums[b], unit, wide_moved, lanes, columns, tile, work
            )
        if adds:
            _laid_out(other, i, golden_side[b], columns, tile, side)
        _chained(work, tile[2] * tile[3] * channels, channels, codes, numbers, side)
        used = _kept(work, golden_out[b], columns, i, tile, out, used)
    return used


@_compiled
def pass_on(state, other, image, tiles, maps, chain, out):  # type: ignore[no-untyped-def]
    """A chain alone; as `convolve`, with maps of the value, of what is added, and of the result."""
    golden_in, golden_side, golden_out, columns = maps
    codes, numbers, adds = chain
    channels = golden_out.shape[2]
    largest = 1
    for i in range(len(image)):
        largest = max(largest, tiles[i, 2] * tiles[i, 3])
    work = np.empty(largest * channels, np.float32)
    side = np.empty(largest * channels if adds else 1, np.float32)
    used = (0, 0)
    for i in range(len(image)):
        b = image[i]
        tile = (tiles[i, 0], tiles[i, 1], tiles[i, 2], tiles[i, 3])
        _laid_out(state, i, golden_in[b], columns, tile, work)
        if adds:
            _laid_out(other, i, golden_side[b], columns, tile, side)
        _chained(work, tile[2] * tile[3] * channels, channels, codes, numbers, side)
        used = _kept(work, golden_out[b], columns, i, tile, out, used)
    return used


@_compiled
def pool(state, image, tiles, maps, geometry, kind, chain, out):  # type: ignore[no-untyped-def]
    """Pooling and the chain behind it; maps of the value and of the result, with their columns."""
    golden_in, golden_out, rows_in, columns_in, columns = maps
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    codes, numbers, _ = chain
    channels = golden_out.shape[2]
    largest, reach = 1, 1
    span_y, span_x = (kernel_rows - 1) * apart_y + 1, (kernel_columns - 1) * apart_x + 1
    for i in range(len(image)):
        largest = max(largest, tiles[i, 2] * tiles[i, 3])
        extent = (tiles[i, 2] * down + span_y) * (tiles[i, 3] * right + span_x)
        reach = max(reach, extent)
    region = np.empty(reach * channels, np.float32)
    work = np.empty(largest * channels, np.float32)
    used = (0, 0)
    for i in range(len(image)):
        b = image[i]
        tile = (tiles[i, 0], tiles[i, 1], tiles[i, 2], tiles[i, 3])
        y_low, x_low = max(0, tile[0] * down - above), max(0, tile[1] * right - before)
        y_end = min(rows_in, (tile[0] + tile[2] - 1) * down - above + span_y)
        x_end = min(columns_in, (tile[1] + tile[3] - 1) * right - before + span_x)
        across = x_end - x_low
        box = (y_low, x_low, max(0, y_end - y_low), max(0, across))
        _laid_out(state, i, golden_in[b], columns_in, box, region)
        for k in range(tile[2] * tile[3]):
            e, f, place = tile[0] + k // tile[3], tile[1] + k % tile[3], k * channels
            work[place : place + channels] = -np.inf if kind == LARGEST else 0
            for tap in range(kernel_rows * kernel_columns):
                y = e * down - above + tap // kernel_columns * apart_y
                x = f * right - before + tap % kernel_columns * apart_x
                if y < 0 or y >= rows_in or x < 0 or x >= columns_in:
                    continue
                source = ((y - y_low) * across + x - x_low) * channels
                if kind == LARGEST:
                    for c in range(channels):
                        v = region[source + c]
                        if v > work[place + c] or v != v:
                            work[place + c] = v
                else:
                    for c in range(channels):
                        work[place + c] += region[source + c]
            if kind == MEAN:
                for c in range(channels):
                    work[place + c] /= np.float32(kernel_rows * kernel_columns)
        _chained(work, tile[2] * tile[3] * channels, channels, codes, numbers, work)
        used = _kept(work, golden_out[b], columns, i, tile, out, used)
    return used


@_compiled
def subsample(state, strides, shift, out):  # type: ignore[no-untyped-def]
    """Every so many rows and columns from the first, with channels counted from ``-shift``."""
    boxes, base, start, chan, value = state
    to_boxes, to_base, to_start, to_chan, to_value = out
    down, right = strides
    rows, entries = 0, 0
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        e, f = -(-top // down), -(-left // right)
        to_boxes[i, 0], to_boxes[i, 1] = e, f
        to_boxes[i, 2] = max(0, (top + height - 1) // down - e + 1) if height else 0
        to_boxes[i, 3] = max(0, (left + width - 1) // right - f + 1) if width else 0
        to_base[i] = rows
        for y in range(to_boxes[i, 2]):
            for x in range(to_boxes[i, 3]):
                to_start[rows] = entries
                rows += 1
                k = base[i] + ((e + y) * down - top) * width + (f + x) * right - left
                for j in range(start[k], start[k + 1]):
                    to_chan[entries] = chan[j] + shift
                    to_value[entries] = value[j]
                    entries += 1
        to_start[rows] = entries
        rows += 1
        if entries == to_start[to_base[i]]:
            to_boxes[i] = 0
    return rows, entries


@_compiled
def flatten(state, columns, positions, out):  # type: ignore[no-untyped-def]
    """A map as one position whose channels are its values in the order (channel, position)."""
    boxes, base, start, chan, value = state
    to_boxes, to_base, to_start, to_chan, to_value = out
    rows, entries = 0, 0
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        to_base[i] = rows
        to_start[rows] = entries
        for k in range(height * width):
            place = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                to_chan[entries] = chan[j] * positions + place
                to_value[entries] = value[j]
                entries += 1
        if entries > to_start[rows]:
            to_boxes[i, 0], to_boxes[i, 1], to_boxes[i, 2], to_boxes[i, 3] = 0, 0, 1, 1
            rows += 1
        else:
            to_boxes[i] = 0
        to_start[rows] = entries
        rows += 1
    return rows, entries


@_compiled
def write(state, columns, positions, into):  # type: ignore[no-untyped-def]
    """Overwrite golden rows (n, channels * positions), channel by channel, where runs differ."""
    boxes, base, start, chan, value = state
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            place = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                into[i, chan[j] * positions + place] = value[j]


@_compiled
def merge(first, second, shift, out):  # type: ignore[no-untyped-def]
    """Entries of two states over one map, the channels of the second counted from ``shift``."""
    to_boxes, to_base, to_start, to_chan, to_value = out
    rows, entries = 0, 0
    for i in range(len(to_boxes)):
        one, two = first[0][i], second[0][i]
        if not one[2]:
            one = two
        if not two[2]:
            two = one
        top, left = min(one[0], two[0]), min(one[1], two[1])
        height = max(one[0] + one[2], two[0] + two[2]) - top
        width = max(one[1] + one[3], two[1] + two[3]) - left
        to_boxes[i, 0], to_boxes[i, 1] = top, left
        to_boxes[i, 2], to_boxes[i, 3] = height, width
        to_base[i] = rows
        for k in range(height * width):
            to_start[rows + k] = entries
            y, x = top + k // width, left + k % width
            for state, moved in ((first, 0), (second, shift)):
                own_top, own_left, own_height, own_width = state[0][i]
                if not (own_top <= y < own_top + own_height):
                    continue
                if not (own_left <= x < own_left + own_width):
                    continue
                row = state[1][i] + (y - own_top) * own_width + x - own_left
                for j in range(state[2][row], state[2][row + 1]):
                    to_chan[entries] = state[3][j] + moved
                    to_value[entries] = state[4][j]
                    entries += 1
        to_start[rows + height * width] = entries
        rows += height * width + 1
    return rows, entries


@_compiled
def golden_entries(state, image, golden, columns, into):  # type: ignore[no-untyped-def]
    """The golden values of a state's entries, in their order."""
    boxes, base, start, chan, _ = state
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            row = golden[image[i], (top + k // width) * columns + left + k % width]
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                into[j] = row[chan[j]]


@_compiled
def select(state, value, kept, out):  # type: ignore[no-untyped-def]
    """The entries with ``kept``, and their new values."""
    boxes, base, start, chan, _ = state
    to_boxes, to_base, to_start, to_chan, to_value = out
    rows, entries = 0, 0
    for i in range(len(boxes)):
        to_base[i] = rows
        before = entries
        for k in range(boxes[i, 2] * boxes[i, 3]):
            to_start[rows] = entries
            rows += 1
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                to_chan[entries], to_value[entries] = chan[j], value[j]
                entries += kept[j]
        to_start[rows] = entries
        rows += 1
        to_boxes[i] = boxes[i]
        if entries == before:
            to_boxes[i] = 0
    return rows, entries


@_compiled
def within(state, columns, positions, reads, kept):  # type: ignore[no-untyped-def]
    """Which entries lie in each run's box of reads: channels and positions from, to, and first."""
    boxes, base, start, chan, _ = state
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            p = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                m = chan[j]
                kept[j] = (
                    reads[i, 0] <= m < reads[i, 1]
                    and reads[i, 2] <= p < reads[i, 3]
                    and m * positions + p >= reads[i, 4]
                )


@_compiled
def reweigh(wrong, image, maps, geometry, layer, finish, out):  # type: ignore[no-untyped-def]
    """Outputs of a layer, before any chain, under one wrong weight each.

    Args:
        wrong: (n,) output channel, (n,) input channel, (n,) tap, (n,) change of the weight.
        image: (n,).
        maps: golden input, golden sums and golden outputs; rows and columns of the input's map,
            columns of the output's.
        geometry: eight numbers.
        layer: kind and parameters of operands.
        finish: as in `convolve`.
        out: arrays for the result.
    """
    output, source, taps, change = wrong
    golden_in, sums, golden_out, rows_in, columns_in, columns = maps
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    kind, par = layer
    finish_kind, finish_par, unit = finish
    boxes, base, start, chan, value = out
    positions = golden_out.shape[1]
    rows, entries = 0, 0
    for i in range(len(image)):
        m, c, b = output[i], source[i], image[i]
        r, s = taps[i] // kernel_columns, taps[i] % kernel_columns
        boxes[i, 0], boxes[i, 1] = 0, 0
        boxes[i, 2], boxes[i, 3] = positions // columns, columns
        base[i] = rows
        first = entries
        for p in range(positions):
            start[rows] = entries
            rows += 1
            y = p // columns * down - above + r * apart_y
            x = p % columns * right - before + s * apart_x
            if y < 0 or y >= rows_in or x < 0 or x >= columns_in:
                continue
            operand = _operand(kind, golden_in[b, y * columns_in + x, c], par)
            total = sums.dtype.type(sums[b, p, m] + change[i] * operand)
            if finish_kind == AS_IS:
                found = np.float32(total)
            elif finish_kind == TO_FLOAT:
                found = np.float32(_rounded(np.float32(total), finish_par))
            elif finish_kind == TO_INTEGER:
                found = np.float32(_integer(total * unit[m], finish_par) * finish_par[0])
            else:
                found = np.float32(_fixed(total * unit[m], finish_par) * finish_par[0])
            chan[entries], value[entries] = m, found
            entries += found != golden_out[b, p, m]
        start[rows] = entries
        rows += 1
        if entries == first:
            boxes[i] = 0
    return rows, entries
