"""Exact rewriting of a whole model, verified before it is given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_model, to_model
from autogo_onnx.messages import stored_bytes
from autogo_onnx.rewriters.left_alone import left_alone
from autogo_onnx.rewriters.rule import Rule, Skip
from autogo_onnx.rewriters.rules import RULES
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.rewriters.trial import Judge, Verdict, always
from autogo_onnx.rewriters.verification.promise import Witness
from autogo_onnx.rewriters.view import View

# Folding constants is not worth a larger file; a rule that was seen to pay may be worth some.
_MOST_GROWTH_BYTES = 2**20
_MOST_GROWTH_ON_TRIAL = 0.5


@dataclass(frozen=True)
class Applied:
    """What one rule did.

    Attributes:
        rule: its name.
        count: how often it was applied.
        nodes_saved: how many nodes fewer there are for it.
        verdict: of its trial, for a rule that had to pass one.
    """

    rule: str
    count: int
    nodes_saved: int
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Rewritten:
    """A model after exact rewriting.

    Attributes:
        model: the new model; the very one that was given where nothing could be done.
        applied: the rules that changed something, in the order in which they first ran.
        skips: what was left alone, and why.
        remark: why nothing was compared in float64; empty where it was.
    """

    model: onnx.ModelProto
    applied: tuple[Applied, ...]
    skips: tuple[Skip, ...]
    remark: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How often each rule was applied."""
        return {entry.rule: entry.count for entry in self.applied}


def rewrite(
    model: onnx.ModelProto,
    *,
    rules: Sequence[Rule] = RULES,
    samples: Sequence[Mapping[str, np.ndarray]] = (),
    seed: int = 0,
    judge: Judge = always,
) -> Rewritten:
    """Apply rules until none matches, and check that the outputs stay the same.

    First run the rules that always pay, all together; then those on trial, one at a time, each kept
    only if the judge says so. The result is verified; if it is wrong, all is done again and
    verified step by step, so that the rule that broke its promise on this model is found, dropped
    and named among the skips. A model that cannot be verified, because ONNX Runtime does not run
    it, is left alone.

    Args:
        model: checked; it is not changed.
        rules: in the order to run.
        samples: feeds to verify on, besides random ones.
        seed: of the random feeds.
        judge: of the rules on trial.
    """
    try:
        graph = from_model(model)
    except InputError as error:
        return Rewritten(model, (), (_untouched(error),))
    try:
        witness = Witness.of(model, samples, seed=seed)
    except InputError as error:
        return Rewritten(model, (), (_untouched(error), *left_alone(graph)))
    run = _Run(model, None)
    run.all(graph, rules, judge)
    if run.step.model is not model and witness.objection(run.step.model) is not None:
        run = _Run(model, witness)
        run.all(from_model(model), rules, judge)
    untouched = left_alone(run.step.view.graph)
    skips = _by_reason((*run.rejected, *untouched, *run.step.skips))
    return Rewritten(run.step.model, _by_rule(run.applied), skips, witness.remark)


@dataclass(frozen=True)
class _Step:
    """A model after some rules; the very same as before where nothing matched.

    Attributes:
        model: the rewritten model.
        applied: what was done.
        skips: what the rules refused.
        view: of the model's graph.
    """

    model: onnx.ModelProto
    applied: tuple[Applied, ...]
    skips: tuple[Skip, ...]
    view: View


