"""Pools, and the moves between channels and space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from autogo_onnx.torch_graph.node import Call
from autogo_onnx.torch_graph.operators.padding import pad, window_pads

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _max_pool(call: Call) -> Tensor:
    if len([name for name in call.node.outputs if name]) > 1:
        raise call.refuse("with indices")
    x = call.inputs[0]
    kernel = call.get("kernel_shape")
    strides = call.get("strides", (1,) * len(kernel))
    dilations = call.get("dilations", (1,) * len(kernel))
    begins, ends = _pads(call, x.shape[2:], kernel)
    x = pad(x, begins, ends, float("-inf"))
    return _of_rank(call, _MAX, kernel)(x, kernel, strides, 0, dilations)


def _average_pool(call: Call) -> Tensor:
    """The sum of a window by the number of its elements that count."""
    x = call.inputs[0]
    kernel = call.get("kernel_shape")
    if any(d != 1 for d in call.get("dilations", ())):
        raise call.refuse("with dilations")
    strides = call.get("strides", (1,) * len(kernel))
    pool = _of_rank(call, _AVERAGE, kernel)
    begins, ends = _pads(call, x.shape[2:], kernel)
    if not any(begins) and not any(ends):
        return pool(x, kernel, strides)
    there = x.new_ones((1, 1, *x.shape[2:]))
    if call.get("count_include_pad", 0):  # but never what only ceil_mode adds
        given_begins, given_ends = window_pads(call, x.shape[2:], kernel)
        there = pad(there, given_begins, given_ends, value=1.0)
        more = [end - given for end, given in zip(ends, given_ends, strict=True)]
        there = pad(there, [0] * len(kernel), more)
    else:
        there = pad(there, begins, ends)
    return pool(pad(x, begins, ends), kernel, strides) / pool(there, kernel, strides)


def _pads(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Pads with what ceil_mode reads beyond the last full window added (or left over cut off)."""
    begins, ends = window_pads(call, sizes, kernel)
    if not call.get("ceil_mode", 0):
        return begins, ends
    strides = call.get("strides", (1,) * len(kernel))
    dilations = call.get("dilations", (1,) * len(kernel))
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        padded = size + begins[axis] + ends[axis]
        windows = -(-(padded - reach) // stride) + 1
        if (windows - 1) * stride >= size + begins[axis]:
            windows -= 1  # A window may not begin behind the input.
        ends[axis] += (windows - 1) * stride + reach - padded
    return begins, ends


def _of_rank(call: Call, functions: Mapping[int, Any], kernel: Sequence[int]) -> Any:
    if len(kernel) not in functions:
        raise call.refuse(f"over {len(kernel)} axes")
    return functions[len(kernel)]


def _global_average_pool(call: Call) -> Tensor:
    x = call.inputs[0]
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def _global_max_pool(call: Call) -> Tensor:
    x = call.inputs[0]
    return x.amax(dim=tuple(range(2, x.dim())), keepdim=True)


def _depth_to_space(call: Call) -> Tensor:
    x, block = call.inputs[0], call.get("blocksize")
    if call.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    y = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // block**2, h * block, w * block)


def _space_to_depth(call: Call) -> Tensor:
    x, block = call.inputs[0], call.get("blocksize")
    n, c, h, w = x.shape
    y = x.reshape(n, c, h // block, block, w // block, block)
    is_inner = call.get("mode", "DCR") == "CRD"
    y = y.permute(0, 1, 3, 5, 2, 4) if is_inner else y.permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * block**2, h // block, w // block)


OPERATORS: Mapping[str, Callable[[Call], Any]] = {
    "AveragePool": _average_pool,
    "DepthToSpace": _depth_to_space,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "MaxPool": _max_pool,
    "SpaceToDepth": _space_to_depth,
}
