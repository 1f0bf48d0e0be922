"""The cells of DARTS as values: which two operations enter each of four nodes, and from where."""

from __future__ import annotations

import random
from dataclasses import dataclass

from autogo_onnx.errors import InputError

NODES = 4
OPERATIONS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
    "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
NONE = "none"

Edge = tuple[int, str]


@dataclass(frozen=True)
class Cell:
    """Two operations into every node, each (where from, which).

    0 is the output of the cell before the last one, 1 that of the last one, 2.. the nodes.
    """

    nodes: tuple[tuple[Edge, Edge], ...]

    def live(self) -> dict[int, tuple[Edge, ...]]:
        """The operations with an effect, by node; nodes without any are absent."""
        found: dict[int, tuple[Edge, ...]] = {}
        for node, edges in enumerate(self.nodes, start=2):
            kept = tuple(
                (begin, operation)
                for begin, operation in sorted(edges)
                if operation != NONE and (begin < 2 or begin in found)
            )
            if kept:
                found[node] = kept
        return found

    def inputs(self) -> tuple[int, ...]:
        """Which of the two inputs an operation with an effect reads."""
        read = {begin for edges in self.live().values() for begin, _ in edges}
        return tuple(begin for begin in (0, 1) if begin in read)


def parse(code: str) -> tuple[Cell, Cell]:
    """The normal and the reduction cell of `from:operation,.../from:operation,...`.

    Raises:
        InputError: the text is not eight operations, two into every node, for each of two cells.
    """
    cells = [cell for half in code.split("/") if (cell := _parse_cell(half))]
    if len(cells) != 2 or code.count("/") != 1:
        raise InputError(
            f"DARTS cells {code!r} do not read from:operation,.../from:operation,... with eight"
            f" operations each, two into every node from different earlier ones, of"
            f" {', '.join(OPERATIONS)} and {NONE}"
        )
    return cells[0], cells[1]


def code_of(normal: Cell, reduction: Cell) -> str:
    """The text of two cells, the operations of every node in the order of where they start."""
    return "/".join(
        ",".join(f"{begin}:{operation}" for node in cell.nodes for begin, operation in sorted(node))
        for cell in (normal, reduction)
    )


def draw(rng: random.Random) -> str:
    """Two cells, where the operations of every node start and which they are uniformly chosen."""
    return code_of(_draw_cell(rng), _draw_cell(rng))


def _draw_cell(rng: random.Random) -> Cell:
    nodes = []
    for node in range(2, 2 + NODES):
        first, second = rng.sample(range(node), 2)
        nodes.append(((first, rng.choice(OPERATIONS)), (second, rng.choice(OPERATIONS))))
    return Cell(tuple(nodes))


def _parse_cell(text: str) -> Cell | None:
    """The cell of eight operations; None when the text is something else."""
    parts = [part.partition(":") for part in text.split(",")]
    begins = [str(begin) for begin in range(1 + NODES)]
    if len(parts) != 2 * NODES or any(begin not in begins for begin, _, _ in parts):
        return None
    edges = [(int(begin), operation) for begin, _, operation in parts]
    nodes = tuple(zip(edges[::2], edges[1::2], strict=True))
    for node, (first, second) in enumerate(nodes, start=2):
        if first[0] == second[0] or max(first[0], second[0]) >= node:
            return None
        if {first[1], second[1]} - {*OPERATIONS, NONE}:
            return None
    return Cell(nodes)
