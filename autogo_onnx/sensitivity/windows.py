"""Adjoints of convolutions and of pooling."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from autogo_onnx.opgraph import Op
from autogo_onnx.runtime import open_session, run
from autogo_onnx.sensitivity.layer import Array, Layer


def convolution(layer: Layer, gradient: Array) -> list[Array]:
    """The transposed convolution with the same weights."""
    op, sizes = layer.op, layer.source.shape[2:]
    rest = tuple(
        size + before + after - (made - 1) * stride - (kernel - 1) * step - 1
        for size, before, after, made, stride, kernel, step in zip(
            sizes,
            op.get("pads")[: len(sizes)],
            op.get("pads")[len(sizes) :],
            gradient.shape[2:],
            op.get("strides"),
            op.get("kernel_shape"),
            op.get("dilations"),
            strict=True,
        )
    )
    session = _session("ConvTranspose", op.with_attributes(output_padding=rest))
    return run(session, None, {"x": gradient, "w": layer.operand(1)})


def transposed_convolution(layer: Layer, gradient: Array) -> list[Array]:
    """The convolution with the same weights."""
    return run(_session("Conv", layer.op), None, {"x": gradient, "w": layer.operand(1)})


@lru_cache(maxsize=512)  # a large network has a hundred kinds, which take turns
def _session(kind: str, op: Op) -> ort.InferenceSession:
    """A convolution of any size with the window of an operator; weights are an input."""
    names = ["strides", "pads", "dilations", "group", "kernel_shape"]
    names += ["output_padding"] if kind == "ConvTranspose" else []
    window = {name: op.get(name) for name in names}
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "w", "y")]
    node = helper.make_node(kind, ["x", "w"], ["y"], **window)
    graph = helper.make_graph([node], "adjoint", values[:2], values[2:])
    opsets = [helper.make_opsetid("", 17)]
    return open_session(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def average_pool(layer: Layer, gradient: Array) -> list[Array]:
    """Every position of a window has the same share, padding only where it counts."""
    op, x = layer.op, layer.source
    inside = np.ones((1, 1, *x.shape[2:]), np.float32)
    counted = _padded(op, inside, float(bool(op.get("count_include_pad", 0))))
    sizes = sum(counted[place] for place in _places(op, gradient.shape[2:]))
    return [_spread(op, x, [gradient / sizes] * int(np.prod(op.get("kernel_shape"))))]


def max_pool(layer: Layer, gradient: Array) -> list[Array]:
    """Only the largest of a window matters; equal ones share."""
    op, x = layer.op, layer.source
    padded = _padded(op, x, -np.inf)
    chosen = [padded[place] == layer.result for place in _places(op, gradient.shape[2:])]
    share = gradient / np.maximum(1, np.sum(chosen, axis=0, dtype=np.float32))
    return [_spread(op, x, [share * mask for mask in chosen])]


def _padded(op: Op, x: Array, value: float) -> Array:
    """With its pads, and as many positions more as rounding up may reach."""
    rank = x.ndim - 2
    pads, strides = op.get("pads"), op.get("strides")
    widths = [(pads[i], pads[rank + i] + strides[i]) for i in range(rank)]
    return np.pad(x, [(0, 0), (0, 0), *widths], constant_values=value)


def _places(op: Op, made: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """For each position in the window, where it stands in the padded input."""
    steps = op.get("dilations", (1,) * len(made))
    for offset in np.ndindex(*op.get("kernel_shape")):
        yield (
            slice(None),
            slice(None),
            *(
                slice(o * step, o * step + (count - 1) * stride + 1, stride)
                for o, step, count, stride in zip(
                    offset, steps, made, op.get("strides"), strict=True
                )
            ),
        )


def _spread(op: Op, x: Array, shares: list[Array]) -> Array:
    """Each window position's share added where it came from."""
    found = _padded(op, np.zeros_like(x), 0.0)
    for place, share in zip(_places(op, shares[0].shape[2:]), shares, strict=True):
        found[place] += share
    rank = x.ndim - 2
    begin = op.get("pads")[:rank]
    inner = [slice(b, b + size) for b, size in zip(begin, x.shape[2:], strict=True)]
    return np.ascontiguousarray(found[(slice(None), slice(None), *inner)])
