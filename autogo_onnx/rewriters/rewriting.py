"""Exact rewriting of a whole model, verified before it is given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.errors import InputError, PromiseError
from autogo_onnx.graph import from_model, to_model
from autogo_onnx.rewriters.left_alone import left_alone
from autogo_onnx.rewriters.promise import Witness
from autogo_onnx.rewriters.rule import Rule, Skip
from autogo_onnx.rewriters.rules import RULES
from autogo_onnx.rewriters.sweep import to_fixed_point

_MOST_GROWTH_BYTES = 2**20


@dataclass(frozen=True)
class Rewritten:
    """A model after exact rewriting.

    Attributes:
        model: the new model; the very one that was given where nothing could be done.
        counts: how often each rule was applied, in the order of the rules.
        skips: what was left alone, and why.
    """

    model: onnx.ModelProto
    counts: dict[str, int]
    skips: tuple[Skip, ...]


def rewrite(
    model: onnx.ModelProto,
    *,
    rules: Sequence[Rule] = RULES,
    samples: Sequence[Mapping[str, np.ndarray]] = (),
    seed: int = 0,
) -> Rewritten:
    """Apply rules until none matches, and check that the outputs stay the same.

    A rule that breaks its promise on this model is found by bisection, dropped and named among the
    skips. A model that cannot be verified, because ONNX Runtime does not run it, is left alone.

    Args:
        model: checked; it is not changed.
        rules: in the order to run.
        samples: feeds to verify on, besides random ones.
        seed: of the random feeds.

    Raises:
        PromiseError: the model changes its outputs by being read and written alone.
    """
    untouched: tuple[Skip, ...] = ()
    try:
        untouched = tuple(left_alone(from_model(model)))
        witness = Witness.of(model, samples, seed=seed)
    except InputError as error:
        whole = Skip((), f"the model is left exactly as it is: {error}")
        return Rewritten(model, {}, (whole, *untouched))
    used = list(rules)
    dropped: list[Skip] = []
    while True:
        result = _apply(model, used)
        objection = _objection(witness, model, result)
        if objection is None:
            return Rewritten(result.model, result.counts, (*dropped, *result.skips))
        guilty = _guilty(witness, model, used)
        used.remove(guilty)
        dropped.append(
            Skip((), f"rule {guilty.name} was not used: it broke its promise: {objection}")
        )


def _apply(model: onnx.ModelProto, rules: Sequence[Rule]) -> Rewritten:
    graph = from_model(model)
    counts, skips = to_fixed_point(graph, rules)
    skips = _by_reason((*left_alone(graph), *skips))
    if not counts:
        return Rewritten(model, {}, skips)
    ordered = {rule.name: counts[rule.name] for rule in rules if counts[rule.name]}
    return Rewritten(to_model(graph, model), ordered, skips)


def _by_reason(skips: Sequence[Skip]) -> tuple[Skip, ...]:
    """One skip per reason, with the nodes of all."""
    nodes: dict[str, dict[int, gs.Node]] = {}
    for skip in skips:
        nodes.setdefault(skip.reason, {}).update({id(node): node for node in skip.nodes})
    return tuple(Skip(tuple(of.values()), reason) for reason, of in nodes.items())


def _objection(witness: Witness, model: onnx.ModelProto, result: Rewritten) -> str | None:
    if result.model is model:
        return None
    growth = result.model.ByteSize() - model.ByteSize()
    if growth > _MOST_GROWTH_BYTES:
        return f"the file would grow by {growth} bytes"
    return witness.objection(result.model)


def _guilty(witness: Witness, model: onnx.ModelProto, rules: Sequence[Rule]) -> Rule:
    """The last rule of the shortest leading run of rules that breaks the promise."""
    good, bad = 0, len(rules)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _objection(witness, model, _apply(model, rules[:middle])) is None:
            good = middle
        else:
            bad = middle
    if bad == 0:
        raise PromiseError("the model computes something else after being read and written")
    return rules[bad - 1]
