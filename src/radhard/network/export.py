"""From a PyTorch module to a `Program`, through torch.export."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Node

from radhard.network.operation import batch_norm
from radhard.network.padding import NUMBERED
from radhard.network.program import Program, Ref, Rows, Step, references

aten = torch.ops.aten
_NORM = aten._native_batch_norm_legit_no_training.default
#: Views depend on strides, which differ where copies are left out; reshapes don't.
_SHAPED: dict[Any, Callable[..., Any]] = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
}
#: Images of the experiment that finds layouts, and those that are changed, one at a time: at
#: uneven places, so that no reordering leaves all of them where they were.
_TRIED, _CHANGED = 4, (0, 1, 3)
#: Normalisation without stored statistics.
_BATCH_STATISTICS = (
    aten._native_batch_norm_legit.default,
    aten._native_batch_norm_legit.no_stats,
    aten._native_batch_norm_legit_functional.default,
)
_COPIES = (
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
)


class CaptureError(ValueError):
    """A model that can't become a workload; the message names the layer and the remedy."""


def exported(model: nn.Module | ExportedProgram, images: Tensor) -> ExportedProgram:
    """The ATen graph of ``model`` (in evaluation mode), functional, with a dynamic batch.

    Raises:
        CaptureError: when torch.export can't follow the model.
    """
    module = model.module() if isinstance(model, ExportedProgram) else model
    example = images[:1].repeat_interleave(2, 0)
    try:
        with _quietly():
            batch = Dim("batch", min=1)
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
            functional: ExportedProgram = program.run_decompositions(NUMBERED)
    except Exception as error:  # torch.export raises its own classes and those of the model
        raise CaptureError(_why(module, images, error)) from error
    return functional


def program_of(graph: ExportedProgram, images: Tensor) -> Program:
    """The steps of an exported graph, with the layout of every value.

    Layouts are found by experiment: two batch sizes tell how sizes depend on the batch, and
    changes of one image at a time tell where in each value the images lie.

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


def _why(module: nn.Module, images: Tensor, error: Exception) -> str:
    if "Constraints violated" in str(error):
        return (
            "the model was made for a fixed number of images: somewhere the size of the batch "
            "becomes a plain number, by len(x), int(x.shape[0]), a loop over the images, or a "
            "number in view or reshape; use x.shape[0] as it is, or -1"
        )
    reason = " ".join(str(error).split()).partition(" For more information")[0][:240]
    return (
        f"the model can't be captured at {_culprit(module, error)} with images of shape "
        f"{tuple(images.shape[1:])}: {type(error).__name__}: {reason}. torch.export must accept "
        "the model with a dynamic batch: no branches on values, no fixed batch size"
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
    if node.target is aten.dropout.default:
        return not node.args[2]  # one that is in training mode draws
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
    seen = _experiment(program, images)
    rows: list[Rows | None] = []
    sizes: list[tuple[int, int] | None] = []
    steps = list(program.steps)
    for index, step in enumerate(program.steps):
        depends = index == 0 or any(rows[source] or sizes[source] for source in step.inputs)
        value, fewer = seen.golden[index], seen.fewer[index]
        size = rows_here = None
        if isinstance(value, int) and not isinstance(value, bool) and depends:
            size = _by_batch(value, fewer)
        elif isinstance(value, Tensor) and depends:
            rows_here = _rows_of(step, seen.sizes(index), seen.outers[index])
        elif depends and step.op is not None and not isinstance(value, Tensor):
            raise CaptureError(
                f"step {step.name} gives {type(value).__name__}, which has no place in a batch: "
                "rewrite the model with operations that give one tensor"
                if step.op not in _BATCH_STATISTICS
                else _mixing(step)
            )
        elif step.op is not None:
            steps[index] = Step(step.name, constant=value)
        rows.append(rows_here)
        sizes.append(size)
    return tuple(rows), tuple(sizes), tuple(steps)


@dataclass(frozen=True, slots=True)
class _Experiment:
    """What runs of a few images show of every step.

    Attributes:
        golden: the values for `_TRIED` equal images.
        fewer: shapes, or integers, for one image less.
        outers: possible numbers of blocks before the batch (`Rows.outer`): those with which every
            change of one image has changed nothing but that image's place.
    """

    golden: list[Any]
    fewer: list[Any]
    outers: list[list[int]]

    def sizes(self, index: int) -> tuple[tuple[int, int], ...]:
        """How the lengths of a step's axes depend on the batch, as `Rows.sizes`."""
        return tuple(map(_by_batch, self.golden[index].shape, self.fewer[index]))


