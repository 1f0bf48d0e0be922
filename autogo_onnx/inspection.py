"""What a model consists of and costs, and how its operators fall into segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from autogo_onnx import signature
from autogo_onnx.messages import opset_of
from autogo_onnx.opgraph import AttributeValue, OpGraph
from autogo_onnx.report import Size
from autogo_onnx.segments import Reading
from autogo_onnx.sizes import op_macs, read_model, size
from autogo_onnx.tables import Table, align, amount, percent, span

if TYPE_CHECKING:
    from autogo_onnx.segment_db.vocabulary import Vocabulary


@dataclass(frozen=True)
class Segment:
    """One piece of a model.

    Attributes:
        nodes: the node of each operator by name, in canonical order.
        kinds: ONNX type of each operator.
        tokens: what the vocabulary saw of each.
        macs: multiply-accumulates; unknown ones count as 0.
    """

    nodes: tuple[str, ...]
    kinds: tuple[str, ...]
    tokens: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class Inspection:
    """A model at a glance.

    Attributes:
        inputs, outputs: name, element type and dimensions of each.
        opset: of the default domain.
        size: MACs for a batch of one, parameters, nodes.
        unknown: operators whose MACs are unknown, because a shape is.
        kinds: operator types with their number and MACs, most expensive first.
        segments: in canonical order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    size: Size
    unknown: int
    kinds: tuple[tuple[str, int, int], ...]
    segments: tuple[Segment, ...]


def inspect(model: onnx.ModelProto, vocabulary: Vocabulary) -> Inspection:
    """Read a model; the segments are those of the exactly rewritten one, which `optimize` cuts."""
    graph = read_model(model).opgraph
    macs = op_macs(graph)
    return Inspection(
        inputs=tuple(map(_spelled, signature.inputs(model))),
        outputs=tuple(map(_spelled, signature.outputs(model))),
        opset=opset_of(model),
        size=size(model),
        unknown=sum(m is None for m in macs),
        kinds=_kinds(graph, macs),
        segments=segments(model, vocabulary),
    )


def segments(model: onnx.ModelProto, vocabulary: Vocabulary) -> tuple[Segment, ...]:
    """The segmentation of a model, exactly rewritten, by a vocabulary; in canonical order."""
    from autogo_onnx.segment_db.segmentation import pieces
    from autogo_onnx.serialize import canonical_order, tokens

    reading = read_rewritten(model)
    graph, macs = reading.opgraph, op_macs(reading.opgraph)
    order = canonical_order(graph)
    token_of = dict(zip(order, tokens(graph, order), strict=True))
    return tuple(
        Segment(
            nodes=tuple(_name(reading, i) for i in piece),
            kinds=tuple(graph.ops[i].kind for i in piece),
            tokens=tuple(token_of[i] for i in piece),
            macs=sum(macs[i] or 0 for i in piece),
        )
        for piece in pieces(graph, vocabulary)
    )


def read_rewritten(model: onnx.ModelProto) -> Reading:
    """The compute nodes of a model after the exact rules: what is mined, and cut by `optimize`."""
    from autogo_onnx.rewriters import rewrite

    return read_model(rewrite(model).model)


def to_text(inspection: Inspection) -> str:
    """The inspection for a terminal."""
    total, total_cut = inspection.size.macs, sum(s.macs for s in inspection.segments)
    head = [
        *(f"input   {text}" for text in inspection.inputs),
        *(f"output  {text}" for text in inspection.outputs),
        f"opset   {inspection.opset}",
        f"nodes   {inspection.size.nodes}",
        f"MACs    {amount(total)}, parameters {amount(inspection.size.params)}",
    ]
    if inspection.unknown:
        head.append(f"        without {inspection.unknown} operators whose shapes are unknown")
    kinds = tuple(
        (kind, str(count), amount(macs), _share(macs, total))
        for kind, count, macs in inspection.kinds
    )
    pieces = tuple(
        (" ".join(s.kinds), span(s.nodes), amount(s.macs), _share(s.macs, total_cut))
        for s in inspection.segments
    )
    return "\n\n".join(
        (
            "\n".join(head),
            align(Table("operators", ("type", "number", "MACs", "share"), kinds)),
            align(Table("segments", ("operators", "nodes", "MACs", "share"), pieces)),
        )
    )


def tokens_text(pieces: Sequence[Segment]) -> str:
    """The segmentation as text: a line per operator, an empty line between segments."""
    return "\n\n".join(
        "\n".join(f"{name}\t{token}" for name, token in zip(piece.nodes, piece.tokens, strict=True))
        for piece in pieces
    )


def graph_text(graph: OpGraph) -> str:
    """A weight-free graph as text: a line per tensor.

    >>> from autogo_onnx.opgraph import Op
    >>> relu = OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,))
    >>> print(graph_text(relu))
    t0 [1,4] = input
    t1 [1,4] = Relu(t0)
    output t1
    """
    lines = [f"{_tensor(graph, t)} = input" for t in range(graph.n_inputs)]
    for index, op in enumerate(graph.ops):
        settings = [f"{name}={_value(value)}" for name, value in op.attributes]
        operands = [f"t{t}" for t in op.inputs]
        place = _tensor(graph, graph.n_inputs + index)
        lines.append(f"{place} = {op.kind}({', '.join((*operands, *settings))})")
    lines.append("output " + ", ".join(f"t{t}" for t in graph.outputs))
    return "\n".join(lines)


def _tensor(graph: OpGraph, tensor: int) -> str:
    return f"t{tensor} [{_value(graph.shape(tensor))}]"


def _value(value: AttributeValue) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _name(reading: Reading, op: int) -> str:
    """The node's name; a nameless node goes by its first output."""
    node = reading.nodes[op]
    name: str = node.name or node.outputs[0].name
    return name


def _kinds(graph: OpGraph, macs: Sequence[int | None]) -> tuple[tuple[str, int, int], ...]:
    counts = Counter(op.kind for op in graph.ops)
    totals: Counter[str] = Counter()
    for op, value in zip(graph.ops, macs, strict=True):
        totals[op.kind] += value or 0
    rows = [(kind, count, totals[kind]) for kind, count in counts.items()]
    return tuple(sorted(rows, key=lambda row: (-row[2], -row[1], row[0])))


def _spelled(spec: signature.TensorSpec) -> str:
    dims = "?" if spec.dims is None else ",".join("?" if d is None else str(d) for d in spec.dims)
    return f"{spec.name} {spec.dtype_name}[{dims}]"


def _share(part: int, total: int) -> str:
    return percent(part / total) if total else ""
