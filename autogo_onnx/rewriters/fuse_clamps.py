"""Clip, Relu, Min and Max with a number, one after another -> one Clip or Relu.

Why: Relu before Clip(0, 6), and bounds that a module and its caller both apply.
Safety: exact for all but NaN: clamping to [a, b] and then to [c, d] is clamping to [a', b'] where
a' and b' are a and b clamped to [c, d], also where the two do not overlap. What a NaN becomes
differs between these operators.
Skips: none; a bound pair in the wrong order (its result is the upper one) stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from autogo_onnx.liveness import disconnect
from autogo_onnx.rewriters.patterns.clamping import CLAMPS, Clamp, clamp_ending_in
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_CLIP_HAS_INPUTS = 11
_CLIP_OF_DOUBLES = 12  # before, ONNX Runtime has none, and attributes are float32
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


@dataclass(frozen=True)
class _Clamps(Match):
    """Clamps in a row, and the one that they are together."""

    clamp: Clamp


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if node.op not in CLAMPS:
            continue
        clamp = clamp_ending_in(view, node)
        if clamp is None or len(clamp.nodes) < 2 or not _is_written(view, clamp):
            continue
        yield _Clamps(clamp.nodes, clamp)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Clamps)
    clamp, result = match.clamp, match.nodes[-1].outputs[0]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(view.element_type(result))
    for node in match.nodes:
        disconnect(node)
    if (clamp.low, clamp.high) == (0, math.inf):
        view.insert("Relu", [clamp.source], result)
    elif view.opset < _CLIP_HAS_INPUTS:
        view.insert("Clip", [clamp.source], result, {"min": clamp.low, "max": clamp.high})
    else:
        bounds = [
            view.constant(f"{result.name}.{name}", np.array(value, dtype))
            for name, value in (("min", clamp.low), ("max", clamp.high))
        ]
        view.insert("Clip", [clamp.source, *bounds], result)


def _is_written(view: View, clamp: Clamp) -> bool:
    """Whether the type is one that Clip takes in every opset, with attributes that are finite."""
    kind = view.element_type(clamp.nodes[-1].outputs[0])
    if kind not in _FLOATS:
        return False
    is_relu = (clamp.low, clamp.high) == (0, math.inf)
    if kind == onnx.TensorProto.DOUBLE and view.opset < _CLIP_OF_DOUBLES:
        return is_relu
    is_finite = math.isfinite(clamp.low) and math.isfinite(clamp.high)
    return is_relu or is_finite or view.opset >= _CLIP_HAS_INPUTS


RULE = Rule("fuse_clamps", Safety.EXACT, find, apply)
