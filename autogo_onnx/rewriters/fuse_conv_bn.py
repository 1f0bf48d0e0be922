"""BatchNormalization(Conv(x)) -> Conv(x) with scaled weights; other layers likewise.

Why: in inference a batch normalization is an affine map per channel, which the layer before can do.
Safety: exact in real arithmetic; computed in float64 and rounded once. Weights that other nodes
read too are copied. Layers are Conv, ConvTranspose, Gemm and MatMul (which keeps an Add for the
shift); reshapes, squeezes and transposes that keep the channels in one axis may lie in between.
Skips: a layer whose output is read elsewhere or leaves the graph; parameters that are not
constant; training mode; types other than float32 and float64, whose range the scale may exceed.
"""

from __future__ import annotations

from collections.abc import Iterator

from autogo_onnx.rewriters.patterns.absorption import absorb, absorptions
from autogo_onnx.rewriters.patterns.affine import NORM
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    yield from absorptions(view, (NORM,))


RULE = Rule("fuse_conv_bn", Safety.EXACT, find, absorb)
