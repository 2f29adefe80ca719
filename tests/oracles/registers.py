"""An array of processing elements, register by register and edge by edge, with stuck bits.

No closed form is used: values move, and every register gives what its stuck bits leave of it.
Elements multiply what is in their own registers.
"""

import numpy as np

from radhard.arith.array import Array
from radhard.arith.multiplier import Multiplier


class Registers:
    """Computes Y = A W for A (m, k) and W (k, n) of integers."""

    def __init__(self, array: Array, multiplier: Multiplier) -> None:
        self.array, self.multiplier = array, multiplier
        self.shape = (array.rows, array.cols)

    def __call__(self, a: np.ndarray, w: np.ndarray) -> np.ndarray:
        flow = self.array.dataflow
        if flow == "os":
            return self._staying(a, w)
        if flow == "ws":
            return self._moving(a, w, "activation", "weight")
        return self._moving(w.T, a.T, "weight", "activation").T

    def stuck(self, site: str, row: int, col: int, value: int) -> int:
        """What a register or a product in this element gives for a value."""
        width = {"psum": self.array.psum_bits, "product": 2 * self.multiplier.width}.get(
            site, self.multiplier.width
        )
        signed = site == "psum" or self.multiplier.signed
        bits = [(value >> k) & 1 for k in range(width)]
        for one in self.array.defects:
            if (one.row, one.col, one.site) == (row, col, site):
                bits[one.bit] = one.value
        total = sum(bit << k for k, bit in enumerate(bits))
        return total - (1 << width) if signed and bits[-1] else total

    def product(self, row: int, col: int, activation: int, weight: int) -> int:
        """What an element's multiplier gives."""
        circuit = self.multiplier
        for one in self.array.defects:
            if (one.row, one.col, one.site) == (row, col, "gate"):
                circuit = circuit.stuck_at(one.node, one.value)
        return self.stuck("product", row, col, int(circuit.product(activation, weight)))

    def _passed(self, held: np.ndarray, site: str, enters: np.ndarray, axis: int) -> np.ndarray:
        """Registers after an edge: each takes its neighbour's value, the first ones what enters."""
        new = np.zeros_like(held)
        for row, col in np.ndindex(self.shape):
            if axis == 1:
                value = held[row, col - 1] if col else enters[row]
            else:
                value = held[row - 1, col] if row else enters[col]
            new[row, col] = self.stuck(site, row, col, int(value))
        return new

    def _moving(self, x: np.ndarray, y: np.ndarray, across: str, stays: str) -> np.ndarray:
        """``y`` (k, n) stays in the elements, ``x`` (m, k) moves across, sums move down."""
        rows, cols = self.shape
        found = np.zeros((len(x), y.shape[1]), np.int64)
        for left in range(0, y.shape[1], cols):
            carried = np.zeros((len(x), cols), np.int64)
            total = np.zeros((len(x), cols), np.int64)
            for top in range(0, len(y), rows):
                tile = np.zeros(self.shape, np.int64)
                part = y[top : top + rows, left : left + cols]
                tile[: part.shape[0], : part.shape[1]] = part
                given = np.zeros((len(x), rows), np.int64)
                given[:, : part.shape[0]] = x[:, top : top + rows]
                enters = np.zeros_like(carried) if self.array.restart else carried
                carried = self._tile(given, tile, enters, part.shape[0], (across, stays))
                total += carried if self.array.restart else 0
            out = total if self.array.restart else carried
            found[:, left : left + cols] = out[:, : y.shape[1] - left]
        return found

    def _tile(self, x, tile, enters, used, sites) -> np.ndarray:
        rows, cols = self.shape
        across, stays = sites
        held = np.zeros(self.shape, np.int64)
        for row in reversed(range(rows)):  # the lowest row's values enter first
            held = self._passed(held, stays, tile[row], 0)
        moving, sums = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.int64)
        out = np.zeros((len(x), cols), np.int64)
        for edge in range(len(x) + rows + cols):
            new = np.zeros_like(sums)
            for row, col in np.ndindex(self.shape):
                step = edge - 1 - col
                above = (
                    sums[row - 1, col] if row else enters[step, col] if 0 <= step < len(x) else 0
                )
                if (row >= used and self.array.gated) or (row, col) in self.array.bypassed:
                    new[row, col] = above
                    continue
                pair = int(moving[row, col]), int(held[row, col])
                one = self.product(row, col, *(pair if across == "activation" else pair[::-1]))
                new[row, col] = self.stuck("psum", row, col, int(above) + one)
            sums = new
            for col in range(cols):
                step = edge - 1 - (rows - 1) - col
                if 0 <= step < len(x):
                    out[step, col] = sums[rows - 1, col]
            skewed = [x[edge - r, r] if 0 <= edge - r < len(x) else 0 for r in range(rows)]
            moving = self._passed(moving, across, np.array(skewed), 1)
        return out

    def _staying(self, a: np.ndarray, w: np.ndarray) -> np.ndarray:
        rows, cols = self.shape
        found = np.zeros((len(a), w.shape[1]), np.int64)
        for top in range(0, len(a), rows):
            for left in range(0, w.shape[1], cols):
                part = self._tile_staying(a[top : top + rows], w[:, left : left + cols])
                found[top : top + rows, left : left + cols] = part
        return found

    def _tile_staying(self, a: np.ndarray, w: np.ndarray) -> np.ndarray:
        rows, cols = self.shape
        count = len(w)
        full = np.zeros((rows, count), np.int64), np.zeros((count, cols), np.int64)
        full[0][: len(a)], full[1][:, : w.shape[1]] = a, w
        right, down, sums = (np.zeros(self.shape, np.int64) for _ in range(3))
        for edge in range(count + rows + cols - 1):
            new = np.zeros_like(sums)
            for row, col in np.ndindex(self.shape):
                step = edge - 1 - row - col
                one = self.product(row, col, int(right[row, col]), int(down[row, col]))
                idle = self.array.gated and not 0 <= step < count
                total = int(sums[row, col]) + (0 if idle else one)
                new[row, col] = self.stuck("psum", row, col, total if edge else 0)
            sums = new
            enter = [
                [values[k] if 0 <= k < count else 0 for values, k in zip(lines, at, strict=True)]
                for lines, at in (
                    (full[0], [edge - r for r in range(rows)]),
                    (full[1].T, [edge - c for c in range(cols)]),
                )
            ]
            right = self._passed(right, "activation", np.array(enter[0]), 1)
            down = self._passed(down, "weight", np.array(enter[1]), 0)
        out = np.zeros(self.shape, np.int64)
        for row in reversed(range(rows)):
            out[row] = sums[rows - 1]
            sums = self._passed(sums, "psum", np.zeros(cols, np.int64), 0)
        return out[: len(a), : w.shape[1]]
