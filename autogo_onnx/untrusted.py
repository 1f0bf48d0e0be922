"""What no file may demand: a few bytes that ask for years or terabytes.

ONNX's checker knows whether a model is valid, not whether it can be borne. Functions that call one
another twice each grow exponentially when they are inlined; an input of fixed size may be larger
than any memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import onnx

from autogo_onnx.errors import InputError

MOST_NODES = 2_000_000
"""Nodes after all functions are inlined, as ONNX Runtime does."""

LARGEST_INPUT = 2**31
"""Elements of an input whose dimensions are all fixed."""

# onnx 1.23 squares the block size of DepthToSpace and divides by what has overflowed to zero.
_LARGEST_SIZE = 2**31
# Numbers that are no sizes: the end of all things, or any value at all.
_MAY_NAME_THE_END = frozenset({"Constant", "Shape", "Slice"})
_OF_TABLES = "ai.onnx.ml"  # whose integers are keys and classes

_Key = tuple[str, str, str]


def check(model: onnx.ModelProto) -> None:
    """Refuse a valid model that nobody can run.

    Raises:
        InputError: it expands without end, or an input is absurdly large.
    """
    for info in model.graph.input:
        dims = [dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.dim_value > 0]
        if math.prod(dims) > LARGEST_INPUT:
            raise InputError(
                f"input {info.name!r} is declared with {math.prod(dims):,} elements, "
                f"more than can be fed ({LARGEST_INPUT:,})"
            )
    for node in all_nodes(model.graph.node):
        _check_node(node)
    if model.functions and _nodes_when_inlined(model) > MOST_NODES:
        raise InputError(f"the model's functions expand to more than {MOST_NODES:,} nodes")


def _check_node(node: onnx.NodeProto) -> None:
    """Refuse names that are no text, and sizes that overflow in native code (a crash there)."""
    if not all(isinstance(text, str) for text in (node.name, *node.input, *node.output)):
        raise InputError(f"a name at a node {node.op_type} is not UTF-8")
    if node.op_type in _MAY_NAME_THE_END or node.domain == _OF_TABLES:
        return
    for attribute in node.attribute:
        numbers = (attribute.i, *attribute.ints)
        if max(numbers) > _LARGEST_SIZE or min(numbers) < -_LARGEST_SIZE:
            name = node.name or next(iter(node.output), "")
            where = f"{attribute.name!r} of {node.op_type} {name!r}"
            raise InputError(f"attribute {where} is absurdly large")


def _nodes_when_inlined(model: onnx.ModelProto) -> int:
    """Nodes of the graph with every call replaced by what it calls."""
    calls = {_key(f): _calls(f.node) for f in model.functions}
    callees = {key: {k for k in called if k in calls} for key, called in calls.items()}
    sizes: dict[_Key, int] = {}
    try:
        for key in TopologicalSorter(callees).static_order():
            sizes[key] = _size(calls[key], sizes)
    except CycleError:
        raise InputError("the model's functions call one another in a circle") from None
    return _size(_calls(model.graph.node), sizes)


def _key(function: onnx.FunctionProto) -> _Key:
    return function.domain, function.name, function.overload


def _calls(nodes: Iterable[onnx.NodeProto]) -> list[_Key]:
    """What the nodes call, those in subgraphs included."""
    return [(node.domain, node.op_type, node.overload) for node in all_nodes(nodes)]


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those in their subgraphs; without recursion, which a file may exhaust."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                waiting.extend(attribute.g.node)
            for graph in attribute.graphs:
                waiting.extend(graph.node)


def _size(calls: Iterable[_Key], sizes: Mapping[_Key, int]) -> int:
    return sum(sizes.get(key, 1) for key in calls)
