"""What a model consists of and costs, and how its operators fall into segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from autogo_onnx import signature
from autogo_onnx.errors import InputError
from autogo_onnx.messages import opset_of
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.report import Size
from autogo_onnx.segments import Reading
from autogo_onnx.sizes import batch_of_one, op_macs, read_model, size
from autogo_onnx.tables import Table, align, amount, percent, span

if TYPE_CHECKING:
    from autogo_onnx.segment_db.vocabulary import Vocabulary


_NOMINAL_PIXELS = 224
# Operator numbers of every segment.
Pieces = tuple[tuple[int, ...], ...]


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
    return cut_up(read_rewritten(model), vocabulary)[0]


def cut_up(reading: Reading, vocabulary: Vocabulary) -> tuple[tuple[Segment, ...], Pieces]:
    """Segments of a rewritten model, and the numbers of their operators."""
    from autogo_onnx.segment_db.segmentation import pieces
    from autogo_onnx.serialize import canonical_order, tokens

    graph, macs = reading.opgraph, op_macs(reading.opgraph)
    order = canonical_order(graph)
    token_of = dict(zip(order, tokens(graph, order), strict=True))
    found = pieces(graph, vocabulary)
    described = tuple(
        Segment(
            nodes=tuple(_name(reading, i) for i in piece),
            kinds=tuple(graph.ops[i].kind for i in piece),
            tokens=tuple(token_of[i] for i in piece),
            macs=sum(macs[i] or 0 for i in piece),
        )
        for piece in found
    )
    return described, found


def segments_svg(reading: Reading, vocabulary: Vocabulary, name: str) -> str:
    """The whole network with its segments in colours; `name` stands above it."""
    from autogo_onnx.drawing.svg import Colouring, draw

    described, found = cut_up(reading, vocabulary)
    hints = {
        i: f"{node}\n{token}"
        for segment, piece in zip(described, found, strict=True)
        for i, node, token in zip(piece, segment.nodes, segment.tokens, strict=True)
    }
    several = [piece for piece in found if len(piece) > 1]
    counts = (
        f"{len(hints)} operators, {sum(map(len, several))} of them in {len(several)} segments of"
        " several operators (numbered, in colours)"
    )
    colouring = Colouring(found, [hints[i] for i in range(len(hints))])
    return draw(reading.opgraph, (name, counts), colouring)


def read_rewritten(model: onnx.ModelProto) -> Reading:
    """The compute nodes of a model after the exact rules: what is mined, and cut by `optimize`.

    Pictures of any size are taken to have 224 x 224 pixels: where no shape is known, no operator
    is known to be depthwise, to widen or to shrink.
    """
    from autogo_onnx.rewriters import rewrite

    rewritten = rewrite(model).model
    try:
        return read_model(rewritten, nominal_shapes(rewritten))
    except InputError:  # The model wants another size.
        return read_model(rewritten)


def nominal_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Full shapes of the inputs that have one for a batch of one and, if need be, 224 pixels."""
    shapes = batch_of_one(model)
    for spec in signature.inputs(model):
        match spec.dims:
            case (_, int(channels), height, width):
                pixels = (d if isinstance(d, int) else _NOMINAL_PIXELS for d in (height, width))
                shapes.setdefault(spec.name, (1, channels, *pixels))
    return shapes


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
