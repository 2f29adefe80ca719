"""Programs of torch.export.save, read without running anything that the file says."""

from __future__ import annotations

import ast
import importlib
import io
import json
import operator
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, floor, trunc
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radhard.network.layout import CaptureError
from radhard.network.pickled import ForeignError, tensors_in
from radhard.network.plain import check_batch, named_forward

#: Functions of Python that sizes are worked out with.
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{op.__name__}": op
        for op in (
            operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv,
            operator.mod, operator.neg, operator.eq, operator.ne, operator.lt, operator.le,
            operator.gt, operator.ge, operator.and_, operator.or_, operator.getitem,
        )
    },
    **{f"math.{op.__name__}": op for op in (floor, ceil, trunc)},
    **{
        f"torch.{op.__name__}": op
        for op in (torch.sym_max, torch.sym_min, torch.sym_int, torch.sym_float, torch.sym_not)
    },
}  # fmt: skip
#: What formulas of sizes consist of, besides numbers and calls of functions with capital names.
_FORMULA = (
    ast.Expression, ast.Call, ast.Constant, ast.keyword, ast.Name, ast.Load, ast.Compare,
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
#: Major versions of what torch.export.save writes that are read; a minor one only adds.
_VERSIONS = (8,)
_WORD = re.compile(r"[a-z]{1,2}\d+|[A-Z][A-Za-z]*", re.ASCII)
_NAMED = re.compile(
    r"torch\.ops\.(?:aten|(quantized_decomposed)(?=\.(?:de)?quantize_))"
    r"\.([a-z_][a-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)",
    re.ASCII,
)


def program_in(path: Path) -> nn.Module:
    """The program in a ``.pt2`` file as a module, made of tensors and ATen operations alone.

    The file is read as data. Its graph is walked node by node; only operations of ATen that touch
    no files and arithmetic on sizes are looked up, and pickles are read for tensors alone.

    Raises:
        CaptureError: for a file that is no such program, or holds more than that.
        FileNotFoundError: where there is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: torch.export.save(program, path) makes one")
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as held:
            return _Archive(held).program()
    except ForeignError as error:
        raise CaptureError(
            f"{path} was not loaded: it holds {error}. Only tensors and operations of ATen are "
            "read, since anything else could run code; if you trust its maker, say --trust"
        ) from None
    except CaptureError as error:
        raise CaptureError(f"{path}: {error}") from error
    except Exception as error:  # a damaged archive can fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise CaptureError(f"{path} is no program of torch.export.save ({reason})") from error


class _Archive:
    """The members of a ``.pt2`` file, of which there may be no others than these."""

    def __init__(self, held: zipfile.ZipFile) -> None:
        self._held = held
        self._root = held.namelist()[0].split("/")[0]
        self._names = {name.partition("/")[2] for name in held.namelist()}
        if "archive_format" not in self._names:
            raise ForeignError("pickles of an older version of torch.export")
        known = ("data/", "models/", "extra/", ".data/", "archive_", "byteorder")
        for name in sorted(self._names):
            if not name.startswith(known) or name.startswith("data/aotinductor"):
                raise ForeignError(f"the member {name}")

    def _read(self, name: str) -> bytes:
        return self._held.read(f"{self._root}/{name}")

    def program(self) -> nn.Module:
        """The program as a module."""
        held = json.loads(self._read("models/model.json"))
        version = held.get("schema_version", {}).get("major")
        if version not in _VERSIONS:
            raise CaptureError(
                f"it was written in version {version!r} of the format of torch.export.save, of "
                f"which {', '.join(map(str, _VERSIONS))} is read: export it with PyTorch "
                f"{torch.__version__}"
            )
        for formula in _formulas(held):
            if not _is_formula(formula):
                raise ForeignError(f"the formula {formula[:80]!r}")
        if "data/sample_inputs/model.pt" in self._names:
            self._pickled("data/sample_inputs/model.pt", "sample inputs")
        tensors = {**self._tensors("weights"), **self._tensors("constants")}
        return ArchivedProgram(held["graph_module"], tensors)

    def _tensors(self, kind: str) -> dict[str, Tensor]:
        config = json.loads(self._read(f"data/{kind}/model_{kind}_config.json"))["config"]
        return {name: self._tensor(kind, name, entry) for name, entry in config.items()}

    def _tensor(self, kind: str, name: str, entry: dict[str, Any]) -> Tensor:
        member = f"data/{kind}/{entry['path_name']}"
        if entry["tensor_meta"] is None:
            raise ForeignError(f"the object {name}")
        if entry["use_pickle"]:
            found = self._pickled(member, name)
            if not isinstance(found, Tensor):
                raise ForeignError(f"{name}, a {type(found).__name__} and no tensor")
            return found.detach()
        about = entry["tensor_meta"]
        dtype = _by_number("as_scalar_type")(about["dtype"])
        sizes, strides = ([part["as_int"] for part in about[key]] for key in ("sizes", "strides"))
        held = bytearray(self._read(member))
        flat = torch.frombuffer(held, dtype=dtype) if held else torch.empty(0, dtype=dtype)
        return flat.as_strided(sizes, strides, about["storage_offset"]["as_int"]).clone()

    def _pickled(self, member: str, what: str) -> Any:
        held = io.BytesIO(self._read(member))
        try:
            return tensors_in(held)
        except ForeignError as error:
            raise ForeignError(f"a pickle that asks for {error} ({what})") from None


def _formulas(held: Any) -> Iterator[str]:
    """What torch.export.load, or a program that it gives, would evaluate as Python."""
    if isinstance(held, dict):
        for key, value in held.items():
            if key == "expr_str":
                yield str(value)
            elif key == "range_constraints":
                yield from value
            elif key == "guards_code":
                yield from (_SIZE.sub("s0", guard) for guard in value or [])
            else:
                yield from _formulas(value)
    elif isinstance(held, list):
        for value in held:
            yield from _formulas(value)


#: The size of an input, in guards.
_SIZE = re.compile(r"L\['\w+'\]\.size\(\)\[\d+\]", re.ASCII)


def _is_formula(text: str) -> bool:
    """Whether evaluating ``text`` can do no more than work out sizes."""
    try:
        parts = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    words = [part.id for part in parts if isinstance(part, ast.Name)]
    words += [
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    return all(isinstance(part, _FORMULA) for part in parts) and all(map(_WORD.fullmatch, words))


@dataclass(frozen=True, slots=True)
class _Node:
    """An operation of the graph: its arguments as the file has them, and names of its results."""

    op: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Any, ...]

    def run(self, values: dict[str, Any]) -> None:
        """Add the results to the values."""
        args = [_value(arg, values) for arg in self.args]
        found = self.op(*args, **{key: _value(arg, values) for key, arg in self.kwargs.items()})
        parts = [found] if len(self.results) == 1 else found or []
        for result, part in zip(self.results, parts, strict=False):
            for name, value in _named(result, part):
                values[name] = value


class ArchivedProgram(nn.Module):
    """A graph of ATen operations with its tensors, run node by node.

    Args:
        held: the ``graph_module`` of a ``.pt2`` file.
        tensors: weights, buffers and constants by name.
    """

    def __init__(self, held: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().__init__()
        graph, specs = held["graph"], held["signature"]["input_specs"]
        self._tensor_names: dict[str, str] = {}
        self._inputs: list[str] = []
        for spec in specs:
            ((kind, about),) = spec.items()
            if kind == "user_input":
                self._inputs.append(about["arg"]["as_tensor"]["name"])
            elif kind in {"parameter", "buffer", "tensor_constant"}:
                name = about[f"{kind}_name"]
                self._tensor_names[about["arg"]["name"]] = name
                hold(self, name, tensors[name], kind == "parameter")
            else:
                raise ForeignError(f"an input of the kind {kind}")
        for name in self._inputs:
            sizes = graph["tensor_values"][name]["sizes"]
            check_batch(sizes[0].get("as_int") if sizes else 1)
        if len(self._inputs) != 1:
            self.forward = named_forward(self._inputs, self._run)  # type: ignore[method-assign]
        self._nodes = [_node(node) for node in graph["nodes"]]
        ends = zip(graph["outputs"], held["signature"]["output_specs"], strict=True)
        self._outputs = [output for output, spec in ends if "user_output" in spec]

    @property
    def operations(self) -> list[Callable[..., Any]]:
        """Of the graph, in run order."""
        return [node.op for node in self._nodes]

    def forward(self, images: Tensor) -> Any:
        """Whatever the program gives for images (b, ...); several by their names."""
        return self._run(images)

    def _run(self, *inputs: Tensor) -> Any:
        values: dict[str, Any] = dict(zip(self._inputs, inputs, strict=True))
        for place, name in self._tensor_names.items():
            inner, _, last = name.rpartition(".")
            values[place] = getattr(self.get_submodule(inner), last)
        for node in self._nodes:
            node.run(values)
        found = tuple(_value(output, values) for output in self._outputs)
        return found[0] if len(found) == 1 else found


def hold(module: nn.Module, name: str, value: Tensor, parameter: bool = False) -> None:
    """Register a tensor where its name says, as a program's layers are named by it."""
    *inner, last = name.split(".")
    place = module
    for part in inner:
        if part not in place._modules:
            place.add_module(part, nn.Module())
        place = place.get_submodule(part)
    if last in place._parameters or last in place._buffers:
        return  # used twice
    if parameter:
        place.register_parameter(last, nn.Parameter(value, requires_grad=False))
    else:
        place.register_buffer(last, value)


def coding() -> Any:
    """The operations of PyTorch that round to codes and back, ``quantized_decomposed``."""
    importlib.import_module("torch.ao.quantization.fx._decomposed")  # which registers them
    return torch.ops.quantized_decomposed


def _node(held: dict[str, Any]) -> _Node:
    op = _operation(held["target"])
    given = [(entry["name"], entry["arg"]) for entry in held["inputs"]]
    args: tuple[Any, ...] = tuple(arg for _, arg in given)
    kwargs: dict[str, Any] = {}
    if isinstance(op, torch._ops.OpOverload):
        places = [part.name for part in op._schema.arguments if not part.kwarg_only]
        first = next((k for k, (name, _) in enumerate(given) if [name] != places[k : k + 1]), None)
        args, kwargs = args[:first], dict(given[first:]) if first is not None else {}
    return _Node(op, args, kwargs, tuple(held["outputs"]))


def _operation(target: str) -> Callable[..., Any]:
    if target in _ARITHMETIC:
        return _ARITHMETIC[target]
    named = _NAMED.fullmatch(target)
    packet = None
    if named is not None:
        room = coding() if named[1] else torch.ops.aten
        packet = getattr(room, named[2], None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or named is None:
        raise ForeignError(f"the function {target}")
    if named[3] not in packet.overloads():
        raise CaptureError(f"this version of PyTorch has no operation {target}")
    op: torch._ops.OpOverload = getattr(packet, named[3])
    if any(part.name == "filename" for part in op._schema.arguments):
        raise ForeignError(f"the function {target}")
    return op


def _value(argument: dict[str, Any], values: dict[str, Any]) -> Any:
    """What an argument in the file stands for."""
    ((kind, held),) = argument.items()
    if kind in _LISTS:
        return [_value({_LISTS[kind]: part}, values) for part in held]
    if kind in {"as_tensor", "as_name"}:
        return values[held["name"] if kind == "as_tensor" else held]
    if kind in {"as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"}:
        return _value(held, values)
    if kind == "as_complex":
        return complex(held["real"], held["imag"])
    if kind not in _PLAIN:
        raise ForeignError(f"an argument of the kind {kind}")
    return _PLAIN[kind](held)


def _named(result: dict[str, Any], value: Any) -> Iterator[tuple[str, Any]]:
    """The names that a node gives to its results."""
    ((kind, held),) = result.items()
    if kind == "as_tensors":
        yield from zip((part["name"] for part in held), value, strict=True)
    elif kind == "as_tensor":
        yield held["name"], value
    elif kind in {"as_sym_int", "as_sym_float", "as_sym_bool"}:
        yield held.get("as_name", ""), value
    elif kind != "as_none":
        raise ForeignError(f"a result of the kind {kind}")


#: Arguments that are lists, and what they are lists of.
_LISTS = {
    f"{kind}s": kind
    for kind in (
        "as_tensor", "as_int", "as_float", "as_string", "as_bool", "as_sym_int", "as_sym_float",
        "as_sym_bool", "as_optional_tensor",
    )
} | {"as_int_lists": "as_ints"}  # fmt: skip


def _by_number(kind: str) -> Callable[[Any], Any]:
    """What the numbers of types and orders of values stand for, which torch.export knows."""

    def value(number: Any) -> Any:
        from torch._export.serde import serialize  # which takes a second to import

        orders = {
            "as_memory_format": serialize._SERIALIZE_TO_TORCH_MEMORY_FORMAT,
            "as_layout": serialize._SERIALIZE_TO_TORCH_LAYOUT,
        }
        if kind in orders:
            return orders[kind][number]
        return serialize.deserialize_scalar_type(number)

    return value


#: Arguments that stand for themselves; everything runs on the processor.
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda _: None,
    "as_int": int,
    "as_float": float,
    "as_string": str,
    "as_bool": bool,
    **{kind: _by_number(kind) for kind in ("as_scalar_type", "as_memory_format", "as_layout")},
    "as_device": lambda _: torch.device("cpu"),
}
