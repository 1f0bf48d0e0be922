"""DARTS (Liu et al., ICLR 2019) and NAS-Bench-301 (Siems et al., 2020): two cells on CIFAR-10.

A normal and a reduction cell of four nodes, each the sum of two operations on earlier nodes or on
the outputs of the two cells before; the cell's output is the concatenation of its nodes. Rules
after the standard evaluation network (github.com/quark0/darts, cnn/model.py), without its auxiliary
classifier. Parameter counts equal the published ones, see `published_parameters`.

Operations `none` are left out together with what they leave without effect: nodes and cells that
nothing reaches or that nothing reads. (A published node without input is zero and turns into
a constant per channel after its next batch normalization: with weights folded it is a bias.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autogo_onnx.attribute_forms import TO_THE_END
from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.darts_cell import NODES, Cell, draw, parse
from autogo_onnx.segment_db.families.family import Family, drawn
from autogo_onnx.segment_db.families.network import Network

_POOLS = {"max_pool_3x3": "MaxPool", "avg_pool_3x3": "AveragePool"}
_CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """The network around the cells: width of the first ones, and how many there are."""

    width: int
    cells: int

    def stride(self, cell: int) -> int:
        """2 for the reduction cells, at a third and two thirds of the depth, else 1."""
        return 2 if cell in (self.cells // 3, 2 * self.cells // 3) else 1


EVALUATION = Setting(width=36, cells=20)
NASBENCH301 = Setting(width=32, cells=8)


def build(code: str, *, setting: Setting = EVALUATION) -> Network:
    """The network of two cells: input `[1,3,32,32]`, output `[1,10]`.

    Raises:
        InputError: the text is no pair of cells, or no path leads from a cell's inputs to its
            output.
    """
    cells = dict(zip((1, 2), parse(code), strict=True))  # by stride
    if not all(cell.live() for cell in cells.values()):
        raise InputError(f"DARTS cells {code!r}: no path from a cell's inputs to its output")
    net = Builder((1, 3, 32, 32))
    stem = net.conv_bn(0, 3 * setting.width, kernel=3)
    made = {-2: stem, -1: stem}
    needed = _needed(cells, setting)
    width = setting.width
    for index in range(setting.cells):
        stride = setting.stride(index)
        width *= stride
        if index not in needed:
            continue
        with net.place():
            states = {}
            for begin in cells[stride].inputs():
                # The cell before the last one still has twice the resolution.
                halve = begin == 0 and setting.stride(index - 1) == 2
                adapt = _factorized_reduce if halve else _relu_conv_bn
                states[begin] = adapt(net, made[index + begin - 2], width)
            made[index] = _cell(net, cells[stride], states, stride)
    return net.network(net.classifier(made[setting.cells - 1], _CLASSES))


def n_cells(code: str, *, setting: Setting = EVALUATION) -> int:
    """How many cells the network has: those whose output reaches the classifier.

    Raises:
        InputError: the text is no pair of cells.
    """
    needed = _needed(dict(zip((1, 2), parse(code), strict=True)), setting)
    return sum(index >= 0 for index in needed)


def published_parameters(
    code: str, *, setting: Setting = EVALUATION, affine_cells: bool = True
) -> int:
    """Parameters as published: operations without effect count too.

    Without `affine_cells`, the batch normalizations of the operations have no scale and shift,
    which is how NASLib counts NAS-Bench-301's networks.
    """
    cells = dict(zip((1, 2), parse(code), strict=True))
    width, before, last = setting.width, 3 * setting.width, 3 * setting.width
    total = (27 + 2) * last
    for index in range(setting.cells):
        stride = setting.stride(index)
        width *= stride
        total += (before + last + 4) * width
        for begin, operation in (edge for node in cells[stride].nodes for edge in node):
            weights, normalizations = _weights(operation, width, stride if begin < 2 else 1)
            total += weights + 2 * width * normalizations * affine_cells
        before, last = last, NODES * width
    return total + (last + 1) * _CLASSES


def _needed(cells: Mapping[int, Cell], setting: Setting) -> set[int]:
    """The cells whose output reaches the classifier; -2 and -1 are the stem."""
    needed = {setting.cells - 1}
    for index in reversed(range(setting.cells)):
        if index in needed:
            needed |= {index + begin - 2 for begin in cells[setting.stride(index)].inputs()}
    return needed


def _cell(net: Builder, cell: Cell, states: Mapping[int, int], stride: int) -> int:
    """The concatenated nodes of a cell; `states` are its adapted inputs."""
    made = dict(states)
    live = cell.live()
    for node, edges in live.items():
        terms = (
            _operation(net, operation, made[begin], stride if begin < 2 else 1)
            for begin, operation in edges
        )
        made[node] = net.add(*terms)
    return net.concat(*(made[node] for node in live))


def _operation(net: Builder, operation: str, x: int, stride: int) -> int:
    width = net.channels(x)
    if operation in _POOLS:
        return net.pool(_POOLS[operation], x, kernel=3, stride=stride)
    if operation == "skip_connect":
        return x if stride == 1 else _factorized_reduce(net, x, width)
    kernel = int(operation[-1])
    if operation.startswith("dil_conv"):
        y = net.depthwise(net.relu(x), kernel=kernel, stride=stride, dilation=2)
        return net.conv_bn(y, width)
    for step in (stride, 1):
        x = net.conv_bn(net.depthwise(net.relu(x), kernel=kernel, stride=step), width)
    return x


def _relu_conv_bn(net: Builder, x: int, width: int) -> int:
    return net.conv_bn(net.relu(x), width)


def _factorized_reduce(net: Builder, x: int, width: int) -> int:
    """Half of the channels are made from the even pixels, the other half from the odd ones."""
    x = net.relu(x)
    batch, channels, height, breadth = net.shape(x)
    shifted = net.op(
        "Slice",
        (x,),
        (batch, channels, height - 1, breadth - 1),
        axes=(2, 3),
        ends=(TO_THE_END, TO_THE_END),
        starts=(1, 1),
    )
    halves = (net.conv(y, width // 2, stride=2) for y in (x, shifted))
    return net.batch_norm(net.concat(*halves))


def _weights(operation: str, width: int, stride: int) -> tuple[int, int]:
    """Number of convolution weights and of batch normalizations."""
    if operation == "skip_connect" and stride == 2:
        return width * width, 1
    if "conv" not in operation:
        return 0, 0
    times = 2 if operation.startswith("sep_conv") else 1
    return times * (int(operation[-1]) ** 2 * width + width * width), times


def _codes(count: int, seed: int) -> Iterator[str]:
    return drawn(draw, count, seed)


FAMILY = Family(
    "darts",
    build,
    _codes,
    "Liu et al., ICLR 2019, arXiv:1806.09055; github.com/quark0/darts",
)
NASBENCH301_FAMILY = Family(
    "nasbench301",
    lambda code: build(code, setting=NASBENCH301),
    _codes,
    "Siems et al., 2020, arXiv:2008.09777; github.com/automl/NASLib",
)
