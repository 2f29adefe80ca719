"""What users give as inputs: a tensor, several by name, or a file of these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import ArrayLike
from torch import Tensor

from radhard.network.inputs import Inputs
from radhard.network.pairs import check_pairs
from radhard.network.plain import tensor_of


def packed(
    given: Tensor | ArrayLike | Mapping[str, Tensor | ArrayLike], what: str
) -> tuple[Inputs, Tensor]:
    """One tensor (b, ...), and which parts of it are the model's inputs."""
    if not isinstance(given, Mapping):
        return Inputs({}), tensor_of(given, what)
    return Inputs.of({name: tensor_of(value, f"input {name}") for name, value in given.items()})


#: The array of a file of inputs that holds the labels.
_LABELS = "labels"


def inputs_in(path: Path) -> tuple[Inputs, Tensor, Tensor]:
    """The inputs in an ``.npz`` file, packed, and their labels; nothing in the file is run.

    Each array has the name of a parameter of the model's ``forward`` and a row for each image;
    ``labels`` has the labels.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file that is none of NumPy, without labels or inputs, with objects, or
            with labels that don't match.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: numpy.savez(path, labels=..., x=...) makes one")
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, NpzFile):
            raise ValueError("it holds one array without a name")
        with file:
            held = {name: tensor_of(file[name], f"{path}: {name}") for name in file.files}
    except Exception as error:  # a damaged archive can fail in any way
        said = " ".join(f"{error or type(error).__name__}".split())[:300]
        raise ValueError(f"{path} can't be read: {said}: numpy.savez makes such files") from error
    names, labels = list(held), held.pop(_LABELS, None)
    if labels is None or not held:
        raise ValueError(
            f"{path} holds {names}: it needs {_LABELS!r}, and an array for each parameter of the "
            "model's forward, by its name"
        )
    for name, array in held.items():
        if array.is_floating_point() and bool(array.isnan().any()):
            raise ValueError(f"{path}: {name} holds not-a-number: leave such images out")
    try:
        inputs, images = Inputs.of(held)
        check_pairs(images, labels)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return inputs, images, labels
