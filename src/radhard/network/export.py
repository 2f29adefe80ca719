"""From a PyTorch module to a `Program`, through torch.export."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import operator
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Node
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_unflatten

from radhard.formats.integer import IntegerFormat
from radhard.network.codes import codes_of
from radhard.network.decomposition import parts
from radhard.network.inputs import Inputs
from radhard.network.layout import CaptureError, layouts
from radhard.network.operation import batch_norm, cast
from radhard.network.plain import evaluating
from radhard.network.program import Item, Program, Ref, Step, references

aten = torch.ops.aten
_NORM = aten._native_batch_norm_legit_no_training.default
#: Views depend on strides, which differ where copies are left out; reshapes don't.
_SHAPED: dict[Any, Callable[..., Any]] = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
}
_COPIES = (
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
    aten.detach_.default,
)
_CASTS = (aten.to.dtype, aten._to_copy.default, aten.to.dtype_layout, aten.to.device)
#: Extremes along one axis with their places: the values alone.
_EXTREMES: dict[Any, Any] = {
    aten.max.dim: aten.amax.default,
    aten.min.dim: aten.amin.default,
}
#: Types of the model that the carrier stands for.
_CARRIED = (torch.float32, torch.float64)


def exported(model: nn.Module | ExportedProgram, images: Tensor, inputs: Inputs) -> ExportedProgram:
    """The ATen graph of ``model`` (in evaluation mode), functional, with a dynamic batch.

    Args:
        model: the model.
        images: (b, ...).
        inputs: the parts of ``images`` that it takes, where it takes several.

    Raises:
        CaptureError: when torch.export can't follow the model.
    """
    module = model.module() if isinstance(model, ExportedProgram) else model
    example = images[:1].repeat_interleave(2, 0)
    named = {name: part(example) for name, part in inputs.parts.items()}
    batch = {0: Dim("batch", min=1)}
    _check_names(module, tuple(named))
    shapes: Any = dict.fromkeys(named, batch) if named else (batch,)
    given, by_name = () if named else (example,), named
    if isinstance(model, ExportedProgram) and named:  # which takes them as it was exported
        order = [named[str(name)] for name in model.graph_signature.user_inputs]
        given, by_name = tree_unflatten(order, model.call_spec.in_spec)
    try:
        with _quietly():
            program = torch.export.export(module, given, by_name, dynamic_shapes=shapes)
            functional: ExportedProgram = program.run_decompositions(parts())
    except Exception as error:  # torch.export raises its own classes and those of the model
        raise CaptureError(_why(module, images, error)) from error
    return functional


def exported_as_is(module: nn.Module, images: Tensor, inputs: Inputs) -> ExportedProgram:
    """`exported` of a module in a precision of its own, to which it casts; then in float32."""
    with evaluating(module):
        program = exported(module, images, inputs)
    held: Any = program.state_dict
    for name, value in held.items():
        real = value.float() if value.is_floating_point() else value
        held[name] = nn.Parameter(real) if isinstance(value, nn.Parameter) else real
    return program


def _check_names(module: nn.Module, given: tuple[str, ...]) -> None:
    """Raise CaptureError where inputs are given that a model does not take, or too few."""
    taken = inspect.signature(module.forward).parameters.values()
    if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in taken):
        return
    needed = [one.name for one in taken if one.default is one.empty]
    known = [one.name for one in taken]
    if given and (set(given) - set(known) or set(needed) - set(given)):
        raise CaptureError(
            f"the model takes inputs {', '.join(known)}, and {', '.join(given)} are given: give "
            "each by its name"
        )
    if not given and len(needed) > 1:
        raise CaptureError(
            f"the model takes {len(needed)} inputs, {', '.join(needed)}: give each by its name, as "
            "in images={...}, or --data FILE.npz"
        )


def program_of(
    graph: ExportedProgram, images: Tensor, inputs: Inputs, output: str | None = None
) -> tuple[Program, dict[int, IntegerFormat]]:
    """The steps of an exported graph, with the layout of every value.

    Where the graph rounds values to codes and back, that is one step, `Coded`; the formats of
    constants that codes stand for come beside the program, by step.

    Layouts are found by experiment: two batch sizes tell how sizes depend on the batch, and
    changes of one image at a time tell where in each value the images lie.

    Args:
        graph: from `exported`.
        images: (b, ...).
        inputs: as there.
        output: the name of the result that is asked for, where there are several.

    Raises:
        CaptureError: when images of a batch influence each other or the output is no logits.
    """
    given, result = _steps(graph, inputs, output)
    steps, weights = codes_of(given)
    bare = Program(steps, (None,) * len(steps), (None,) * len(steps), result)
    with torch.no_grad():
        rows, sizes, steps = layouts(bare, images)
    program = Program(steps, rows, sizes, result)
    _check_logits(program)
    return program, weights


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
    kind = ""
    if not images.is_floating_point():
        kind = f" of {images.dtype}; use floating point, scaled as for training, unless a layer"
        kind += " looks numbers up,"
    reason = " ".join(str(error).split()).partition(" For more information")[0][:240]
    return (
        f"the model can't be captured at {_culprit(module, error)} with images of shape "
        f"{tuple(images.shape[1:])}{kind}: {type(error).__name__}: {reason}. torch.export "
        "must accept the model with a dynamic batch: no branches on values, no fixed batch size"
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


def _is_identity(node: Node) -> bool:
    """Whether a node hands on its first argument unchanged."""
    if node.target in _COPIES:
        return True
    if node.target in _CASTS:
        before, after = _type(node.args[0]), _type(node)
        real = before is not None and before.is_floating_point
        return before == after or (real and after in _CARRIED)
    if node.target is aten.dropout.default:
        return not node.args[2]  # one that is in training mode draws
    if node.target is aten.slice.Tensor:
        start, stop, step = ([*node.args[2:], None, None, None][k] for k in range(3))
        return bool(start in {None, 0} and stop in {None, 2**63 - 1} and step in {None, 1})
    source = node.args[0] if node.args else None
    first_result = node.target is operator.getitem and node.args[1] == 0
    return bool(first_result) and isinstance(source, Node) and source.target is _NORM


def _type(node: Any) -> torch.dtype | None:
    """The type of a node's value, where that is a tensor."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value.dtype if isinstance(value, Tensor) else None


