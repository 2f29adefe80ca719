"""From a PyTorch module to a `Program`, through torch.export."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Node
from torch.nn import functional as F

from radhard.network.program import Program, Ref, Rows, Step, references

aten = torch.ops.aten
_NORM = aten._native_batch_norm_legit_no_training.default
#: Views depend on strides, which differ where copies are left out; reshapes don't.
_SHAPED: dict[Any, Callable[..., Any]] = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
}
_COPIES = (
    aten.clone.default,
    aten.dropout.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
)


class CaptureError(ValueError):
    """A model that can't become a workload; the message names the layer and the remedy."""


def exported(model: nn.Module | ExportedProgram, images: Tensor) -> ExportedProgram:
    """The ATen graph of ``model``, functional, with a dynamic batch.

    Raises:
        CaptureError: when torch.export can't follow the model.
    """
    module = model.module() if isinstance(model, ExportedProgram) else model.eval()
    example = images[:1].repeat_interleave(2, 0)
    try:
        with _quietly():
            batch = Dim("batch", min=1)
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
            functional: ExportedProgram = program.run_decompositions({})
    except Exception as error:  # torch.export raises its own classes and those of the model
        raise CaptureError(_why(module, error)) from error
    return functional


def program_of(graph: ExportedProgram, images: Tensor) -> Program:
    """The steps of an exported graph, with the layout of every value.

    Layouts are found by experiment: two batch sizes tell how sizes depend on the batch, and a
    change of one image tells where in each value that image lies.

    Raises:
        CaptureError: when images of a batch influence each other or the output is no logits.
    """
    steps, output = _steps(graph)
    bare = Program(steps, (None,) * len(steps), (None,) * len(steps), output)
    with torch.no_grad():
        rows, sizes, steps = _layouts(bare, images)
    program = Program(steps, rows, sizes, output)
    _check_logits(program)
    return program


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what torch.export prints and logs about a failure from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", FutureWarning)  # of torch.export about itself
            yield
    finally:
        logging.disable(before)


def _why(module: nn.Module, error: Exception) -> str:
    reason = " ".join(str(error).split()).partition(" For more information")[0][:240]
    return (
        f"the model can't be captured at {_culprit(module, error)}: {type(error).__name__}: "
        f"{reason}. torch.export must accept the model with a dynamic batch: no branches on "
        "values, no fixed batch size"
    )


def _culprit(module: nn.Module, error: BaseException | None) -> str:
    """The innermost of the model's layers that was running when an error arose."""
    names = {id(part): name for name, part in module.named_modules()}
    found, line = "", 0
    while error is not None:
        for frame, number in traceback.walk_tb(error.__traceback__):
            name = names.get(id(frame.f_locals.get("self")))
            if name is not None and frame.f_code.co_name == "forward":
                found, line = name, number
        error = error.__cause__ or error.__context__
    layer = f"layer {found}" if found else type(module).__name__
    return f"{layer} (line {line} of its source)" if line else layer


