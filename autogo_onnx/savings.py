"""What every candidate saves; most are dropped for it before any sample is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from autogo_onnx.candidates import Candidate
from autogo_onnx.cost import macs
from autogo_onnx.ground import Ground
from autogo_onnx.pricing import Change, all_replaced, disjoint, measure_savings, signature

LEAST_SAVING = 0.002
PRICING_SHARE = 0.35
"""Of the time that is left, for measuring."""


def price(ground: Ground, candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
    """Candidates that save something, each with the share of the whole that it saves."""
    counted = ground.job.counted
    if counted is not None:
        whole = counted.of_network(ground.reading.opgraph) or 1.0
        prices = [(counted.cost(c.site.graph) - counted.cost(c.graph)) / whole for c in candidates]
    else:
        prices = latency_prices(ground, candidates)
    return [(c, p) for c, p in zip(candidates, prices, strict=True) if p >= LEAST_SAVING]


def _macs_saved(ground: Ground, candidate: Candidate) -> float:
    return (macs(candidate.site.graph) - macs(candidate.graph)) / max(1, ground.macs)


def latency_prices(ground: Ground, candidates: Sequence[Candidate]) -> list[float]:
    """The price of each candidate; 0 for what the time did not suffice to measure.

    Signatures that save most multiply-accumulates are measured first.
    """
    signatures = [signature(c.site.graph, c.graph) for c in candidates]
    alike: dict[str, list[Candidate]] = {}
    for key, candidate in zip(signatures, candidates, strict=True):
        alike.setdefault(key, []).append(candidate)
    order = sorted(alike, key=lambda key: (-sum(_macs_saved(ground, c) for c in alike[key]), key))
    ground.progress.stage("measure", len(order))
    places = {key: disjoint(alike[key]) for key in order}
    changes = {key: _change(ground, places[key]) for key in order}
    measure = ground.measure(ground.job.deadline.part(PRICING_SHARE))
    left = measure_savings(
        ground.model,
        changes,
        lambda keys: _changed(ground, {key: places[key] for key in keys}),
        measure,
        ground.job.table,
        ground.progress.advance,
    )
    if left:
        ground.job.notes.append(
            f"{len(left)} of {len(order)} kinds of replacement were not measured: "
            "the budget (--budget) was too short"
        )
    return [ground.job.table.entries.get(key, 0.0) for key in signatures]


def _change(ground: Ground, apart: Sequence[Candidate]) -> Change:
    inputs, names = ground.reading.opgraph.n_inputs, ground.reading.tensors
    return Change(frozenset(names[inputs + i] for c in apart for i in c.site.cut.ops), len(apart))


def _changed(
    ground: Ground, places: Mapping[str, Sequence[Candidate]]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The model with some kinds of replacements wherever they may stand; see `pricing.Maker`."""
    pairs = [(key, ground.step(c.site, c.graph)) for key, some in places.items() for c in some]
    model, new = all_replaced(ground.model, [step for _, step in pairs], ground.options.seed)
    return model, {name: pairs[k][0] for name, k in new.items()}
