"""What activations and arithmetic make of constant channels, in float64; NaN stands for unknown."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.rewriters.patterns.reading import setting


def _parameter(node: gs.Node, name: str, default: float) -> float:
    return float(node.attrs.get(name, default))


def _clip(x: np.ndarray, node: gs.Node) -> np.ndarray:
    bounds = []
    for name, index in (("min", 1), ("max", 2)):
        given = setting(node, name, index)
        if given is None and len(node.inputs) > index and not node.inputs[index].is_empty():
            return np.full_like(x, np.nan)
        bounds.append(given)
    low, high = bounds
    x = x if low is None else np.maximum(x, low.reshape(()))
    return x if high is None else np.minimum(x, high.reshape(()))


def _hard_sigmoid(x: np.ndarray, node: gs.Node) -> np.ndarray:
    return np.clip(_parameter(node, "alpha", 0.2) * x + _parameter(node, "beta", 0.5), 0, 1)


FUNCTIONS: dict[str, Callable[[np.ndarray, gs.Node], np.ndarray]] = {
    "Relu": lambda x, node: np.maximum(x, 0),
    "LeakyRelu": lambda x, node: np.where(x < 0, _parameter(node, "alpha", 0.01) * x, x),
    "Elu": lambda x, node: np.where(x < 0, _parameter(node, "alpha", 1.0) * np.expm1(x), x),
    "Sigmoid": lambda x, node: 1 / (1 + np.exp(-x)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x, node: x * np.clip(x / 6 + 0.5, 0, 1),
    "Tanh": lambda x, node: np.tanh(x),
    "Softplus": lambda x, node: np.log1p(np.exp(x)),
    "Erf": lambda x, node: np.array([math.erf(v) for v in x]),
    "Clip": _clip,
    "Neg": lambda x, node: -x,
    "Abs": lambda x, node: np.abs(x),
    "Exp": lambda x, node: np.exp(x),
    "Sqrt": lambda x, node: np.sqrt(x),
    "Identity": lambda x, node: x,
}
COMBINED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Add": np.add,
    "Sum": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "PRelu": lambda x, slope: np.where(x < 0, slope * x, x),
}
