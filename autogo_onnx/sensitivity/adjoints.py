"""Which operators are known, and their adjoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from autogo_onnx.opgraph import Op, Shape
from autogo_onnx.sensitivity import linear, pointwise, windows
from autogo_onnx.sensitivity.layer import Adjoint

_ADJOINTS: dict[str, Adjoint] = {
    "Add": pointwise.add,
    "AveragePool": windows.average_pool,
    "Clip": pointwise.clamp,
    "Concat": linear.joined,
    "Conv": windows.convolution,
    "ConvTranspose": windows.transposed_convolution,
    "DepthToSpace": linear.moved,
    "Div": pointwise.divide,
    "Flatten": linear.reshaped,
    "Gemm": linear.gemm,
    "GlobalAveragePool": linear.mean,
    "Identity": linear.reshaped,
    "MatMul": linear.matmul,
    "MaxPool": windows.max_pool,
    "Mul": pointwise.multiply,
    "Pad": linear.moved,
    "ReduceMean": linear.mean,
    "Relu": pointwise.clamp,
    "Reshape": linear.reshaped,
    "Resize": linear.moved,
    "Slice": linear.moved,
    "Softmax": pointwise.softmax,
    "SpaceToDepth": linear.moved,
    "Split": linear.moved,
    "Squeeze": linear.reshaped,
    "Sub": pointwise.subtract,
    "Sum": pointwise.add,
    "Transpose": linear.transposed,
    "Unsqueeze": linear.reshaped,
}
_ELEMENTWISE = (
    "Abs BatchNormalization Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Mish Neg PRelu "
    "Pow Reciprocal Selu Sigmoid Softplus Sqrt Tanh"
).split()
_ADJOINTS |= dict.fromkeys(_ELEMENTWISE, pointwise.elementwise)

_FORMS: dict[str, Callable[[Op, Shape, Shape], bool]] = {
    "Concat": lambda op, given, made: op.get("axis") != 0,
    "Conv": lambda op, given, made: bool(op.get("kernel_shape")),
    "ConvTranspose": lambda op, given, made: bool(op.get("kernel_shape")),
    "Gemm": lambda op, given, made: not op.get("transA", 0),
    "MatMul": lambda op, given, made: len(given) == len(made),
    "Pad": lambda op, given, made: op.get("mode") == "constant" and not op.get("value"),
    "ReduceMean": lambda op, given, made: 0 not in op.get("axes", (0,)),
    "Resize": lambda op, given, made: op.get("mode", "nearest") == "nearest",
    "Softmax": lambda op, given, made: len(made) == 2 or op.get("axis", -1) in (-1, len(made) - 1),
    "Transpose": lambda op, given, made: op.get("perm", (1,))[0] == 0,
}
"""Which forms of an operator are known, where not all are."""

_ONE_VARIES = {"Clip", "Conv", "ConvTranspose", "Gemm", *_ELEMENTWISE}
_LARGEST_NUMBER = 1 << 24
"""float32 counts so far."""


def adjoint_of(op: Op, varying: Sequence[int], given: Shape, made: Shape) -> Adjoint | None:
    """The adjoint of an operator; None where there is none, or not for this form of it.

    Args:
        op: the operator.
        varying: places among the node's inputs of those that are no constants.
        given: shape of the first of these.
        made: shape of the result.
    """
    found = _ADJOINTS.get(op.kind)
    if found is None or not given or (op.kind in _ONE_VARIES and tuple(varying) != (0,)):
        return None
    check = _FORMS.get(op.kind)
    if check is not None and not check(op, given, made):
        return None
    if found is linear.moved and (
        tuple(varying) != (0,) or given[:1] != made[:1] or prod(given[1:]) >= _LARGEST_NUMBER
    ):
        return None
    return found
