"""How much one replacement alone changes the model's outputs on held-out samples.

The local error of a fit is a bad judge (two forms with the same local error differed thirtyfold at
the output), so each candidate is put into the whole model by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autogo_onnx.activations import Activations
from autogo_onnx.class_drop import is_class_scores
from autogo_onnx.fitting.segment import Weights
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segments import Site
from autogo_onnx.submodel import run_batched

Output = np.ndarray[Any, Any]


def divergence(reference: Sequence[Output], changed: Sequence[Output]) -> float:
    """Mean KL divergence of class scores, else normalized squared error; summed over outputs."""
    return float(sum(_one(r, c) for r, c in zip(reference, changed, strict=True)))


def _one(reference: Output, changed: Output) -> float:
    if not np.isfinite(changed).all():
        return float("inf")
    if reference.dtype.kind != "f":
        return float(np.mean(reference != changed))
    if is_class_scores(reference):
        p, q = _log_softmax(reference), _log_softmax(changed)
        return float(np.mean(np.sum(np.exp(p) * (p - q), axis=1)))
    spread = float(np.var(reference, dtype=np.float64))
    return float(np.mean(np.square(reference - changed, dtype=np.float64))) / max(spread, 1e-30)


def _log_softmax(scores: Output) -> Output:
    """Logarithms of class probabilities; scores that are probabilities already stay as they are."""
    wide = scores.astype(np.float64)
    if (wide >= 0).all() and np.allclose(wide.sum(axis=1), 1.0, atol=1e-2):
        return np.log(np.maximum(wide, 1e-12))
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def replaced_maps(
    site: Site, replacement: OpGraph, weights: Weights, held_out: Activations
) -> dict[str, Output]:
    """What the site's outputs become on the held-out samples when it alone is replaced."""
    model = to_onnx(replacement, weights)
    names = [i.name for i in model.graph.input]
    feeds = {n: held_out.get(t) for n, t in zip(names, site.inputs, strict=True)}
    results = run_batched(model, feeds, batch=held_out.batch)
    made = [results[o.name] for o in model.graph.output]
    return dict(zip(site.outputs, made, strict=True))


def score(
    site: Site,
    replacement: OpGraph,
    weights: Weights,
    held_out: Activations,
    reference: Sequence[Output],
) -> float:
    """Divergence of the model's outputs with one site replaced; `held_out` knows the original."""
    changed = replaced_maps(site, replacement, weights, held_out)
    return divergence(reference, held_out.outputs_with(changed))
