"""The encoders of TransNAS-Bench-101: stem, layers of two basic blocks or of two cells.

Rules after github.com/yawen-d/TransNASBench, lib/models/net_infer and net_ops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product

from autogo_onnx.attribute_forms import TO_THE_END
from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.four_nodes import EDGES, Cell, Edge, append

_BLOCKS = 2
_ZERO, _IDENTITY = "0", "1"
_KERNEL = {"2": 1, "3": 3}


@dataclass(frozen=True)
class Encoder:
    """A parsed name.

    Attributes:
        layers: a digit per layer of two blocks: 2 and 4 double the width, 3 and 4 halve the
            resolution, in the first of them.
        cell: operations of the six edges, a digit each; "" for basic blocks.
    """

    layers: str
    cell: str

    def of_nodes(self, *, reduces: bool = False) -> Cell:
        """The cell, where it keeps the resolution or where it reduces it."""
        return Cell(tuple(self.cell), zero=_ZERO, identity=_IDENTITY, reduces=reduces)

    def is_trimmed(self) -> bool:
        """Whether every operation of the cell is `0` or on a path from its input to its output."""
        edges = [
            edge for edge, operation in zip(EDGES, self.cell, strict=True) if operation != _ZERO
        ]
        reached, used = {0}, {3}
        for begin, end in edges:
            if begin in reached:
                reached.add(end)
        for begin, end in reversed(edges):
            if end in used:
                used.add(begin)
        return all(begin in reached and end in used for begin, end in edges)


def parse(name: str) -> Encoder:
    """The encoder of `64-LAYERS-basic` or `64-41414-A_BC_DEF`.

    Raises:
        InputError: the text is no such name.

    >>> parse("64-41414-1_02_333").cell
    '102333'
    """
    if match := re.fullmatch(r"64-([1-4]{4,6})-basic", name):
        layers = match[1]
        widened, halved = (sum(digit in digits for digit in layers) for digits in ("24", "34"))
        if 1 <= widened <= 3 and 1 <= halved <= 4:
            return Encoder(layers, "")
    if match := re.fullmatch(r"64-41414-([0-3])_([0-3]{2})_([0-3]{3})", name):
        return Encoder("41414", "".join(match.groups()))
    raise InputError(
        f"TransNAS-Bench-101 encoder {name!r} reads neither 64-LAYERS-basic, with 4 to 6 layers"
        " that widen 1 to 3 times and halve 1 to 4 times, nor 64-41414-A_BC_DEF"
    )


def macro_encoders() -> Iterator[str]:
    """All 3,256 macro names: shorter first, then ascending."""
    for size in (4, 5, 6):
        for digits in product("1234", repeat=size):
            name = f"64-{''.join(digits)}-basic"
            try:
                parse(name)
            except InputError:
                continue
            yield name


@lru_cache(maxsize=1)
def micro_encoders() -> tuple[str, ...]:
    """One micro name per class of cells that give the same graphs, the least of each, ascending.

    A cell with operators on no path is that with `0` in their place, which comes earlier.
    """
    found: dict[tuple[OpGraph, OpGraph], str] = {}
    for digits in product("0123", repeat=len(EDGES)):
        encoder = Encoder("41414", "".join(digits))
        if encoder.is_trimmed() and encoder.of_nodes().structure():
            a, b, c, d, e, f = digits
            graphs = _cell_graph(encoder, reduces=False), _cell_graph(encoder, reduces=True)
            found.setdefault(graphs, f"64-41414-{a}_{b}{c}_{d}{e}{f}")
    return tuple(found.values())


def _cell_graph(encoder: Encoder, *, reduces: bool) -> OpGraph:
    net = Builder((1, 8, 4, 4))
    return net.graph(_append_cell(net, 0, encoder, reduces=reduces))


def encode(net: Builder, x: int, encoder: Encoder) -> int:
    """Append an encoder to images `[N,3,H,W]`; its output has 128 to 512 channels."""
    x = net.conv_bn(x, 32, kernel=3, stride=2)
    x = net.conv_bn(net.relu(x), 64, kernel=3, stride=2)
    for digit in encoder.layers:
        width = net.channels(x) * (2 if digit in "24" else 1)
        stride = 2 if digit in "34" else 1
        if encoder.cell:
            for block in range(_BLOCKS):
                with net.place():
                    x = _append_cell(net, x, encoder, reduces=digit == "4" and not block)
        else:
            with net.place():
                for block in range(_BLOCKS):
                    x = _basic(net, x, width, 1 if block else stride)
    return x


def _basic(net: Builder, x: int, width: int, stride: int) -> int:
    y = net.conv_bn(net.relu(x), width, kernel=3, stride=stride)
    y = net.conv_bn(net.relu(y), width, kernel=3)
    if stride > 1 or width != net.channels(x):
        x = net.conv_bn(x, width, stride=stride)
    return net.add(x, y)


def _append_cell(net: Builder, x: int, encoder: Encoder, *, reduces: bool) -> int:
    return append(net, x, encoder.of_nodes(reduces=reduces), partial(_apply, net, reduces))


def _apply(net: Builder, reduces: bool, x: int, edge: Edge) -> int:
    begin, operation = edge
    halves = reduces and begin == 0
    if operation == _IDENTITY:
        return _factorized_reduce(net, x) if halves else x
    factor = 2 if halves else 1
    width, kernel = net.channels(x) * factor, _KERNEL[operation]
    return net.conv_bn(net.relu(x), width, kernel=kernel, stride=factor)


def _factorized_reduce(net: Builder, x: int) -> int:
    """Halve the resolution and double the width; every second pixel, and those between."""
    y = net.relu(x)
    batch, width, height, breadth = net.shape(y)
    pads = (0, 0, 0, 0, 0, 0, 1, 1)
    padded = net.op(
        "Pad", (y,), (batch, width, height + 1, breadth + 1), mode="constant", pads=pads
    )
    ends = (TO_THE_END, TO_THE_END)
    shifted = net.op("Slice", (padded,), net.shape(y), axes=(2, 3), starts=(1, 1), ends=ends)
    parts = (net.conv(part, width, stride=2) for part in (y, shifted))
    return net.batch_norm(net.concat(*parts))
