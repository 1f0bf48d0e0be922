"""Operators that compute every element by itself, or from broadcast operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.torch_graph.node import Call


def together(*tensors: Tensor) -> list[Tensor]:
    """The operands on one device: shapes and their arithmetic live on the CPU."""
    device = next((t.device for t in tensors if t.device.type != "cpu"), None)
    return [t if device is None or t.device == device else t.to(device) for t in tensors]


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Call], Tensor]:
    return lambda call: function(call.inputs[0])


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    return lambda call: function(*together(*call.inputs[:2]))


def _of_all(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    return lambda call: reduce(function, together(*call.inputs))


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Of integers the quotient towards zero."""
    if a.dtype.is_floating_point:
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def _mean(call: Call) -> Tensor:
    return reduce(torch.add, together(*call.inputs)) / len(call.inputs)


def _where(call: Call) -> Tensor:
    return torch.where(*together(*call.inputs))


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    """Of the type of the base."""
    return torch.pow(base, exponent).to(base.dtype)


def _mod(call: Call) -> Tensor:
    a, b = together(*call.inputs[:2])
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


def _clip(call: Call) -> Tensor:
    x, low, high = call.operands(3)
    low, high = call.get("min", low), call.get("max", high)
    if low is not None:
        x = torch.clamp_min(x, *together(x, low)[1:]) if torch.is_tensor(low) else x.clamp_min(low)
    if high is not None:
        x = (
            torch.clamp_max(x, *together(x, high)[1:])
            if torch.is_tensor(high)
            else x.clamp_max(high)
        )
    return x


def _prelu(call: Call) -> Tensor:
    x, slope = call.operands(2)
    return torch.where(x >= 0, x, x * slope)


def _leaky_relu(call: Call) -> Tensor:
    return functional.leaky_relu(call.inputs[0], call.get("alpha", 0.01))


def _elu(call: Call) -> Tensor:
    return functional.elu(call.inputs[0], call.get("alpha", 1.0))


def _celu(call: Call) -> Tensor:
    return functional.celu(call.inputs[0], call.get("alpha", 1.0))


def _selu(call: Call) -> Tensor:
    alpha = call.get("alpha", 1.67326319217681884765625)
    gamma = call.get("gamma", 1.05070102214813232421875)
    return gamma * functional.elu(call.inputs[0], alpha)


def _hard_sigmoid(call: Call) -> Tensor:
    x = call.inputs[0] * call.get("alpha", 0.2) + call.get("beta", 0.5)
    return x.clamp(0, 1)


def _hard_swish(call: Call) -> Tensor:
    x = call.inputs[0]
    return x * (x / 6 + 0.5).clamp(0, 1)


def _swish(call: Call) -> Tensor:
    x = call.inputs[0]
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


def _gelu(call: Call) -> Tensor:
    return functional.gelu(call.inputs[0], approximate=call.get("approximate", "none"))


def _thresholded_relu(call: Call) -> Tensor:
    x = call.inputs[0]
    return torch.where(x > call.get("alpha", 1.0), x, torch.zeros_like(x))


def _dropout(call: Call) -> Any:
    """In training it drops what the node says, scaled up; outside it is nothing."""
    x, ratio = call.operands(2)
    ratio = call.get("ratio", 0.5) if ratio is None else float(ratio)
    kept = functional.dropout(x, ratio, training=call.training)
    return (kept, torch.ones_like(x, dtype=torch.bool))[: len(call.node.outputs)]


OPERATORS: Mapping[str, Callable[[Call], Any]] = {
    **{
        name: _of_one(function)
        for name, function in {
            "Abs": torch.abs,
            "Ceil": torch.ceil,
            "Cos": torch.cos,
            "Erf": torch.erf,
            "Exp": torch.exp,
            "Floor": torch.floor,
            "Identity": lambda x: x,
            "Log": torch.log,
            "Mish": functional.mish,
            "Neg": torch.neg,
            "Not": torch.logical_not,
            "Reciprocal": torch.reciprocal,
            "Relu": functional.relu,
            "Round": torch.round,
            "Sigmoid": torch.sigmoid,
            "Sign": torch.sign,
            "Sin": torch.sin,
            # torch's own goes over to the identity above 20, which float32 does not notice.
            "Softplus": functional.softplus,
            "Softsign": functional.softsign,
            "Sqrt": torch.sqrt,
            "Tanh": torch.tanh,
        }.items()
    },
    **{
        name: _of_two(function)
        for name, function in {
            "And": torch.logical_and,
            "Div": divide,
            "Equal": torch.eq,
            "Greater": torch.gt,
            "GreaterOrEqual": torch.ge,
            "Less": torch.lt,
            "LessOrEqual": torch.le,
            "Or": torch.logical_or,
            "Pow": _power,
            "Sub": torch.sub,
            "Xor": torch.logical_xor,
        }.items()
    },
    **{
        name: _of_all(function)
        for name, function in {
            "Add": torch.add,
            "Max": torch.maximum,
            "Min": torch.minimum,
            "Mul": torch.mul,
            "Sum": torch.add,
        }.items()
    },
    "Celu": _celu,
    "Clip": _clip,
    "Dropout": _dropout,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Mean": _mean,
    "Mod": _mod,
    "PRelu": _prelu,
    "Selu": _selu,
    "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
    "Where": _where,
}
