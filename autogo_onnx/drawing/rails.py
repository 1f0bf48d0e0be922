"""A graph as lines of text, one per tensor, with rails to the left as `git log --graph` has them.

A rail is a tensor that is still to be read. `●` is an operator, `○` an input, `◇` an output. Lines
join rails at their ends only; what they pass they cross.

    ○ input  1×64×16×16
    ├─╮
    │ ● Conv 3x3  1×64×16×16
    ├─╯
    ● Add  1×64×16×16
    ◇ output
"""

from __future__ import annotations

from collections.abc import Sequence

from autogo_onnx.drawing.labels import shape_text, words
from autogo_onnx.opgraph import OpGraph

_PLAIN = str.maketrans({**dict(zip("●○◇│─├┤╭╮╰╯┼×·…", "*oo|-+++++++x*~", strict=True)), "²": "^2"})


def rails(graph: OpGraph) -> str:
    """The drawing, top to bottom.

    >>> from autogo_onnx.opgraph import Op
    >>> ops = (Op("Relu", (0,)), Op("Add", (0, 1)))
    >>> print(rails(OpGraph(((1, 4),), ops, ((1, 4),) * 2, (2,))))
    ○ input  1×4
    ├─╮
    │ ● Relu  1×4
    ├─╯
    ● Add  1×4
    ◇ output
    """
    drawing = _Drawing(graph)
    drawing.unread_inputs()
    for index in range(len(graph.ops)):
        drawing.operator(index)
    for tensor in graph.outputs:
        drawing.output(tensor)
    return "\n".join(drawing.lines)


def printable(text: str, encoding: str) -> str:
    """The text as it is, or in ASCII where an encoding lacks its characters.

    Names in a file may hold anything, but nothing that steers a terminal is printed.

    >>> printable("● a²", "utf-8"), printable("● a²", "ascii")
    ('● a²', '* a^2')
    """
    clean = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    try:
        clean.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return plain(clean).encode("ascii", "replace").decode()
    return clean


def plain(text: str) -> str:
    """A drawing or a formula in ASCII.

    >>> plain("├─╮ ● 1×4")
    '+-+ * 1x4'
    """
    return text.translate(_PLAIN)


class _Drawing:
    """Lines so far, and the tensor on every rail; None where a rail is free."""

    def __init__(self, graph: OpGraph) -> None:
        self.lines: list[str] = []
        self._graph = graph
        self._rails: list[int | None] = []
        self._left = [len(set(readers)) for readers in graph.readers()]
        for tensor in graph.outputs:
            self._left[tensor] += 1

    def unread_inputs(self) -> None:
        """Inputs that lead nowhere have no rail."""
        for tensor in range(self._graph.n_inputs):
            if not self._left[tensor]:
                self.lines.append(f"○ input  {shape_text(self._graph.shape(tensor))}  not read")

    def operator(self, index: int) -> None:
        """Join the operands' rails and write the operator; its result takes the rail."""
        graph = self._graph
        operands = tuple(dict.fromkeys(graph.ops[index].inputs))
        places = [self._place_of(tensor) for tensor in operands]
        for tensor in operands:
            self._left[tensor] -= 1
        ends = [p for p, t in zip(places, operands, strict=True) if not self._left[t]]
        result = graph.n_inputs + index
        home = min(ends) if ends else self._free()
        for place, tensor in sorted(zip(places, operands, strict=True)):
            if place != home:
                self._link(place, home, ends=not self._left[tensor])
        self._rails[home] = result
        self._write(home, "●", f"{words(graph, index)}  {shape_text(graph.op_shapes[index])}")
        if not self._left[result]:
            self._rails[home] = None

    def output(self, tensor: int) -> None:
        """Write an output of the graph and end its rail, unless it has more to do."""
        place = self._place_of(tensor)
        self._left[tensor] -= 1
        self._write(place, "◇", "output")
        if not self._left[tensor]:
            self._rails[place] = None

    def _place_of(self, tensor: int) -> int:
        if tensor not in self._rails:
            place = self._free()
            self._rails[place] = tensor
            self._write(place, "○", f"input  {shape_text(self._graph.shape(tensor))}")
        return self._rails.index(tensor)

    def _free(self) -> int:
        """The first free rail; a new one if there is none."""
        if None not in self._rails:
            self._rails.append(None)
        return self._rails.index(None)

    def _link(self, place: int, home: int, *, ends: bool) -> None:
        """A line of its own from one rail to another, which is `home` of the next operator."""
        begins = self._rails[home] is None
        row = self._row()
        for between in range(min(place, home) + 1, max(place, home)):
            row[between] = "─" if self._rails[between] is None else "┼"
        to_the_right = place < home
        row[place] = ("╰" if to_the_right else "╯") if ends else ("├" if to_the_right else "┤")
        row[home] = ("╮" if to_the_right else "╭") if begins else ("┤" if to_the_right else "├")
        if begins:
            # From now on a rail, so that the next line joins it.
            self._rails[home] = -1
        if ends:
            self._rails[place] = None
        self.lines.append(_joined(row, min(place, home), max(place, home)))

    def _write(self, place: int, mark: str, text: str) -> None:
        row = self._row()
        row[place] = mark
        self.lines.append(f"{' '.join(row).rstrip()} {text}")

    def _row(self) -> list[str]:
        return [" " if tensor is None else "│" for tensor in self._rails]


def _joined(row: Sequence[str], first: int, last: int) -> str:
    """The row with a line from one column to another, blanks elsewhere."""
    gaps = ["─" if first <= column < last else " " for column in range(len(row))]
    return "".join(cell + gap for cell, gap in zip(row, gaps, strict=True)).rstrip()
