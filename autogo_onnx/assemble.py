"""A plan made real: replacements put in, then fitted in order on the modified prefix.

Fitting every segment on what its predecessors really give, towards what the original gave, lets
later segments correct earlier ones; `aims.py` tells what each aims at.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from autogo_onnx import graph as graphs
from autogo_onnx.activations import Activations
from autogo_onnx.aims import Aim, Original, aim_of
from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import PromiseError
from autogo_onnx.fitting.rectified import fit_cut
from autogo_onnx.fitting.segment import Boundary, Fitted, Refused, Weights, fit
from autogo_onnx.liveness import cleanup
from autogo_onnx.refit import refits, rows_for
from autogo_onnx.rewriters.replace_segment import free_prefix, replace_segment, weight_name
from autogo_onnx.segments import Reading
from autogo_onnx.step import Step
from autogo_onnx.submodel import Parts
from autogo_onnx.weights import weight_shapes


@dataclass(frozen=True)
class Realized:
    """A plan as a model, and the error of each step's last fit."""

    model: onnx.ModelProto
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Settings:
    """How fits see the samples: at most `rows` patch positions, drawn with `seed`.

    None is begun after the deadline.
    """

    rows: int = 40_000
    seed: int = 0
    deadline: Deadline = field(default_factory=lambda: Deadline(math.inf))


def replaced(
    model: onnx.ModelProto, steps: Sequence[Step], weights: Sequence[Weights]
) -> tuple[onnx.ModelProto, list[str]]:
    """The model with every step's replacement in place, and each step's name prefix.

    These are `<free prefix>/0, 1, ...`.
    """
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
    original: Original,
    settings: Settings,
    changed: Collection[int] = (),
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
        changed: layers that lost inputs, see `refits`.

    Returns:
        The model; or why a fit that succeeded on the original's activations failed on these.

    Raises:
        OutOfTime: the deadline has come.
    """
    untouched = refits(reading, steps, samples=original.count, rows=settings.rows, changed=changed)
    ordered = sorted((*steps, *untouched), key=lambda step: max(step.site.cut.ops))
    zeros = [
        {i: tuple(np.zeros(s, np.float32) for s in shapes) for i, shapes in needed.items()}
        for needed in (weight_shapes(step.replacement) for step in ordered)
    ]
    changed_model, prefixes = replaced(model, ordered, zeros)
    parts = Parts(changed_model)
    current = original.of(parts)
    errors = []
    for k, step in enumerate(ordered):
        settings.deadline.check()
        later = {i for other in ordered[k + 1 :] for i in other.site.cut.ops}
        aim = aim_of(reading, step.site, original, current, later)
        fitted = _fit(step, settings, original, current, aim)
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


def _fit(
    step: Step, settings: Settings, original: Original, current: Activations, aim: Aim
) -> Fitted | Refused:
    """One step fitted on the modified prefix; one that can be given no weights keeps its own."""
    site = step.site
    boundary = Boundary(
        tuple(current.stream(name) for name in site.inputs),
        aim.target,
        rows=rows_for(step, settings.rows),
        seed=settings.seed,
        importance=original.importance(site.outputs[0]),
    )
    if aim.cut is None:
        fitted = fit(step.replacement, site.graph, step.site_weights, boundary)
    else:
        fitted = fit_cut(step.replacement, site.graph, step.site_weights, boundary, aim.cut)
    if isinstance(fitted, Refused) and step.is_refit:
        return Fitted(dict(step.site_weights), 0.0)
    return fitted
