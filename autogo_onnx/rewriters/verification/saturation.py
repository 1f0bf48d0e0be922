"""Outputs between two bounds: how coarsely they are computed near one of them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

_SATURATING = frozenset({"Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"})
# ONNX Runtime approximates them to some units in the last place of 1, not of the result.
_COARSENESS = 2.0**-22
_MOVING = frozenset(
    {"Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)


def coarseness(model: onnx.ModelProto) -> tuple[float, ...]:
    """Per output, a difference that means nothing whatever the size of the values; mostly 0.

    A detector that sees nothing gives probabilities of some 1e-7, which are multiples of 6e-8.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    return tuple(_of(output.name, makers) for output in model.graph.output)


def _of(name: str, makers: Mapping[str, onnx.NodeProto]) -> float:
    maker = makers.get(name)
    while maker is not None and maker.op_type in _MOVING:
        maker = makers.get(maker.input[0])
    return _COARSENESS if maker is not None and maker.op_type in _SATURATING else 0.0
