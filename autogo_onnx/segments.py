"""The user's graph as a weight-free `OpGraph`, and the sites in it that may be replaced.

Compute nodes become operators. Weights, constants and shape scaffolding (nodes that work on shapes
alone) do not: they are attributes of what they feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.attribute_forms import INPUT_ATTRIBUTES, input_names, one_form
from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.opgraph import AttributeValue, Cut, Op, OpGraph, Shape, cut

Attributes = dict[str, AttributeValue]
Plain = dict[str, Any]

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
ACTIVATIONS = frozenset(
    {"Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "Tanh", "Elu", "PRelu"}
)
_WINDOWED = CONVOLUTIONS | {"AveragePool", "LpPool", "MaxPool"}
# Their results depend on shapes or on nothing, not on what a network computes.
_SHAPE_SOURCES = frozenset({"Constant", "Shape", "Size"})


@dataclass(frozen=True)
class Reading:
    """A graph read once: operators, the nodes they were read from, the names of the tensors."""

    opgraph: OpGraph
    nodes: tuple[gs.Node, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """One segment of the user's model that may be replaced."""

    cut: Cut
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def graph(self) -> OpGraph:
        """The segment itself, weight-free."""
        return self.cut.graph


def read(graph: gs.Graph, shapes: Mapping[str, Shape]) -> Reading:
    """Read the compute nodes of a topologically sorted graph.

    Every output of a node becomes an operator; from the second on they carry `output`, its
    position. A kind of another domain than ONNX's is written `domain::kind`. Nodes with subgraphs
    also have the tensors that these capture as operands.

    Args:
        graph: after the exact rewriters.
        shapes: static shapes by tensor name; a tensor that is missing gets the shape `()`.
    """
    names = [tensor.name for tensor in graph.inputs]
    number = {name: i for i, name in enumerate(names)}
    ops: list[Op] = []
    nodes: list[gs.Node] = []
    for node in graph.nodes:
        operands = tuple(number[name] for name in _operands(node) if name in number)
        if is_op(node, *_SHAPE_SOURCES) or not operands:
            continue  # Nothing downstream of scaffolding alone is known by number either.
        attributes = _attributes(node, shapes)
        for k, tensor in enumerate(node.outputs):
            if not tensor.is_empty():
                number[tensor.name] = len(names)
                names.append(tensor.name)
                position = {"output": k} if k else {}
                ops.append(Op.make(_kind(node), operands, **attributes, **position))
                nodes.append(node)
    opgraph = OpGraph(
        tuple(_shape(shapes, tensor.name) for tensor in graph.inputs),
        tuple(ops),
        tuple(_shape(shapes, name) for name in names[len(graph.inputs) :]),
        tuple(number[tensor.name] for tensor in graph.outputs if tensor.name in number),
    )
    return Reading(opgraph, tuple(nodes), tuple(names))


def site_of(reading: Reading, ops: Iterable[int]) -> Site:
    """The site made of some operators of a reading."""
    part = cut(reading.opgraph, tuple(ops))
    return Site(
        part,
        tuple(dict.fromkeys(reading.nodes[i].name for i in part.ops)),
        tuple(reading.tensors[t] for t in part.inputs),
        tuple(reading.tensors[t] for t in part.outputs),
    )


def is_convex(graph: OpGraph, ops: Iterable[int]) -> bool:
    """True when no path leaves the operators and comes back: replacing them makes no cycle."""
    inside = set(ops)
    tainted: set[int] = set()
    for index in range(min(inside), max(inside) + 1):
        producers = [p for t in graph.ops[index].inputs if (p := graph.producer(t)) is not None]
        if index in inside:
            if any(p in tainted for p in producers):
                return False
        elif any(p in inside or p in tainted for p in producers):
            tainted.add(index)
    return True


def op_weights(node: gs.Node) -> tuple[np.ndarray[Any, Any], ...]:
    """The constant operands of a node, in order (Conv: weight and, if any, bias)."""
    values = [constant_value(t) for t in node.inputs]
    return tuple(v for v in values if v is not None)


def _operands(node: gs.Node) -> Iterator[str]:
    """Names of the tensors that a node reads and that are not constants."""
    for tensor in node.inputs:
        if not tensor.is_empty() and constant_value(tensor) is None:
            yield tensor.name
    for subgraph in node.subgraphs(recursive=True):
        yield from (t.name for inner in subgraph.nodes for t in inner.inputs)
        yield from (t.name for t in subgraph.outputs)


