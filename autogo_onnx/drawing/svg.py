"""A graph as an SVG picture that stands by itself: no scripts, fonts or pictures from elsewhere.

Boxes are pastel with dark text and everything else is a grey that reads as well on white as on
black (contrast 4.5 to 1 on both), so that the picture suits light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogo_onnx.drawing.labels import shape_text, words
from autogo_onnx.drawing.layout import Box, Edge, Point, arrange
from autogo_onnx.opgraph import OpGraph

_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#111}"
    ".grey{fill:#767676}.small{font-size:10px}"
    ".edge{fill:none;stroke:#767676;stroke-width:1.2}.arrow{fill:#767676}"
    "rect{stroke:#767676;stroke-width:.8}"
)
# Seven hues that are told apart by colour-blind people too, as pastels.
_COLOURS = ("#a8d1f0", "#f7d08a", "#b6e3b6", "#f5b8b0", "#d5c3ee", "#c9e8e4", "#f3f09c")
_ALONE, _BOUNDARY = "#ededed", "#ffffff"
_CHARACTER, _SMALL_CHARACTER, _MARGIN, _HEADING = 7.4, 6.2, 16.0, 20.0


@dataclass(frozen=True)
class Node:
    """What a box shows: two lines, its colour, and what a pointer resting on it reads."""

    title: str
    detail: str
    fill: str
    hint: str = ""


@dataclass(frozen=True)
class Colouring:
    """Which operators belong together, and what is said of each operator.

    Attributes:
        groups: operator indices per segment, in order; those of one operator stay grey.
        hints: a line per operator for a pointer that rests on it.
    """

    groups: Sequence[Sequence[int]] = ()
    hints: Sequence[str] = ()


def draw(graph: OpGraph, heading: Sequence[str] = (), colouring: Colouring | None = None) -> str:
    """The picture as XML; equal graphs give equal text.

    Args:
        graph: anything from one operator to a whole network of hundreds.
        heading: lines above the picture.
        colouring: segments to tell apart by colour and number.
    """
    nodes, edges = _nodes(graph, colouring or Colouring())
    layout = arrange([_size(node) for node in nodes], edges)
    left, top = _MARGIN, _MARGIN + _HEADING * len(heading)
    width = max(layout.width, *(_CHARACTER * len(line) for line in heading), 1.0) + 2 * _MARGIN
    height = layout.height + top + _MARGIN
    parts = [_heading(n, line) for n, line in enumerate(heading)]
    parts.append(f'<g transform="translate({left:g} {top:g})">')
    parts += (_edge(line) for line in layout.lines)
    parts += (_box(node, box) for node, box in zip(nodes, layout.boxes, strict=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" role="img">\n'
        f"<title>{_escaped(' '.join(heading) or 'graph')}</title>\n<style>{_STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</g>\n</svg>\n"
    )


def _nodes(graph: OpGraph, colouring: Colouring) -> tuple[list[Node], list[Edge]]:
    """A box per input, operator and output of the graph."""
    group = {index: n for n, ops in enumerate(colouring.groups) for index in ops}
    nodes = [Node("input", shape_text(shape), _BOUNDARY) for shape in graph.input_shapes]
    edges: list[Edge] = []
    for index, op in enumerate(graph.ops):
        edges += [(t, len(nodes)) for t in dict.fromkeys(op.inputs)]
        number = group.get(index)
        several = number is not None and len(colouring.groups[number]) > 1
        mark = f" · {number + 1}" if several and number is not None else ""
        fill = _COLOURS[(number or 0) % len(_COLOURS)] if several or not group else _ALONE
        hint = colouring.hints[index] if colouring.hints else ""
        detail = shape_text(graph.op_shapes[index]) + mark
        nodes.append(Node(words(graph, index), detail, fill, hint))
    for tensor in graph.outputs:
        edges.append((tensor, len(nodes)))
        nodes.append(Node("output", shape_text(graph.shape(tensor)), _BOUNDARY))
    return nodes, edges


def _size(node: Node) -> tuple[float, float]:
    text = max(_CHARACTER * len(node.title), _SMALL_CHARACTER * len(node.detail))
    return round(text + 16, 1), 36.0


def _heading(number: int, line: str) -> str:
    down = _MARGIN + _HEADING * (number + 0.6)
    return f'<text class="grey" x="{_MARGIN:g}" y="{down:g}">{_escaped(line)}</text>'


def _box(node: Node, box: Box) -> str:
    hint = f"<title>{_escaped(node.hint)}</title>" if node.hint else ""
    middle = f'x="{box.middle:.1f}" text-anchor="middle"'
    return (
        f'<g>{hint}<rect x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}"'
        f' height="{box.height:.1f}" rx="5" fill="{node.fill}"/>'
        f'<text {middle} y="{box.top + 15:.1f}">{_escaped(node.title)}</text>'
        f'<text class="small" {middle} y="{box.top + 29:.1f}">{_escaped(node.detail)}</text></g>'
    )


def _edge(line: Sequence[Point]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
    x, y = line[-1]
    return (
        f'<polyline class="edge" points="{path}"/>'
        f'<path class="arrow" d="M{x:.1f},{y:.1f}l-3.5,-7h7z"/>'
    )


def _escaped(text: str) -> str:
    """Text as XML 1.0 allows it: names in a model may hold any character."""
    allowed = (c if c in "\t\n" or " " <= c < "\ud800" or c > "\udfff" else "\ufffd" for c in text)
    clean = "".join("\ufffd" if c in "\ufffe\uffff\x7f" else c for c in allowed)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        clean = clean.replace(character, entity)
    return clean
