"""Stored weights that several layers read: modules that run twice, and tied weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from radhard.formats.number import NumberFormat

#: For each layer that is the first to read its stored weight, the later ones; each with the place
#: in its own weight of every element of the first one's.
Sharing = Mapping[int, Mapping[int, Tensor]]


def sharing_of(weights: Mapping[int, Tensor], formats: Sequence[NumberFormat]) -> Sharing:
    """Which layers read the same stored weight.

    Weights are one where they are the same memory, in whatever order of the axes, and have the
    same codes: a transposed weight with a scale for each channel has others, and is another.

    Args:
        weights: the model's own tensors, by number of layer in run order.
        formats: of the weight of each layer.

    >>> import torch, radhard as rh
    >>> weight = torch.rand(2, 3)
    >>> found = sharing_of({0: weight, 1: torch.rand(2, 3), 4: weight.T}, 5 * [rh.FLOAT32])
    >>> {first: {k: place.tolist() for k, place in more.items()} for first, more in found.items()}
    {0: {4: [0, 2, 4, 1, 3, 5]}}
    """
    found: dict[int, dict[int, Tensor]] = {}
    first: dict[int, list[int]] = {}
    for number, weight in weights.items():
        owners = first.setdefault(weight.untyped_storage().data_ptr(), [])
        for owner in owners:
            places = _places(weights[owner], weight)
            if places is not None and formats[owner] == formats[number]:
                found.setdefault(owner, {})[number] = places
                break
        else:
            owners.append(number)
    return found


def _places(one: Tensor, other: Tensor) -> Tensor | None:
    """Where in ``other`` the elements of ``one`` stand; ``None`` where it holds different ones."""
    if one.numel() != other.numel():
        return None
    here, there = _offsets(one), _offsets(other)
    order = there.argsort()
    places = order[torch.searchsorted(there[order], here).clamp(max=len(there) - 1)]
    return places if torch.equal(there[places], here) else None


def _offsets(view: Tensor) -> Tensor:
    """The place in memory of each element of a tensor, in row-major order."""
    size = view.untyped_storage().nbytes() // view.element_size()
    whole = torch.arange(size)
    return whole.as_strided(view.shape, view.stride(), view.storage_offset()).reshape(-1)
