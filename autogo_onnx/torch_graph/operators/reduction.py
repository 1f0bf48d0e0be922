"""Operators that reduce axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from autogo_onnx.torch_graph.node import Call

_Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reducing(function: _Reduce) -> Callable[[Call], Tensor]:
    """Axes are an attribute or, in newer opsets, an input; none means all."""

    def compute(call: Call) -> Tensor:
        x = call.inputs[0]
        axes = tuple(int(a) for a in call.numbers(1, "axes") or ())
        if not axes and call.get("noop_with_empty_axes", 0):
            return x
        return function(x, axes or tuple(range(x.dim())), bool(call.get("keepdims", 1)))

    return compute


def _prod(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg(largest: bool) -> Callable[[Call], Tensor]:
    """The first of equal ones, or the last where the node says so."""

    def compute(call: Call) -> Tensor:
        x, axis = call.inputs[0], call.get("axis", 0)
        last = bool(call.get("select_last_index", 0))
        x = x.flip(axis) if last else x
        found = (torch.argmax if largest else torch.argmin)(
            x, axis, keepdim=bool(call.get("keepdims", 1))
        )
        return x.shape[axis] - 1 - found if last else found

    return compute


def _cumulative_sum(call: Call) -> Tensor:
    if call.get("exclusive", 0) or call.get("reverse", 0):
        raise call.refuse("exclusive or in reverse")
    return torch.cumsum(call.inputs[0], int(call.inputs[1].item()))


OPERATORS: Mapping[str, Callable[[Call], Any]] = {
    "ArgMax": _arg(True),
    "ArgMin": _arg(False),
    "CumSum": _cumulative_sum,
    "ReduceL1": _reducing(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reducing(lambda x, axes, keep: x.pow(2).sum(axes, keepdim=keep).sqrt()),
    "ReduceLogSumExp": _reducing(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
    "ReduceMax": _reducing(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reducing(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reducing(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reducing(_prod),
    "ReduceSum": _reducing(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reducing(lambda x, axes, keep: x.pow(2).sum(axes, keepdim=keep)),
}
