"""Normalizations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.torch_graph.node import Call

MOMENTUM = 0.1
"""Share of a batch in the running statistics; exported models keep whatever torch had."""


def _batch_normalization(call: Call) -> Tensor:
    """In training by the statistics of the batch, which the running ones follow."""
    x, scale, shift, mean, variance = call.operands(5)
    if len([name for name in call.node.outputs if name]) > 1:
        raise call.refuse("with several outputs")
    if not call.get("spatial", 1):
        raise call.refuse("per element")
    epsilon = call.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, shift, call.training, MOMENTUM, epsilon)


def _instance_normalization(call: Call) -> Tensor:
    x, scale, shift = call.operands(3)
    return functional.instance_norm(x, weight=scale, bias=shift, eps=call.get("epsilon", 1e-5))


def _group_normalization(call: Call) -> Tensor:
    x, scale, shift = call.operands(3)
    groups = call.get("num_groups")
    if len(scale) == groups != x.shape[1]:  # per group, as before opset 21
        scale, shift = (t.repeat_interleave(x.shape[1] // groups) for t in (scale, shift))
    return functional.group_norm(x, groups, scale, shift, call.get("epsilon", 1e-5))


def _layer_normalization(call: Call) -> Tensor:
    x, scale, shift = call.operands(3)
    if len([name for name in call.node.outputs if name]) > 1:
        raise call.refuse("with several outputs")
    axis = call.get("axis", -1) % x.dim()
    normal = functional.layer_norm(x, x.shape[axis:], eps=call.get("epsilon", 1e-5)) * scale
    return normal if shift is None else normal + shift


def _local_response(call: Call) -> Tensor:
    """Over `size` channels, of which for an even number one more lies behind."""
    x = call.inputs[0]
    size = call.get("size")
    squares = functional.pad(x.pow(2), (0, 0) * (x.dim() - 2) + ((size - 1) // 2, size // 2))
    total = squares.unfold(1, size, 1).sum(-1)
    scale = call.get("bias", 1.0) + call.get("alpha", 1e-4) / size * total
    return x / scale.pow(call.get("beta", 0.75))


def _lp_normalization(call: Call) -> Tensor:
    p, axis = call.get("p", 2), call.get("axis", -1)
    return functional.normalize(call.inputs[0], p=p, dim=axis)


def _softmax(logarithmic: bool) -> Callable[[Call], Tensor]:
    function = torch.log_softmax if logarithmic else torch.softmax

    def compute(call: Call) -> Tensor:
        x = call.inputs[0]
        if call.node.opset >= 13:
            return function(x, call.get("axis", -1))
        # Before, the axes from this one on were one.
        axis = call.get("axis", 1) % max(1, x.dim())
        return function(x.flatten(axis), axis).reshape(x.shape)

    return compute


OPERATORS: Mapping[str, Callable[[Call], Any]] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LRN": _local_response,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _softmax(True),
    "LpNormalization": _lp_normalization,
    "Softmax": _softmax(False),
}
