"""Operators and shapes in a few words, for boxes and lines of a drawing."""

from __future__ import annotations

from autogo_onnx.opgraph import Op, OpGraph, Shape

_WINDOWED = ("Conv", "ConvTranspose", "AveragePool", "LpPool", "MaxPool")
LONGEST = 32


def words(graph: OpGraph, index: int) -> str:
    """An operator as one would call it; what has its default is not said.

    >>> op = Op.make("Conv", (0,), kernel_shape=(3, 3), strides=(2, 2), pads=(1,) * 4, group=8)
    >>> words(OpGraph(((1, 8, 4, 4),), (op,), ((1, 8, 2, 2),), (1,)), 0)
    'Conv 3x3 /2 depthwise'
    """
    op = graph.ops[index]
    if op.kind in _WINDOWED:
        operand = graph.shape(op.inputs[0]) if op.inputs else ()
        return " ".join((op.kind, *_window(op, operand)))
    said = [f"{name}={_value(value)}" for name, value in op.attributes]
    constant = ["constant"] if op.kind in ("Add", "Mul") and len(op.inputs) == 1 else []
    return shortened(" ".join((op.kind, *constant, *said)))


def shape_text(shape: Shape) -> str:
    """Dimensions with a multiplication sign; `?` for a shape that is not known.

    >>> shape_text((1, 64, 16, 16))
    '1×64×16×16'
    """
    return "×".join(map(str, shape)) or "?"


def shortened(text: str) -> str:
    """The text, or its beginning where it is too long for a box."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _window(op: Op, operand: Shape) -> list[str]:
    kernel, strides = op.get("kernel_shape", ()), op.get("strides", ())
    dilations, group = op.get("dilations", ()), op.get("group", 1)
    parts = ["x".join(map(str, kernel))] if kernel else []
    if any(step > 1 for step in strides):
        parts.append("/" + _once(strides))
    if any(step > 1 for step in dilations):
        parts.append("dilated " + _once(dilations))
    if group > 1:
        is_depthwise = len(operand) > 1 and group == operand[1]
        parts.append("depthwise" if is_depthwise else f"groups {group}")
    return parts


def _once(values: tuple[int, ...]) -> str:
    """One number where all are the same."""
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
