"""Where a model comes from: the zoo, a function of the user's, or an exported program."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from radhard.network.archive import program_in
from radhard.network.data import DataSet, data_named
from radhard.network.folder import Reading
from radhard.network.format import Formats
from radhard.network.given import inputs_in, packed
from radhard.network.inputs import Inputs
from radhard.network.layout import CaptureError
from radhard.network.onnxmodel import onnx_model
from radhard.network.plain import check_numbers, tensor_of
from radhard.network.quantised import formats_in
from radhard.network.weights import trained
from radhard.network.zoo import ZooModel, zoo_model

if TYPE_CHECKING:
    from torch.export import ExportedProgram


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model with the test images and labels to run it on.

    Attributes:
        name: short, for tables.
        model: to be run in evaluation mode, which `radhard.capture` sees to.
        images: (b, ...) as the model expects them; several inputs packed into one tensor.
        labels: (b,), or (b, places, ...).
        data: where the images are from.
        notes: what their reader should know of them: classes of a folder, files that are not the
            published ones.
        classes: of a folder; 0 where the data set is no folder.
        inputs: which parts of ``images`` are which inputs.
        formats: those that a file of a quantised network has.
    """

    name: str
    model: nn.Module | ExportedProgram
    images: Tensor
    labels: Tensor
    data: str
    notes: tuple[str, ...] = ()
    classes: int = 0
    inputs: Inputs = Inputs({})  # noqa: RUF009 - frozen, so it can be shared
    formats: Formats | None = None


def subject(
    model: str,
    data: str | None = None,
    weights: Path | None = None,
    train: bool = False,
    how: Reading | None = None,
    trust: bool = False,
) -> Subject:
    """The model and data that two names stand for.

    Args:
        model: a zoo name; ``package.module:function`` that gives a module, or a module, images
            (or several inputs by name) and labels; or a ``.pt2`` file of torch.export, or one of
            ONNX.
        data: a data set's name, a folder of class folders, or for models of the user's own an
            ``.npz`` file of inputs by name; a zoo model has a home data set.
        weights: a checkpoint for a zoo model.
        train: the training images of a named data set instead of its test images.
        how: the images are read and standardised.
        trust: whether a ``.pt2`` file may run code while it is loaded.

    Raises:
        ValueError: for an unknown name, or names that don't fit each other.
        FileNotFoundError: for missing files.
        RuntimeError: naming the function or module of the user's that raised.
    """
    how = how or Reading()
    if model.endswith(".pt2"):
        path = Path(model)
        loaded = _trusted(path) if trust else program_in(path)
        check_numbers(loaded, str(path))
        found = _with_data(path.stem, loaded, (data, weights, train, how))
        return replace(found, formats=formats_in(path))
    if model.endswith(".onnx"):
        path = Path(model)
        network = onnx_model(path)
        check_numbers(network, str(path))
        return _with_data(path.stem, network, (data, weights, train, how))
    if ":" in model:
        made = _made(model)
        title = model.rpartition(":")[2]
        if isinstance(made, nn.Module):
            return _with_data(title, made, (data, weights, train, how))
        if data not in {None, model} or replace(how, most=None) != Reading():
            raise ValueError(
                f"{model} gives its own images: leave out --data and what is said of images, or "
                "let it give a module alone"
            )
        inputs, images = packed(made[1], "images")
        return Subject(title, made[0], images, tensor_of(made[2], "labels"), model, inputs=inputs)
    entry = zoo_model(model)
    home = data or entry.data
    if home.endswith(_ARRAYS):
        raise ValueError(f"--data {home} is for models of your own: {model} takes images")
    if home == "imagenet":
        raise ValueError(f"{model} needs --data FOLDER: a folder of class folders of images")
    chosen = data_named(home, train, how)
    _check_shape(entry, chosen)
    module = trained(entry, home, weights)
    images = chosen.standardised(how.mean or entry.mean, how.std or entry.deviation)
    noted = _notes(chosen), len(chosen.classes)
    return Subject(entry.name, module, images, chosen.labels, home, *noted)


def _with_data(
    title: str,
    model: nn.Module | ExportedProgram,
    asked: tuple[str | None, Path | None, bool, Reading],
) -> Subject:
    """A model of the user's own with the data that was asked for."""
    data, weights, train, how = asked
    if weights is not None:
        raise ValueError("--weights is for models of the zoo: load your own in the function")
    if data is None:
        raise ValueError(
            f"{title} needs --data: a data set's name, a folder of class folders, or an "
            f"{_ARRAYS} file of inputs by name, with labels"
        )
    if data.endswith(_ARRAYS):
        if replace(how, most=None) != Reading():
            raise ValueError(f"{data} holds inputs as the model takes them: leave size, grey, mean "
                             "and std out")  # fmt: skip
        inputs, images, labels = inputs_in(Path(data))
        return Subject(title, model, images, labels, data, inputs=inputs)
    chosen = data_named(data, train, how)
    noted = _notes(chosen), len(chosen.classes)
    return Subject(title, model, chosen.standardised(), chosen.labels, data, *noted)


#: Classes that are named to the reader, at most.
_NAMED = 20
#: How a file of several inputs is called.
_ARRAYS = ".npz"


def _notes(data: DataSet) -> tuple[str, ...]:
    notes = []
    if data.classes:
        named = [f"{k} = {name} ({n})" for k, (name, n) in enumerate(data.classes)]
        more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
        total = sum(n for _, n in data.classes)
        notes.append(
            f"{len(named)} classes, {total:,} images: {', '.join([*named[:_NAMED], *more])}"
        )
    return (*notes, data.note) if data.note else tuple(notes)


def _trusted(path: Path) -> ExportedProgram:
    """A program that may run code while it is loaded."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: torch.export.save(program, path) makes one")
    try:
        return torch.export.load(path)
    except Exception as error:  # whatever the archive reader raises
        reason = " ".join(str(error).split())[:200]
        raise CaptureError(f"{path} is no program of torch.export.save: {reason}") from error


def _made(name: str) -> nn.Module | tuple[nn.Module, Any, Any]:
    module_name, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"no module {module_name!r} ({error}): run from the folder that holds it, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"module {module_name!r}", error) from error
    if not callable(getattr(module, function, None)):
        raise ValueError(f"{module_name} has no function {function!r}")
    try:
        made = getattr(module, function)()
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error
    whole = isinstance(made, tuple) and len(made) == 3 and isinstance(made[0], nn.Module)
    if not isinstance(made, nn.Module) and not whole:
        raise ValueError(
            f"{name} gave {type(made).__name__}: it must give a torch.nn.Module, or a tuple of "
            "module, images (or a mapping of several inputs by name) and labels"
        )
    return made  # type: ignore[no-any-return]


def _failed(what: str, error: BaseException) -> RuntimeError:
    """What is said of code of the user's that raised."""
    return RuntimeError(f"{what} raised {type(error).__name__}: {error}: mend it")


def _check_shape(entry: ZooModel, data: DataSet) -> None:
    shape = tuple(data.images.shape[1:])
    if shape != entry.shape:
        raise ValueError(
            f"{entry.name} takes images of {entry.shape}, but the data set has {shape}: choose "
            f"another data set (its own is {entry.data}), or bring a folder to it with "
            f"--size {entry.shape[1]}{' --grey' if entry.shape[0] == 1 else ''}"
        )
