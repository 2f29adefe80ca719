"""Networks in ONNX as modules, among them quantised ones in QDQ form."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radhard.network.archive import coding, hold
from radhard.network.layout import CaptureError
from radhard.network.onnxfile import CODES, Array, Graph, Node, graph_in
from radhard.network.plain import named_forward

#: What holds codes while they are computed, by number of bits and sign.
_HOLDERS = {2: torch.uint8, 3: torch.int8, 4: torch.int32, 5: torch.int16, 6: torch.int32,
            21: torch.uint8, 22: torch.int8}  # fmt: skip
_QUANTISE, _BACK = "QuantizeLinear", "DequantizeLinear"


class OnnxModel(nn.Module):
    """A graph of ONNX with its tensors, run node by node; it takes inputs as the graph names them.

    Pairs of ``QuantizeLinear`` and ``DequantizeLinear`` become the operations of PyTorch's own
    quantised programs. Weights of matrix products are held as ``torch.nn.Linear`` has them.

    Args:
        graph: from a file.

    Raises:
        CaptureError: for operations or settings that are not known.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph, self._coding = graph, coding()
        self._images = next(iter(graph.inputs.values()), None)
        self._turned = _turned(graph)
        self._names: dict[str, str] = {}
        self._known: dict[str, Any] = {}
        for name, array in graph.arrays.items():
            self._keep(name, array)
        for node in graph.nodes:
            if node.op != "Constant" and node.op not in _OPERATIONS:
                raise CaptureError(
                    f"operation {node.op} ({node.name}) is not read: " + _remedy(node.op)
                )
        names = [_plain(name) for name in graph.inputs]
        self.forward = named_forward(names, self._run)

    @property
    def quantised(self) -> bool:
        """Whether it has codes."""
        return any(node.op == _BACK for node in self._graph.nodes)

    def _keep(self, name: str, array: Array) -> None:
        values = array.values
        if array.kind == 7:  # sizes and axes
            self._known[name] = values.tolist()
            return
        if name in self._turned:
            values = np.ascontiguousarray(values.T)
        value = torch.from_numpy(np.array(values)).to(_HOLDERS.get(array.kind, torch.float32))
        own = _title(self._graph, name)
        while own in self._names.values():
            own += "_"
        self._names[name] = own
        hold(self, own, value)

    def _run(self, *inputs: Tensor) -> Any:
        values: dict[str, Any] = dict(zip(self._graph.inputs, inputs, strict=True))
        values.update(self._known)
        for name, own in self._names.items():
            inner, _, last = own.rpartition(".")
            values[name] = getattr(self.get_submodule(inner), last)
        for node in self._graph.nodes:
            found = self._value(node, values)
            values[node.outputs[0]] = found
        outputs = tuple(values[name] for name in self._graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _value(self, node: Node, values: dict[str, Any]) -> Any:
        given = [values[name] if name else None for name in node.inputs]
        match node.op:
            case "Constant":
                held = next(iter(node.attributes.values()))
                return _listed(held.values) if isinstance(held, Array) else held
            case "QuantizeLinear" | "DequantizeLinear":
                return self._coded(node, given)
            case "MatMul" | "Gemm" if node.inputs[1] in self._turned:
                return _linear(node, given, turned=True)
            case "Reshape":
                return _reshaped(node, given, self._images)
        return _OPERATIONS[node.op](node, given)

    def _coded(self, node: Node, given: list[Any]) -> Tensor:
        """To codes or back from them."""
        if node.attributes.get("block_size"):
            raise CaptureError(f"operation {node.name} has scales for blocks: use one per channel")
        kind = self._kind(node)
        x, scale, zero = (*given, None)[:3]
        low, high = CODES[kind][1:]
        ends = low, high, _HOLDERS[kind]
        to = "quantize" if node.op == _QUANTISE else "dequantize"
        held = _array(self._graph, node.inputs[1])
        if held.values.size == 1:
            point = 0 if zero is None else int(_array(self._graph, node.inputs[2]).values.flat[0])
            op = getattr(self._coding, f"{to}_per_tensor").default
            return op(x, float(held.values.flat[0]), point, *ends)  # type: ignore[no-any-return]
        axis = node.attributes.get("axis", 1) % x.dim()
        axis = 1 - axis if node.inputs[0] in self._turned else axis
        points = torch.zeros(len(scale), dtype=torch.int64) if zero is None else zero.long()
        op = getattr(self._coding, f"{to}_per_channel").default
        return op(x, scale, points, axis, *ends)  # type: ignore[no-any-return]

    def _kind(self, node: Node) -> int:
        """The number of the codes' type."""
        if len(node.inputs) > 2 and node.inputs[2]:
            kind = _array(self._graph, node.inputs[2]).kind
        elif node.op == _BACK and node.inputs[0] in self._graph.arrays:
            kind = self._graph.arrays[node.inputs[0]].kind
        else:
            kind = node.attributes.get("output_dtype", 0) or 2
        if kind not in CODES:
            raise CaptureError(f"operation {node.name} has codes of type {kind}: use integers")
        return kind


def onnx_model(path: Path) -> OnnxModel:
    """The network in an ``.onnx`` file, of which nothing is run but operations that are known.

    Raises:
        FileNotFoundError: where there is no file.
        CaptureError: for what is no such file, or an operation that is not known.
    """
    graph = graph_in(path)
    try:
        return OnnxModel(graph)
    except CaptureError as error:
        raise CaptureError(f"{path}: {error}") from error
    except Exception as error:  # as of a damaged one
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise CaptureError(f"{path} is no network ({reason})") from error


def _remedy(op: str) -> str:
    if op.startswith(("QLinear", "DynamicQuantize")) or op.endswith("Integer"):
        return "quantise in QDQ form, with fixed scales (quantize_static(..., quant_format=QDQ))"
    return f"those are {', '.join(sorted(_OPERATIONS))}; or bring the network in PyTorch"


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "x"


def _title(graph: Graph, name: str) -> str:
    """Where a tensor is held: weights of layers by the layer's name, as in PyTorch."""
    own = re.sub(r"_quantized$", "", name)
    if re.fullmatch(r"[A-Za-z_0-9.]+\.(weight|bias)", own):
        return own.strip(".")
    readers = [node for node in graph.nodes if name in node.inputs]
    back = readers[0].outputs[0] if len(readers) == 1 and readers[0].op == _BACK else name
    for node in graph.nodes:
        if node.op in ("Conv", "Gemm", "MatMul") and back in node.inputs[1:]:
            part = "weight" if node.inputs[1] == back else "bias"
            if name == back or readers[0].inputs[0] == name:
                return f"{_plain(node.name or node.outputs[0])}.{part}"
    return f"_{_plain(own)}"


def _array(graph: Graph, name: str) -> Array:
    """A tensor of the file, or of a constant in it."""
    if name in graph.arrays:
        return graph.arrays[name]
    for node in graph.nodes:
        if node.op == "Constant" and name in node.outputs:
            held = next(iter(node.attributes.values()))
            if isinstance(held, Array):
                return held
    raise CaptureError(
        f"{name} is a scale that depends on the images: quantise with fixed scales (static)"
    )


def _turned(graph: Graph) -> set[str]:
    """Tensors that are held the other way round: weights of matrix products, channels first.

    What these are returned to from codes is among them.
    """
    found = set()
    for node in graph.nodes:
        before = node.op == "MatMul" or (node.op == "Gemm" and not node.attributes.get("transB"))
        if not before:
            continue
        name = node.inputs[1]
        made = next((one for one in graph.nodes if name in one.outputs), None)
        source = made.inputs[0] if made is not None and made.op == _BACK else name
        held = graph.arrays.get(source)
        alone = all(
            sum(one in other.inputs for other in graph.nodes) == 1 for one in {source, name}
        )
        if held is not None and held.values.ndim == 2 and alone:
            found |= {source, name}
    return found


def _listed(values: Any) -> Any:
    """Whole numbers as Python has them, others as a tensor."""
    return values.tolist() if values.dtype == np.int64 else torch.from_numpy(np.array(values))


def _pairs(node: Node, name: str, missing: list[int]) -> list[int]:
    return list(node.attributes.get(name, missing))


def _margins(node: Node, axes: int) -> list[int]:
    """Padding of a window, the same before and after."""
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise CaptureError(f"operation {node.name} has auto_pad: give its padding in numbers")
    pads = _pairs(node, "pads", [0] * 2 * axes)
    if pads[:axes] != pads[axes:]:
        raise CaptureError(f"operation {node.name} has padding {pads}: it must be as much after")
    return pads[:axes]


def _convolution(node: Node, given: list[Any]) -> Tensor:
    x, w, b = (*given, None)[:3]
    axes = w.dim() - 2
    run = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]
    ones = [1] * axes
    stride, dilation = _pairs(node, "strides", ones), _pairs(node, "dilations", ones)
    groups = node.attributes.get("group", 1)
    return run(x, w, b, stride, _margins(node, axes), dilation, groups)


