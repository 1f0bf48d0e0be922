"""Operators that move, cut, join and describe tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.torch_graph.node import Call
from autogo_onnx.torch_graph.operators.pointwise import together

_PAD_MODES = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}
_MOST_AXES_OF_A_PAD_MODE = 5


def _reshape(call: Call) -> Tensor:
    x = call.inputs[0]
    target = call.numbers(1, "shape") or []
    if not call.get("allowzero", 0):
        target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return x.reshape(target)


def _flatten(call: Call) -> Tensor:
    x = call.inputs[0]
    axis = call.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape(rows, -1) if x.numel() else x.reshape(rows, 0)


def _transpose(call: Call) -> Tensor:
    x = call.inputs[0]
    return x.permute(call.get("perm", tuple(reversed(range(x.dim())))))


def _squeeze(call: Call) -> Tensor:
    x = call.inputs[0]
    axes = call.numbers(1, "axes")
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(int(a) for a in axes))


def _unsqueeze(call: Call) -> Tensor:
    x = call.inputs[0]
    axes = call.numbers(1, "axes") or []
    for axis in sorted(a % (x.dim() + len(axes)) for a in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(call: Call) -> Tensor:
    return torch.cat(together(*call.inputs), call.get("axis", 1))


def _split(call: Call) -> tuple[Tensor, ...]:
    x, axis = call.inputs[0], call.get("axis", 0)
    lengths = call.numbers(1, "split")
    if lengths is None:  # equal parts, the last one shorter
        lengths = -(-x.shape[axis] // len(call.node.outputs))
    return tuple(torch.split(x, lengths, axis))


def _slice(call: Call) -> Tensor:
    x = call.inputs[0]
    starts, ends = call.numbers(1, "starts") or [], call.numbers(2, "ends") or []
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = call.numbers(4, "") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen = range(x.shape[axis])[slice(start, _end(end, x.shape[axis], step), step)]
        if step > 0:
            index = [slice(None)] * (axis % x.dim())
            x = x[(*index, slice(chosen.start, chosen.stop, chosen.step))]
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), device=x.device))
    return x


def _end(end: int, size: int, step: int) -> int | None:
    """ONNX's end as Python's: going backwards, anything before the first is "to the very first"."""
    return None if step < 0 and end < -size else end


def _gather(call: Call) -> Tensor:
    x, index = call.operands(2)
    axis = call.get("axis", 0) % max(1, x.dim())
    flat = torch.where(index < 0, index + x.shape[axis], index).reshape(-1)
    taken = x.index_select(axis, flat.to(x.device, torch.int64))
    return taken.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _pad(call: Call) -> Tensor:
    x, mode = call.inputs[0], call.get("mode", "constant")
    given = call.numbers(1, "pads") or []
    value = (call.numbers(2, "value") or [0.0])[0]
    axes = [int(a) % x.dim() for a in call.numbers(3, "") or range(x.dim())]
    pads = [(0, 0)] * x.dim()
    for axis, begin, end in zip(axes, given[: len(axes)], given[len(axes) :], strict=True):
        pads[axis] = (int(begin), int(end))
    if mode == "constant":
        return functional.pad(x, [n for pair in reversed(pads) for n in pair], value=value)
    # torch pads the last axes only, and wants a batch and a channel axis before them.
    padded = [axis for axis, pair in enumerate(pads) if any(pair)]
    if not padded:
        return x
    last = x.dim() - min(padded)
    if mode not in _PAD_MODES or last > _MOST_AXES_OF_A_PAD_MODE - 2:
        raise call.refuse(f"in mode {mode!r} of {last} axes")
    sides = [n for pair in reversed(pads[-last:]) for n in pair]
    flat = x.reshape(1, -1, *x.shape[-last:])
    y = functional.pad(flat, sides, mode=_PAD_MODES[mode])
    return y.reshape(*x.shape[:-last], *y.shape[2:])


def _expand(call: Call) -> Tensor:
    x, target = call.inputs[0], call.numbers(1, "") or []
    return x.broadcast_to(torch.broadcast_shapes(x.shape, tuple(target)))


def _tile(call: Call) -> Tensor:
    return call.inputs[0].repeat(call.numbers(1, ""))


def _shape(call: Call) -> Tensor:
    sizes = list(call.inputs[0].shape)
    return torch.tensor(sizes[slice(call.get("start", 0), call.get("end"))], dtype=torch.int64)


def _size(call: Call) -> Tensor:
    return torch.tensor(call.inputs[0].numel(), dtype=torch.int64)


def _cast(call: Call) -> Tensor:
    kind = onnx.helper.tensor_dtype_to_np_dtype(call.get("to"))
    if kind.kind not in "biuf":
        raise call.refuse(f"to {kind}")
    return call.inputs[0].to(torch.from_numpy(np.empty(0, kind)).dtype)


def _cast_like(call: Call) -> Tensor:
    return call.inputs[0].to(call.inputs[1].dtype)


def _constant_of_shape(call: Call) -> Tensor:
    value = torch.from_numpy(np.array(call.get("value", np.zeros(1, np.float32))))
    return value.reshape(()).repeat(call.numbers(0, "") or [1]).reshape(call.numbers(0, "") or [])


def _range(call: Call) -> Tensor:
    start, limit, step = call.inputs
    return torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _one_hot(call: Call) -> Tensor:
    index, depth, values = call.inputs
    count = int(depth.reshape(-1)[0])
    index, values = together(torch.remainder(index.to(torch.int64), count), values)
    hot = functional.one_hot(index, count).to(values.dtype)
    y = values[0] + hot * (values[1] - values[0])
    return y.movedim(-1, call.get("axis", -1))


OPERATORS: Mapping[str, Callable[[Call], Any]] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
