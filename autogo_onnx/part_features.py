"""One part of a network (an OpGraph) as a row of named numbers.

| column | what |
| --- | --- |
| `<class>_ops` | operators of the class |
| `*_log2` | log2(1 + amount): `macs`, `parameters`, `bytes` of activations, `channels`, `pixels` |
| `macs_per_byte_log2` | arithmetic intensity |
| `inputs`, `outputs`, `ops`, `forks`, `input_readers` | counts; a fork is a tensor read twice |
| `paths_log2` | ways from a boundary input to an output |
| `residual` | 1 when a path without weights runs beside a path with weights |
| `<step>_path_{min,max,mean}` | operators of the kind on a way from input to output |
| `<step>_{first,last}` | operators of the kind with no weight or pool before, after them |

The mean of a path length is over random walks back from the output (each operand equally likely).
`receptive_path_*` is not a count: it is the growth of the receptive field in input pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2, prod
from operator import add

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import operator_facts
from autogo_onnx.operator_facts import CLASSES, STEPS, OpFacts, channels, pixels
from autogo_onnx.opgraph import OpGraph

Vector = NDArray[np.float64]

_ENDS = ("pointwise", "spatial", "pool")
_MACS_SPLIT = ("conv1x1", "conv3x3", "conv_large", "depthwise3x3", "depthwise_large")

COLUMNS = (
    *(f"{name}_ops" for name in CLASSES),
    *(f"{name}_macs_log2" for name in _MACS_SPLIT),
    "macs_log2",
    "parameters_log2",
    "bytes_log2",
    "macs_per_byte_log2",
    *(f"{side}_channels_log2" for side in ("in", "out", "min", "max")),
    *(f"{side}_pixels_log2" for side in ("in", "out")),
    "inputs",
    "outputs",
    "ops",
    "forks",
    "input_readers",
    "paths_log2",
    "residual",
    *(f"{step}_path_{way}" for way in ("min", "max", "mean") for step in STEPS),
    *(f"{step}_{end}" for end in ("first", "last") for step in _ENDS),
)


def describe(graph: OpGraph) -> Vector:
    """The part's numbers in the order of `COLUMNS`, float64.

    An empty graph (an identity, or nothing before the segment) is described by its boundary.

    >>> from autogo_onnx.opgraph import Op
    >>> relu = OpGraph(((1, 4, 8, 8),), (Op("Relu", (0,)),), ((1, 4, 8, 8),), (1,))
    >>> dict(zip(COLUMNS, describe(relu)))["activation_path_max"]
    np.float64(1.0)
    """
    facts = tuple(
        operator_facts.facts(op.kind, op.attributes, tuple(map(graph.shape, op.inputs)), shape)
        for op, shape in zip(graph.ops, graph.op_shapes, strict=True)
    )
    return np.array([*_amounts(graph, facts), *_topology(graph, facts)])


def _amounts(graph: OpGraph, facts: Sequence[OpFacts]) -> list[float]:
    """Counts and sizes: the columns up to `out_pixels_log2`."""
    counts, macs_by_class = [0] * len(CLASSES), [0] * len(CLASSES)
    parameters, values = 0, sum(map(prod, graph.input_shapes))
    for fact in facts:
        counts[fact.class_index] += 1
        macs_by_class[fact.class_index] += fact.macs
        parameters += fact.parameters
        values += fact.out_values
    macs, activation_bytes = sum(macs_by_class), 4 * values
    ins = [channels(s) for s in graph.input_shapes] or [0]
    outs = [channels(s) for s in graph.output_shapes] or [0]
    inner = [fact.channels for fact in facts] or ins
    return [
        *counts,
        *(_log(macs_by_class[CLASSES.index(name)]) for name in _MACS_SPLIT),
        _log(macs),
        _log(parameters),
        _log(activation_bytes),
        _log(macs) - _log(activation_bytes),
        *(_log(c) for c in (max(ins), max(outs), min(inner), max(inner))),
        _log(max(map(pixels, graph.input_shapes), default=0)),
        _log(max(map(pixels, graph.output_shapes), default=0)),
    ]


def _topology(graph: OpGraph, facts: Sequence[OpFacts]) -> list[float]:
    """How the operators hang together: the columns from `inputs` on."""
    low, high, mean, paths = _path_lengths(graph, facts)
    readers = graph.readers()
    weighted = STEPS.index("weighted")
    return [
        graph.n_inputs,
        len(graph.outputs),
        len(graph.ops),
        sum(len(r) > 1 for r in readers),
        sum(map(len, readers[: graph.n_inputs])),
        log2(1 + paths),
        float(low[weighted] == 0 < high[weighted]),
        *_in_pixels(graph, low),
        *_in_pixels(graph, high),
        *_in_pixels(graph, mean),
        *_ends(graph, facts, readers),
    ]


_Lengths = tuple[float, ...]


def _path_lengths(
    graph: OpGraph, facts: Sequence[OpFacts]
) -> tuple[_Lengths, _Lengths, _Lengths, int]:
    """Least, largest and mean step sums over the ways from input to output, and their number."""
    zero = (0.0,) * len(STEPS)
    low = [zero] * graph.n_inputs
    high, mean, paths = list(low), list(low), [1] * graph.n_inputs
    for op, fact in zip(graph.ops, facts, strict=True):
        steps, operands = fact.steps, op.inputs
        if len(operands) == 1:
            (t,) = operands
            low.append(tuple(map(add, low[t], steps)))
            high.append(tuple(map(add, high[t], steps)))
            mean.append(tuple(map(add, mean[t], steps)))
            paths.append(paths[t])
        else:
            low.append(tuple(map(add, _join(min, low, operands, zero), steps)))
            high.append(tuple(map(add, _join(max, high, operands, zero), steps)))
            mean.append(tuple(map(add, _join(_average, mean, operands, zero), steps)))
            paths.append(sum(paths[t] for t in operands) or 1)
    ends = graph.outputs
    return (
        _join(min, low, ends, zero),
        _join(max, high, ends, zero),
        _join(_average, mean, ends, zero),
        sum(paths[t] for t in ends),
    )


def _ends(
    graph: OpGraph, facts: Sequence[OpFacts], readers: Sequence[Sequence[int]]
) -> list[float]:
    """Operators of each kind that some way reaches, or leaves, without another such step."""
    kinds = [STEPS.index(name) for name in _ENDS]
    is_step = [any(fact.steps[k] for k in kinds) for fact in facts]
    first = [True] * graph.n_inputs
    for op, step in zip(graph.ops, is_step, strict=True):
        first.append(not step and (not op.inputs or any(first[t] for t in op.inputs)))
    last = [t in graph.outputs for t in range(graph.n_tensors)]
    for index in range(len(graph.ops) - 1, -1, -1):
        tensor = graph.n_inputs + index
        last[tensor] = last[tensor] or any(
            not is_step[r] and last[graph.n_inputs + r] for r in readers[tensor]
        )
    counts = [0.0] * (2 * len(kinds))
    for index, (op, fact) in enumerate(zip(graph.ops, facts, strict=True)):
        if not is_step[index]:
            continue
        is_first = not op.inputs or any(first[t] for t in op.inputs)
        for place, kind in enumerate(kinds):
            counts[place] += fact.steps[kind] * is_first
            counts[len(kinds) + place] += fact.steps[kind] * last[graph.n_inputs + index]
    return counts


def _join(
    how: Callable[..., float],
    lengths: Sequence[_Lengths],
    tensors: Sequence[int],
    nothing: _Lengths,
) -> _Lengths:
    """Step sums where several tensors meet; `nothing` where none does."""
    if not tensors:
        return nothing
    if len(tensors) == 1:
        return lengths[tensors[0]]
    return tuple(map(how, *(lengths[t] for t in tensors)))


def _average(*values: float) -> float:
    return sum(values) / len(values)


def _in_pixels(graph: OpGraph, lengths: _Lengths) -> _Lengths:
    """Step sums whose last, the receptive field's growth, is in pixels of the part's input."""
    side = max(map(pixels, graph.input_shapes), default=0) ** 0.5
    return (*lengths[:-1], lengths[-1] * side)


def _log(amount: float) -> float:
    return log2(1 + amount)
