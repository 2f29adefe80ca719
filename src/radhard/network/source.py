"""Where a model comes from: the zoo, a function of the user's, or an exported program."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from radhard.network.data import DataSet, data_named
from radhard.network.export import CaptureError
from radhard.network.weights import trained
from radhard.network.zoo import ZooModel, zoo_model


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model with the test images and labels to run it on.

    Attributes:
        name: short, for tables.
        model: in evaluation mode.
        images: (b, ...) as the model expects them.
        labels: (b,).
        data: where the images are from.
    """

    name: str
    model: nn.Module | ExportedProgram
    images: Tensor
    labels: Tensor
    data: str


def subject(
    model: str, data: str | None = None, weights: Path | None = None, train: bool = False
) -> Subject:
    """The model and data that two names stand for.

    Args:
        model: a zoo name; ``package.module:function`` that gives a module, or a module, images
            and labels; or a ``.pt2`` file of torch.export.
        data: a data set's name or a folder of class folders; a zoo model has a home data set.
        weights: a checkpoint for a zoo model.
        train: the training images of a named data set instead of its test images.

    Raises:
        ValueError: for an unknown name, or names that don't fit each other.
        FileNotFoundError: for missing files.
    """
    if model.endswith(".pt2"):
        return _with_data(Path(model).stem, _exported(Path(model)), data, weights, train)
    if ":" in model:
        made = _made(model)
        title = model.rpartition(":")[2]
        if isinstance(made, nn.Module):
            return _with_data(title, made.eval(), data, weights, train)
        return Subject(title, made[0].eval(), made[1], made[2], model)
    entry = zoo_model(model)
    home = data or entry.data
    if home == "imagenet":
        raise ValueError(f"{model} needs --data FOLDER: a folder of class folders of images")
    chosen = data_named(home, train)
    _check_shape(entry, chosen)
    module = trained(entry, home, weights)
    images = chosen.standardised(entry.mean, entry.deviation)
    return Subject(entry.name, module, images, chosen.labels, home)


def _with_data(
    title: str,
    model: nn.Module | ExportedProgram,
    data: str | None,
    weights: Path | None,
    train: bool,
) -> Subject:
    if weights is not None:
        raise ValueError("--weights is for models of the zoo: load your own in the function")
    if data is None:
        raise ValueError(f"{title} needs --data: a data set's name or a folder of class folders")
    chosen = data_named(data, train)
    return Subject(title, model, chosen.standardised(), chosen.labels, data)


def _exported(path: Path) -> ExportedProgram:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: torch.export.save(program, path) makes one")
    try:
        return torch.export.load(path)
    except Exception as error:  # whatever the archive reader raises
        reason = " ".join(str(error).split())[:200]
        raise CaptureError(f"{path} is no program of torch.export.save: {reason}") from error


def _made(name: str) -> nn.Module | tuple[nn.Module, Tensor, Tensor]:
    module_name, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"no module {module_name!r} ({error}): run from the folder that holds it, or install it"
        ) from error
    if not callable(getattr(module, function, None)):
        raise ValueError(f"{module_name} has no function {function!r}")
    made = getattr(module, function)()
    whole = isinstance(made, tuple) and len(made) == 3 and isinstance(made[0], nn.Module)
    if not isinstance(made, nn.Module) and not whole:
        raise ValueError(
            f"{name} gave {type(made).__name__}: it must give a torch.nn.Module, or a tuple of "
            "module, images and labels"
        )
    return made  # type: ignore[no-any-return]


def _check_shape(entry: ZooModel, data: DataSet) -> None:
    shape = tuple(data.images.shape[1:])
    if shape != entry.shape:
        raise ValueError(
            f"{entry.name} takes images of {entry.shape}, but the data set has {shape}: choose "
            f"another data set (its own is {entry.data})"
        )
