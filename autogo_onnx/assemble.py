"""A plan made real: replacements put in, then fitted in order on the modified prefix.

Fitting every segment on what its predecessors really give, towards what the original gave, lets
later segments correct earlier ones; where the output goes straight into a residual addition, the
target includes the error of the other summand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from autogo_onnx import graph as graphs
from autogo_onnx.activations import Activations
from autogo_onnx.errors import PromiseError
from autogo_onnx.fitting.segment import Boundary, Fitted, Refused, Weights, fit
from autogo_onnx.liveness import cleanup
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.refit import refits, rows_for
from autogo_onnx.rewriters.replace_segment import free_prefix, replace_segment, weight_name
from autogo_onnx.segments import Reading, Site
from autogo_onnx.step import Step
from autogo_onnx.streams import Difference, Stream
from autogo_onnx.submodel import Parts
from autogo_onnx.weights import weight_shapes


@dataclass(frozen=True)
class Realized:
    """A plan as a model, and the error of each step's last fit."""

    model: onnx.ModelProto
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Settings:
    """How fits see the samples: at most `rows` patch positions, drawn with `seed`."""

    rows: int = 40_000
    seed: int = 0


def skeleton(
    model: onnx.ModelProto, steps: Sequence[Step], weights: Sequence[Weights]
) -> onnx.ModelProto:
    """The model with every step's replacement in place, named `<free prefix>/0, 1, ...`."""
    return _replaced(model, steps, weights)[0]


def _replaced(
    model: onnx.ModelProto, steps: Sequence[Step], weights: Sequence[Weights]
) -> tuple[onnx.ModelProto, list[str]]:
    """The model with every step's replacement in place, and each step's name prefix."""
    graph = graphs.from_model(model)
    free = free_prefix(graph)
    prefixes = [f"{free}/{k}" for k in range(len(steps))]
    for step, values, prefix in zip(steps, weights, prefixes, strict=True):
        site = step.site
        replace_segment(graph, site.inputs, site.outputs, step.replacement, values, prefix)
    cleanup(graph)
    return graphs.to_model(graph, model), prefixes


def realize(
    model: onnx.ModelProto,
    reading: Reading,
    steps: Sequence[Step],
    original: Activations,
    settings: Settings,
) -> Realized | Refused:
    """Replace, then fit step by step in topological order on the modified prefix.

    Linear operators that are not replaced are refitted too, from the first replacement on: they
    stay what they are and take over a part of the error that reaches them.

    Args:
        model: the exactly rewritten model, and
        reading: its reading.
        steps: sites that do not overlap, each with its replacement.
        original: activations of `model` on the samples to fit on; grows by what is missing.
        settings: rows and seed of the fits.

    Returns:
        The model; or why a fit that succeeded on the original's activations failed on these.
    """
    untouched = refits(reading, steps, samples=original.count, rows=settings.rows)
    ordered = sorted((*steps, *untouched), key=lambda step: max(step.site.cut.ops))
    zeros = [
        {i: tuple(np.zeros(s, np.float32) for s in shapes) for i, shapes in needed.items()}
        for needed in (weight_shapes(step.replacement) for step in ordered)
    ]
    replaced, prefixes = _replaced(model, ordered, zeros)
    parts = Parts(replaced)
    current = original.of(parts)
    errors = []
    for k, step in enumerate(ordered):
        later = {i for other in ordered[k + 1 :] for i in other.site.cut.ops}
        sparing = replace(settings, rows=rows_for(step, settings.rows))
        boundary = _boundary(reading, step.site, original, current, later, sparing)
        fitted = fit(step.replacement, step.site.graph, step.site_weights, boundary)
        if isinstance(fitted, Refused) and step.is_refit:
            fitted = Fitted(dict(step.site_weights), 0.0)
        if isinstance(fitted, Refused):
            return Refused(f"segment at {step.site.names[0]!r} lost its fit: {fitted.reason}")
        _check_complete(step, fitted)
        for op, values in fitted.weights.items():
            for j, value in enumerate(values):
                parts.set_weight(weight_name(prefixes[k], op, j), value)
        errors.append(fitted.nmse)
    return Realized(parts.model, tuple(errors))


def _check_complete(step: Step, fitted: Fitted) -> None:
    """A skipped weight would stay zero in a plausible file."""
    for op, shapes in weight_shapes(step.replacement).items():
        given = tuple(np.shape(value) for value in fitted.weights.get(op, ()))
        if given != shapes:
            raise PromiseError(
                f"segment at {step.site.names[0]!r}: operator {op} needs weights of the shapes "
                f"{shapes}, the fit gave {given}"
            )


def _boundary(
    reading: Reading,
    site: Site,
    original: Activations,
    current: Activations,
    unfitted: set[int],
    settings: Settings,
) -> Boundary:
    inputs = tuple(current.stream(name) for name in site.inputs)
    return Boundary(
        inputs,
        _target(reading, site, original, current, unfitted),
        rows=settings.rows,
        seed=settings.seed,
    )


def _target(
    reading: Reading,
    site: Site,
    original: Activations,
    current: Activations,
    unfitted: set[int],
) -> Stream:
    """What the site should give; before an addition, what is left of the sum as it should be."""
    partner = addition_partner(reading, site)
    if partner is None:
        return original.stream(site.outputs[0])
    other, total = partner
    if _ancestors(reading.opgraph, other) & (unfitted | set(site.cut.ops)):
        return original.stream(site.outputs[0])
    total_name, other_name = reading.tensors[total], reading.tensors[other]
    return Difference(original.stream(total_name), current.stream(other_name))


def addition_partner(reading: Reading, site: Site) -> tuple[int, int] | None:
    """(other summand, sum) as tensor numbers, when the site's only output feeds one addition."""
    graph = reading.opgraph
    output = site.cut.outputs[0]
    readers = graph.readers()[output]
    if output in graph.outputs or len(readers) != 1:
        return None
    op = graph.ops[readers[0]]
    others = [t for t in op.inputs if t != output]
    total = graph.n_inputs + readers[0]
    if op.kind != "Add" or len(others) != 1 or graph.shape(others[0]) != graph.shape(total):
        return None
    return others[0], total


def _ancestors(graph: OpGraph, tensor: int) -> set[int]:
    found: set[int] = set()
    stack = [tensor]
    while stack:
        index = graph.producer(stack.pop())
        if index is not None and index not in found:
            found.add(index)
            stack.extend(graph.ops[index].inputs)
    return found
