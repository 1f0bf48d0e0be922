"""(x - mean) / Sqrt(mean of squares + epsilon) * scale + bias -> LayerNormalization(x).

Why: spelled out below opset 17. ONNX Runtime finds the form with Pow by itself; with Mul or
Reciprocal, as some exporters write, it does not, and there one node takes 0.9 of the time.
Safety: exact in real arithmetic. Infinity and NaN make the whole row NaN, as they did; values above
1e19, whose squares overflow, too may give another non-finite or zero row. Casts to float32 and back
round it, as float16 exports have them, are what the operator does inside.
Skips: a tensor in between that has another reader; a normalized shape that is not proven, or that
scale and bias do not have; axes that are not the last ones (an image's channels); float64, whose
epsilon float32 does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.gating import only_reader
from autogo_onnx.rewriters.patterns.reading import producer, setting
from autogo_onnx.rewriters.patterns.scalars import is_double, is_only_read_within, number, scaled
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_OPSET_OF_LAYER_NORMALIZATION = 17


@dataclass(frozen=True)
class _LayerNorm(Match):
    """The nodes, the last one last, and the operands of the one that replaces them."""

    x: gs.Tensor
    shape: tuple[int, ...]
    epsilon: float
    scale: gs.Tensor | None
    bias: gs.Tensor | None


@dataclass(frozen=True)
class _Core:
    """The part without scale and bias, and the nodes that take the two means."""

    x: gs.Tensor
    means: tuple[gs.Node, gs.Node]
    epsilon: float
    nodes: tuple[gs.Node, ...]


def find(view: View) -> Iterator[Match | Skip]:
    if view.opset < _OPSET_OF_LAYER_NORMALIZATION:
        return
    for node in view.graph.nodes:
        if not is_op(node, "ReduceMean"):
            continue
        core = _around_variance(view, node)
        if core is None:
            continue
        core = _without_casts(view, core)
        shape = _normalized_shape(view, core)
        reason = shape if isinstance(shape, str) else _refusal(view, core)
        if reason is None and not isinstance(shape, str):
            yield _with_affine(view, core, shape)
        elif reason:
            yield Skip(core.nodes, reason)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _LayerNorm)
    result = match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(view.element_type(match.x))
    scale = _operand(view, match, match.scale, f"{result.name}.scale")
    if scale is None:
        scale = view.constant(f"{result.name}.scale", np.ones(match.shape, dtype))
    bias = _operand(view, match, match.bias, f"{result.name}.bias")
    inputs = [match.x, scale] if bias is None else [match.x, scale, bias]
    attributes = {"axis": -len(match.shape), "epsilon": match.epsilon}
    view.insert("LayerNormalization", inputs, result, attributes)


def _around_variance(view: View, variance: gs.Node) -> _Core | None:
    """The normalization whose mean of squares the node is."""
    square = producer(variance.inputs[0])
    added = only_reader(view, variance)
    step = None if added is None else scaled(view, added)
    if square is None or added is None or step is None or not is_op(added, "Add"):
        return None
    deviation = _squared(view, square)
    centre = None if deviation is None else producer(deviation)
    if deviation is None or centre is None or not is_op(centre, "Sub"):
        return None
    x, mean = centre.inputs[0], producer(centre.inputs[1])
    if mean is None or not is_op(mean, "ReduceMean") or mean.inputs[0] is not x:
        return None
    ending = _divided_by_root(view, added, deviation)
    if ending is None:
        return None
    nodes = (mean, centre, square, variance, added, *ending)
    return _Core(x, (mean, variance), step.shift, nodes)


def _squared(view: View, square: gs.Node) -> gs.Tensor | None:
    base = square.inputs[0]
    if is_op(square, "Mul") and square.inputs[1] is base:
        return base
    if is_op(square, "Pow") and number(view, square.inputs[1], base) == 2:
        return base
    return None


def _divided_by_root(
    view: View, added: gs.Node, deviation: gs.Tensor
) -> tuple[gs.Node, ...] | None:
    """The nodes after the sum of variance and epsilon, up to the quotient."""
    root = only_reader(view, added)
    if root is None:
        return None
    power = number(view, root.inputs[1], root.inputs[0]) if is_op(root, "Pow") else None
    is_inverse = power == -0.5
    if not (is_op(root, "Sqrt") or power in (0.5, -0.5)) or root.inputs[0] is deviation:
        return None
    nodes = [root]
    last = only_reader(view, root)
    if last is not None and not is_inverse and _is_reciprocal(view, last):
        is_inverse = True
        nodes.append(last)
        last = only_reader(view, last)
    if last is None:
        return None
    operands = [id(tensor) for tensor in last.inputs]
    wanted = [id(deviation), id(nodes[-1].outputs[0])]
    if is_inverse and is_op(last, "Mul") and operands in (wanted, wanted[::-1]):
        return (*nodes, last)
    if not is_inverse and is_op(last, "Div") and operands == wanted:
        return (*nodes, last)
    return None


def _is_reciprocal(view: View, node: gs.Node) -> bool:
    if is_op(node, "Div"):
        return number(view, node.inputs[0], node.inputs[1]) == 1
    return is_op(node, "Reciprocal")


def _without_casts(view: View, core: _Core) -> _Core:
    """The same with Cast to float32 before and back after it taken in, where both are there."""
    before, after = producer(core.x), only_reader(view, core.nodes[-1])
    if before is None or after is None or not is_op(before, "Cast") or not is_op(after, "Cast"):
        return core
    kind = view.element_type(before.inputs[0])
    if kind != onnx.TensorProto.FLOAT16 or after.attrs["to"] != kind:
        return core
    if before.attrs["to"] != onnx.TensorProto.FLOAT:
        return core
    own = (before,) if is_only_read_within((before, *core.nodes), view) else ()
    return _Core(before.inputs[0], core.means, core.epsilon, (*own, *core.nodes, after))


def _normalized_shape(view: View, core: _Core) -> tuple[int, ...] | str:
    """Dimensions over which is normalized, or why that is none of our business."""
    shape = view.shape(core.x)
    if shape is None:
        return "the rank is not proven"
    wanted: set[tuple[int, ...]] = set()
    for mean in core.means:
        axes = setting(mean, "axes", 1)
        if axes is None or not mean.attrs.get("keepdims", 1) or not axes.size:
            return "the means are not over constant axes that are kept"
        wanted.add(tuple(sorted(int(a) % len(shape) for a in axes.reshape(-1))))
    axes_of_both = wanted.pop()
    if wanted:
        return "the two means are over different axes"
    if axes_of_both != tuple(range(len(shape) - len(axes_of_both), len(shape))):
        return "LayerNormalization is over the last axes"
    dims = shape[len(shape) - len(axes_of_both) :]
    known = tuple(d for d in dims if d is not None)
    return known if len(known) == len(dims) else "the normalized dimensions are not proven"


def _refusal(view: View, core: _Core) -> str | None:
    if not is_only_read_within(core.nodes, view):
        return "a tensor in between has another reader"
    if is_double(view, core.x):
        return "epsilon is float32, the tensor is float64"
    return None if view.element_type(core.x) else "the element type is not proven"


def _with_affine(view: View, core: _Core, shape: tuple[int, ...]) -> _LayerNorm:
    """The match, with the Mul and Add that follow where they have the normalized shape."""
    nodes, operands = list(core.nodes), dict[str, gs.Tensor]()
    rank = len(view.shape(core.x) or ())
    for op in ("Mul", "Add"):
        follower = only_reader(view, nodes[-1])
        if follower is None or not is_op(follower, op):
            continue
        last = nodes[-1].outputs[0]
        other = follower.inputs[1] if follower.inputs[0] is last else follower.inputs[0]
        if other is not last and _has_shape(view, other, shape, rank):
            operands[op] = other
            nodes.append(follower)
    scale, bias = operands.get("Mul"), operands.get("Add")
    return _LayerNorm(tuple(nodes), core.x, shape, core.epsilon, scale, bias)


def _has_shape(view: View, tensor: gs.Tensor, shape: tuple[int, ...], rank: int) -> bool:
    """Whether it is, or as a constant can be made, of exactly this shape."""
    value = constant_value(tensor)
    if value is None:
        return view.shape(tensor) == shape
    if value.ndim > rank:
        return False
    whole = (1,) * (rank - len(shape)) + shape
    padded = (1,) * (rank - value.ndim) + value.shape
    return all(small in (1, large) for small, large in zip(padded, whole, strict=True))


def _operand(
    view: View, match: _LayerNorm, tensor: gs.Tensor | None, name: str
) -> gs.Tensor | None:
    """Scale or bias in exactly the normalized shape; the tensor itself where it has that."""
    value = None if tensor is None else constant_value(tensor)
    if value is None or value.shape == match.shape:
        return tensor
    value = value.reshape(value.shape[max(0, value.ndim - len(match.shape)) :])
    return view.constant(name, np.broadcast_to(value, match.shape))


RULE = Rule("fuse_layer_norm", Safety.EXACT, find, apply, on_trial=True)
