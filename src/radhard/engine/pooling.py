"""The compiled kernel of pooling; see `kernel` for states and tiles."""

from __future__ import annotations

import numpy as np
from numba import njit

from radhard.engine.tile import chained, kept, laid_out

#: How a window becomes a value; `LARGEST_NUMBER` passes not-a-number by.
LARGEST, MEAN, LARGEST_NUMBER = range(3)

_compiled = njit(cache=True, error_model="numpy", nogil=True)


@_compiled
def pool(state, image, tiles, maps, geometry, kind, chain, out):
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
    region = np.empty(reach * channels, golden_out.dtype)
    work = np.empty(largest * channels, golden_out.dtype)
    used = (0, 0)
    for i in range(len(image)):
        b = image[i]
        tile = (tiles[i, 0], tiles[i, 1], tiles[i, 2], tiles[i, 3])
        y_low, x_low = max(0, tile[0] * down - above), max(0, tile[1] * right - before)
        y_end = min(rows_in, (tile[0] + tile[2] - 1) * down - above + span_y)
        x_end = min(columns_in, (tile[1] + tile[3] - 1) * right - before + span_x)
        across = x_end - x_low
        box = (y_low, x_low, max(0, y_end - y_low), max(0, across))
        laid_out(state, i, golden_in[b], columns_in, box, region)
        for k in range(tile[2] * tile[3]):
            e, f, place = tile[0] + k // tile[3], tile[1] + k % tile[3], k * channels
            work[place : place + channels] = 0 if kind == MEAN else -np.inf
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
                elif kind == LARGEST_NUMBER:
                    for c in range(channels):
                        v = region[source + c]
                        work[place + c] = v if v > work[place + c] else work[place + c]
                else:
                    for c in range(channels):
                        work[place + c] += region[source + c]
            if kind == MEAN:
                for c in range(channels):
                    work[place + c] /= np.float32(kernel_rows * kernel_columns)
        chained(work, tile[2] * tile[3] * channels, channels, codes, numbers, work)
        used = kept(work, golden_out[b], columns, i, tile, out, used)
    return used
