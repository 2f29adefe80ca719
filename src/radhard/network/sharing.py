"""Stored weights that several layers read: modules that run twice, and tied weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from radhard.formats.number import NumberFormat

#: For each layer, the later ones that read some of what it is the first to read: with the place in
#: the later one's weight of every element of its own, -1 where that one does not read it.
Sharing = Mapping[int, Mapping[int, Tensor]]


def sharing_of(weights: Mapping[int, Tensor], formats: Sequence[NumberFormat]) -> Sharing:
    """Which layers read the same stored weights, or parts of them.

    Weights are one where they are the same memory, in whatever order of the axes, and have the
    same codes: a transposed weight with a scale for each channel has others, and is another.

    Args:
        weights: the model's own tensors, by number of layer in run order.
        formats: of the weight of each layer.

    >>> import torch, radhard as rh
    >>> weight = torch.rand(2, 3)
    >>> held = {0: weight, 1: torch.rand(2, 3), 4: weight.T, 6: weight[1:]}
    >>> found = sharing_of(held, 7 * [rh.FLOAT32])
    >>> {first: {k: place.tolist() for k, place in more.items()} for first, more in found.items()}
    {0: {4: [0, 2, 4, 1, 3, 5], 6: [-1, -1, -1, 0, 1, 2]}}
    """
    found: dict[int, dict[int, Tensor]] = {}
    for number, weight in weights.items():
        for first, other in weights.items():
            if first == number:
                break
            if formats[first] != formats[number] or not overlap(other, weight):
                continue
            places = places_of(other, weight)
            places[~first_read(found, first, other.numel())] = -1
            if bool((places >= 0).any()):
                found.setdefault(first, {})[number] = places
    return found


def first_read(sharing: Sharing, number: int, size: int) -> Tensor:
    """Which elements of a layer's weight no earlier layer reads, (size,) of bool."""
    own = torch.ones(size, dtype=torch.bool)
    for later in sharing.values():
        if number in later:
            own[later[number][later[number] >= 0]] = False
    return own


def places_of(one: Tensor, other: Tensor) -> Tensor:
    """Where in ``other`` the elements of ``one`` stand, in memory, (elements,); -1: not there."""
    if not overlap(one, other):
        return torch.full((one.numel(),), -1)
    here, there = _offsets(one), _offsets(other)
    order = there.argsort()
    places = order[torch.searchsorted(there[order], here).clamp(max=len(there) - 1)]
    return torch.where(there[places] == here, places, -1)


def overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors may have memory in common."""
    memory = [part.untyped_storage().data_ptr() for part in (one, other)]
    return memory[0] == memory[1] != 0 and one.numel() > 0 < other.numel()


def _offsets(view: Tensor) -> Tensor:
    """The place in memory of each element of a tensor, in row-major order."""
    size = view.untyped_storage().nbytes() // view.element_size()
    whole = torch.arange(size)
    return whole.as_strided(view.shape, view.stride(), view.storage_offset()).reshape(-1)
