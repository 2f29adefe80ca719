"""A whole network on a simulated array: tile by tile, register by register."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
import torch
from torch import Tensor

from radhard.accel.matrices import sizes, wrapped
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.terms import Place, Terms
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.schedule import Integers, Operands

#: Matrices (tiles, M, K) and (tiles, K, N) to their products, as an array gives them.
Tiled = Callable[[ArrayDesign, Operands], Integers]


def by_twin(design: ArrayDesign, operands: Operands) -> Integers:
    """Products of tiles by `Twin`, (tiles, M, N)."""
    found: Integers = Twin(design, operands).run()[0]
    return found


def multiplied(
    design: ArrayDesign, a: Integers, w: Integers, tiled: Tiled | None = None
) -> Integers:
    """A [M, K] by W [K, N] on an array, in tiles; what is left of the last ones is zeros.

    Sums of tiles are added outside the array, as wide as its own, and wrap round.

    Args:
        design: the array.
        a, w: matrices of integers that its registers hold.
        tiled: what computes tiles; `by_twin` where ``None``.

    >>> a, w = np.arange(15).reshape(3, 5), np.arange(20).reshape(5, 4) - 9
    >>> bool((multiplied(ArrayDesign(2, 3), a, w) == a @ w).all())
    True
    """
    (m, k), n = a.shape, w.shape[1]
    whole = {"ws": m, "os": k, "is": n}[design.dataflow]
    size = sizes(design, whole)
    counts = [ceil(length / step) for length, step in zip((m, k, n), size, strict=True)]
    parts = list(product(*map(range, counts)))
    left, top = _padded(a, counts[:2], size[:2]), _padded(w, counts[1:], size[1:])
    operands = Operands(
        np.stack([left[i, j] for i, j, _ in parts]), np.stack([top[j, c] for _, j, c in parts])
    )
    found = np.zeros((counts[0] * size[0], counts[2] * size[2]), np.int64)
    for (i, _, c), tile in zip(parts, (tiled or by_twin)(design, operands), strict=True):
        found[i * size[0] : (i + 1) * size[0], c * size[2] : (c + 1) * size[2]] += tile
    width = design.widths["p"]
    return wrapped(found[:m, :n], width)


def _padded(matrix: Integers, counts: list[int], size: tuple[int, ...]) -> Integers:
    """A matrix in tiles, (rows of tiles, columns of tiles, rows, columns)."""
    rows, cols = (count * step for count, step in zip(counts, size, strict=True))
    held = np.zeros((rows, cols), np.int64)
    held[: matrix.shape[0], : matrix.shape[1]] = matrix
    return held.reshape(counts[0], size[0], counts[1], size[1]).swapaxes(1, 2)


@dataclass(frozen=True, slots=True)
class Simulated:
    """Layers of integers on a simulated array: `Workload.with_(arithmetic=Simulated(design))`.

    Slow, and the same results as those of exact sums, bit for bit, where the array's sums are wide
    enough: what shows that the hardware computes the network.

    Attributes:
        design: the array; its activations and weights are as wide as the codes.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT8)
    >>> there = work.with_(arithmetic=Simulated(ArrayDesign(2, 2)))
    >>> bool((there.logits(work.images) == work.logits(work.images)).all())
    True
    """

    design: ArrayDesign

    @property
    def name(self) -> str:
        """Of the array."""
        return self.design.name

    @property
    def linear(self) -> bool:
        """Whether sums change by products: no, as they wrap round."""
        return False

    def sums(self, how: Arithmetic, terms: Terms, operand: Tensor, given: Parameters) -> Tensor:
        """See `radhard.network.arithmetic.Datapath`.

        Raises:
            ValueError: for operands that the array's registers don't hold.
        """
        self._check(how)

        def matrices(x: Tensor, w: Tensor, place: Place) -> Tensor:
            return self._matrices(x, w)

        weight = given.weight.to(torch.float64)
        return terms.multiplied(matrices, operand.to(torch.float64), weight, how.bias(given))

    def _matrices(self, x: Tensor, w: Tensor) -> Tensor:
        """(b, t, k) by (b or 1, m, k), giving (b, t, m)."""
        batch, rows, fan_in = x.shape
        flat = x.reshape(1, batch * rows, fan_in) if len(w) == 1 else x
        found = [
            multiplied(self.design, _integers(one), _integers(other).T)
            for one, other in zip(flat, w, strict=True)
        ]
        whole = torch.from_numpy(np.stack(found)).to(torch.float64)
        return whole.reshape(batch, rows, -1)

    def _check(self, how: Arithmetic) -> None:
        held = self.design.widths
        for name, fmt in (("a", how.input), ("w", how.weight)):
            if not how.exact or fmt.width > held[name]:  # type: ignore[index]
                raise ValueError(
                    f"{fmt.name} does not fit registers of {held[name]} bits "  # type: ignore[index]
                    f"({self.design.name}): use integers of at most as many"
                )


def _integers(matrix: Tensor) -> Integers:
    found: Integers = np.rint(matrix.numpy()).astype(np.int64)
    return found
