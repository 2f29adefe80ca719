"""Several inputs of a network, of several types, as one tensor with a row for each image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

#: From which size on float32 does not hold all integers.
_HELD = 2**24


@dataclass(frozen=True, slots=True)
class Part:
    """The operation that takes one input out of a packed tensor (b, values).

    Attributes:
        start: place of its first value.
        shape: for one image.
        dtype: of integers and truth values; ``None`` for reals, which have the type of the whole.
    """

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype | None

    @property
    def end(self) -> int:
        """The place behind its last value."""
        return self.start + math.prod(self.shape)

    def __call__(self, packed: Tensor) -> Tensor:
        """The input, (b, ...)."""
        part = packed[:, self.start : self.end].reshape(-1, *self.shape)
        return part if self.dtype is None else part.to(self.dtype)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a network takes: parts by the names of its parameters; one without a name is all.

    >>> inputs, packed = Inputs.of({"ids": torch.tensor([[1, 2]]), "mask": torch.tensor([[True]])})
    >>> packed.tolist(), {name: part(packed).tolist() for name, part in inputs.parts.items()}
    ([[1, 2, 1]], {'ids': [[1, 2]], 'mask': [[True]]})
    """

    parts: Mapping[str, Part]

    @classmethod
    def of(cls, named: Mapping[str, Tensor]) -> tuple[Inputs, Tensor]:
        """Of tensors (b, ...) by name; and all of them as (b, values).

        Raises:
            ValueError: for tensors of different lengths, none at all, or integers beside reals that
                float32 does not hold.
        """
        lengths = {name: len(value) if value.dim() else 0 for name, value in named.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(
                f"inputs of lengths {lengths} can't be: each needs one row for each image"
            )
        real = any(value.is_floating_point() for value in named.values())
        parts, columns, start = {}, [], 0
        for name, value in named.items():
            whole = not value.is_floating_point()
            if real and whole and bool((value.to(torch.int64).abs() > _HELD).any()):
                raise ValueError(
                    f"input {name} holds integers above 2^24 beside inputs of reals: give smaller "
                    "ones, such as numbers of a table's rows"
                )
            part = Part(start, tuple(value.shape[1:]), value.dtype if whole else None)
            parts[name], start = part, part.end
            columns.append(value.flatten(1) if value.dim() > 1 else value[:, None])
        return cls(parts), torch.cat(
            [column.to(torch.float32 if real else torch.int64) for column in columns], 1
        )

    def given(self, packed: Tensor) -> Tensor | dict[str, Tensor]:
        """What was packed, by name; the tensor itself where it is all.

        >>> inputs, packed = Inputs.of({"ids": torch.tensor([[1, 2]]), "x": torch.tensor([[0.5]])})
        >>> inputs.given(packed)
        {'ids': tensor([[1, 2]]), 'x': tensor([[0.5000]])}
        """
        return {name: part(packed) for name, part in self.parts.items()} or packed