def _kind(node: gs.Node) -> str:
    return str(node.op) if is_op(node, node.op) else f"{node.domain}::{node.op}"


def _shape(shapes: Mapping[str, Shape], name: str) -> Shape:
    return tuple(shapes.get(name, ()))


def _attributes(node: gs.Node, shapes: Mapping[str, Shape]) -> Attributes:
    plain: Plain = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in node.attrs.items()
        if isinstance(value, (int, float, str)) or _is_integers(value)
    }
    if is_op(node, *_WINDOWED):
        return _window_attributes(node, plain, shapes)
    if is_op(node, *INPUT_ATTRIBUTES, "Concat", "Resize"):
        plain.update(_constant_inputs(node))
        given, made = (_shape(shapes, t.name) for t in (node.inputs[0], node.outputs[0]))
        return one_form(node.op, plain, given, made)
    return plain


def _is_integers(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) for item in value)


def _constant_inputs(node: gs.Node) -> Iterator[tuple[str, AttributeValue]]:
    """The constant inputs of a node that other opsets have as attributes."""
    for name, tensor in zip(input_names(node.op), node.inputs[1:], strict=False):
        value = None if tensor.is_empty() else constant_value(tensor)
        if value is None:
            continue
        if name not in ("min", "max", "value"):
            yield name, tuple(map(int, value.ravel()))
        elif value.size == 1:
            yield name, value.item()


def _window_attributes(node: gs.Node, plain: Plain, shapes: Mapping[str, Shape]) -> Attributes:
    """Kernel, strides, pads and dilations spelled out, `auto_pad` resolved to explicit pads."""
    kernel = _kernel(node, plain)
    if kernel is None:
        return dict(plain)
    ones = (1,) * len(kernel)
    window: Plain = {"kernel_shape": kernel, "strides": ones, "dilations": ones}
    window.update((k, v) for k, v in plain.items() if k in ("strides", "dilations"))
    sizes = (_shape(shapes, tensor.name)[2:] for tensor in (node.inputs[0], node.outputs[0]))
    window["pads"] = _pads(node, plain | window, *sizes)
    if is_op(node, "Conv"):
        return {**window, "group": plain.get("group", 1)}
    if is_op(node, "ConvTranspose"):
        extra = {"output_padding": plain["output_padding"]} if "output_padding" in plain else {}
        return {**window, **extra, "group": plain.get("group", 1)}
    if window["dilations"] == ones:
        del window["dilations"]
    said = {k: v for k, v in plain.items() if k in ("count_include_pad", "p") and v}
    return {**window, **said, "ceil_mode": plain.get("ceil_mode", 0)}


def _kernel(node: gs.Node, plain: Plain) -> Shape | None:
    weight = constant_value(node.inputs[1]) if is_op(node, *CONVOLUTIONS) else None
    return plain.get("kernel_shape") if weight is None else tuple(map(int, weight.shape[2:]))


def _pads(node: gs.Node, window: Plain, source: Shape, result: Shape) -> Shape:
    """Explicit pads; where sizes decide them, so that `source` pixels give `result` pixels.

    The odd pixel is put at the end by SAME_UPPER, and at the beginning by everything else
    (ConvTranspose with an `output_shape` included).
    """
    rank, mode = len(window["kernel_shape"]), window.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0,) * (2 * rank)
    by_size = mode.startswith("SAME") or "output_shape" in window
    if not by_size or not source or not result:
        return tuple(window.get("pads", (0,) * (2 * rank)))
    begin, end = [], []
    for axis in range(rank):
        total = max(0, _missing(node, window, axis, source[axis], result[axis]))
        begin.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
        end.append(total - begin[-1])
    return (*begin, *end)


def _missing(node: gs.Node, window: Plain, axis: int, source: int, result: int) -> int:
    """Pixels of padding with which an axis of `source` pixels gives `result` pixels."""
    stride, step = window["strides"][axis], window["dilations"][axis]
    span = (window["kernel_shape"][axis] - 1) * step + 1
    if is_op(node, "ConvTranspose"):
        extra = window.get("output_padding", (0,) * len(window["strides"]))[axis]
        return int((source - 1) * stride + extra + span - result)
    return int((result - 1) * stride + span - source)