def _steps(
    graph: ExportedProgram, inputs: Inputs, output: str | None
) -> tuple[tuple[Step, ...], int]:
    state, given = _constants(graph), graph.graph_signature.user_inputs
    steps, place = [Step("images")], dict[Node, int]()
    result = _result(graph, graph.graph.output_node(), output)
    read = _read_by(result)
    for node in graph.graph.nodes:
        if node.op == "output" or (node.op != "placeholder" and node not in read):
            continue
        if node.op == "placeholder" and node.name in given and not inputs.parts:
            place[node] = 0
        elif node.op == "call_function" and _is_identity(node):
            place[node] = place[node.args[0]]
        elif node.op == "placeholder" or not _is_several(node):
            place[node] = len(steps)
            steps.append(_step(node, place, state, inputs))
    return tuple(steps), place[result]


def _read_by(result: Node) -> set[Node]:
    """The nodes that a result depends on, itself among them."""
    found, left = {result}, [result]
    while left:
        new = set(left.pop().all_input_nodes) - found
        found |= new
        left += new
    return found


def _is_several(node: Node) -> bool:
    """Whether a node gives several values, each of which another node takes out."""
    if node.target is _NORM:  # of which the first one only is of use
        return False
    return all(user.target is operator.getitem for user in node.users)


def _step(
    node: Node, place: dict[Node, int], state: dict[str, tuple[str, Any]], inputs: Inputs
) -> Step:
    if node.op != "placeholder":
        return _call(node, place)
    if node.name in state:
        return Step(state[node.name][0], constant=state[node.name][1])
    return Step(node.name, inputs.parts[node.name], (Ref(0),), {}, (0,))


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
    source, name = node, node.name
    if node.target is operator.getitem and isinstance(node.args[0], Node):
        source = node.args[0]
        name = f"{source.name}[{node.args[1]}]" if node.args[1] else source.name
    op: Any = _SHAPED.get(source.target, source.target)
    args, kwargs = _placed(source.args, place), _placed(source.kwargs, place)
    if source is not node:
        op, args, kwargs = _item(op, node.args[1], args, kwargs)
    elif op is _NORM:
        op, args = batch_norm, (*args[:5], args[6])
    elif op in _CASTS:
        held = _type(node)
        real = held is not None and held.is_floating_point
        through = held if real and held not in _CARRIED else None
        op, args, kwargs = cast, (args[0], torch.float32 if real else held, through), {}
    inputs = tuple(sorted(references(args) | references(kwargs)))
    return Step(name, op, args, kwargs, inputs)


def _item(op: Any, place: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
    """One result of an operation that gives several, by an operation that gives it alone."""
    if place == 0 and op in _EXTREMES:
        x, axis, *rest = args
        over = axis if isinstance(axis, list) else [axis]
        return _EXTREMES[op], (x, over, *rest), kwargs
    return Item(op, place), args, kwargs


def _placed(argument: Any, place: dict[Node, int]) -> Any:
    if isinstance(argument, Node):
        return Ref(place[argument])
    if isinstance(argument, dict):
        return {key: _placed(value, place) for key, value in argument.items()}
    if isinstance(argument, list | tuple):
        parts = [_placed(part, place) for part in argument]
        return parts if isinstance(argument, list) else tuple(parts)
    if isinstance(argument, torch.dtype) and argument.is_floating_point:
        return torch.float32  # which stands for the carrier
    return argument


def _result(graph: ExportedProgram, node: Node, output: str | None) -> Node:
    """The result that is the model's output."""
    own = graph.graph_signature.user_outputs
    spec = graph.call_spec.out_spec
    assert spec is not None
    leaves = tree_flatten_with_path(tree_unflatten(list(own), spec))[0]
    nodes = {result.name: result for result in node.args[0] if isinstance(result, Node)}  # type: ignore[union-attr]
    named = {
        keystr(path).strip("[]'.") or "0": nodes[name] for path, name in leaves if name in nodes
    }
    if output is None and len(named) == 1:
        return next(iter(named.values()))
    if output is None or output not in named:
        asked = "" if output is None else f", none of which is {output!r}"
        raise CaptureError(
            f"the model gives {len(named)} results, {', '.join(named)}{asked}: name the one that "
            f"holds the logits (..., classes), as in capture(..., output={next(iter(named))!r})"
            if named
            else "the model gives no tensor, but logits (images, classes) are needed"
        )
    return named[output]


def _check_logits(program: Program) -> None:
    rows = program.rows[program.output]
    if program.steps[program.output].op in (aten.softmax.int, aten._softmax.default):
        raise CaptureError(
            "the model gives no logits: it ends in a softmax; leave the softmax out, radhard "
            "takes it where confidences are needed"
        )
    if rows is None or len(rows.sizes) < 2 or not rows.first or rows.sizes[-1][1] < 2:
        shape = "nothing that depends on the images" if rows is None else str(rows.shape(1))
        raise CaptureError(
            f"the model gives no logits: its output for one image is {shape}, but (1, classes), or "
            "(1, places, ..., classes), with at least 2 classes is needed"
        )
