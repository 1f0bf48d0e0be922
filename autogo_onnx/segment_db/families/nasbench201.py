"""NAS-Bench-201 (Dong and Yang, ICLR 2020): 5^6 cells of four nodes on CIFAR-10/100, ImageNet16.

Rules after github.com/GATECH-EIC/HW-NAS-Bench, hw_nas_bench_api/nas_201_models/cell_infers.
Parameter counts equal the published ones, which include operators whose result reaches no output:
see `published_parameters`. What reaches no output is left out (see `four_nodes`). A published node
without input is zero and turns into a constant per channel after its next batch normalization: with
weights folded it is a bias.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import product

from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family, sampled
from autogo_onnx.segment_db.families.four_nodes import EDGES, Cell, Edge, append
from autogo_onnx.segment_db.families.network import Network

NAME = "nasbench201"
OPERATIONS = ("avg_pool_3x3", "none", "nor_conv_1x1", "nor_conv_3x3", "skip_connect")
_NONE, _SKIP = "none", "skip_connect"
_KERNEL = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_WIDTHS = (16, 32, 64)


def parse(arch: str) -> Cell:
    """The cell of `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    Raises:
        InputError: the text is not such a cell.
    """
    edges = re.findall(r"\|?([a-z0-9_]+)~(\d)\|", arch)
    operations = tuple(operation for operation, _ in edges)
    if not edges or encode(operations) != arch or set(operations) - set(OPERATIONS):
        raise InputError(f"NAS-Bench-201 cell {arch!r} does not read |op~0|+|op~0|op~1|+...")
    return _cell(operations)


def encode(operations: tuple[str, ...]) -> str:
    """The published text of six operations; "" when they are not six."""
    if len(operations) != len(EDGES):
        return ""
    nodes = (_cell(operations).into(node) for node in (1, 2, 3))
    return "+".join("|" + "".join(f"{op}~{begin}|" for begin, op in node) for node in nodes)


def build(arch: str, *, classes: int = 10, size: int = 32, cells: int = 5) -> Network:
    """The network of a cell: stem, three stages of `cells` cells, classifier.

    Input `[1,3,size,size]`, output `[1,classes]`.

    Raises:
        InputError: the text is not a cell, or no path leads from its input to its output.
    """
    cell = parse(arch)
    if not cell.structure():
        raise InputError(f"NAS-Bench-201 cell {arch!r}: no path from its input to its output")
    net = Builder((1, 3, size, size))
    x = net.conv_bn(0, _WIDTHS[0], kernel=3)
    for width in _WIDTHS:
        if width != _WIDTHS[0]:
            x = _residual(net, x, width)
        for _ in range(cells):
            with net.place():
                x = append(net, x, cell, partial(_apply, net))
    x = net.relu(net.batch_norm(x))
    return net.network(net.classifier(x, classes))


def distinct() -> Iterator[str]:
    """One encoding per class of cells that give the same graph, the least of each, ascending.

    Cells without a path from input to output are left out.
    """
    seen = set()
    for operations in product(OPERATIONS, repeat=len(EDGES)):
        cell = _cell(operations)
        if cell.structure() and (graph := _cell_graph(cell)) not in seen:
            seen.add(graph)
            yield encode(operations)


def published_parameters(arch: str, *, classes: int = 10) -> int:
    """Parameters as published: operators on dead branches count too."""
    kernels = [_KERNEL[op] for op in parse(arch).operations if op in _KERNEL]
    total = 3 * 16 * 9 + 2 * 16 + 2 * 64 + 64 * classes + classes
    for width in _WIDTHS:
        total += 5 * sum(k * k * width * width + 2 * width for k in kernels)
        if width != _WIDTHS[0]:
            half = width // 2
            total += 9 * half * width + 9 * width * width + 4 * width + half * width
    return total


def _cell(operations: tuple[str, ...]) -> Cell:
    return Cell(operations, zero=_NONE, identity=_SKIP)


def _cell_graph(cell: Cell) -> OpGraph:
    net = Builder((1, 16, 8, 8))
    return net.graph(append(net, 0, cell, partial(_apply, net)))


def _apply(net: Builder, x: int, edge: Edge) -> int:
    _, operation = edge
    if operation == _SKIP:
        return x
    if operation == "avg_pool_3x3":
        return net.pool("AveragePool", x, kernel=3)
    return net.conv_bn(net.relu(x), net.channels(x), kernel=_KERNEL[operation])


def _residual(net: Builder, x: int, width: int) -> int:
    """Halve the resolution and change the width; the shortcut has no batch normalization."""
    main = net.conv_bn(net.relu(x), width, kernel=3, stride=2)
    main = net.conv_bn(net.relu(main), width, kernel=3)
    shortcut = net.conv(net.pool("AveragePool", x, kernel=2, stride=2), width)
    return net.add(main, shortcut)


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: sampled(distinct(), count, seed),
    "Dong and Yang, ICLR 2020, arXiv:2001.00326; github.com/GATECH-EIC/HW-NAS-Bench",
)
