"""Reads the structure of a segment: one function per kind of operator.

Every operator says three things: which of its tensors share a size, which share a width, and what
relates the others (options of a window, a sum of widths). Operators that are not known here make
the segment infeasible, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.shapes.problem import Infeasible
from autogo_onnx.shapes.sliding import options_of, window_of
from autogo_onnx.shapes.structure import Freedom, Merged, Option, Structure
from autogo_onnx.shapes.windows import Size, transposed_size

_ELEMENT_WISE = frozenset({
    "Abs", "BatchNormalization", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "LRN", "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "PRelu",
    "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh",
    "ThresholdedRelu",
})  # fmt: skip
_BROADCAST = frozenset({"Add", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum"})
_GLOBAL = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_REDUCE = frozenset({"ReduceMax", "ReduceMean"})


class _Unknown(Exception):
    """An operator that the reader cannot describe; the message is the reason."""


def read(graph: OpGraph, freedom: Freedom) -> Structure | Infeasible:
    """The structure of a segment, or the operator that is not known."""
    count = graph.n_tensors
    found = Structure(graph, freedom, Merged(count), Merged(count))
    for index, op in enumerate(graph.ops):
        describe = _describe_of(op)
        try:
            if describe is None or not op.inputs:
                raise _Unknown("not an operator whose shapes can be changed")
            if any(len(graph.shape(t)) < 2 for t in (*op.inputs, graph.n_inputs + index)):
                raise _Unknown("a tensor without batch and channel axes")
            describe(found, index, op)
        except _Unknown as unknown:
            return Infeasible(f"{found.describe(index)}: {unknown}")
    return found


def _describe_of(op: Op) -> Callable[[Structure, int, Op], None] | None:
    if op.kind in _ELEMENT_WISE and len(op.inputs) == 1:
        return _element_wise
    if op.kind in _BROADCAST:
        return _broadcast
    if op.kind in _GLOBAL:
        return _global_pool
    if op.kind in _REDUCE:
        return _reduce
    return _BY_KIND.get(op.kind)


def _out(found: Structure, index: int) -> int:
    return found.graph.n_inputs + index


def _size(shape: Shape) -> Size:
    return shape[2:]


def _element_wise(found: Structure, index: int, op: Op) -> None:
    tensors = (op.inputs[0], _out(found, index))
    found.sizes.merge(tensors)
    found.widths.merge(tensors)
    if op.inputs[0] in found.pooled:
        found.pooled.add(tensors[1])


def _broadcast(found: Structure, index: int, op: Op) -> None:
    """Operands have the output's size, or 1 along every axis; its width, or one channel."""
    graph, out = found.graph, _out(found, index)
    shape = graph.shape(out)
    full = [t for t in op.inputs if t not in found.pooled and _size(graph.shape(t)) == _size(shape)]
    if not full:  # everything is 1x1: all of it after a global pool
        full = [t for t in op.inputs if _size(graph.shape(t)) == _size(shape)]
        found.pooled.add(out)
    for tensor in op.inputs:
        given = graph.shape(tensor)
        if len(given) != len(shape) or not full:
            raise _Unknown("operands of different rank")
        if tensor not in full:
            if any(n != 1 for n in _size(given)):
                raise _Unknown("a broadcast along some spatial axes only")
            found.single.append(tensor)
        if given[1] == shape[1]:
            found.widths.merge((tensor, out))
        elif given[1] == 1 and len(op.inputs) > 1:
            found.one_channel.append(tensor)
        else:
            raise _Unknown("a constant that widens its operand")
    found.sizes.merge((*full, out))


