"""What every known ONNX operator computes, in torch: one function per operator, one table.

Integers that describe shapes stay on the CPU, whatever device the weights are on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autogo_onnx.torch_graph.node import Call
from autogo_onnx.torch_graph.operators import (
    layout,
    linear,
    normalization,
    pointwise,
    reduction,
    resize,
    window,
)

Operator = Callable[[Call], Any]
"""Must: give one tensor, or a tuple of one per output; be differentiable where ONNX's is; raise
InputError for a form that it does not know."""

OPERATORS: Mapping[str, Operator] = {
    **pointwise.OPERATORS,
    **linear.OPERATORS,
    **normalization.OPERATORS,
    **window.OPERATORS,
    **resize.OPERATORS,
    **layout.OPERATORS,
    **reduction.OPERATORS,
}
