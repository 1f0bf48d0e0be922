"""Which axis of every tensor holds its channels: 1 in ONNX's own layout, the last one of tokens.

Operators tie axes of their tensors together; some say which axis they take for channels. Both are
spread over the whole segment. A tensor for which nothing is said has its channels on axis 1, if
that contradicts nothing, else none (the scores of an attention).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.shapes.structure import Layout, Merged, Unknown

MOVES_AXES = frozenset({"MatMul", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_CHANNELS_ON_AXIS_1 = frozenset({
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "Flatten", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "LRN", "MaxPool", "PRelu", "Resize", "SpaceToDepth",
    "Upsample",
})  # fmt: skip

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """Axes of a Reshape's input and output that hold the same number of elements."""

    given: Axes
    made: Axes


def channel_axes(graph: OpGraph) -> Layout:
    """The axis of channels of every tensor.

    Raises:
        Unknown: two operators contradict each other.
    """
    if not any(op.kind in MOVES_AXES for op in graph.ops):
        return (1,) * graph.n_tensors
    spread = _Spread(graph)
    for index, op in enumerate(graph.ops):
        try:
            spread.tie(index, op)
        except Unknown as unknown:
            raise Unknown(f"{op.kind} (operator {index}): {unknown}") from unknown
    for index, op in enumerate(graph.ops):
        for tensor, axis in _said(graph, index, op):
            spread.mark(tensor, axis, f"{op.kind} (operator {index})")
    spread.settle()
    for tensor in range(graph.n_tensors):
        if len(graph.shape(tensor)) > 1 and not spread.marked(tensor):
            spread.try_to_mark(tensor, 1)
    return tuple(spread.only_axis(tensor) for tensor in range(graph.n_tensors))


def blocks(given: Shape, made: Shape) -> tuple[Block, ...]:
    """The smallest matching groups of axes after the batch; axes of length 1 may match nothing.

    >>> blocks((1, 8, 4, 4), (1, 2, 4, 16))
    (Block(given=(1,), made=(1, 2)), Block(given=(2, 3), made=(3,)))
    """
    found, left, right = [], 1, 1
    while left < len(given) or right < len(made):
        first, second = left, right
        if left < len(given) and right < len(made) and given[left] == made[right]:
            left, right = left + 1, right + 1
        elif left < len(given) and given[left] == 1:
            left += 1
        elif right < len(made) and made[right] == 1:
            right += 1
        else:
            left, right = _matching(given, made, left, right)
        found.append(Block(tuple(range(first, left)), tuple(range(second, right))))
    return tuple(found)


def _matching(given: Shape, made: Shape, left: int, right: int) -> tuple[int, int]:
    """The ends of the smallest groups, beginning here, of equally many elements."""
    if left == len(given) or right == len(made):
        raise Unknown("a Reshape that does not keep the number of elements")
    first, second = left, right
    left, right = left + 1, right + 1
    while (a := prod(given[first:left])) != (b := prod(made[second:right])):
        if (a < b and left == len(given)) or (b < a and right == len(made)):
            raise Unknown("a Reshape that does not keep the number of elements")
        left, right = left + (a < b), right + (b < a)
    return left, right


def reshape_blocks(op: Op, given: Shape, made: Shape) -> tuple[Block, ...]:
    """Blocks of a Reshape or Flatten; what ends as a vector is one block."""
    if len(made) == 2:
        return (Block(tuple(range(1, len(given))), (1,)),)
    return blocks(given, made)


def permutation(graph: OpGraph, index: int, op: Op) -> Axes:
    """Of a Transpose, written out."""
    rank = len(graph.op_shapes[index])
    return tuple(op.get("perm", tuple(range(rank))[::-1]))


def kept_axes(graph: OpGraph, index: int, op: Op) -> tuple[tuple[int, int], ...]:
    """Pairs (axis of the first operand, axis of the output) that are one and the same.

    Raises:
        Unknown: the operator's axes cannot be followed.
    """
    given, made = len(graph.shape(op.inputs[0])), len(graph.op_shapes[index])
    if op.kind == "Transpose":
        return tuple((axis, place) for place, axis in enumerate(permutation(graph, index, op)))
    if op.kind in {"Squeeze", "Unsqueeze"} or (op.kind.startswith("Reduce") and given != made):
        longer = max(given, made)
        gone = _axes(op, longer, graph.shape(op.inputs[0]))
        stay = [axis for axis in range(longer) if axis not in gone]
        if len(stay) != min(given, made):
            raise Unknown("axes that do not fit its shapes")
        pairs = tuple(zip(stay, range(len(stay)), strict=True))
        return pairs if given > made else tuple((short, long) for long, short in pairs)
    if given != made:
        return ((0, 0),)
    return tuple((axis, axis) for axis in range(made))


def _axes(op: Op, rank: int, given: Shape) -> Axes:
    if "axes" not in dict(op.attributes) and op.kind == "Squeeze":
        return tuple(axis for axis, length in enumerate(given) if axis and length == 1)
    return tuple(axis % rank for axis in op.get("axes", ()))


