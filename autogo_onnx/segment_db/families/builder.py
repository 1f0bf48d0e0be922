"""Write a network operator by operator; every method returns the number of a new tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, Shape
from autogo_onnx.segment_db.families.network import Network

Pair = int | tuple[int, int]


class Builder:
    """A network under construction, on images `[N,C,H,W]`.

    Windows are padded by half their extent on every side, as PyTorch's authors do; with
    `same_upper` so that the output has `ceil(size / stride)` pixels, the odd pixel at the end, as
    TensorFlow's do. `epsilon` is that of the batch normalizations.

    >>> net = Builder((1, 3, 8, 8))
    >>> net.network(net.relu(net.conv(0, 4, kernel=3, stride=2))).graph.output_shapes
    ((1, 4, 4, 4),)
    """

    def __init__(
        self, *input_shapes: Shape, same_upper: bool = False, epsilon: float = 1e-5
    ) -> None:
        self._input_shapes = input_shapes
        self._same_upper = same_upper
        self._epsilon = epsilon
        self._ops: list[Op] = []
        self._shapes: list[Shape] = list(input_shapes)
        self._biased: set[int] = set()
        self._places: list[range] = []

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

    def unary(self, kind: str, x: int, **attributes: AttributeValue) -> int:
        """An operator that works element by element: an activation, say."""
        return self.op(kind, (x,), self.shape(x), **attributes)

    def conv(
        self,
        x: int,
        channels: int,
        *,
        kernel: Pair = 1,
        stride: Pair = 1,
        group: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> int:
        """Convolution; a pair is (height, width)."""
        window = _window(kernel, stride, dilation)
        pads = self._pads(x, window)
        size = _slid(self.shape(x)[2:], window, pads)
        made = self.op(
            "Conv",
            (x,),
            (self.shape(x)[0], channels, *size),
            dilations=window[2],
            group=group,
            kernel_shape=window[0],
            pads=pads,
            strides=window[1],
        )
        if bias:
            self._biased.add(len(self._ops) - 1)
        return made

    def conv_bn(
        self,
        x: int,
        channels: int,
        *,
        kernel: Pair = 1,
        stride: Pair = 1,
        group: int = 1,
        dilation: int = 1,
    ) -> int:
        """Convolution without bias and its batch normalization."""
        made = self.conv(x, channels, kernel=kernel, stride=stride, group=group, dilation=dilation)
        return self.batch_norm(made)

    def depthwise(
        self, x: int, *, kernel: Pair, stride: Pair = 1, dilation: int = 1, bias: bool = False
    ) -> int:
        """Convolution of every channel by itself."""
        width = self.channels(x)
        return self.conv(
            x, width, kernel=kernel, stride=stride, group=width, dilation=dilation, bias=bias
        )

    def transposed(self, x: int, channels: int, *, kernel: int, stride: int, bias: bool) -> int:
        """Transposed convolution that multiplies the size by `stride`; odd pads as PyTorch's."""
        batch, _, *space = self.shape(x)
        pad = (kernel - 1) // 2
        extra = stride + 2 * pad - kernel
        made = self.op(
            "ConvTranspose",
            (x,),
            (batch, channels, *(n * stride for n in space)),
            dilations=(1, 1),
            group=1,
            kernel_shape=(kernel, kernel),
            output_padding=(extra, extra),
            pads=(pad,) * 4,
            strides=(stride, stride),
        )
        if bias:
            self._biased.add(len(self._ops) - 1)
        return made

    def pool(self, kind: str, x: int, *, kernel: int, stride: int = 1) -> int:
        """`MaxPool` or `AveragePool`; without `same_upper`, even kernels are not padded.

        Padding is not counted in averages, which is ONNX's default.
        """
        window = _window(kernel, stride, 1)
        pads = self._pads(x, window) if kernel % 2 or self._same_upper else (0,) * 4
        return self.op(
            kind,
            (x,),
            (*self.shape(x)[:2], *_slid(self.shape(x)[2:], window, pads)),
            ceil_mode=0,
            kernel_shape=window[0],
            pads=pads,
            strides=window[1],
        )

    def batch_norm(self, x: int) -> int:
        """Batch normalization."""
        return self.unary("BatchNormalization", x, epsilon=self._epsilon)

    def relu(self, x: int) -> int:
        """Rectifier."""
        return self.unary("Relu", x)

    def relu6(self, x: int) -> int:
        """Rectifier that saturates at 6."""
        return self.unary("Clip", x, min=0.0, max=6.0)

    def dropout(self, x: int) -> int:
        """Nothing at inference; it is kept so that published operator counts can be compared."""
        return self.unary("Identity", x)

    def add(self, *terms: int) -> int:
        """Sum of one or more tensors, as a chain of two-operand additions from the left."""
        total = terms[0]
        for term in terms[1:]:
            total = self.op("Add", (total, term), self.shape(total))
        return total

    def mul(self, x: int, gate: int) -> int:
        """Product of a tensor and one of its shape or of shape `[N,C,1,1]`."""
        return self.op("Mul", (x, gate), self.shape(x))

    def concat(self, *parts: int) -> int:
        """Concatenation along channels; a single part is given back."""
        if len(parts) == 1:
            return parts[0]
        batch, _, *space = self.shape(parts[0])
        width = sum(self.channels(p) for p in parts)
        return self.op("Concat", parts, (batch, width, *space), axis=1)

    def global_pool(self, x: int) -> int:
        """Average of every channel: `[N,C,1,1]`."""
        return self.op("GlobalAveragePool", (x,), (*self.shape(x)[:2], 1, 1))

    def linear(self, x: int, features: int) -> int:
        """Flatten and a linear layer with bias."""
        batch, *rest = self.shape(x)
        width = 1
        for size in rest:
            width *= size
        flat = x if len(rest) == 1 else self.op("Flatten", (x,), (batch, width), axis=1)
        made = self.op("Gemm", (flat,), (batch, features), alpha=1.0, beta=1.0, transB=1)
        self._biased.add(len(self._ops) - 1)
        return made

    def classifier(self, x: int, classes: int) -> int:
        """Global average pool, flatten, linear layer with bias."""
        return self.linear(self.global_pool(x), classes)

    @contextmanager
    def place(self) -> Iterator[None]:
        """What is appended meanwhile is one cell, block or layer; see `Network.places`."""
        start = len(self._ops)
        yield
        self._places.append(range(start, len(self._ops)))

    def network(self, *outputs: int) -> Network:
        """The finished network."""
        return Network(self.graph(*outputs), frozenset(self._biased), tuple(self._places))

    def graph(self, *outputs: int) -> OpGraph:
        """Its graph alone."""
        first = len(self._input_shapes)
        return OpGraph(
            self._input_shapes, tuple(self._ops), tuple(self._shapes[first:]), tuple(outputs)
        )

    def _pads(self, x: int, window: _Window) -> tuple[int, ...]:
        """Top, left, bottom, right."""
        begin, end = [], []
        for size, kernel, stride, dilation in zip(self.shape(x)[2:], *window, strict=True):
            total = 2 * (kernel // 2) * dilation
            if self._same_upper:
                reach = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
                total = max(0, reach - size)
            begin.append(total // 2)
            end.append(total - total // 2)
        return (*begin, *end)


_Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def _window(kernel: Pair, stride: Pair, dilation: int) -> _Window:
    """Kernel, stride and dilation by axis."""
    return _pair(kernel), _pair(stride), (dilation, dilation)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _slid(size: Sequence[int], window: _Window, pads: Sequence[int]) -> tuple[int, ...]:
    """Pixels that a window leaves, by axis."""
    return tuple(
        (n + begin + end - (kernel - 1) * dilation - 1) // stride + 1
        for n, begin, end, kernel, stride, dilation in zip(
            size, pads[:2], pads[2:], *window, strict=True
        )
    )