def _experiment(program: Program, images: Tensor) -> _Experiment:
    a, b = images[:1], images[-1:]
    other = torch.where(a == b, a + 1, b) + 0.5 if torch.equal(a, b) else b + 0.5
    batch = torch.cat([a] * _TRIED)
    golden = program.run(batch)
    _refuse_noise(program, golden, program.run(batch))
    fewer = [v.shape if isinstance(v, Tensor) else v for v in program.run(batch[1:])]
    seen = _Experiment(golden, fewer, [])
    for index, value in enumerate(golden):
        seen.outers.append(_outers(seen.sizes(index)) if isinstance(value, Tensor) else [])
    for image in _CHANGED:
        changed = program.run(torch.cat([batch[:image], other, batch[image + 1 :]]))
        for index, outers in enumerate(seen.outers):
            if outers:
                moved = _moved(golden[index], changed[index])
                seen.outers[index] = [n for n in outers if _only(moved, n, image)]
    for index, outers in enumerate(seen.outers):
        if len(outers) > 1:
            seen.outers[index] = [n for n in outers if _carried(program, batch, seen, index, n)]
    return seen


def _carried(program: Program, batch: Tensor, seen: _Experiment, index: int, outer: int) -> bool:
    """Whether images lie in a value with this number of blocks before them, to go by the logits.

    Learned queries, first states and padding are the same for all images: no change of an image
    tells its place. What would be the place of one is changed, and no other's logits may change.
    """
    value, logits = seen.golden[index], seen.golden[program.output]
    if not value.is_floating_point() or not isinstance(logits, Tensor) or len(logits) != _TRIED:
        return True
    for image in _CHANGED:
        struck = value.clone(memory_format=torch.contiguous_format)
        part = struck.view(outer, _TRIED, -1)[:, image]
        part += 1 + torch.rand(part.shape, generator=torch.Generator().manual_seed(image))

        def evaluate(step: int, values: Callable[[int], Any], struck: Tensor = struck) -> Any:
            return struck if step == index else program.steps[step].run(values)

        found = program.run(batch, evaluate)[program.output]
        if not _only(_moved(logits, found), 1, image):
            return False
    return True


def _by_batch(value: int, fewer: int) -> tuple[int, int]:
    """Slope and offset of a length that is this for `_TRIED` images and that for one less."""
    return value - fewer, _TRIED * fewer - (_TRIED - 1) * value


def _moved(a: Tensor, b: Tensor) -> Tensor:
    """Where two values differ; not-a-number equals itself."""
    return (a != b) & ~(a.isnan() & b.isnan())


def _only(moved: Tensor, outer: int, image: int) -> bool:
    """Whether nothing has moved but what would be one image's with this number of blocks."""
    blocks = moved.reshape(outer, _TRIED, moved.numel() // (outer * _TRIED))
    return not bool(blocks[:, [k for k in range(_TRIED) if k != image]].any())


def _refuse_noise(program: Program, once: list[Any], again: list[Any]) -> None:
    for step, first, second in zip(program.steps, once, again, strict=True):
        several = isinstance(first, list | tuple)
        pairs = zip(first, second, strict=True) if several else [(first, second)]
        if any(isinstance(a, Tensor) and bool(_moved(a, b).any()) for a, b in pairs):
            raise CaptureError(
                f"step {step.name} draws random numbers: two runs on the same images differ, so "
                "what a fault does could not be told from noise. Leave the noise out in evaluation "
                "mode (for dropout: training=self.training)"
            )


def _rows_of(step: Step, sizes: tuple[tuple[int, int], ...], outers: list[int]) -> Rows:
    if not any(slope for slope, _ in sizes):
        raise CaptureError(
            f"step {step.name} mixes the images of a batch into one value: radhard needs models "
            "that treat each image alone (evaluation mode, no statistics over the batch)"
        )
    if not outers:
        raise CaptureError(_mixing(step))
    return Rows(outers[0], sizes)


def _mixing(step: Step) -> str:
    if step.op in _BATCH_STATISTICS:
        return (
            f"step {step.name} normalises by statistics of the images at hand, so one image of a "
            "batch influences another: use BatchNorm with stored statistics "
            "(track_running_stats=True, in evaluation mode)"
        )
    return (
        f"step {step.name} lets one image of a batch influence another, or changes their order: "
        "radhard needs models that treat each image alone (evaluation mode, no statistics over the "
        "batch, no reordering)"
    )


def _outers(sizes: tuple[tuple[int, int], ...]) -> list[int]:
    """Possible numbers of blocks before the batch, the usual layout (1) first."""
    before = 1
    for slope, offset in sizes:
        if slope:
            return [before * k for k in range(1, slope + 1) if slope % k == 0 and not offset]
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
