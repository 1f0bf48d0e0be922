"""What narrowing a space saves: measured by the operators that change, alike spaces at once.

One width is measured per kind of space, about half; between and beyond, what is saved goes with
the channels that are lost, of which only whole blocks count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from autogo_onnx.deadline import Deadline
from autogo_onnx.ground import Ground
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.pricing import Change, measure_savings
from autogo_onnx.rewriters.channels.narrow import Kept
from autogo_onnx.widths.slicing import sliced
from autogo_onnx.widths.spaces import Indices, Space

BLOCKS = (16, 8, 4)
"""Kernels work on so many channels at a time; part of a block costs as much as a whole one."""
EIGHTHS = (7, 6, 5, 4, 3, 2, 1)


def widths(size: int, *, in_blocks: bool) -> tuple[int, ...]:
    """Numbers of channels worth a try, largest first.

    >>> widths(64, in_blocks=True), widths(16, in_blocks=True), widths(16, in_blocks=False)
    ((48, 32, 16), (), (14, 12, 10, 8, 6, 4, 2))
    """
    block = next((b for b in BLOCKS if size % b == 0), size) if in_blocks else 1
    found = {-(-size * eighth // (8 * block)) * block for eighth in EIGHTHS}
    return tuple(sorted((w for w in found if 0 < w < size), reverse=True))


def savings_per_channel(
    ground: Ground, spaces: Sequence[Space], deadline: Deadline
) -> dict[Space, float]:
    """The share of the model's latency, or of what the target counts, that a channel takes.

    It is 0 where there was no time to measure it.
    """
    alike: dict[str, list[Space]] = {}
    for space in spaces:
        alike.setdefault(_kind(ground.reading.opgraph, space), []).append(space)
    prices = (
        _counted(ground, alike)
        if ground.job.counted is not None
        else _timed(ground, alike, deadline)
    )
    return {space: prices[key] for key, members in alike.items() for space in members}


def _kind(graph: OpGraph, space: Space) -> str:
    """Key of all spaces that cost the same: layers of the same shapes make and read them."""

    def layer(index: int) -> list[object]:
        op = graph.ops[index]
        kept = [(k, v) for k, v in op.attributes if k in ("kernel_shape", "strides", "group")]
        return [op.kind, [graph.shape(t) for t in op.inputs], graph.op_shapes[index], kept]

    ops = (*space.makers, *(r.op for r in space.readers), *space.between)
    text = json.dumps([space.size, sorted(map(repr, map(layer, ops)))])
    return f"width/{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _half(space: Space) -> Indices:
    block = next((b for b in BLOCKS if space.size % (2 * b) == 0), 1)
    return np.arange(max(1, space.size // 2 // block * block))


def _halved(ground: Ground, spaces: Sequence[Space]) -> tuple[onnx.ModelProto, Kept]:
    return sliced(ground.model, {space: _half(space) for space in spaces})


def _lost(spaces: Sequence[Space]) -> int:
    return sum(space.size - len(_half(space)) for space in spaces)


def _counted(ground: Ground, alike: Mapping[str, Sequence[Space]]) -> dict[str, float]:
    return {
        key: (1.0 - ground.job.counted_ratio(_halved(ground, members[:1])[0])) / _lost(members[:1])
        for key, members in alike.items()
    }


def _timed(
    ground: Ground, alike: Mapping[str, Sequence[Space]], deadline: Deadline
) -> dict[str, float]:
    graph, names = ground.reading.opgraph, ground.reading.tensors

    def change(spaces: Sequence[Space]) -> Change:
        _, narrower = _halved(ground, spaces)
        readers = (names[graph.n_inputs + op] for s in spaces for op in s.inputs(graph))
        return Change(frozenset((*narrower, *readers)), _lost(spaces))

    def make(keys: Sequence[str]) -> tuple[onnx.ModelProto, dict[str, str]]:
        return _halved(ground, [space for key in keys for space in alike[key]])[0], {}

    table = ground.job.table
    changes = {key: change(some) for key, some in alike.items() if not table.knows(key)}
    measure_savings(ground.model, changes, make, ground.measure(deadline), table)
    return {key: table.entries.get(key, 0.0) for key in alike}
