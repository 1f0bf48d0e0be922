"""Conv(x) * a + b -> Conv(x) with scaled weights, for constants a, b per channel; Gemm likewise.

Why: Paddle and hand-written exports spell biases and normalizations as Mul and Add. A MatMul takes
in the scale alone; of the shifts after it one Add is left.
Safety: exact in real arithmetic; computed in float64 and rounded once, over a whole chain of Mul,
Add, Sub, Div and Neg. Reshapes, squeezes and transposes that keep the channels in one axis may lie
in between. `constant - Conv(x)` is a scale of -1.
Skips: a layer whose output is read elsewhere or leaves the graph; constants that vary within a
channel (a row of W values is not one value per channel, even when W equals C), enlarge the
result, are not finite, or so large that adding them rounds; weights that are not constant or not
float32 or float64.
"""

from __future__ import annotations

from collections.abc import Iterator

from autogo_onnx.rewriters.patterns.absorption import absorb, absorptions
from autogo_onnx.rewriters.patterns.affine import ARITHMETIC
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    yield from absorptions(view, ARITHMETIC)


RULE = Rule("fuse_mul_add", Safety.EXACT, find, absorb)