def _said(graph: OpGraph, index: int, op: Op) -> Iterator[tuple[int, int]]:
    """Tensors and the axis that the operator takes for their channels."""
    out = graph.n_inputs + index
    if op.kind in _CHANNELS_ON_AXIS_1:
        yield from ((t, 1) for t in (*op.inputs, out))
    elif op.kind == "MatMul" and len(op.inputs) == 1:
        yield op.inputs[0], len(graph.shape(op.inputs[0])) - 1
        yield out, len(graph.shape(out)) - 1


class _Spread:
    """Axes tied together, and which of them hold channels, by whose word."""

    def __init__(self, graph: OpGraph) -> None:
        self._graph = graph
        self._first = [0]
        for tensor in range(graph.n_tensors):
            self._first.append(self._first[-1] + len(graph.shape(tensor)))
        self._tied = Merged(self._first[-1])
        self._channels: dict[int, str] = {}
        self._reshapes: list[tuple[int, int, Block]] = []

    def tie(self, index: int, op: Op) -> None:
        """Note what an operator says about the identity of axes."""
        graph, out = self._graph, self._graph.n_inputs + index
        if op.kind in {"Reshape", "Flatten"}:
            given, made = graph.shape(op.inputs[0]), graph.op_shapes[index]
            for block in reshape_blocks(op, given, made):
                if len(block.given) == len(block.made) == 1:
                    self._tie(op.inputs[0], block.given[0], out, block.made[0])
                else:
                    self._reshapes.append((op.inputs[0], out, block))
        elif op.kind == "MatMul" and len(op.inputs) == 2:
            self._tie_product(*op.inputs, out)
        elif op.kind != "Gemm":
            for axis, place in kept_axes(graph, index, op):
                self._tie(op.inputs[0], axis, out, place)
            for tensor in op.inputs[1:]:
                if len(graph.shape(tensor)) == len(graph.op_shapes[index]):
                    for axis in range(len(graph.shape(tensor))):
                        self._tie(tensor, axis, out, axis)

    def _tie_product(self, left: int, right: int, out: int) -> None:
        rank = len(self._graph.shape(out))
        if not len(self._graph.shape(left)) == len(self._graph.shape(right)) == rank > 2:
            raise Unknown("a product of matrices without a batch axis of their own")
        for axis in range(rank - 2):
            self._tie(left, axis, out, axis)
            self._tie(right, axis, out, axis)
        self._tie(left, rank - 2, out, rank - 2)
        self._tie(right, rank - 1, out, rank - 1)
        self._tie(left, rank - 1, right, rank - 2)

    def _tie(self, tensor: int, axis: int, other: int, place: int) -> None:
        self._tied.merge((self._first[tensor] + axis, self._first[other] + place))

    def _word_for(self, tensor: int, axis: int) -> str | None:
        """Who says that an axis holds channels; None where nobody does."""
        return self._channels.get(self._tied.find(self._first[tensor] + axis))

    def mark(self, tensor: int, axis: int, word: str) -> None:
        """Say that an axis holds channels."""
        self._channels.setdefault(self._tied.find(self._first[tensor] + axis), word)

    def marked(self, tensor: int) -> list[int]:
        """The axes that are said to hold the tensor's channels."""
        axes = range(1, len(self._graph.shape(tensor)))
        return [axis for axis in axes if self._word_for(tensor, axis) is not None]

    def settle(self) -> None:
        """Carry marks across blocks of Reshapes: channels that are split stay with the last."""
        for _ in range(len(self._reshapes)):
            before = len(self._channels)
            for given, made, block in self._reshapes:
                forward = [w for a in block.given if (w := self._word_for(given, a)) is not None]
                back = [w for a in block.made if (w := self._word_for(made, a)) is not None]
                if forward and not back and block.made:
                    self.mark(made, block.made[-1], forward[0])
                elif back and not forward and len(block.given) == 1:
                    self.mark(given, block.given[0], back[0])
            if len(self._channels) == before:
                return

    def try_to_mark(self, tensor: int, axis: int) -> None:
        """Mark an axis, unless some tensor then has two."""
        kept = dict(self._channels)
        self.mark(tensor, axis, "")
        self.settle()
        if any(len(self.marked(t)) > 1 for t in range(self._graph.n_tensors)):
            self._channels = kept

    def only_axis(self, tensor: int) -> int | None:
        """The axis of channels, None without one.

        Raises:
            Unknown: there are two.
        """
        axes = self.marked(tensor)
        if len(axes) > 1:
            maker = self._graph.producer(tensor)
            name = f"input {tensor}" if maker is None else f"the output of operator {maker}"
            one, other = (self._word_for(tensor, axis) for axis in axes[:2])
            raise Unknown(
                f"{one} takes axis {axes[0]} of {name} for channels, {other} axis {axes[1]}"
            )
        return axes[0] if axes else None
