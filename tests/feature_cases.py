"""Random graphs, and the plain definition of their features: every way is walked one by one."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from math import log2
from typing import Any

from autogo_onnx import cost, features
from autogo_onnx.features.operators import channels, class_of, pixels
from autogo_onnx.features.ways import KINDS, NO_WAY, STEPS, SUBSETS
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segment_db.families.builder import Builder

Way = tuple[int, ...]
"""The operators on a way, in order."""

_LAYERS = ("conv1", "conv3", "depthwise", "relu", "pool", "stride", "add", "concat", "source")
_SAME_SHAPE = ("conv1", "conv3", "depthwise", "relu", "pool", "add")


def numbers(graph: OpGraph) -> dict[str, float]:
    """What `describe` says, by name."""
    return dict(zip(features.PART_COLUMNS, features.describe(graph).tolist(), strict=True))


def named(row: features.Rows) -> dict[str, float]:
    """A row by name."""
    return dict(zip(features.COLUMNS, row.tolist(), strict=True))


def residual_block() -> OpGraph:
    """Two convolutions beside an average pool and a convolution of one pixel."""
    net = Builder((1, 16, 8, 8))
    y = net.conv(net.relu(net.conv(0, 32, kernel=3, stride=2)), 32, kernel=3)
    return net.graph(net.add(y, net.conv(net.pool("AveragePool", 0, kernel=2, stride=2), 32)))


def random_graph(choice: random.Random, most: int = 9) -> OpGraph:
    """A graph of up to two inputs and three outputs; some operators may lead nowhere."""
    n_inputs = choice.randint(1, 2)
    net = Builder(*[(1, 8, 16, 16)] * n_inputs)
    tensors = list(range(n_inputs))
    for _ in range(choice.randint(1, most)):
        tensors.append(_grown(net, choice, tensors, _LAYERS))
    outputs = choice.sample(tensors, min(len(tensors), choice.randint(1, 3)))
    return net.graph(*outputs)


def random_link(choice: random.Random) -> OpGraph:
    """A graph of one input and one output of the same shape."""
    net = Builder((1, 8, 16, 16))
    tensors = [0]
    for _ in range(choice.randint(1, 6)):
        tensors.append(_grown(net, choice, tensors, _SAME_SHAPE))
    return net.graph(tensors[-1])


def _grown(
    net: Builder, choice: random.Random, tensors: Sequence[int], layers: Sequence[str]
) -> int:
    x = choice.choice(tensors[-4:])
    alike = [t for t in tensors if net.shape(t) == net.shape(x)]
    y = choice.choice(alike)
    match choice.choice(layers):
        case "conv1":
            return net.conv(x, net.channels(x))
        case "conv3":
            return net.conv(x, net.channels(x), kernel=3)
        case "depthwise":
            return net.depthwise(x, kernel=5)
        case "pool":
            return net.pool("MaxPool", x, kernel=3)
        case "stride":
            return net.conv(x, 8, kernel=3, stride=2)
        case "add":
            return net.add(x, y)
        case "concat":
            return net.concat(x, y, choice.choice(alike))
        case "source":
            return net.op("Custom", (), net.shape(x))
    return net.relu(x)


def all_ways(graph: OpGraph, begins: Collection[int], ends: Sequence[int]) -> list[Way]:
    """Every way from some tensors to others, an end or an operand as often as it is named."""

    def back_from(tensor: int) -> list[Way]:
        found: list[Way] = [()] if tensor in begins else []
        index = graph.producer(tensor)
        if index is not None and tensor not in begins:
            for operand in graph.ops[index].inputs:
                found += [(*way, index) for way in back_from(operand)]
        return found

    return [way for end in ends for way in back_from(end)]


def plain_ways(graph: OpGraph, found: Sequence[Way], unit: float) -> dict[str, float]:
    """The columns of `ways`, without means and without those that are left out.

    Args:
        unit: of the receptive field's growth, per side of an image.
    """
    steps = [_steps(graph, index) for index in range(len(graph.ops))]
    columns: dict[str, float] = {}
    for place, step in enumerate(STEPS):
        lengths = [sum(steps[i][place] for i in way) for way in found] or [0]
        scale = unit if step == "receptive" else 1
        columns[f"{step}_path_min"] = min(lengths) * scale
        columns[f"{step}_path_max"] = max(lengths) * scale
    for subset in SUBSETS:
        name = "_".join(KINDS[kind] for kind in subset) or "plain"
        others = [kind for kind in range(3) if kind not in subset]
        only = [way for way in found if not any(steps[i][k] for i in way for k in others)]
        lengths = [sum(sum(steps[i][:3]) for i in way) for way in only] or [NO_WAY]
        joins = [float(sum(len(graph.ops[i].inputs) > 1 for i in way)) for way in only]
        joins = joins or [NO_WAY]
        columns[f"{name}_ways_steps_min"] = min(lengths)
        columns[f"{name}_ways_steps_max"] = max(lengths)
        columns[f"{name}_ways_joins_min"] = min(joins)
        columns[f"{name}_ways_joins_max"] = max(joins)
        columns[f"{name}_ways_log2"] = log2(1 + len(only))
    return columns


def mean_back(graph: OpGraph, tensors: Sequence[int], step: str) -> float | None:
    """Mean length of a random walk from one of some tensors back to an input; None without one."""
    found = []
    for tensor in tensors:
        index = graph.producer(tensor)
        rest = 0.0 if index is None else mean_back(graph, graph.ops[index].inputs, step)
        if rest is not None:
            own = 0.0 if index is None else _steps(graph, index)[STEPS.index(step)]
            found.append(own + rest)
    return sum(found) / len(found) if found else None


def mean_ahead(graph: OpGraph, tensors: Sequence[int], step: str, inside: Collection[int]) -> Any:
    """The same ahead to the graph's outputs, on no operator of `inside`."""
    found = []
    for tensor in tensors:
        ways = [0.0] * graph.outputs.count(tensor)
        for index, op in enumerate(graph.ops):
            for operand in op.inputs:
                rest = None
                if operand == tensor and index not in inside:
                    rest = mean_ahead(graph, [graph.n_inputs + index], step, ())
                if rest is not None:
                    ways.append(_steps(graph, index)[STEPS.index(step)] + rest)
        found += [sum(ways) / len(ways)] if ways else []
    return sum(found) / len(found) if found else None


