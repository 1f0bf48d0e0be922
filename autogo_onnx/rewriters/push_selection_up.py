"""Gather one position of f(x) -> f(Gather the position of x), up to where all positions are needed.

Why: a classifier on the class token reads one position of the last block of a vision transformer,
and a head on the last time step one position of its layers; the other positions of everything that
works position by position (normalization, MLP, attention output, queries) are computed for nothing.
Measured: 7 % of a ViT-tiny.
Safety: exact. Nodes are moved, not changed; only values that nobody reads are no longer computed.
A position is selected where all readers of a tensor are among the moved nodes; elsewhere (keys and
values of an attention, the residual below) stays one small Gather.
Skips: a graph output between the selection and the layer; several positions, or positions that are
not constant; shapes that are not proven.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.position_wise import MOVING, input_axes, selected_target
from autogo_onnx.rewriters.patterns.reading import is_given, producer, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_AXES_ARE_INPUTS = 13
_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)


@dataclass(frozen=True)
class _Selection(Match):
    """The selecting node, first, and the nodes that it is moved above.

    Attributes:
        index: the position.
        axes: of every moved node, the axis of its outputs that is selected.
        inputs: of every moved node, the selected axis of its inputs, None for whole inputs.
        drops_axis: the selecting node removes the axis.
    """

    index: int
    axes: tuple[int, ...]
    inputs: tuple[tuple[int | None, ...], ...]
    drops_axis: bool


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        selected = _selected(view, node)
        if selected is None:
            continue
        axis, index = selected
        source = node.inputs[0]
        maker = producer(source)
        if maker is None or input_axes(view, maker, axis, index) is None:
            continue
        if source.name in view.fixed:
            yield Skip((maker, node), "all positions leave the graph or are read by a subgraph")
            continue
        moved = _movable(view, source, axis, index)
        if any(above.op not in MOVING for above, _, _ in moved):
            nodes, axes, inputs = zip(*moved, strict=True)
            drops = is_op(node, "Gather") and not _indices(node).ndim
            yield _Selection((node, *nodes), index, axes, inputs, drops)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Selection)
    selecting, *moved = match.nodes
    source, result = selecting.inputs[0], selecting.outputs[0]
    disconnect(selecting)
    if match.drops_axis:
        kept = gs.Variable(view.new_name(f"{result.name}.selected"))
        _squeeze(view, kept, match.axes[0], result)
    else:
        kept = result
    small: dict[tuple[int, int], gs.Tensor] = {(id(source), match.axes[0]): kept}
    for node, axis in zip(moved, match.axes, strict=True):
        for tensor in node.outputs:
            if (id(tensor), axis) not in small and tensor.outputs:
                name = view.new_name(f"{tensor.name}.selected")
                small[id(tensor), axis] = gs.Variable(name)
    for node, axis, axes in zip(moved, match.axes, match.inputs, strict=True):
        inputs = list(node.inputs)
        for slot, own in enumerate(axes):
            if own is not None:
                key = (id(inputs[slot]), own)
                if key not in small:
                    small[key] = _select(view, inputs[slot], own, match.index)
                inputs[slot] = small[key]
        _move(view, node, inputs, axis, small)
    for node in moved:
        disconnect(node)


def _selected(view: View, node: gs.Node) -> tuple[int, int] | None:
    """Axis and position of a node that selects one position of a longer axis of floats."""
    if not is_op(node, "Gather", "Slice") or not node.inputs[0].inputs:
        return None
    source = node.inputs[0]
    shape = view.shape(source)
    if shape is None or view.element_type(source) not in _FLOATS:
        return None
    if is_op(node, "Gather"):
        axis, indices = node.attrs.get("axis", 0) % len(shape), constant_value(node.inputs[1])
        if indices is None or indices.shape not in ((), (1,)):
            return None
        index = int(indices.reshape(-1)[0])
    else:
        bounds = [setting(node, n, i) for i, n in enumerate(("starts", "ends", "axes"), 1)]
        steps = setting(node, "steps", 4)
        if any(b is None or b.size != 1 for b in bounds):
            return None
        if is_given(node, "steps", 4) and (steps is None or steps[0] != 1):
            return None
        start, end, axis = (int(b.reshape(-1)[0]) for b in bounds if b is not None)
        axis, size = axis % len(shape), shape[axis % len(shape)]
        index = start
        if size is None or len(range(*slice(start, end).indices(size))) != 1 or start < -size:
            return None
    return None if shape[axis] == 1 else (axis, index)


def _indices(node: gs.Node) -> np.ndarray:
    value = constant_value(node.inputs[1])
    assert value is not None, "_selected() was asked first"
    return value


_Moved = list[tuple[gs.Node, int, tuple[int | None, ...]]]


def _movable(view: View, source: gs.Tensor, axis: int, index: int) -> _Moved:
    """The nodes of which all readers, to the last, want the same position only, with their axes."""
    wanted = {id(source): 1}
    axes: dict[int, int | None] = {id(source): axis}
    waiting, moved, seen = [source], [], set()
    while waiting:
        tensor = waiting.pop()
        node, along = producer(tensor), axes[id(tensor)]
        if node is None or along is None or id(node) in seen:
            continue
        inputs = input_axes(view, node, along, index)
        if inputs is None or not _is_all_selected(view, node, along, wanted, axes):
            continue
        moved.append((node, along, inputs))
        seen.add(id(node))
        for operand, own in zip(node.inputs, inputs, strict=True):
            if own is None:
                continue
            key = id(operand)
            wanted[key] = wanted.get(key, 0) + 1
            axes[key] = own if axes.get(key, own) == own else None  # two axes: not movable
            if wanted[key] == len(operand.outputs):
                waiting.append(operand)
    return moved


def _is_all_selected(
    view: View,
    node: gs.Node,
    axis: int,
    wanted: dict[int, int],
    axes: dict[int, int | None],
) -> bool:
    """Whether of all outputs of a node nothing is wanted but one position of the axis."""
    return all(
        tensor.name not in view.fixed
        and len(tensor.outputs) == wanted.get(id(tensor), 0)
        and axes.get(id(tensor), axis) == axis
        for tensor in node.outputs
        if not tensor.is_empty()
    )


def _move(
    view: View,
    node: gs.Node,
    inputs: list[gs.Tensor],
    axis: int,
    small: dict[tuple[int, int], gs.Tensor],
) -> None:
    """Do what a node does, with smaller inputs."""
    attributes = dict(node.attrs)
    if is_op(node, "Reshape"):
        target = selected_target(view, node, axis)
        assert target is not None, "input_axes() was asked first"
        attributes.pop("allowzero", None)
        inputs[1] = view.constant(f"{node.outputs[0].name}.selected_shape", target)
    results = [
        small.get((id(tensor), axis)) or gs.Variable(view.new_name(f"{tensor.name}.selected"))
        for tensor in node.outputs
        if not tensor.is_empty()
    ]
    view.insert(node.op, inputs, results[0], attributes)
    view.graph.nodes[-1].outputs.extend(results[1:])


def _select(view: View, tensor: gs.Tensor, axis: int, index: int) -> gs.Tensor:
    """One position of a tensor, as an axis of length 1."""
    name = f"{tensor.name}.selected"
    value = constant_value(tensor)
    if value is not None:
        return view.constant(name, value.take([index], axis))
    position = view.constant(f"{name}_position", np.array([index], np.int64))
    return view.insert("Gather", [tensor, position], name, {"axis": axis})


def _squeeze(view: View, tensor: gs.Tensor, axis: int, result: gs.Tensor) -> None:
    if view.opset < _AXES_ARE_INPUTS:
        view.insert("Squeeze", [tensor], result, {"axes": [axis]})
    else:
        axes = view.constant(f"{result.name}.axes", np.array([axis], np.int64))
        view.insert("Squeeze", [tensor, axes], result)


RULE = Rule("push_selection_up", Safety.EXACT, find, apply, on_trial=True)