def _linear(node: Node, given: list[Any], turned: bool = False) -> Tensor:
    x, w, b = (*given, None)[:3]
    held = node.attributes
    if held.get("alpha", 1.0) != 1 or held.get("beta", 1.0) != 1 or held.get("transA"):
        raise CaptureError(
            f"operation {node.name} has alpha, beta or transA: only A @ B + C is read"
        )
    if turned or held.get("transB"):
        return F.linear(x, w, b)
    return torch.matmul(x, w) if b is None else torch.matmul(x, w) + b


def _reshaped(node: Node, given: list[Any], images: int | None) -> Tensor:
    """Sizes as the file has them; its number of images stands for that of the batch."""
    x, shape = given
    sizes = [x.shape[k] if size == 0 else size for k, size in enumerate(_sizes(shape))]
    if images is not None and sizes and isinstance(sizes[0], int) and sizes[0] == images:
        sizes[0] = x.shape[0]
    return x.reshape(sizes)  # type: ignore[no-any-return]


def _sizes(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _pooled(node: Node, given: list[Any]) -> Tensor:
    (x,) = given
    kernel = node.attributes["kernel_shape"]
    axes, ceil = len(kernel), bool(node.attributes.get("ceil_mode", 0))
    stride, margins = _pairs(node, "strides", [1] * axes), _margins(node, axes)
    dilation = _pairs(node, "dilations", [1] * axes)
    if node.op == "MaxPool":
        largest = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[axes]
        return largest(x, kernel, stride, margins, dilation, ceil)
    if dilation != [1] * axes:
        raise CaptureError(f"operation {node.name} has dilated averages, which are not read")
    counted = bool(node.attributes.get("count_include_pad", 0))
    mean = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[axes]
    return mean(x, kernel, stride, margins, ceil, counted)


def _clipped(node: Node, given: list[Any]) -> Tensor:
    held = node.attributes
    x, low, high = (*given, None, None)[:3]
    low = held.get("min", -inf) if low is None else float(low)
    high = held.get("max", inf) if high is None else float(high)
    return torch.clamp(x, low, high)


def _flat(node: Node, given: list[Any]) -> Tensor:
    if node.attributes.get("axis", 1) != 1:
        raise CaptureError(f"operation {node.name} flattens the batch too: only axis 1 is read")
    return torch.flatten(given[0], 1)


def _normalised(node: Node, given: list[Any]) -> Tensor:
    x, weight, bias, mean, variance = given
    eps = node.attributes.get("epsilon", 1e-5)
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)