def _steps(graph: OpGraph, index: int) -> tuple[float, ...]:
    """Pointwise, spatial, pool, weighted, activation; growth of the receptive field in sides."""
    op = graph.ops[index]
    kernel = max(op.get("kernel_shape", (1,)))
    weighted, pool = op.kind == "Conv", op.kind == "MaxPool"
    side = pixels(graph.shape(op.inputs[0])) ** 0.5 if op.inputs else 1
    return (
        float(weighted and kernel == 1),
        float(weighted and kernel > 1),
        float(pool),
        float(weighted),
        float(op.kind == "Relu"),
        (kernel - 1) / side if weighted or pool else 0.0,
    )


def plain_amounts(graph: OpGraph, ops: Collection[int]) -> dict[str, float]:
    """What a predecessor or successor of these operators amounts to."""
    chosen = [(graph.ops[i], i) for i in sorted(ops)]
    widths = [channels(graph.op_shapes[i]) for i in ops]
    found = {
        f"{name}_ops": float(sum(_class(graph, op) == name for op, _ in chosen))
        for name in ("conv1x1", "conv3x3", "depthwise_large", "add", "activation")
    }
    found["macs_log2"] = log2(1 + sum(cost.op_macs(graph)[i] for i in ops))
    found["parameters_log2"] = log2(1 + sum(cost.op_parameters(graph)[i] for i in ops))
    found["bytes_log2"] = log2(1 + 4 * sum(_values(graph.op_shapes[i]) for i in ops))
    found["max_channels_log2"] = log2(1 + max(widths, default=0))
    return found


def _class(graph: OpGraph, op: Op) -> str:
    return class_of(op, channels(graph.shape(op.inputs[0])) if op.inputs else 1)


def _values(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