class _Run:
    """One model on its way: what was applied so far, and what was not.

    With a witness every step is verified, without one none is.
    """

    def __init__(self, model: onnx.ModelProto, witness: Witness | None) -> None:
        self.original = model
        self.witness = witness
        self.rules: list[Rule] = []
        self.applied: list[Applied] = []
        self.rejected: list[Skip] = []
        self.step: _Step

    def all(self, graph: gs.Graph, rules: Sequence[Rule], judge: Judge) -> None:
        """Run the rules that always pay, then try the others."""
        self.rules = [rule for rule in rules if not rule.on_trial]
        self.simplify(graph)
        self.try_all([rule for rule in rules if rule.on_trial], judge)

    def simplify(self, graph: gs.Graph) -> None:
        """Run all rules that always pay, without those that break their promise."""
        while True:
            self.step = _apply(graph, self.original, self.rules)
            objection = self._objection(self.step.model)
            if objection is None:
                self.applied = list(self.step.applied)
                return
            guilty = self._guilty()
            self.rules.remove(guilty)
            self._reject(guilty, f"it was not used, for it broke its promise: {objection}")
            graph = from_model(self.original)

    def try_all(self, rules: Sequence[Rule], judge: Judge) -> None:
        """Try rules one by one, again where what was kept since may have made them match."""
        waiting: dict[Rule, list[Skip]] = {rule: [] for rule in rules}
        is_settled = False
        while not is_settled:
            is_settled = True
            for rule in list(waiting):
                found = list(rule.find(self.step.view))
                waiting[rule] = [replace(f, rule=rule.name) for f in found if isinstance(f, Skip)]
                if len(waiting[rule]) < len(found):
                    del waiting[rule]
                    is_settled = not self._try(rule, judge) and is_settled
        for skips in waiting.values():
            self.rejected += skips

    def _try(self, rule: Rule, judge: Judge) -> bool:
        """Run one rule more; whether what it did was kept: it pays, and it keeps its promise."""
        before = self.step.model
        step = _apply(from_model(before), before, [*self.rules, rule])
        growth = stored_bytes(step.model) - stored_bytes(before)
        if growth > max(_MOST_GROWTH_BYTES, _MOST_GROWTH_ON_TRIAL * stored_bytes(before)):
            return self._reject(rule, f"it was not used: the file would grow by {growth} bytes")
        try:
            verdict = judge(rule.name, before, step.model)
        except InputError as error:
            return self._reject(rule, f"it was not used, for it broke its promise: {error}")
        if not verdict.keep:
            return self._reject(rule, f"it was not used: {verdict}")
        objection = self.witness and self.witness.objection(step.model)
        if objection:
            return self._reject(rule, f"it was not used, for it broke its promise: {objection}")
        self.step = step
        self.rules.append(rule)
        self.applied += [
            replace(entry, verdict=verdict) if entry.rule == rule.name else entry
            for entry in step.applied
        ]
        return True

    def _reject(self, rule: Rule, reason: str) -> bool:
        self.rejected.append(Skip((), reason, rule.name))
        return False

    def _objection(self, result: onnx.ModelProto) -> str | None:
        if result is self.original:
            return None
        growth = stored_bytes(result) - stored_bytes(self.original)
        if growth > _MOST_GROWTH_BYTES:
            return f"the file would grow by {growth} bytes"
        return self.witness.objection(result) if self.witness else None

    def _guilty(self) -> Rule:
        """The last rule of a leading run of rules that breaks the promise, when it did not before.

        No rule at all gives the very model, so there is one.
        """
        good, bad = 0, len(self.rules)
        while bad - good > 1:
            middle = (good + bad) // 2
            graph = from_model(self.original)
            if self._objection(_apply(graph, self.original, self.rules[:middle]).model) is None:
                good = middle
            else:
                bad = middle
        return self.rules[bad - 1]


def _apply(graph: gs.Graph, model: onnx.ModelProto, rules: Sequence[Rule]) -> _Step:
    """Run rules on the graph of a model."""
    swept = to_fixed_point(graph, rules)
    names = [rule.name for rule in rules if swept.counts[rule.name]]
    applied = tuple(Applied(name, swept.counts[name], swept.nodes_saved[name]) for name in names)
    result = to_model(graph, model) if applied else model
    return _Step(result, applied, swept.skips, swept.view)


def _untouched(error: InputError) -> Skip:
    return Skip((), f"the model is left exactly as it is: {error}")


def _by_rule(applied: Sequence[Applied]) -> tuple[Applied, ...]:
    """One entry per rule: what it did at once and what it could do after others."""
    rows: dict[str, Applied] = {}
    for entry in applied:
        known = rows.get(entry.rule, Applied(entry.rule, 0, 0))
        rows[entry.rule] = Applied(
            entry.rule,
            known.count + entry.count,
            known.nodes_saved + entry.nodes_saved,
            known.verdict or entry.verdict,
        )
    return tuple(rows.values())


def _by_reason(skips: Sequence[Skip]) -> tuple[Skip, ...]:
    """One skip per rule and reason, with the nodes of all."""
    nodes: dict[tuple[str, str], dict[int, gs.Node]] = {}
    for skip in skips:
        nodes.setdefault((skip.rule, skip.reason), {}).update({id(n): n for n in skip.nodes})
    return tuple(Skip(tuple(of.values()), reason, rule) for (rule, reason), of in nodes.items())
