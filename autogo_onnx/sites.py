"""Where a network may be changed: segments with one input and one output that end in a fit.

Three kinds of site: the pieces that the vocabulary cuts (one to three consecutive ones), every
convolution by itself, and two convolutions with an activation between them. Activations at the
ends of a piece are left outside, so that fits aim at what comes before them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_graphsurgeon as gs

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segments import (
    ACTIVATIONS,
    CONVOLUTIONS,
    Reading,
    Site,
    is_convex,
    op_weights,
    site_of,
)

LONGEST_JOIN = 3
LARGEST_SITE = 16
REPLACEABLE = ACTIVATIONS | {
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Conv",
    "Identity",
    "MaxPool",
    "Mul",
}

Readers = tuple[tuple[int, ...], ...]


def find_sites(
    reading: Reading, pieces: Sequence[Sequence[int]], *, fixed_size: bool
) -> tuple[Site, ...]:
    """All sites of a network, in order of their last operator, without duplicates.

    Args:
        reading: of the exactly rewritten model, static shapes known.
        pieces: operator indices per piece of the vocabulary, in canonical order.
        fixed_size: whether the model takes one picture size only. If not, operators whose pads
            depend on the size (`auto_pad` with a stride) are left alone.
    """
    graph = reading.opgraph
    readers = graph.readers()
    allowed = {
        i
        for i, node in enumerate(reading.nodes)
        if _obstacle(graph, i, node, fixed_size=fixed_size) is None
    }
    return tuple(
        site_of(reading, ops)
        for ops in groups(graph, pieces)
        if allowed.issuperset(ops) and _is_site(graph, readers, ops)
    )


def groups(graph: OpGraph, pieces: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Operators that could make a site, whatever their boundary; by their last, each group once.

    A group may be empty (activations alone), of several parts, or not convex.
    """
    readers = graph.readers()
    found = {
        tuple(ops)
        for ops in (
            *_single(graph),
            *_pairs(graph, readers),
            *_joined(graph, readers, pieces),
        )
    }
    return tuple(sorted(found, key=lambda ops: (ops[-1:], len(ops), ops)))


def left_alone(reading: Reading, *, fixed_size: bool) -> dict[str, tuple[str, ...]]:
    """Names of the convolutions that no site may hold, by the reason."""
    found: dict[str, list[str]] = {}
    for index, (op, node) in enumerate(zip(reading.opgraph.ops, reading.nodes, strict=True)):
        if op.kind in CONVOLUTIONS:
            reason = _obstacle(reading.opgraph, index, node, fixed_size=fixed_size)
            if reason is not None:
                found.setdefault(reason, []).append(node.name)
    return {reason: tuple(names) for reason, names in found.items()}


def _single(graph: OpGraph) -> Iterator[list[int]]:
    yield from ([i] for i, op in enumerate(graph.ops) if op.kind == "Conv")


def _pairs(graph: OpGraph, readers: Readers) -> Iterator[list[int]]:
    """Convolution, activation, convolution, with nothing else reading in between."""
    for [first] in _single(graph):
        activation = _only_reader(graph, readers, first)
        if activation is not None and graph.ops[activation].kind in ACTIVATIONS:
            last = _only_reader(graph, readers, activation)
            if last is not None and graph.ops[last].kind == "Conv":
                yield [first, activation, last]


def _only_reader(graph: OpGraph, readers: Readers, index: int) -> int | None:
    tensor = graph.n_inputs + index
    is_inner = len(readers[tensor]) == 1 and tensor not in graph.outputs
    return readers[tensor][0] if is_inner else None


def _joined(
    graph: OpGraph, readers: Readers, pieces: Sequence[Sequence[int]]
) -> Iterator[list[int]]:
    """One to three consecutive pieces."""
    for start in range(len(pieces)):
        for stop in range(start + 1, min(start + LONGEST_JOIN, len(pieces)) + 1):
            ops = {i for piece in pieces[start:stop] for i in piece}
            if len(ops) <= LARGEST_SITE:
                yield _trimmed(graph, readers, ops)


def _trimmed(graph: OpGraph, readers: Readers, inside: set[int]) -> list[int]:
    """Without activations that nothing inside reads, or that read nothing inside."""

    def is_end(index: int) -> bool:
        feeds = any(r in inside for r in readers[graph.n_inputs + index])
        fed = any(graph.producer(t) in inside for t in graph.ops[index].inputs)
        return not (feeds and fed)

    while ends := {i for i in inside if graph.ops[i].kind in ACTIVATIONS and is_end(i)}:
        inside = inside - ends
    return sorted(inside)


def _obstacle(graph: OpGraph, index: int, node: gs.Node, *, fixed_size: bool) -> str | None:
    """Why an operator cannot be a part of a site: float32 on feature maps, samples apart."""
    op = graph.ops[index]
    if op.kind not in REPLACEABLE or op.get("output"):
        return f"{op.kind} is not replaced"
    if sum(not t.is_empty() for t in node.outputs) > 1:
        return "it has several outputs"
    dtypes = sorted({str(w.dtype) for w in op_weights(node)} - {"float32"})
    if dtypes:
        return f"weights are {dtypes[0]}, not float32"
    if op.kind == "Conv" and (len(op.inputs) != 1 or not op_weights(node)):
        return "the weights are not fixed"
    return _obstacle_of_shape(graph, index, node) or _obstacle_of_pads(node, fixed_size)


def _obstacle_of_shape(graph: OpGraph, index: int, node: gs.Node) -> str | None:
    op = graph.ops[index]
    shapes = [graph.shape(t) for t in (*op.inputs, graph.n_inputs + index)]
    if not all(shapes):
        return "shapes are not known"
    if any(len(shape) != 4 for shape in shapes):
        return "not two-dimensional"
    batch = {shape[0] for shape in graph.input_shapes if shape}
    if any({shape[0]} != batch for shape in shapes):
        return "the leading axis does not count samples"
    if op.kind == "PRelu" and not _has_slope_per_channel(node, shapes[0][1]):
        return "slopes are not one per channel"
    return None


def _has_slope_per_channel(node: gs.Node, channels: int) -> bool:
    return all(w.size == 1 or w.shape[-3:] == (channels, 1, 1) for w in op_weights(node))


def _obstacle_of_pads(node: gs.Node, fixed_size: bool) -> str | None:
    if _is_ambiguous(node):
        return "ONNX Runtime does not pad a dilated window with SAME as ONNX says"
    if not fixed_size and _pads_by_size(node):
        return "pads depend on the size of the picture, which is not fixed"
    return None


def _is_ambiguous(node: gs.Node) -> bool:
    return _pads_itself(node) and any(step > 1 for step in node.attrs.get("dilations", ()))


def _pads_by_size(node: gs.Node) -> bool:
    return _pads_itself(node) and any(stride > 1 for stride in node.attrs.get("strides", ()))


def _pads_itself(node: gs.Node) -> bool:
    return str(node.attrs.get("auto_pad", "")).startswith("SAME")


def _is_site(graph: OpGraph, readers: Readers, ops: Sequence[int]) -> bool:
    """One tensor in, one out, at least one convolution, nothing outside between two inside."""
    inside = {graph.n_inputs + i for i in ops}
    inputs = {t for i in ops for t in graph.ops[i].inputs} - inside
    outputs = [t for t in inside if t in graph.outputs or not set(readers[t]).issubset(ops)]
    has_convolution = any(graph.ops[i].kind == "Conv" for i in ops)
    return has_convolution and len(inputs) == len(outputs) == 1 and is_convex(graph, ops)
