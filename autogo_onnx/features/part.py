"""One part of a network (an OpGraph) as a row of named numbers.

| column | what |
| --- | --- |
| `<class>_ops` | operators of the class |
| `*_log2` | log2(1 + amount): `macs`, `parameters`, `bytes` of activations, `channels`, `pixels` |
| `macs_per_byte_log2` | arithmetic intensity |
| `inputs`, `outputs`, `ops`, `forks`, `input_readers` | counts; a fork is a tensor read twice |
| `residual` | 1 when a path without weights runs beside a path with weights |
| `<step>_{first,last}` | operators of the kind with no weight or pool before, after them |
| `*_path_*`, `*_ways_*` | ways from the inputs to the outputs, see `ways` |

`bytes` are those of all tensors, the boundary inputs included, as float32. Channels and pixels of
the boundary are those of its widest, its largest tensor. `receptive_path_*`, the growth of the
receptive field, is in pixels of the part's largest input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log2, prod

import numpy as np

from autogo_onnx.features import ways
from autogo_onnx.features.operators import AMOUNTS, CLASSES, MACS_SPLIT, OpFacts, channels, pixels
from autogo_onnx.features.passes import Tensors, ahead, facts_of
from autogo_onnx.features.ways import KINDS, Step, Vector
from autogo_onnx.opgraph import OpGraph

BOUNDARY = (
    *("in_channels_log2", "out_channels_log2", "in_pixels_log2", "out_pixels_log2"),
    *("inputs", "outputs"),
)
"""Columns that are the same for a segment and for all that may stand in its place."""
COLUMNS = (
    *(f"{name}_ops" for name in CLASSES),
    *(f"{name}_macs_log2" for name in MACS_SPLIT),
    *("macs_log2", "parameters_log2", "bytes_log2", "macs_per_byte_log2"),
    *("min_channels_log2", "max_channels_log2"),
    *BOUNDARY,
    *("ops", "forks", "input_readers", "residual"),
    *(f"{step}_{end}" for end in ("first", "last") for step in KINDS),
    *ways.COLUMNS,
)
_WEIGHTLESS, _WEIGHTY = map(ways.COLUMNS.index, ("weighted_path_min", "weighted_path_max"))
_RECEPTIVE = [n for n, name in enumerate(COLUMNS) if name.startswith("receptive")]
_NOTHING = np.zeros(len(AMOUNTS))
_STRUCTURE = COLUMNS.index("ops")


def describe(graph: OpGraph, facts: Sequence[OpFacts] | None = None) -> Vector:
    """The part's numbers in the order of `COLUMNS`, float64.

    An empty graph, an identity, is described by its boundary. `facts` are those of the operators
    where they are known.

    >>> from autogo_onnx.opgraph import Op
    >>> relu = OpGraph(((1, 4, 8, 8),), (Op("Relu", (0,)),), ((1, 4, 8, 8),), (1,))
    >>> dict(zip(COLUMNS, describe(relu)))["activation_path_max"]
    np.float64(1.0)
    """
    facts = facts_of(graph) if facts is None else facts
    steps, operands = tuple([f.step for f in facts]), tuple([op.inputs for op in graph.ops])
    found = np.empty(len(COLUMNS))
    found[:_STRUCTURE] = _amounts(graph, facts)
    found[_STRUCTURE:] = structure(graph.n_inputs, operands, steps, graph.outputs)
    found[_RECEPTIVE] *= side(graph)
    return found


def side(graph: OpGraph) -> float:
    """The square root of the pixels of the part's largest input."""
    return float(max(map(pixels, graph.input_shapes), default=0) ** 0.5)


def _amounts(graph: OpGraph, facts: Sequence[OpFacts]) -> list[float]:
    """Counts and sizes: the columns up to `outputs`."""
    total = sum((fact.amounts for fact in facts), _NOTHING)
    *counted, macs, parameters, made = total.tolist()
    macs_log, bytes_log = _log(macs), _log(made + 4 * sum(map(prod, graph.input_shapes)))
    outputs = graph.output_shapes
    ins = [channels(s) for s in graph.input_shapes] or [0]
    inner = [fact.channels for fact in facts] or ins
    return [
        *counted[: len(CLASSES)],
        *map(_log, counted[len(CLASSES) :]),
        macs_log,
        _log(parameters),
        bytes_log,
        macs_log - bytes_log,
        _log(min(inner)),
        _log(max(inner)),
        _log(max(ins)),
        _log(max(map(channels, outputs), default=0)),
        _log(max(map(pixels, graph.input_shapes), default=0)),
        _log(max(map(pixels, outputs), default=0)),
        graph.n_inputs,
        len(graph.outputs),
    ]


# Few ways to wire few operators are met again and again, in many shapes.
@lru_cache(maxsize=1 << 14)
def structure(
    n_inputs: int, operands: tuple[Tensors, ...], steps: tuple[Step, ...], outputs: Tensors
) -> Vector:
    """How the operators hang together: the columns from `ops` on, receptive fields in sides."""
    states = ahead(n_inputs, operands, steps)
    found = ways.numbers(ways.meet([states[t] for t in outputs]))
    readers = [0] * (n_inputs + len(operands))
    for tensors in operands:
        for tensor in set(tensors):
            readers[tensor] += 1
    counts = [
        len(operands),
        sum(count > 1 for count in readers),
        sum(readers[:n_inputs]),
        found[_WEIGHTLESS] == 0 < found[_WEIGHTY],
    ]
    ends = _ends(n_inputs, operands, steps, outputs)
    return np.concatenate([counts, ends, found])


def _ends(
    n_inputs: int, operands: tuple[Tensors, ...], steps: tuple[Step, ...], outputs: Tensors
) -> list[float]:
    """Operators of each kind that some way reaches, or leaves, without another such step."""
    counts = [0.0] * (2 * len(KINDS))
    first = [True] * n_inputs
    for tensors, step in zip(operands, steps, strict=True):
        reached = not tensors or any(first[t] for t in tensors)
        first.append(reached and step.kind is None)
        if step.kind is not None:
            counts[step.kind] += reached
    last = [False] * len(first)
    for tensor in outputs:
        last[tensor] = True
    for index in range(len(operands) - 1, -1, -1):
        kind, leaves = steps[index].kind, last[n_inputs + index]
        if kind is not None:
            counts[len(KINDS) + kind] += leaves
        elif leaves:
            for tensor in operands[index]:
                last[tensor] = True
    return counts


def _log(amount: float) -> float:
    return log2(1 + amount)
