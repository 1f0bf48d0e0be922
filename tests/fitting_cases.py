"""Small segments, activations and weights for the fitting tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from autogo_onnx.fitting.moments import Maps, Window
from autogo_onnx.fitting.segment import Boundary, Weights
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.submodel import run_batched
from autogo_onnx.variants import chain, conv

Array = NDArray[Any]


def smooth_maps(seed: int, *shape: int) -> Maps:
    """Maps float32[N,C,H,W] like those inside networks: correlated in space and over channels."""
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal(shape)
    maps += np.roll(maps, 1, axis=2) + np.roll(maps, 1, axis=3)
    mixing = rng.standard_normal((shape[1], shape[1])) / shape[1] ** 0.5
    mixed = np.einsum("nchw,cd->ndhw", maps, mixing) + 0.5 * maps
    rectified: Maps = np.maximum(0.0, mixed).astype(np.float32)
    return rectified


def convolution(
    channels: int, outputs: int, size: tuple[int, int], window: Window, group: int = 1
) -> OpGraph:
    """A single convolution as a graph."""
    op = conv(window.kernel, window.strides, window.pads, window.dilations, group)
    return chain((1, channels, *size), [(op, outputs)])


def pair(source: tuple[int, ...], first: tuple[Op, int], last: tuple[Op, int]) -> OpGraph:
    """Convolution, rectifier, convolution."""
    return chain(source, [first, (Op.make("Relu", (0,)), first[1]), last])


def outputs_of(graph: OpGraph, weights: Weights, *inputs: Array) -> Array:
    """The first output of a graph in ONNX Runtime."""
    model = to_onnx(graph, weights)
    feeds = {i.name: a for i, a in zip(model.graph.input, inputs, strict=True)}
    return run_batched(model, feeds, batch=64)[model.graph.output[0].name]


def nmse(target: Array, made: Array) -> float:
    """Squared error over the variance of the target's channels."""
    error = np.mean(np.square(target - made, dtype=np.float64), axis=(0, 2, 3)).sum()
    return float(error / np.var(target, axis=(0, 2, 3), dtype=np.float64).sum())


def boundary(inputs: Array, target: Array, rows: int = 1_000_000) -> Boundary:
    """A boundary that sees every position."""
    return Boundary((inputs,), target, rows=rows, seed=0)


@st.composite
def windows(draw: st.DrawFn, largest: int = 5) -> Window:
    """Any window: kernels of one to five pixels, uneven pads, strides and dilations."""
    kernel = draw(st.tuples(*[st.integers(1, largest)] * 2))
    strides = draw(st.tuples(*[st.integers(1, 2)] * 2))
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    dilations = draw(st.tuples(*[st.integers(1, 2)] * 2))
    return Window(kernel, strides, pads, dilations)
