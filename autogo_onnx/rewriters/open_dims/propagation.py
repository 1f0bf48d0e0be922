"""How operators carry sizes: the shape of a result from the shapes of the inputs, sizes as values.

A size that an operator says nothing about is None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import onnx_graphsurgeon as gs

from autogo_onnx.rewriters.open_dims.open_sizes import Size, Sizes, divided, times
from autogo_onnx.rewriters.patterns.reading import operand, setting


class Context(Protocol):
    """What is known beyond the shapes of the inputs.

    Must: `opset` is the version of the ONNX operators; `value` gives the elements of an integer
    input, None where they have no names.
    """

    @property
    def opset(self) -> int:
        """Version of the ONNX operators."""

    def value(self, tensor: gs.Tensor) -> Sizes | None:
        """The elements of an integer scalar or vector."""


# How the sizes of the first output follow from those of the inputs.
_Follow = Callable[[gs.Node, list[Sizes | None], Context], "tuple[Size | None, ...] | None"]


def _same(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    return sizes[0]


def _broadcast(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    full = [s for s in sizes if s is not None]
    if len(full) < len(sizes):
        return None
    rank = max(len(s) for s in full)
    aligned = [(1,) * (rank - len(s)) + s for s in full]
    return tuple(_common(axis) for axis in zip(*aligned, strict=True))


def _common(sizes: tuple[Size, ...]) -> Size | None:
    """The size of several broadcast against one another."""
    others = {size for size in sizes if size != 1}
    if len(others) > 1:  # a number above 1 wins over an open size, which must then be it or 1
        others = {size for size in others if isinstance(size, int)}
    return others.pop() if len(others) == 1 else (None if others else _one(sizes))


def _one(sizes: tuple[Size, ...]) -> Size | None:
    return 1 if all(size == 1 for size in sizes) else None


def _transposed(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    if sizes[0] is None:
        return None
    perm = node.attrs.get("perm", range(len(sizes[0]))[::-1])
    return tuple(sizes[0][k] for k in perm)


def _windowed(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    """Conv and pools: the batch stays, and so do axes whose padding makes up for the window."""
    data = sizes[0]
    if data is None or len(data) < 3:
        return None
    spatial = len(data) - 2
    kernel = node.attrs.get("kernel_shape")
    if kernel is None and len(sizes) > 1 and sizes[1] is not None:
        kernel = sizes[1][2:]
    result: list[Size | None] = [data[0], None if node.op == "Conv" else data[1]]
    strides = node.attrs.get("strides", [1] * spatial)
    dilations = node.attrs.get("dilations", [1] * spatial)
    pads = node.attrs.get("pads", [0] * 2 * spatial)
    same = str(node.attrs.get("auto_pad", "NOTSET")).startswith("SAME")
    for k in range(spatial):
        keeps = kernel is not None and strides[k] == 1
        if keeps and not same:
            assert kernel is not None
            reach = dilations[k] * (kernel[k] - 1) if isinstance(kernel[k], int) else -1
            valid = node.attrs.get("auto_pad", "NOTSET") == "VALID"
            keeps = reach == (0 if valid else pads[k] + pads[k + spatial])
        result.append(data[2 + k] if keeps else None)
    return tuple(result)


def _batch_only(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    return None if sizes[0] is None else (sizes[0][0], *(None for _ in sizes[0][1:]))


def _global_pooled(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    return None if sizes[0] is None else (*sizes[0][:2], *(1 for _ in sizes[0][2:]))


def _gemm(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    a, b = sizes[:2]
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return None
    return a[1 if node.attrs.get("transA", 0) else 0], b[0 if node.attrs.get("transB", 0) else 1]


def _matmul(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    a, b = sizes[:2]
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return None
    batch = _broadcast(node, [a[:-2], b[:-2]], context)
    return None if batch is None else (*batch, a[-2], b[-1])


def _concatenated(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    full = [s for s in sizes if s is not None]
    if not full or len({len(s) for s in full}) > 1:
        return None
    axis = node.attrs["axis"] % len(full[0])
    result: list[Size | None] = []
    for k, column in enumerate(zip(*full, strict=True)):
        if k != axis:
            numbers = [size for size in column if isinstance(size, int)]
            result.append(numbers[0] if numbers else column[0])
        elif len(full) == len(sizes) and all(isinstance(size, int) for size in column):
            result.append(sum(size for size in column if isinstance(size, int)))
        else:
            result.append(None)
    return tuple(result)


def _axes(node: gs.Node, rank: int) -> list[int] | None:
    axes = setting(node, "axes", 1)
    return None if axes is None else [int(a) % rank for a in axes.reshape(-1)]


def _squeezed(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    data = sizes[0]
    if data is None:
        return None
    axes = _axes(node, len(data))
    return None if axes is None else tuple(s for k, s in enumerate(data) if k not in axes)


def _unsqueezed(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    data, raw = sizes[0], setting(node, "axes", 1)
    if data is None or raw is None:
        return None
    axes = _axes(node, len(data) + raw.size)
    rest = iter(data)
    return tuple(1 if k in (axes or ()) else next(rest) for k in range(len(data) + raw.size))


def _flattened(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    data = sizes[0]
    if data is None:
        return None
    axis = node.attrs.get("axis", 1)
    axis += len(data) if axis < 0 else 0
    return times(data[:axis]), times(data[axis:])


def _expanded(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    shape = context.value(node.inputs[1])
    if shape is None or any(not isinstance(s, int) and not s.is_dimension for s in shape):
        return None
    return _broadcast(node, [sizes[0], shape], context)


def _filled(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    shape = context.value(node.inputs[0])
    if shape is None or any(not isinstance(s, int) and not s.is_dimension for s in shape):
        return None
    return shape


def _reduced(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    data = sizes[0]
    axes = None if data is None else _axes(node, len(data))
    if data is None or not axes:
        return None
    if node.attrs.get("keepdims", 1):
        return tuple(1 if k in axes else s for k, s in enumerate(data))
    return tuple(s for k, s in enumerate(data) if k not in axes)


def _gathered(node: gs.Node, sizes: list[Sizes | None], context: Context) -> Sizes | None:
    data, indices = sizes[:2]
    if data is None or indices is None or not data:
        return None
    axis = node.attrs.get("axis", 0) % len(data)
    return data[:axis] + indices + data[axis + 1 :]


def _sliced(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    data, starts, axes = sizes[0], setting(node, "starts", 1), setting(node, "axes", 3)
    if data is None or starts is None or (axes is None and operand(node, 3) is not None):
        return None
    cut = range(starts.size) if axes is None else [int(a) % len(data) for a in axes.reshape(-1)]
    return tuple(None if k in cut else size for k, size in enumerate(data))


def _split(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    if sizes[0] is None:
        return None
    axis = node.attrs.get("axis", 0) % len(sizes[0])
    return tuple(None if k == axis else size for k, size in enumerate(sizes[0]))


def _padded(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    data, pads = sizes[0], setting(node, "pads", 1)
    if data is None or pads is None or pads.size != 2 * len(data) or operand(node, 3) is not None:
        return None
    before, after = pads.reshape(2, -1)
    return tuple(None if b or a else s for s, b, a in zip(data, before, after, strict=True))


def _resized(
    node: gs.Node, sizes: list[Sizes | None], context: Context
) -> tuple[Size | None, ...] | None:
    data, has_sizes = sizes[0], node.op == "Resize" and context.opset > 10
    given = operand(node, 3) if has_sizes else None
    target = None if given is None else context.value(given)
    if target:
        return _enlarged(node, data, target)
    scales = setting(node, "scales", 2 if has_sizes else 1)
    if data is None or scales is None or scales.size != len(data):
        return None
    return tuple(s if scale == 1 else None for s, scale in zip(data, scales, strict=True))


def _enlarged(node: gs.Node, data: Sizes | None, target: Sizes) -> tuple[Size | None, ...] | None:
    """The sizes that a Resize is given, on the axes that they are about."""
    if node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    sure = [s if (s > 0 if isinstance(s, int) else s.is_dimension) else None for s in target]
    axes = node.attrs.get("axes")
    if axes is None:
        return tuple(sure)
    if data is None:
        return None
    by_axis = dict(zip((axis % len(data) for axis in axes), sure, strict=True))
    return tuple(by_axis.get(k, size) for k, size in enumerate(data))


FOLLOW: dict[str, _Follow] = {
    **dict.fromkeys(
        "Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization BitwiseNot Cast Ceil Celu Clip Cos"
        " Cosh CumSum DequantizeLinear Dropout Elu Erf Exp Floor Gelu GroupNormalization"
        " HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN"
        " LayerNormalization LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization"
        " Mish Neg Not PRelu QuantizeLinear Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin"
        " Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Trilu".split(),
        _same,
    ),
    **dict.fromkeys(
        "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual"
        " Max Mean Min Mod Mul Or Pow Sub Sum Where Xor".split(),
        _broadcast,
    ),
    **dict.fromkeys("AveragePool Conv LpPool MaxPool".split(), _windowed),
    **dict.fromkeys("ConvTranspose DepthToSpace SpaceToDepth".split(), _batch_only),
    **dict.fromkeys("GlobalAveragePool GlobalLpPool GlobalMaxPool".split(), _global_pooled),
    **dict.fromkeys(
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
        " ReduceSum ReduceSumSquare".split(),
        _reduced,
    ),
    "Concat": _concatenated,
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Flatten": _flattened,
    "Gather": _gathered,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _padded,
    "Resize": _resized,
    "Slice": _sliced,
    "Split": _split,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "Upsample": _resized,
}


def _moved(node: gs.Node, values: list[Sizes]) -> Sizes | None:
    """Identity, and what only adds or drops axes of one element or casts between integers."""
    # No axis has 2**31 elements, so a cast to int32 loses nothing. The rank is at most 1 before and
    # after, so reshaping neither adds, drops nor moves elements.
    return values[0]


def _picked(node: gs.Node, values: list[Sizes]) -> Sizes | None:
    data, indices = values
    numbers = [i for i in indices if isinstance(i, int)]
    if len(numbers) < len(indices) or any(not -len(data) <= i < len(data) for i in numbers):
        return None
    return tuple(data[i] for i in numbers)


def _cut(node: gs.Node, values: list[Sizes]) -> Sizes | None:
    bounds = [setting(node, name, k) for k, name in ((1, "starts"), (2, "ends"))]
    steps = setting(node, "steps", 4)
    if any(b is None or b.size != 1 for b in bounds) or (
        steps is None and operand(node, 4) is not None
    ):
        return None
    start, end = (int(b.reshape(-1)[0]) for b in bounds if b is not None)
    step = 1 if steps is None else int(steps.reshape(-1)[0])
    return values[0][start:end:step] if step > 0 else None


def _joined(node: gs.Node, values: list[Sizes]) -> Sizes | None:
    return tuple(size for value in values for size in value)


def _pairs(values: list[Sizes]) -> list[tuple[Size, Size]] | None:
    a, b = values
    length = max(len(a), len(b))
    if {len(a), len(b)} - {1, length}:
        return None
    return [(a[k % len(a)], b[k % len(b)]) for k in range(length)]


def _multiplied(node: gs.Node, values: list[Sizes]) -> Sizes | None:
    pairs = _pairs(values)
    return None if pairs is None else tuple(times(pair) for pair in pairs)


def _quotient(node: gs.Node, values: list[Sizes]) -> Sizes | None:
    pairs = _pairs(values)
    quotients = [divided(a, b) for a, b in pairs or ()]
    found = tuple(q for q in quotients if q is not None)
    return found if pairs is not None and len(found) == len(pairs) else None


COMPUTE: dict[str, Callable[[gs.Node, list[Sizes]], Sizes | None]] = {
    **dict.fromkeys(("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"), _moved),
    "Concat": _joined,
    "Div": _quotient,
    "Gather": _picked,
    "Mul": _multiplied,
    "Slice": _cut,
}
