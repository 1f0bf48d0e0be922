"""What a replacement saves: measured in the whole model, all sites of one signature at once.

The latency change of one site (1-3 %) drowns in noise of two per cent, and a selection by it picks
the noise. All sites that look alike are therefore replaced together, with random weights, and the
change is divided among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from autogo_onnx.assemble import skeleton
from autogo_onnx.latency import interleave, p10
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.runtime import open_session
from autogo_onnx.step import Step
from autogo_onnx.weights import random_weights

GROUP = 12
SECONDS_PER_SESSION = 0.12


@dataclass(frozen=True)
class Measure:
    """How to measure: one feed, intra-op threads, seed of the orders."""

    feed: Mapping[str, np.ndarray[Any, Any]]
    threads: int = 1
    seed: int = 0


def signature(site: OpGraph, replacement: OpGraph) -> str:
    """Key of all (site, replacement) pairs that cost the same: equal graphs, pads aside."""
    text = "->".join(to_json(_without_pads(g)) for g in (site, replacement))
    return f"segment/{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _without_pads(graph: OpGraph) -> OpGraph:
    ops = tuple(
        op.with_attributes(pads=(0, 0, 0, 0)) if op.get("pads") is not None else op
        for op in graph.ops
    )
    return OpGraph(graph.input_shapes, ops, graph.op_shapes, graph.outputs)


def price_signatures(
    model: onnx.ModelProto,
    alike: Mapping[str, Sequence[Step]],
    measure: Measure,
    table: LatencyTable,
) -> None:
    """Enter into the table, for every signature, the share of the latency that one site saves.

    Args:
        model: the exactly rewritten model.
        alike: by signature, steps at sites that do not overlap; about `GROUP` signatures, since
            all of them are held in sessions and measured in turns.
        measure: how.
        table: what is known already is not measured again.
    """
    keys = [key for key in sorted(alike) if key not in table.entries]
    if not keys:
        return
    models = [_all_replaced(model, alike[key], measure.seed) for key in keys]
    sessions = [open_session(m, threads=measure.threads) for m in (model, *models)]
    times = interleave(
        sessions,
        measure.feed,
        seconds=SECONDS_PER_SESSION * len(sessions),
        seed=measure.seed,
        threads=measure.threads,
    )
    base = p10(times[0])
    for key, row in zip(keys, times[1:], strict=True):
        table.entries[key] = float(1.0 - p10(row) / base) / len(alike[key])


def _all_replaced(model: onnx.ModelProto, steps: Sequence[Step], seed: int) -> onnx.ModelProto:
    return skeleton(model, steps, [random_weights(s.replacement, seed) for s in steps])


def disjoint(steps: Sequence[Step]) -> list[Step]:
    """As many of the steps, in order, as do not overlap."""
    taken: set[int] = set()
    kept = []
    for step in steps:
        if not taken & set(step.site.cut.ops):
            taken.update(step.site.cut.ops)
            kept.append(step)
    return kept
