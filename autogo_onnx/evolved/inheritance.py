"""Weights for what an evolution put in: the base's own where they fit, else He's, seeded.

Operators at the end of a change that are those of the base keep their weights, byte by byte. Of
the others the k-th convolution inherits from the k-th of the base where it has as many channels;
another kernel is cropped or padded round its centre (see `fitting.inherit`). What has no ancestor
is drawn as He et al. (2015) do, with biases of 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.evolved.changes import Change
from autogo_onnx.fitting.inherit import resized
from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.weights import random_weights, weight_shapes

Values = tuple[NDArray[Any], ...]
Weights = dict[int, Values]
_WITH_BIAS = frozenset({"Conv", "ConvTranspose", "Gemm"})
# Weights of a fresh operator that does nothing yet, in their order.
_NEUTRAL = {"Add": (0.0,), "Mul": (1.0,), "PRelu": (0.25,), "BatchNormalization": (1, 0, 0, 1)}


@dataclass(frozen=True)
class Inheritance:
    """Weights for what stands in a change now.

    Attributes:
        weights: by operator index, as `weights.weight_shapes` orders them.
        kept: operators whose weights are the base's byte by byte, and
        resized: those whose kernels are the base's, cropped or padded.
    """

    weights: Weights
    kept: frozenset[int]
    resized: frozenset[int]


def inherited(change: Change, given: Mapping[int, Values], seed: int) -> Inheritance:
    """Weights for every operator of a change that has any.

    Args:
        change: whose `after` wants weights.
        given: weights of the operators of `change.before.graph`, by their index there.
        seed: of what has no ancestor.
    """
    before, after = change.before.graph, change.after
    shapes = weight_shapes(after)
    weights = initial_weights(after, seed)
    pairs = dict(_same_at_the_end(before, after))
    kept: Weights = {}
    for heir, ancestor in pairs.items():
        values = _as_written(before.ops[ancestor], given.get(ancestor, ()), shapes.get(heir, ()))
        if values:
            kept[heir] = values
    heirs = (i for i, op in enumerate(after.ops) if op.kind == "Conv" and i not in pairs)
    taken = set(pairs.values())
    ancestors = (i for i, op in enumerate(before.ops) if op.kind == "Conv" and i not in taken)
    cropped: Weights = {}
    for heir, ancestor in zip(heirs, ancestors, strict=False):
        values = given.get(ancestor, ())
        if values and _is_alike(after.ops[heir], shapes[heir][0], before.ops[ancestor], values[0]):
            kernel = resized(values[0], shapes[heir][0][2:])
            heirloom = kept if kernel.shape == values[0].shape else cropped
            heirloom[heir] = (kernel, values[1] if len(values) > 1 else weights[heir][1])
    return Inheritance({**weights, **cropped, **kept}, frozenset(kept), frozenset(cropped))


def initial_weights(graph: OpGraph, seed: int) -> Weights:
    """Weights to train from: He-scaled kernels and matrices, biases 0, scales 1.

    The values of one operator depend on the seed and its index alone.
    """
    weights: Weights = {**random_weights(graph, seed)}
    for index, values in weights.items():
        kind = graph.ops[index].kind
        if kind in _NEUTRAL:
            neutral = zip(values, _NEUTRAL[kind], strict=True)
            weights[index] = tuple(np.full_like(v, value) for v, value in neutral)
        elif kind in _WITH_BIAS:
            weights[index] = (values[0], *(np.zeros_like(v) for v in values[1:]))
    return weights


def _same_at_the_end(before: OpGraph, after: OpGraph) -> Iterator[tuple[int, int]]:
    """(operator of `after`, of `before`) that are the same and lead to the same outputs."""
    stack = list(zip(after.outputs, before.outputs, strict=True))
    taken: set[int] = set()
    found: set[int] = set()
    while stack:
        new, old = stack.pop()
        heir, ancestor = after.producer(new), before.producer(old)
        if heir is None or ancestor is None or heir in found or ancestor in taken:
            continue
        one, other = after.ops[heir], before.ops[ancestor]
        shapes = [after.shape(t) for t in (*one.inputs, new)]
        is_same = (one.kind, one.attributes) == (other.kind, other.attributes)
        if is_same and shapes == [before.shape(t) for t in (*other.inputs, old)]:
            found.add(heir)
            taken.add(ancestor)
            yield heir, ancestor
            stack += zip(one.inputs, other.inputs, strict=True)


def _as_written(op: Op, values: Values, shapes: tuple[Shape, ...]) -> Values:
    """Weights as `weight_shapes` has them; none where they are of another form."""
    if op.kind == "Gemm" and values and not op.get("transB", 0):
        values = (values[0].T, *values[1:])
    fits = len(values) <= len(shapes) and all(
        v.dtype == np.float32 and v.size == prod(shape)
        for v, shape in zip(values, shapes, strict=False)
    )
    if not fits:
        return ()
    return tuple(v.reshape(shape) for v, shape in zip(values, shapes, strict=False))


def _is_alike(heir: Op, shape: Shape, ancestor: Op, weight: NDArray[Any]) -> bool:
    """Whether a convolution has the channels of another, in as many groups."""
    return (
        shape[:2] == weight.shape[:2]
        and len(shape) == weight.ndim
        and weight.dtype == np.float32
        and heir.get("group") == ancestor.get("group")
    )