def _convolution(found: Structure, index: int, op: Op) -> None:
    """Chooses its width, but a depthwise one follows its input's."""
    if len(op.inputs) != 1:
        raise _Unknown("computed weights")
    graph, out = found.graph, _out(found, index)
    given, made, group = graph.shape(op.inputs[0])[1], graph.shape(out)[1], op.get("group", 1)
    if group > 1 and group == given:
        _scale_width(found, index, op.inputs[0], made // group, 1)
    else:
        found.choosers.append(index)
    if op.kind == "ConvTranspose":
        window = window_of(op)
        extra = op.get("output_padding", (0,) * len(window.kernel))
        found.options[index] = (Option(0, partial(transposed_size, window, extra)),)
    else:
        _slide(found, index, op)


def _pool(found: Structure, index: int, op: Op) -> None:
    """A pool over the whole map stays one, whatever the map's size."""
    out, window = _out(found, index), window_of(op)
    found.widths.merge((op.inputs[0], out))
    given = _size(found.graph.shape(op.inputs[0]))
    whole = window.kernel == given and _is_one(_size(found.graph.shape(out))) and not _is_one(given)
    if whole and not any(map(sum, window.pads)):
        found.options[index] = (Option(0, _to_one, is_whole_map=True),)
        found.pooled.add(out)
    else:
        _slide(found, index, op)


def _global_pool(found: Structure, index: int, op: Op) -> None:
    out = _out(found, index)
    found.widths.merge((op.inputs[0], out))
    found.options[index] = (Option(0, _to_one),)
    found.pooled.add(out)


def _reduce(found: Structure, index: int, op: Op) -> None:
    """Over all spatial axes (a global pool), or over channels (a map of one channel)."""
    out, rank = _out(found, index), len(found.graph.shape(op.inputs[0]))
    axes = tuple(sorted(a % rank for a in op.get("axes", ())))
    keeps = bool(op.get("keepdims", 1))
    if axes == (1,) and keeps:
        found.sizes.merge((op.inputs[0], out))
        found.one_channel.append(out)
    elif axes == tuple(range(2, rank)) and rank > 2:
        found.widths.merge((op.inputs[0], out))
        found.options[index] = (Option(0, _to_one if keeps else _to_vector),)
        found.pooled.update({out} if keeps else ())
    else:
        raise _Unknown("a reduction over these axes")


def _concat(found: Structure, index: int, op: Op) -> None:
    out, rank = _out(found, index), len(found.graph.op_shapes[index])
    axis = op.get("axis", 1) % rank
    if axis == 0:
        raise _Unknown("concatenation along the batch")
    if axis == 1:
        found.sizes.merge((*op.inputs, out))
        found.sums.append((((out, -1), *((t, 1) for t in op.inputs)), index))
        if found.pooled.issuperset(op.inputs):
            found.pooled.add(out)
    else:
        found.widths.merge((*op.inputs, out))
        found.joins[index] = axis - 2


def _flatten(found: Structure, index: int, op: Op) -> None:
    """Also a Reshape that says the same."""
    if len(found.graph.op_shapes[index]) != 2 or op.get("axis", 1) != 1:
        raise _Unknown("only flattening to [batch, features] is known here")
    found.options[index] = (Option(0, _to_vector),)
    found.areas.append((op.inputs[0], _out(found, index)))


def _gemm(found: Structure, index: int, op: Op) -> None:
    if len(op.inputs) != 1:
        raise _Unknown("computed weights")
    found.sizes.merge((op.inputs[0], _out(found, index)))
    found.choosers.append(index)


def _depth_to_space(found: Structure, index: int, op: Op) -> None:
    block = int(op.get("blocksize"))
    _scale_width(found, index, op.inputs[0], 1, block * block)
    found.options[index] = (Option(0, lambda size: tuple(n * block for n in size)),)


def _space_to_depth(found: Structure, index: int, op: Op) -> None:
    block = int(op.get("blocksize"))
    _scale_width(found, index, op.inputs[0], block * block, 1)
    found.options[index] = (Option(0, partial(_divided, block)),)


def _resize(found: Structure, index: int, op: Op) -> None:
    """Keeps its scale, which must be a whole number."""
    out = _out(found, index)
    given, made = found.graph.shape(op.inputs[0]), found.graph.shape(out)
    if given[:2] != made[:2] or any(b % a for a, b in zip(given, made, strict=True)):
        raise _Unknown("only a resize by whole numbers is known here")
    factors = tuple(b // a for a, b in zip(_size(given), _size(made), strict=True))
    found.widths.merge((op.inputs[0], out))
    found.options[index] = (Option(0, partial(_multiplied, factors)),)


_BY_KIND: dict[str, Callable[[Structure, int, Op], None]] = {
    "AveragePool": _pool,
    "Concat": _concat,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "DepthToSpace": _depth_to_space,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "MaxPool": _pool,
    "Reshape": _flatten,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _resize,
}


def _scale_width(found: Structure, index: int, tensor: int, times: int, over: int) -> None:
    """Width of the output = width of the input * times / over."""
    out = _out(found, index)
    if times == over:
        found.widths.merge((tensor, out))
    else:
        found.sums.append((((out, -over), (tensor, times)), index))


def _slide(found: Structure, index: int, op: Op) -> None:
    found.options[index] = options_of(op, index, found.freedom)
    out = _out(found, index)
    if op.inputs[0] in found.pooled and _is_one(_size(found.graph.shape(out))):
        found.pooled.add(out)


def _is_one(size: Size) -> bool:
    return all(n == 1 for n in size)


def _to_one(size: Size) -> Size:
    return (1,) * len(size)


def _to_vector(size: Size) -> Size:
    return ()


def _divided(block: int, size: Size) -> Size | None:
    return None if any(n % block for n in size) else tuple(n // block for n in size)


def _multiplied(factors: Size, size: Size) -> Size:
    return tuple(n * f for n, f in zip(size, factors, strict=True))
