"""Write an `OpGraph` operator by operator; every method returns the number of a new tensor."""

from __future__ import annotations

from collections.abc import Sequence

from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, Shape


class Builder:
    """A graph under construction: 2-D images `[N,C,H,W]`, square kernels, "same" padding.

    A batch normalization that follows a convolution is folded into it, so it leaves no operator.

    >>> net = Builder((1, 3, 8, 8))
    >>> net.graph(net.relu(net.conv(0, 4, kernel=3, stride=2))).output_shapes
    ((1, 4, 4, 4),)
    """

    def __init__(self, *input_shapes: Shape) -> None:
        self._input_shapes = input_shapes
        self._ops: list[Op] = []
        self._shapes: list[Shape] = list(input_shapes)

    def shape(self, x: int) -> Shape:
        """Shape of tensor `x`."""
        return self._shapes[x]

    def channels(self, x: int) -> int:
        """Width of tensor `x`."""
        return self._shapes[x][1]

    def op(
        self, kind: str, inputs: Sequence[int], shape: Shape, **attributes: AttributeValue
    ) -> int:
        """Any operator whose output shape the caller knows."""
        self._ops.append(Op.make(kind, inputs, **attributes))
        self._shapes.append(shape)
        return len(self._shapes) - 1

    def conv(
        self, x: int, channels: int, *, kernel: int = 1, stride: int = 1, group: int = 1
    ) -> int:
        """Convolution with padding `kernel // 2`."""
        return self.op(
            "Conv",
            (x,),
            self._pooled(x, kernel, stride, channels),
            dilations=(1, 1),
            group=group,
            kernel_shape=(kernel, kernel),
            pads=(kernel // 2,) * 4,
            strides=(stride, stride),
        )

    def depthwise(self, x: int, *, kernel: int, stride: int = 1) -> int:
        """Convolution of every channel by itself."""
        width = self.channels(x)
        return self.conv(x, width, kernel=kernel, stride=stride, group=width)

    def pool(self, kind: str, x: int, *, kernel: int, stride: int = 1) -> int:
        """`MaxPool` or `AveragePool`, odd kernels padded by `kernel // 2` and even ones not at all.

        Padding is not counted in averages, which is ONNX's default.
        """
        return self.op(
            kind,
            (x,),
            self._pooled(x, kernel, stride, self.channels(x)),
            ceil_mode=0,
            kernel_shape=(kernel, kernel),
            pads=(kernel // 2 if kernel % 2 else 0,) * 4,
            strides=(stride, stride),
        )

    def relu(self, x: int) -> int:
        """Rectifier."""
        return self.op("Relu", (x,), self.shape(x))

    def batch_norm(self, x: int) -> int:
        """A batch normalization that cannot be folded, as after an `Add`."""
        return self.op("BatchNormalization", (x,), self.shape(x), epsilon=1e-5)

    def add(self, *terms: int) -> int:
        """Sum of one or more tensors, as a chain of two-operand additions from the left."""
        total = terms[0]
        for term in terms[1:]:
            total = self.op("Add", (total, term), self.shape(total))
        return total

    def concat(self, *parts: int) -> int:
        """Concatenation along channels."""
        batch, _, *space = self.shape(parts[0])
        width = sum(self.channels(p) for p in parts)
        return self.op("Concat", parts, (batch, width, *space), axis=1)

    def classifier(self, x: int, classes: int) -> int:
        """Global average pool, flatten, linear layer with bias."""
        batch, width = self.shape(x)[:2]
        pooled = self.op("GlobalAveragePool", (x,), (batch, width, 1, 1))
        flat = self.op("Flatten", (pooled,), (batch, width), axis=1)
        return self.op("Gemm", (flat,), (batch, classes), alpha=1.0, beta=1.0, transB=1)

    def graph(self, *outputs: int) -> OpGraph:
        """The finished graph."""
        first = len(self._input_shapes)
        return OpGraph(
            self._input_shapes, tuple(self._ops), tuple(self._shapes[first:]), tuple(outputs)
        )

    def _pooled(self, x: int, kernel: int, stride: int, channels: int) -> Shape:
        batch, _, *space = self.shape(x)
        pad = kernel // 2 if kernel % 2 else 0
        return (batch, channels, *((s + 2 * pad - kernel) // stride + 1 for s in space))
