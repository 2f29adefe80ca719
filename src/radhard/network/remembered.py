"""Programs of modules that were captured before, kept in the user's cache.

`torch.export` takes seconds to import and to follow a module. What came of it is kept under a
digest of all that it came from: the module with its values, the code of its classes, the first
images, and the versions of torch and radhard. Values are not kept, but named, and taken from the
module at hand; and what is found again must give the logits of that module before it is used.
Where code of the user's own is loaded nothing is kept: a module may read what no digest sees, a
number of a script or a function that was replaced, and no image has to show it.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from radhard.folders import cache_place, keep_newest, keeps, own_code
from radhard.formats.integer import IntegerFormat
from radhard.network.inputs import Inputs
from radhard.network.pickled import ForeignError, tensors_in
from radhard.network.program import Program

#: Images by which programs are found again, and those whose logits are compared.
_IMAGES, _COMPARED = 4, 2
#: Most programs that are kept; those that were not asked for longest go first.
_MOST = 100
#: Part of the largest logit by which a program and its module may differ in rounding.
_ROUNDING = 1e-4
#: What else than radhard's own may stand in a program: types and orders of values, and arithmetic.
_TORCH = (torch.dtype, torch.layout, torch.memory_format)
_PLAIN = {"_operator", "operator", "math"}
_NAMED = {("torch", "device"), ("torch", "Size"), ("builtins", "slice"), ("builtins", "set")}


class Graph(NamedTuple):
    """What capture makes of a module.

    Attributes:
        program: its steps.
        weights: formats of constants that stand for codes, by step.
        stored: numbers that the module stores as parameters.
        macs: multiply-accumulates of steps for one image.
    """

    program: Program
    weights: dict[int, IntegerFormat]
    stored: int
    macs: dict[int, int]


def remembered(
    model: nn.Module, images: Tensor, inputs: Inputs, output: str | None, make: Callable[[], Graph]
) -> Graph:
    """What was captured of the same module before; else what ``make`` makes, which is then kept.

    Args:
        model: in evaluation mode.
        images: (b, ...).
        inputs: the parts of ``images`` that it takes, where it takes several.
        output: name of the result that is asked for, where there are several.
        make: captures.
    """
    key = _key(model, images, inputs, output) if keeps() and not own_code() else None
    if key is None:
        return make()
    path = cache_place() / "programs" / f"{key}.pt"
    found = _read(path, model)
    if found is not None and _agrees(found.program, model, images[:_COMPARED], inputs):
        with suppress(OSError):
            os.utime(path)
        return found
    found = make()
    with suppress(OSError, TypeError, pickle.PicklingError, AttributeError):
        _write(path, found, model)
    return found


def _key(model: nn.Module, images: Tensor, inputs: Inputs, output: str | None) -> str | None:
    """A digest of all that a program comes from; ``None`` where there is no saying."""
    digest = hashlib.blake2b(digest_size=16)
    versions = sys.version, platform.machine(), torch.__version__, torch.get_default_dtype()
    few = images[:_IMAGES]
    digest.update(repr((versions, images.dtype, few.shape, inputs, output, _own())).encode())
    digest.update(_bytes(few))
    digest.update(repr(_shared(model)).encode())
    told = _Told(digest)
    try:
        told.dump(model)
    except Exception:  # modules of users raise anything while they are pickled
        return None
    code = _code(told.modules | {type(part).__module__ for part in model.modules()})
    if code is None:
        return None
    digest.update(repr(code).encode())
    return digest.hexdigest()


def _shared(model: nn.Module) -> list[int]:
    """Which parts and values of a module are the same ones, which `_Told` does not tell."""
    parts = [id(part) for _, part in model.named_modules(remove_duplicate=False)]
    values = [id(value) for value in _values(model).values()]
    storage = [value.data_ptr() for value in _values(model).values()]
    return [held.index(one) for held in (parts, values, storage) for one in held]


def _own() -> tuple[tuple[str, int, int], ...]:
    """The state of radhard's code that captures."""
    room = sorted(Path(__file__).parent.glob("*.py"))
    states = ((path.name, path.stat()) for path in room)
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


def _code(names: set[str]) -> list[tuple[str, int, int]] | None:
    """The state of the code of these modules; ``None`` where some is no file."""
    found = []
    for name in sorted(names - set(sys.builtin_module_names)):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or not os.path.exists(file):
            return None
        state = os.stat(file)
        found.append((name, state.st_size, state.st_mtime_ns))
    return found


