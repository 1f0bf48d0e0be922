"""Untouched linear operators as steps of a plan: each is replaced by itself and fitted again.

They take over a part of the error that reaches them: on a CIFAR-10 ResNet-20 with a fifth of its
latency saved, 0.4 % more of the answers stay the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from autogo_onnx.fitting.segment import LARGEST_GRAM
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segments import Reading, op_weights, site_of
from autogo_onnx.step import Step

REFIT_COLUMNS = 2_400
ROWS_PER_COLUMN = 4
"""Positions that a refit must see per weight of an output. With as many positions as weights it
learns the samples by heart: one such layer made a text classifier of few positions 2.5 times as
wrong on other samples as refitting nothing. With 5, the classifier of a CIFAR-10 network is left
alone at 256 samples, and there its top-1 accuracy was worse for it."""

ROWS_ENOUGH = 100
"""Positions per weight of an output beyond which a refit gains nothing: a depthwise window of nine
weights takes as long as a dense one, but for this. From 500 to 100 no figure of the fixed plans of
`benchmarks/fit_quality.py` changed by more than their third digit."""


def refits(
    reading: Reading,
    steps: Sequence[Step],
    *,
    samples: int,
    rows: int,
    changed: Collection[int] = (),
) -> list[Step]:
    """The untouched convolutions and fully connected layers behind the first replacement.

    Those that are left out would see too few positions to be fitted, or have too many weights.

    Args:
        reading: of the exactly rewritten model.
        steps: the replacements.
        samples: that are fitted on.
        rows: most positions that a fit sees.
        changed: layers that lost inputs: they have to be fitted, even where that takes long.
    """
    taken = {i for step in steps for i in step.site.cut.ops}
    downstream = _descendants(reading.opgraph, taken | set(changed)) | set(changed)
    found = []
    for index in sorted(downstream - taken):
        step = refit(reading, index)
        largest = LARGEST_GRAM if index in changed else REFIT_COLUMNS
        if step is not None and _columns(step) <= min(largest, most_columns(step, samples, rows)):
            found.append(step)
    return found


def rows_for(step: Step, rows: int) -> int:
    """So many of at most `rows` positions does the fit of a step see: all of them if it is new."""
    return min(rows, ROWS_ENOUGH * _columns(step)) if step.is_refit else rows


def _columns(step: Step) -> int:
    """Weights per output."""
    return int(np.prod(step.site_weights[0][0].shape[1:]))


def most_columns(step: Step, samples: int, rows: int) -> int:
    """So many weights per output can be fitted on what its layer sees."""
    positions = int(np.prod(step.replacement.op_shapes[0][2:]))
    return min(rows, samples * positions) // ROWS_PER_COLUMN


def refit(reading: Reading, index: int) -> Step | None:
    """An operator replaced by itself; None where it is none that is fitted."""
    op, weights = reading.opgraph.ops[index], op_weights(reading.nodes[index])
    site = site_of(reading, [index])
    if len(op.inputs) != 1 or len(site.outputs) != 1 or not site.graph.op_shapes[0]:
        return None
    if op.kind == "Conv" and len(weights) == 1:
        weights = (weights[0], np.zeros(len(weights[0]), weights[0].dtype))
    if len(weights) != 2 or weights[0].dtype != np.float32 or weights[1].ndim != 1:
        return None
    if op.kind == "Conv" and len(op.get("kernel_shape")) == 2:
        return Step(site, site.graph, {0: weights}, is_refit=True)
    if op.kind == "Gemm" and op.get("alpha", 1.0) == op.get("beta", 1.0) == 1.0:
        if op.get("transA", 0):
            return None
        alone = replace(site.graph, ops=(Op.make("Gemm", (0,)),))
        weight = weights[0] if op.get("transB", 0) else weights[0].T
        if len(weight) != len(weights[1]):
            return None
        plain = replace(site, cut=replace(site.cut, graph=alone))
        return Step(plain, alone, {0: (weight, weights[1])}, is_refit=True)
    return None


def _descendants(graph: OpGraph, ops: set[int]) -> set[int]:
    tensors = {graph.n_inputs + i for i in ops}
    found: set[int] = set()
    for index, op in enumerate(graph.ops):
        if any(t in tensors for t in op.inputs):
            found.add(index)
            tensors.add(graph.n_inputs + index)
    return found
