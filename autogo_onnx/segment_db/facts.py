"""What a segment could stand for, as a few numbers that an index can go by.

A site demands boundary shapes and a limit on the multiply-accumulates. Most of what decides whether
the shape model can meet them is known beforehand: how many axes the boundary tensors have, how far
strides can shrink a map and upsampling can enlarge it, whether any operator chooses its channels.
These facts are bounds: what they rule out the shape model refuses too (`tests` try it), what they
allow it may still refuse. The multiply-accumulates are an estimate from below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from autogo_onnx import cost
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.segment_db.reach import UNBOUNDED, reach

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_CHOOSES_CHANNELS = frozenset({
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Gemm", "MatMul", "Pad", "Reshape",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
# Of an image or a mask: no measure of how wide a network is.
_MOST_IMAGE_CHANNELS = 4


@dataclass(frozen=True)
class Demand:
    """What a site wants of a segment.

    Attributes:
        inputs, outputs: full shapes of the boundary tensors.
        most_macs: multiply-accumulates that a segment may have in these shapes.
        most_ops: operators it may have.
        makers: kinds of operators that may make the output; empty for any.
    """

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    most_macs: float = float("inf")
    most_ops: int = UNBOUNDED
    makers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What a segment could stand for.

    Attributes:
        axes: how many axes its inputs and outputs have, sorted: "4,4>4".
        makers: kinds of the operators that make its outputs, sorted, each once: "Add,Conv".
        keeps_channels: no operator chooses or changes the number of channels.
        shrink, border: an input is no longer than `shrink * output + border` along an axis.
        growth, margin: an output is no longer than `growth * input + margin` along an axis.
        macs: multiply-accumulates in the mined shapes.
        macs_in, macs_out: those of convolutions that are not depthwise, and of matrix products,
            per pixel of the input (output) and per pair of an input and an output channel.
    """

    axes: str
    makers: str
    keeps_channels: bool
    shrink: int
    border: int
    growth: int
    margin: int
    macs: int
    macs_in: float
    macs_out: float


def facts(graph: OpGraph) -> Facts:
    """The facts of a segment.

    >>> from autogo_onnx.opgraph import Op
    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    >>> known = facts(OpGraph(((1, 8, 32, 32),), (conv,), ((1, 16, 16, 16),), (1,)))
    >>> known.axes, known.makers, known.shrink, known.macs_in, known.macs_out
    ('4>4', 'Conv', 4, 2.25, 9.0)
    """
    macs = cost.op_macs(graph)
    dense = sum(m for i, m in enumerate(macs) if not _is_depthwise(graph, i))
    channels = _mined_pairs_of_channels(graph)
    bounds = reach(graph)
    makers = {graph.producer(t) for t in graph.outputs}
    return Facts(
        axes=axes_of(graph.input_shapes, graph.output_shapes),
        makers=",".join(sorted({"" if i is None else graph.ops[i].kind for i in makers})),
        keeps_channels=all(_keeps_channels(graph, index) for index in range(len(graph.ops))),
        shrink=bounds.shrink,
        border=bounds.border,
        growth=bounds.growth,
        margin=bounds.margin,
        macs=sum(macs),
        macs_in=dense / (channels * pixels(graph.input_shapes)),
        macs_out=dense / (channels * pixels(graph.output_shapes)),
    )


def axes_of(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> str:
    """How many axes boundary tensors have, as in `Facts`."""
    given, made = (",".join(map(str, sorted(map(len, shapes)))) for shapes in (inputs, outputs))
    return f"{given}>{made}"


def pixels(shapes: Sequence[Shape]) -> float:
    """Positions of a map, the geometric mean over some tensors."""
    return _mean([float(max(1, prod(shape[2:]))) for shape in shapes])


def pairs_of_channels(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> float:
    """Channels in times channels out, geometric means over the tensors."""
    return _channels(inputs) * _channels(outputs)


def lengths(demand: Demand) -> tuple[tuple[int, int], ...]:
    """Pairs of an input's and an output's length that must be within the bounds of `Facts`."""
    shapes = (*demand.inputs, *demand.outputs)
    if any(len(shape) <= 2 for shape in shapes):
        return ()
    if len(shapes) == 2 and len(shapes[0]) == len(shapes[1]):
        return tuple(sorted(set(zip(shapes[0][2:], shapes[1][2:], strict=True))))
    return ()


def _mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return prod(values) ** (1 / len(values)) if values else 1.0


def _channels(shapes: Sequence[Shape]) -> float:
    return _mean([float(max(1, *shape[1:2], 1)) for shape in shapes])


def _mined_pairs_of_channels(graph: OpGraph) -> float:
    """An image at one end counts as wide as the other end, which is what the inside goes by."""
    given, made = _channels(graph.input_shapes), _channels(graph.output_shapes)
    is_image = min(given, made) <= _MOST_IMAGE_CHANNELS
    return max(given, made) ** 2 if is_image else given * made


def _is_depthwise(graph: OpGraph, index: int) -> bool:
    op = graph.ops[index]
    if op.kind not in _CONVOLUTIONS:
        return False
    given = graph.shape(op.inputs[0])[1:2]
    return op.get("group", 1) > 1 and given == (op.get("group"),)


def _keeps_channels(graph: OpGraph, index: int) -> bool:
    op = graph.ops[index]
    if op.kind in _CHOOSES_CHANNELS or (
        op.kind in _CONVOLUTIONS and not _is_depthwise(graph, index)
    ):
        return False
    widths = {graph.shape(t)[1:2] for t in (*op.inputs, graph.n_inputs + index)}
    return len(widths) == 1 and widths != {()}
