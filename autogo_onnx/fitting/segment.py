"""Weights for a replacement segment from boundary activations.

The last linear operators are solved by least squares towards the site's own output; what lies
before them is solved jointly where the whole is linear, and inherits weights where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.fitting import linear
from autogo_onnx.fitting.boundary import Boundary, window_of
from autogo_onnx.fitting.elimination import elimination_order
from autogo_onnx.fitting.inherit import (
    SiteWeights,
    Weights,
    inherited_weights,
    is_narrower,
    narrowed_weights,
)
from autogo_onnx.fitting.moments import Moments, Window, moments
from autogo_onnx.fitting.pair import pair_of, solve_pair
from autogo_onnx.fitting.ridge import Array
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.streams import BLOCK_ELEMENTS, Difference, Stream, whole
from autogo_onnx.submodel import Run

__all__ = ["Boundary", "Fitted", "Refused", "Weights", "fit", "tail_convolutions"]

# A Gram matrix of so many columns takes 0.3 GB.
LARGEST_GRAM = 6_000
_BATCH = 32
_TOO_MANY = "too many columns to solve for"


@dataclass(frozen=True)
class Fitted:
    """Weights by operator index, and the normalized mean squared error on the fitted samples."""

    weights: Weights
    nmse: float


@dataclass(frozen=True)
class Refused:
    """Why a candidate cannot be fitted."""

    reason: str


def fit(
    candidate: OpGraph, site: OpGraph, site_weights: SiteWeights, boundary: Boundary
) -> Fitted | Refused:
    """Fit a candidate with the site's boundary shapes.

    Args:
        candidate: the replacement, one output.
        site: the segment it replaces, and
        site_weights: its weights by operator index, for what the candidate inherits.
        boundary: activations on the samples to fit on.
    """
    if not boundary.is_usable:
        return Refused("activations are not finite, or too large to be squared")
    try:
        return _fit(candidate, site, site_weights, boundary)
    except np.linalg.LinAlgError as error:
        return Refused(f"least squares failed: {error}")


def _fit(
    candidate: OpGraph, site: OpGraph, site_weights: SiteWeights, boundary: Boundary
) -> Fitted | Refused:
    _widen(site, boundary)
    kinds = [op.kind for op in candidate.ops]
    is_chain = all(op.inputs == (i,) for i, op in enumerate(candidate.ops))
    if kinds == ["Gemm"]:
        return _fit_classifier(site_weights, boundary)
    if kinds == ["Conv"]:
        prior = site_weights[0][0] if candidate.ops == site.ops else None
        return _fit_single(candidate, prior, boundary)
    if kinds == ["Conv", "Conv"] and is_chain:
        found = _fit_pair(candidate, boundary)
        if found is not None:
            return found
    if is_narrower(candidate, site):
        return _fit_narrower(candidate, site, site_weights, boundary)
    return _fit_tail(candidate, site, site_weights, boundary)


def _widen(site: OpGraph, boundary: Boundary) -> None:
    """See to it that the windows of a convolution's variants are taken from its own."""
    is_dense = [op.kind for op in site.ops] == ["Conv"] and site.ops[0].get("group") == 1
    if is_dense and _columns(site, 0) <= LARGEST_GRAM:
        boundary.moments(window_of(site.ops[0]))


def _columns(graph: OpGraph, index: int) -> int:
    """Patch columns of one group of a convolution."""
    op = graph.ops[index]
    channels: int = graph.shape(op.inputs[0])[1]
    return channels // int(op.get("group")) * window_of(op).points


def _as_conv(weights: Array, op: Op) -> NDArray[np.float32]:
    kernel = op.get("kernel_shape")
    return weights.reshape(len(weights), -1, *kernel).astype(np.float32)


def _fit_single(
    candidate: OpGraph, prior: NDArray[np.float32] | None, boundary: Boundary
) -> Fitted | Refused:
    """One convolution, each of its channel groups by itself."""
    if _columns(candidate, 0) > LARGEST_GRAM:
        return Refused(_TOO_MANY)
    op = candidate.ops[0]
    groups = boundary.grouped_moments(window_of(op), op.get("group"))
    priors: list[Array | None] = [None] * len(groups)
    if prior is not None:
        flat = prior.reshape(len(prior), -1).astype(np.float64)
        priors = list(np.split(flat, len(groups)))
    solved = [linear.dense(m, start) for m, start in zip(groups, priors, strict=True)]
    pieces = list(zip(groups, solved, strict=True))
    bias = np.concatenate([m.bias(weights) for m, weights in pieces])
    error, energy = (
        sum(m.squared_error(weights) for m, weights in pieces),
        sum(m.energy for m in groups),
    )
    weight = _as_conv(np.concatenate(solved), op)
    return Fitted({0: (weight, bias.astype(np.float32))}, _share(error, energy))


def _fit_classifier(site_weights: SiteWeights, boundary: Boundary) -> Fitted:
    """A fully connected layer, float[N,F] -> float[N,O]: a 1x1 convolution of single points."""
    points, target = (whole(s)[:, :, None, None] for s in (boundary.inputs[0], boundary.target))
    m = moments([(points, Window((1, 1)))], target, rows=boundary.rows, seed=boundary.seed)
    weights = linear.dense(m, site_weights[0][0].astype(np.float64))
    values = (weights.astype(np.float32), m.bias(weights).astype(np.float32))
    return Fitted({0: values}, m.error(weights))


