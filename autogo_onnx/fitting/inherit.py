"""Starting weights for the interior of a replacement: the site's own where they fit.

The k-th convolution of the replacement inherits from the k-th of the site: the kernel is cropped
or zero-padded round its centre. A narrower interior keeps some of the site's own channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.fitting.moments import Indices
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segments import ACTIVATIONS
from autogo_onnx.weights import random_weights, weight_shapes

Weights = dict[int, tuple[NDArray[Any], ...]]
SiteWeights = Mapping[int, tuple[NDArray[Any], ...]]


def inherited_weights(
    candidate: OpGraph, site: OpGraph, site_weights: SiteWeights, seed: int
) -> Weights:
    """Weights for every operator of the candidate; what has no ancestor is random, seeded."""
    weights: Weights = {**random_weights(candidate, seed)}
    ancestors = [i for i, op in enumerate(site.ops) if op.kind == "Conv"]
    heirs = [i for i, op in enumerate(candidate.ops) if op.kind == "Conv"]
    for heir, ancestor in zip(heirs, ancestors, strict=False):
        own, given = weights[heir], site_weights[ancestor]
        if own[0].shape[:2] == given[0].shape[:2]:
            bias = given[1] if len(given) > 1 else np.zeros_like(own[1])
            weights[heir] = (resized(given[0], own[0].shape[2:]), bias)
    return weights


def resized(weight: NDArray[Any], kernel: tuple[int, ...]) -> NDArray[Any]:
    """The weight with its kernel cropped or padded round the centre."""
    for axis, (have, want) in enumerate(zip(weight.shape[2:], kernel, strict=True), start=2):
        if have > want:
            start = (have - want) // 2
            weight = np.take(weight, range(start, start + want), axis=axis)
        elif have < want:
            before = (want - have) // 2
            pads = [(0, 0)] * weight.ndim
            pads[axis] = (before, want - have - before)
            weight = np.pad(weight, pads)
    return weight


def is_narrower(candidate: OpGraph, site: OpGraph) -> bool:
    """Whether the candidate is the site's convolution - activation - convolution, but narrower."""
    return (
        len(site.ops) == 3
        and [op.kind for op in site.ops] == ["Conv", site.ops[1].kind, "Conv"]
        and site.ops[1].kind in ACTIVATIONS
        and all(op.inputs == (i,) for i, op in enumerate(site.ops))
        and candidate.ops == site.ops
        and site.ops[0].get("group") == site.ops[2].get("group") == 1
        and candidate.op_shapes[0][1] < site.op_shapes[0][1]
    )


def narrowed_weights(
    candidate: OpGraph, site_weights: SiteWeights, kept: Indices, channels: int
) -> Weights:
    """The site's weights before its last convolution, for the kept ones of its `channels`."""
    weight, *biases = site_weights[0]
    bias = biases[0] if biases else np.zeros(channels, np.float32)
    weights: Weights = {0: (weight[kept], bias[kept])}
    for shape, value in zip(
        weight_shapes(candidate).get(1, ()), site_weights.get(1, ()), strict=False
    ):
        slopes = np.broadcast_to(value.reshape(-1), (channels,))
        weights[1] = (slopes[kept].reshape(shape),)
    return weights
