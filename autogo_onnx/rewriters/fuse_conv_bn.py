"""BatchNormalization(Conv(x)) -> Conv(x) with scaled weights; ConvTranspose and Gemm likewise.

Why: in inference a batch normalization is an affine map per channel, which the layer before can do.
Safety: exact in real arithmetic; computed in float64 and rounded once. Weights that other nodes
read too are copied.
Skips: a convolution whose output is read elsewhere or leaves the graph; parameters that are not
constant; training mode; types other than float32 and float64, whose range the scale may exceed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.linear import Affine, absorb, absorbing, channels, is_linear, refusal
from autogo_onnx.rewriters.reading import another_reader, other_outputs_used, producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_INFERENCE_BY_DEFAULT = 7
_EPSILON = 1e-5  # the ONNX default


def find(view: View) -> Iterator[Match | Skip]:
    for norm in view.graph.nodes:
        if not is_op(norm, "BatchNormalization"):
            continue
        linear = producer(norm.inputs[0])
        if linear is None or not is_linear(linear):
            continue
        reason = (
            another_reader(norm.inputs[0], view.fixed)
            or refusal(linear)
            or _training(view, norm)
            or _parameters_refusal(norm, channels(linear))
        )
        if reason is None:
            yield absorbing(linear, norm, _affine(norm))
        else:
            yield Skip((linear, norm), reason)


def _training(view: View, norm: gs.Node) -> str | None:
    trains = norm.attrs.get("training_mode", 0) or other_outputs_used(norm, view.fixed)
    if view.opset < _INFERENCE_BY_DEFAULT:
        trains = trains or not norm.attrs.get("is_test", 0)
    if trains:
        return "BatchNormalization in training mode"
    if not norm.attrs.get("spatial", 1):
        return "BatchNormalization per element (spatial = 0)"
    return None


def _parameters_refusal(norm: gs.Node, size: int) -> str | None:
    for tensor in norm.inputs[1:]:
        value = constant_value(tensor)
        if value is None:
            return "a parameter of BatchNormalization is not constant"
        if value.size != size:
            return "a parameter of BatchNormalization has not one value per channel"
    affine = _affine(norm)
    if not (np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all()):
        return "the parameters of BatchNormalization are not finite"
    return None


def _affine(norm: gs.Node) -> Affine:
    scale, shift, mean, variance = (
        np.asarray(constant_value(tensor), np.float64).reshape(-1) for tensor in norm.inputs[1:5]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = scale / np.sqrt(variance + norm.attrs.get("epsilon", _EPSILON))
    return Affine(factor, shift - mean * factor)


RULE = Rule("fuse_conv_bn", Safety.EXACT, find, absorb)