def _fit_pair(candidate: OpGraph, boundary: Boundary) -> Fitted | Refused | None:
    """Two convolutions in a row, solved jointly; None where that has no closed form."""
    first, last = candidate.ops
    channels, width = candidate.input_shapes[0][1], candidate.op_shapes[0][1]
    pair = pair_of(first, last, channels, width)
    if pair is None:
        return None
    if channels * pair.window.points > LARGEST_GRAM:
        return Refused(_TOO_MANY)
    m = boundary.moments(pair.window)
    solved = solve_pair(pair, m, boundary.importance)
    if solved is None:
        return None
    weights: Weights = {
        0: (_as_conv(solved.first, first), np.zeros(width, np.float32)),
        1: (_as_conv(solved.last, last), m.bias(solved.total).astype(np.float32)),
    }
    return Fitted(weights, m.error(solved.total))


def _fit_narrower(
    candidate: OpGraph, site: OpGraph, site_weights: SiteWeights, boundary: Boundary
) -> Fitted | Refused:
    """Convolution, activation, convolution with fewer channels in between: the best are kept."""
    if _columns(site, 2) > LARGEST_GRAM:
        return Refused(_TOO_MANY)
    channels, width = site.op_shapes[0][1], candidate.op_shapes[0][1]
    m = boundary.once("interior", lambda: _interior_moments(site, site_weights, boundary))
    seen = m if boundary.importance is None else m.mixed(boundary.importance.root)
    order = boundary.once("elimination", lambda: elimination_order(seen, channels))
    kept = np.sort(order[channels - width :])
    columns = np.arange(len(m.gram)).reshape(channels, -1)[kept].reshape(-1)
    part = m.take(columns)
    weights = narrowed_weights(candidate, site_weights, kept, channels)
    bias = part.bias(part.solution).astype(np.float32)
    weights[2] = (_as_conv(part.solution, candidate.ops[2]), bias)
    return Fitted(weights, part.error(part.solution))


def _interior_moments(site: OpGraph, site_weights: SiteWeights, boundary: Boundary) -> Moments:
    """Moments of what the site's last convolution reads."""
    maps = tensors_of(site, (site.ops[2].inputs[0],), dict(site_weights), boundary)
    parts = [(maps[0], window_of(site.ops[2]))]
    return moments(parts, boundary.target, rows=boundary.rows, seed=boundary.seed)


def _fit_tail(
    candidate: OpGraph, site: OpGraph, site_weights: SiteWeights, boundary: Boundary
) -> Fitted | Refused:
    """Interior operators inherit; the convolutions that are summed into the output are solved."""
    tail = tail_convolutions(candidate)
    if not tail:
        return Refused("no convolution ends the segment, so nothing can be solved for")
    if any(candidate.ops[i].get("group") != 1 for i in tail):
        return Refused("the last convolution is grouped")
    if sum(_columns(candidate, i) for i in tail) > LARGEST_GRAM:
        return Refused(_TOO_MANY)
    weights = inherited_weights(candidate, site, site_weights, boundary.seed)
    weights.update({i: tuple(np.zeros_like(w) for w in weights[i]) for i in tail})
    maps, target = _tail_operands(candidate, tail, weights, boundary)
    parts = [(a, window_of(candidate.ops[i])) for a, i in zip(maps, tail, strict=True)]
    m = moments(parts, target, rows=boundary.rows, seed=boundary.seed)
    stops = np.cumsum([_columns(candidate, i) for i in tail])[:-1]
    biases = [m.bias(m.solution), *(np.zeros(len(m.cross)) for _ in stops)]
    for i, solved, bias in zip(tail, np.split(m.solution, stops, axis=1), biases, strict=True):
        weights[i] = (_as_conv(solved, candidate.ops[i]), bias.astype(np.float32))
    return Fitted(weights, _share(m.squared_error(m.solution), boundary.energy))


def _tail_operands(
    candidate: OpGraph, tail: tuple[int, ...], weights: Weights, boundary: Boundary
) -> tuple[list[Stream], Stream]:
    """What the tail convolutions read, and what they should add up to."""
    operands = tuple(candidate.ops[i].inputs[0] for i in tail)
    if candidate.producer(candidate.outputs[0]) in tail:
        return tensors_of(candidate, operands, weights, boundary), boundary.target
    *maps, rest = tensors_of(candidate, (*operands, candidate.outputs[0]), weights, boundary)
    return maps, Difference(boundary.target, rest)


def _share(error: float, energy: float) -> float:
    return error / energy if energy > 0.0 else 0.0


def tail_convolutions(graph: OpGraph) -> tuple[int, ...]:
    """Convolutions whose results reach the only output through additions alone."""
    readers, found, stack = graph.readers(), [], list(graph.outputs)
    while stack:
        tensor = stack.pop()
        index = graph.producer(tensor)
        is_shared = tensor not in graph.outputs and len(readers[tensor]) > 1
        if index is None or is_shared or graph.shape(tensor) != graph.output_shapes[0]:
            continue
        op = graph.ops[index]
        if op.kind == "Conv":
            found.append(index)
        elif op.kind in ("Add", "Sum") and len(set(op.inputs)) == len(op.inputs) > 1:
            stack.extend(op.inputs)
    return tuple(sorted(found))


def tensors_of(
    graph: OpGraph, tensors: tuple[int, ...], weights: Weights, boundary: Boundary
) -> list[Stream]:
    """Some tensors of a segment on the boundary's inputs."""
    model = to_onnx(replace(graph, outputs=tensors), weights)
    feeds = {i.name: a for i, a in zip(model.graph.input, boundary.inputs, strict=True)}
    largest = max(prod(shape[1:]) for shape in (*graph.input_shapes, *graph.op_shapes))
    batch = max(1, min(_BATCH, BLOCK_ELEMENTS // largest))
    results = Run(model, feeds, batch=batch).streams()
    return [results[o.name] for o in model.graph.output]
