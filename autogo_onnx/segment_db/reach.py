"""How far a segment can shrink a map or enlarge it, whatever the shape model does with its strides.

The shape model (`shapes/`) chooses strides and the factors of resizes among the mined ones and
those up to 4; pads among the mined ones, those of SAME and none, for transposed convolutions also
any that leave each pixel something. Operators that only move values may do anything to a length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from autogo_onnx.opgraph import Attributes, Op, OpGraph, Shape

# A map of any size, as a global pool makes it from one pixel's point of view.
UNBOUNDED = 1 << 30
_WINDOWS = frozenset({"AveragePool", "Conv", "MaxPool"})
_POOLS_OF_ALL = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_RESIZES = frozenset({"Resize", "Upsample"})
_BLOCKS = frozenset({"DepthToSpace", "SpaceToDepth"})
_MOVES = frozenset({
    "Expand", "Flatten", "Gather", "MatMul", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
_LARGEST_STRIDE = 4


@dataclass(frozen=True)
class Reach:
    """Bounds between the lengths of the boundary inputs and those of a tensor, along each axis.

    Attributes:
        shrink, border: an input is no longer than `shrink * tensor + border`.
        growth, margin: the tensor is no longer than `growth * input + margin`.
    """

    shrink: int = 1
    border: int = 0
    growth: int = 1
    margin: int = 0

    def then(self, next_one: Reach) -> Reach:
        """The bounds over two operators in a row."""
        return Reach(
            min(UNBOUNDED, self.shrink * next_one.shrink),
            min(UNBOUNDED, self.shrink * next_one.border + self.border),
            min(UNBOUNDED, self.growth * next_one.growth),
            min(UNBOUNDED, self.margin * next_one.growth + next_one.margin),
        )


_ANY = Reach(UNBOUNDED, UNBOUNDED, UNBOUNDED, UNBOUNDED)
_TO_ONE = Reach(UNBOUNDED, UNBOUNDED, 0, 1)


def reach(graph: OpGraph) -> Reach:
    """The bounds for all outputs of a segment.

    >>> up = Op.make("DepthToSpace", (0,), blocksize=2)
    >>> reach(OpGraph(((1, 8, 4, 4),), (up,), ((1, 2, 8, 8),), (1,)))
    Reach(shrink=1, border=0, growth=2, margin=0)
    """
    reaches = _reaches(graph)
    return _widest([reaches[t] for t in graph.outputs])


def _reaches(graph: OpGraph) -> list[Reach]:
    reaches = [Reach()] * graph.n_inputs
    for index, op in enumerate(graph.ops):
        shape = graph.op_shapes[index]
        full = [t for t in op.inputs if graph.shape(t)[2:] == shape[2:]]
        before = _widest([reaches[t] for t in full or op.inputs])
        sizes = tuple(graph.shape(t)[2:] for t in op.inputs)
        reaches.append(before.then(_reach_of(op.kind, op.attributes, sizes, shape[2:])))
    return reaches


def _widest(reaches: Sequence[Reach]) -> Reach:
    if not reaches:
        return _ANY
    return Reach(
        max(r.shrink for r in reaches),
        max(r.border for r in reaches),
        max(r.growth for r in reaches),
        max(r.margin for r in reaches),
    )


@lru_cache(maxsize=1 << 12)
def _reach_of(
    kind: str,
    attributes: Attributes,
    given: tuple[Shape, ...],
    made: Shape,
) -> Reach:
    """The bounds of one operator, whatever the shape model makes of its strides and pads.

    Args:
        kind, attributes: the operator.
        given, made: sizes of the maps it reads and makes.
    """
    op = Op(kind, (), attributes)
    if not given or not made or not all(len(size) == len(made) for size in given):
        return _ANY
    if op.kind in _WINDOWS:
        return _window_reach(op, given[0], made)
    if op.kind == "ConvTranspose":
        return _transposed_reach(op)
    if op.kind in _POOLS_OF_ALL:
        return _TO_ONE
    if op.kind in _RESIZES | _BLOCKS:
        least = _LARGEST_STRIDE if op.kind in _RESIZES else 1
        shrink, growth = _factor(given[0], made), _factor(made, given[0])
        return Reach(shrink=max(least, shrink), growth=max(least, growth))
    is_kept = made in given and op.kind not in _MOVES and not op.kind.startswith("Reduce")
    return Reach() if is_kept else _ANY


def _factor(longer: Shape, shorter: Shape) -> int:
    """How often one size fits into another, at most, along any axis."""
    return max(-(-a // max(1, b)) for a, b in zip(longer, shorter, strict=True))


def _window_reach(op: Op, given: Shape, made: Shape) -> Reach:
    """Pads are the mined ones, those of SAME, or none."""
    kernel = op.get("kernel_shape")
    if kernel == given and set(made) == {1} != set(given):
        return _ANY  # a pool over the whole map stays one
    rank = len(kernel)
    pads = op.get("pads", (0,) * 2 * rank)
    spans = [(k - 1) * d for k, d in zip(kernel, op.get("dilations", (1,) * rank), strict=True)]
    added = [pads[axis] + pads[axis + rank] for axis in range(rank)]
    return Reach(
        shrink=max(_LARGEST_STRIDE, *op.get("strides", (1,))),
        border=max(span + max(0, -extra) for span, extra in zip(spans, added, strict=True)),
        margin=max(0, *(extra - span for span, extra in zip(spans, added, strict=True)))
        + bool(op.get("ceil_mode", 0)),
    )


def _transposed_reach(op: Op) -> Reach:
    """An output padding is smaller than its stride."""
    kernel = op.get("kernel_shape")
    rank = len(kernel)
    dilations, pads = op.get("dilations", (1,) * rank), op.get("pads", (0,) * 2 * rank)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    extra = max(0, *op.get("output_padding", (0,)))  # as mined it may be anything
    return Reach(
        growth=max(_LARGEST_STRIDE, *op.get("strides", (1,))),
        margin=max(spans) + extra,
        border=max(0, *(pads[a] + pads[a + rank] - spans[a] + 1 for a in range(rank))),
    )
