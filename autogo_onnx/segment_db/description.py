"""A stored segment as text: where it was seen, what it costs, how it looks."""

from __future__ import annotations

from collections.abc import Sequence

from autogo_onnx.drawing.labels import shape_text
from autogo_onnx.drawing.rails import rails
from autogo_onnx.drawing.widths import macs_formula
from autogo_onnx.opgraph import AttributeValue, OpGraph, Shape
from autogo_onnx.segment_db.reader import StoredSegment
from autogo_onnx.segment_db.segment import Boundary
from autogo_onnx.tables import Table, align, amount


def segment_text(
    segment: StoredSegment,
    sightings: Sequence[tuple[str, int]],
    boundaries: Sequence[tuple[Boundary, int]],
) -> str:
    """A segment for a terminal, with a drawing and a line for every operator.

    Args:
        segment: as it is stored.
        sightings: families and how often it was seen there, as `Store.sightings` gives them.
        boundaries: boundary shapes and how often it had them, as `Store.boundaries` gives them.
    """
    formula = macs_formula(segment.graph)
    seen = tuple((family, str(count)) for family, count in sightings)
    shapes = tuple(
        (_spelled(inputs), _spelled(outputs), str(n)) for (inputs, outputs), n in boundaries
    )
    return "\n\n".join(
        (
            f"{segment.id}  {segment.family}  seen {segment.count} times\n"
            f"MACs {amount(formula.value())} = {formula}",
            rails(segment.graph),
            align(Table("seen in", ("family", "times"), seen)),
            align(Table("boundary shapes", ("inputs", "outputs", "times"), shapes)),
            graph_text(segment.graph),
        )
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


def _spelled(shapes: Sequence[Shape]) -> str:
    return " ".join(map(shape_text, shapes))


def _tensor(graph: OpGraph, tensor: int) -> str:
    return f"t{tensor} [{_value(graph.shape(tensor))}]"


def _value(value: AttributeValue) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