def _joined(node: Node, given: list[Any]) -> Any:
    if all(isinstance(part, list) for part in given):
        return [one for part in given for one in part]
    return torch.cat(given, node.attributes["axis"])


def _gathered(node: Node, given: list[Any]) -> Any:
    """One of the sizes of a value."""
    values, place = given
    if not isinstance(values, list):
        raise CaptureError(f"operation {node.name} gathers from values: only from sizes is read")
    return [values[k] for k in place] if isinstance(place, list) else values[place]


def _more_axes(node: Node, given: list[Any]) -> Any:
    x, axes = (*given, node.attributes.get("axes"))[:2]
    if not isinstance(x, Tensor):
        return _sizes(x)
    for axis in _sizes(axes):
        x = x.unsqueeze(axis)
    return x


def _fewer_axes(node: Node, given: list[Any]) -> Tensor:
    x: Tensor = given[0]
    axes = (*given[1:], node.attributes.get("axes"))[0]
    for axis in sorted((axis % x.dim() for axis in _sizes(axes)), reverse=True):
        x = x.squeeze(axis)
    return x


def _mean(node: Node, given: list[Any]) -> Tensor:
    x, axes = (*given, node.attributes.get("axes"))[:2]
    return torch.mean(x, _sizes(axes), bool(node.attributes.get("keepdims", 1)))


_OPERATIONS: dict[str, Callable[[Node, list[Any]], Any]] = {
    _QUANTISE: lambda node, given: None,  # with what the file says of their types
    _BACK: lambda node, given: None,
    "Reshape": lambda node, given: None,
    "Conv": _convolution,
    "Gemm": _linear,
    "MatMul": _linear,
    "Add": lambda node, given: given[0] + given[1],
    "Sub": lambda node, given: given[0] - given[1],
    "Mul": lambda node, given: given[0] * given[1],
    "Div": lambda node, given: given[0] / given[1],
    "Relu": lambda node, given: torch.relu(given[0]),
    "LeakyRelu": lambda node, given: F.leaky_relu(given[0], node.attributes.get("alpha", 0.01)),
    "Sigmoid": lambda node, given: torch.sigmoid(given[0]),
    "Tanh": lambda node, given: torch.tanh(given[0]),
    "Clip": _clipped,
    "MaxPool": _pooled,
    "AveragePool": _pooled,
    "GlobalAveragePool": lambda node, given: torch.mean(given[0], [2, 3], True),
    "ReduceMean": _mean,
    "BatchNormalization": _normalised,
    "Flatten": _flat,
    "Transpose": lambda node, given: given[0].permute(node.attributes["perm"]),
    "Concat": _joined,
    "Squeeze": _fewer_axes,
    "Unsqueeze": _more_axes,
    "Shape": lambda node, given: list(given[0].shape),
    "Gather": _gathered,
    "Softmax": lambda node, given: torch.softmax(given[0], node.attributes.get("axis", -1)),
    "Identity": lambda node, given: given[0],
    "Dropout": lambda node, given: given[0],
}