class _Told(pickle.Pickler):
    """Tells a digest all that an object consists of, and notes where its code is."""

    def __init__(self, digest: Any) -> None:
        super().__init__(_Sink(digest), protocol=5)
        self.fast = True  # equal parts read alike, whether or not they are one object
        self.modules = set[str]()
        self._digest = digest

    def persistent_id(self, part: Any) -> Any:
        """Values, and sets, whose order is chance."""
        if isinstance(part, Tensor):
            self._digest.update(_bytes(part))
            return ("tensor", str(part.dtype), tuple(part.shape), part.stride())
        if isinstance(part, set | frozenset) and all(isinstance(one, str) for one in part):
            return ("set", tuple(sorted(part)))
        return None

    def reducer_override(self, part: Any) -> Any:
        """Note classes and functions, which stand for their code."""
        where = getattr(part, "__module__", None)
        if isinstance(where, str):
            self.modules.add(where)
        return NotImplemented


class _Sink(io.RawIOBase):
    """A file that keeps nothing but a digest."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, part: Any) -> int:
        self._digest.update(part)
        return memoryview(part).nbytes


def _bytes(value: Tensor) -> Any:
    held = value.detach().cpu().contiguous().reshape(-1)
    return held.view(torch.uint8).numpy().data if held.numel() else b""


def _values(model: nn.Module) -> dict[str, Tensor]:
    own = (*model.named_parameters(remove_duplicate=False),
           *model.named_buffers(remove_duplicate=False))  # fmt: skip
    return dict(own)


def _place(value: Tensor) -> tuple[Any, ...]:
    return value.data_ptr(), value.shape, value.stride(), value.dtype


class _Writer(pickle.Pickler):
    """Writes a program, whose constants are named where they are the module's."""

    def __init__(self, file: io.BytesIO, model: nn.Module) -> None:
        super().__init__(file, protocol=5)
        self._named = {_place(v): name for name, v in _values(model).items() if v.numel()}
        self.others: list[Tensor] = []

    def persistent_id(self, part: Any) -> Any:
        if not isinstance(part, Tensor):
            return None
        name = self._named.get(_place(part))
        if name is None:
            self.others.append(part.detach().clone())
            return len(self.others) - 1
        return name


class _Reader(pickle.Unpickler):
    """Reads one; looks up classes and functions of radhard, and arithmetic, alone."""

    def __init__(self, file: io.BytesIO, model: nn.Module, others: list[Tensor]) -> None:
        super().__init__(file)
        self._named, self._others = _values(model), others

    def persistent_load(self, part: Any) -> Tensor:
        return self._others[part] if isinstance(part, int) else self._named[part].detach()

    def find_class(self, module: str, name: str) -> Any:
        if "." in name or not (module.startswith(("radhard.", "torch")) or module in _PLAIN
                               or (module, name) in _NAMED):  # fmt: skip
            raise ForeignError(f"{module}.{name}")
        found = super().find_class(module, name)
        if module in _PLAIN or (module, name) in _NAMED or isinstance(found, _TORCH):
            return found
        if getattr(found, "__module__", "").startswith("radhard."):
            return found
        raise ForeignError(f"{module}.{name}")


def _write(path: Path, graph: Graph, model: nn.Module) -> None:
    program, whole = io.BytesIO(), io.BytesIO()
    writer = _Writer(program, model)
    writer.dump(tuple(graph))
    held = {"program": program.getvalue(), "others": writer.others}
    torch.save(held | {"seal": _seal(held)}, whole)
    keep_newest(path, whole.getvalue(), _MOST)


def _seal(held: dict[str, Any]) -> str:
    digest = hashlib.blake2b(held["program"])
    for value in held["others"]:
        digest.update(repr((value.dtype, value.shape, value.stride())).encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def _read(path: Path, model: nn.Module) -> Graph | None:
    """``None`` where there is none, or it can't be read: it is made anew then."""
    if not path.is_file():
        return None
    try:
        held = tensors_in(path)
        if held["seal"] != _seal(held):
            return None
        return Graph(*_Reader(io.BytesIO(held["program"]), model, held["others"]).load())
    except Exception:  # a cut or foreign file can fail in any way
        return None


def _agrees(program: Program, model: nn.Module, images: Tensor, inputs: Inputs) -> bool:
    """Whether a program gives what its module gives."""
    given = {name: part(images) for name, part in inputs.parts.items()}
    try:
        with _unseen(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = tree_leaves(model(**given) if given else model(images))
        ours = program.output_of(images)
    except Exception:  # whatever it was captured from raises
        return False
    room = _ROUNDING * float(ours.abs().nan_to_num().amax()) + 1e-30
    return any(
        isinstance(one, Tensor) and one.shape == ours.shape
        and torch.allclose(one.to(ours.dtype), ours, _ROUNDING, room, equal_nan=True)
        for one in theirs
    )  # fmt: skip


@contextmanager
def _unseen(model: nn.Module) -> Iterator[None]:
    """Buffers that a run writes to are as they were afterwards."""
    before = [(value, value.clone()) for value in model.buffers()]
    try:
        yield
    finally:
        for value, held in before:
            if not torch.equal(value, held):
                value.copy_(held)
