"""Convolutions and products of matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.torch_graph.node import Call
from autogo_onnx.torch_graph.operators.padding import pad, window_pads
from autogo_onnx.torch_graph.operators.pointwise import together

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _conv(call: Call) -> Tensor:
    x, weight, bias = call.operands(3)
    rank = weight.dim() - 2
    strides = call.get("strides", (1,) * rank)
    dilations = call.get("dilations", (1,) * rank)
    begins, ends = window_pads(call, x.shape[2:], weight.shape[2:])
    if begins != ends:
        x, begins = pad(x, begins, ends), [0] * rank
    return _by_rank(call, _CONV, rank)(
        x, weight, bias, strides, begins, dilations, call.get("group", 1)
    )


def _conv_transpose(call: Call) -> Tensor:
    """Computed without pads, which then cut the borders off: any pads are possible so."""
    x, weight, bias = call.operands(3)
    rank = weight.dim() - 2
    strides = call.get("strides", (1,) * rank)
    dilations = call.get("dilations", (1,) * rank)
    extra = call.get("output_padding", (0,) * rank)
    spans = [
        (size - 1) * stride + (kernel - 1) * dilation + 1
        for size, stride, kernel, dilation in zip(
            x.shape[2:], strides, weight.shape[2:], dilations, strict=True
        )
    ]
    full = _by_rank(call, _CONV_TRANSPOSE, rank)(
        x, weight, None, strides, 0, 0, call.get("group", 1), dilations
    )
    begins, lengths = _cut(
        call, spans, extra, [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    )
    # A negative pad cuts; output_padding may also reach beyond the last window, where zeros are.
    ends = [b + n - s for b, n, s in zip(begins, lengths, spans, strict=True)]
    y = pad(full, [-b for b in begins], ends)
    return y if bias is None else y + bias.reshape(-1, *(1,) * rank)


def _cut(
    call: Call, spans: Sequence[int], extra: Sequence[int], same: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Where the output begins in the full result, per axis, and how long it is."""
    rank = len(spans)
    lengths = call.get("output_shape")
    automatic = call.get("auto_pad", "NOTSET")
    if lengths is None and automatic in ("SAME_UPPER", "SAME_LOWER"):
        lengths = same
    if lengths is None:
        pads = call.get("pads", (0,) * (2 * rank))
        begins = list(pads[:rank])
        return begins, [
            span + more - begin - end
            for span, more, begin, end in zip(spans, extra, begins, pads[rank:], strict=True)
        ]
    total = [s + e - n for s, e, n in zip(spans, extra, lengths, strict=True)]
    upper = automatic == "SAME_UPPER"
    return [t // 2 if upper else t - t // 2 for t in total], list(lengths)


def _by_rank(call: Call, functions: Mapping[int, Callable[..., Tensor]], rank: int) -> Any:
    if rank not in functions:
        raise call.refuse(f"over {rank} axes")
    return functions[rank]


def _gemm(call: Call) -> Tensor:
    a, b, c = call.operands(3)
    a = a.T if call.get("transA", 0) else a
    b = b.T if call.get("transB", 0) else b
    y = (a @ b) * call.get("alpha", 1.0) if call.get("alpha", 1.0) != 1 else a @ b
    if c is None:
        return y
    return y + (c * call.get("beta", 1.0) if call.get("beta", 1.0) != 1 else c)


def _matmul(call: Call) -> Tensor:
    return torch.matmul(*together(*call.inputs[:2]))


def _einsum(call: Call) -> Tensor:
    return torch.einsum(call.get("equation"), *call.inputs)


OPERATORS: Mapping[str, Callable[[Call], Any]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