def batch_norm(x: Tensor, weight: Any, bias: Any, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Batch normalisation with stored statistics, the operation that stands in programs."""
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def affine_of(steps: Sequence[Step], index: int) -> tuple[Tensor, Tensor]:
    """Slope and offset per channel of a `batch_norm`, as it computes them itself."""
    weight, bias, mean, variance = (
        steps[part.step].constant if part is not None else None for part in steps[index].args[1:5]
    )
    assert mean is not None
    assert variance is not None
    eps = steps[index].args[5]
    zero = torch.zeros_like(mean)[None, :, None, None]
    slope = batch_norm(zero + 1, weight, None, 0 * mean, variance, eps)
    return slope.reshape(-1), batch_norm(zero, weight, bias, mean, variance, eps).reshape(-1)


def _is_identity(node: Node) -> bool:
    """Whether a node hands on its first argument unchanged."""
    if node.target in _COPIES:
        return True
    if node.target is aten.slice.Tensor:
        start, stop, step = ([*node.args[2:], None, None, None][k] for k in range(3))
        return bool(start in {None, 0} and stop in {None, 2**63 - 1} and step in {None, 1})
    source = node.args[0] if node.args else None
    first_result = node.target is operator.getitem and node.args[1] == 0
    return bool(first_result) and isinstance(source, Node) and source.target is _NORM


def _steps(graph: ExportedProgram) -> tuple[tuple[Step, ...], int]:
    state = _constants(graph)
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    images = next(node for node in inputs if node.name in graph.graph_signature.user_inputs)
    steps = [Step("images")]
    place = {images: 0}
    output = -1
    for node in graph.graph.nodes:
        if node.op == "placeholder" and node is not images:
            name, value = state[node.name]
            steps.append(Step(name, constant=value))
            place[node] = len(steps) - 1
        elif node.op == "call_function" and _is_identity(node):
            place[node] = place[node.args[0]]
        elif node.op == "call_function":
            steps.append(_call(node, place))
            place[node] = len(steps) - 1
        elif node.op == "output":
            output = _logits_step(node, place)
    return tuple(steps), output


def _constants(graph: ExportedProgram) -> dict[str, tuple[str, Any]]:
    signature = graph.graph_signature
    found: dict[str, tuple[str, Any]] = {}
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    held: dict[str, Any] = {**graph.constants, **graph.state_dict}
    for placeholder, name in {**named, **signature.inputs_to_lifted_tensor_constants}.items():
        value = held[name]
        found[placeholder] = (name, value.detach() if isinstance(value, Tensor) else value)
    return found


def _call(node: Node, place: dict[Node, int]) -> Step:
    op: Callable[..., Any] = node.target  # type: ignore[assignment]
    args, kwargs = _placed(node.args, place), _placed(node.kwargs, place)
    op = _SHAPED.get(node.target, op)
    if node.target is _NORM:
        op, args = batch_norm, (*args[:5], args[6])
    inputs = tuple(sorted(references(args) | references(kwargs)))
    return Step(node.name, op, args, kwargs, inputs)


def _placed(argument: Any, place: dict[Node, int]) -> Any:
    if isinstance(argument, Node):
        return Ref(place[argument])
    if isinstance(argument, dict):
        return {key: _placed(value, place) for key, value in argument.items()}
    if isinstance(argument, list | tuple):
        return type(argument)(_placed(part, place) for part in argument)
    return argument


def _logits_step(node: Node, place: dict[Node, int]) -> int:
    results = [result for result in node.args[0] if isinstance(result, Node)]  # type: ignore[union-attr]
    if len(results) != 1:
        raise CaptureError(
            f"the model gives {len(results)} results, but one tensor of logits (images, classes) "
            "is needed: wrap it in a module that returns the logits alone"
        )
    return place[results[0]]


def _layouts(
    program: Program, images: Tensor
) -> tuple[tuple[Rows | None, ...], tuple[tuple[int, int] | None, ...], tuple[Step, ...]]:
    a, b = images[:1], images[-1:]
    c = torch.where(a == b, a + 1, b) if torch.equal(a, b) else b
    three = program.run(torch.cat([a, a, a]))
    changed = program.run(torch.cat([a, c + 0.5, a]))
    two = program.run(torch.cat([a, a]))
    rows: list[Rows | None] = []
    sizes: list[tuple[int, int] | None] = []
    steps = list(program.steps)
    for index, step in enumerate(program.steps):
        depends = index == 0 or any(rows[source] or sizes[source] for source in step.inputs)
        value = three[index]
        size = rows_here = None
        if isinstance(value, int) and not isinstance(value, bool) and depends:
            size = (value - two[index], 3 * two[index] - 2 * value)
        elif isinstance(value, Tensor) and depends:
            rows_here = _rows_of(step.name, two[index], value, changed[index])
        elif depends and step.op is not None and not isinstance(value, Tensor):
            raise CaptureError(
                f"step {step.name} gives {type(value).__name__}, which has no place in a batch: "
                "rewrite the model with operations that give one tensor"
            )
        elif step.op is not None:
            steps[index] = Step(step.name, constant=value)
        rows.append(rows_here)
        sizes.append(size)
    return tuple(rows), tuple(sizes), tuple(steps)


def _rows_of(name: str, two: Tensor, three: Tensor, changed: Tensor) -> Rows:
    sizes = tuple((b - a, 3 * a - 2 * b) for a, b in zip(two.shape, three.shape, strict=True))
    if not any(slope for slope, _ in sizes):
        raise CaptureError(
            f"step {name} mixes the images of a batch into one value: radhard needs models that "
            "treat each image alone (evaluation mode, no statistics over the batch)"
        )
    moved = (three != changed).reshape(-1)
    where = torch.nonzero(moved).reshape(-1)
    for outer in _outers(sizes):
        inner = three.numel() // (3 * outer)
        if bool(((where // inner) % 3 == 1).all()):
            return Rows(outer, sizes)
    raise CaptureError(
        f"step {name} lets one image of a batch influence another: radhard needs models that "
        "treat each image alone (evaluation mode, no statistics over the batch)"
    )


def _outers(sizes: tuple[tuple[int, int], ...]) -> list[int]:
    """Possible numbers of blocks before the batch, the usual layout (1) first."""
    before = 1
    for slope, offset in sizes:
        if slope:
            factors = [before * k for k in range(1, slope + 1) if slope % k == 0]
            return factors
        before *= offset
    return []


def _check_logits(program: Program) -> None:
    rows = program.rows[program.output]
    if program.steps[program.output].op in (aten.softmax.int, aten._softmax.default):
        raise CaptureError(
            "the model gives no logits: it ends in a softmax; leave the softmax out, radhard "
            "takes it where confidences are needed"
        )
    if rows is None or len(rows.sizes) != 2 or not rows.first or rows.sizes[1][1] < 2:
        shape = "nothing that depends on the images" if rows is None else str(rows.shape(1))
        raise CaptureError(
            f"the model gives no logits: its output for one image is {shape}, but (1, classes) "
            "with at least 2 classes is needed"
        )
