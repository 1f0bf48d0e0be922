"""Exact rewriting of a whole model, verified before it is given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from autogo_onnx.rewriters.trial import Judge, Verdict, always
from autogo_onnx.rewriters.view import View

_MOST_GROWTH_BYTES = 2**20


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
    """

    model: onnx.ModelProto
    applied: tuple[Applied, ...]
    skips: tuple[Skip, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How often each rule was applied."""
        totals = dict.fromkeys((entry.rule for entry in self.applied), 0)
        for entry in self.applied:
            totals[entry.rule] += entry.count
        return totals


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
    only if the judge says so. A rule that breaks its promise on this model is found, dropped and
    named among the skips. A model that cannot be verified, because ONNX Runtime does not run it, is
    left alone.

    Args:
        model: checked; it is not changed.
        rules: in the order to run.
        samples: feeds to verify on, besides random ones.
        seed: of the random feeds.
        judge: of the rules on trial.

    Raises:
        PromiseError: the model changes its outputs by being read and written alone.
    """
    untouched: tuple[Skip, ...] = ()
    try:
        untouched = tuple(left_alone(from_model(model)))
        witness = Witness.of(model, samples, seed=seed)
    except InputError as error:
        whole = Skip((), f"the model is left exactly as it is: {error}")
        return Rewritten(model, (), (whole, *untouched))
    run = _Run(model, witness, [rule for rule in rules if not rule.on_trial])
    run.simplify()
    for rule in rules:
        if rule.on_trial:
            run.attempt(rule, judge)
    skips = _by_reason((*run.rejected, *left_alone(from_model(run.result)), *run.skips))
    return Rewritten(run.result, tuple(run.applied), skips)


class _Run:
    """One model on its way: what was applied so far, and what was not."""

    def __init__(self, model: onnx.ModelProto, witness: Witness, rules: list[Rule]) -> None:
        self.original = self.result = model
        self.witness = witness
        self.rules = rules
        self.applied: list[Applied] = []
        self.rejected: list[Skip] = []
        self.skips: tuple[Skip, ...] = ()

    def simplify(self) -> None:
        """Run all rules that always pay, without those that break their promise."""
        while True:
            result, applied, skips = _apply(self.original, self.rules)
            objection = self._objection(result)
            if objection is None:
                self.result, self.applied, self.skips = result, applied, skips
                return
            guilty = self._guilty()
            self.rules.remove(guilty)
            self.rejected.append(
                Skip((), f"it was not used, for it broke its promise: {objection}", guilty.name)
            )

    def attempt(self, rule: Rule, judge: Judge) -> None:
        """Run one rule more, and keep what it does if it keeps its promise and pays."""
        found = list(rule.find(View(from_model(self.result))))
        if all(isinstance(f, Skip) for f in found):
            self.rejected += [replace(f, rule=rule.name) for f in found if isinstance(f, Skip)]
            return
        result, applied, skips = _apply(self.result, [*self.rules, rule])
        objection = self._objection(result)
        if objection is not None:
            reason = f"it was not used, for it broke its promise: {objection}"
            self.rejected.append(Skip((), reason, rule.name))
            return
        verdict = judge(rule.name, self.result, result)
        if not verdict.keep:
            self.rejected.append(Skip((), f"it was not used: {verdict}", rule.name))
            return
        self.rules.append(rule)
        self.applied += [
            Applied(a.rule, a.count, a.nodes_saved, verdict if a.rule == rule.name else None)
            for a in applied
        ]
        self.result, self.skips = result, skips

    def _objection(self, result: onnx.ModelProto) -> str | None:
        if result is self.original:
            return None
        growth = result.ByteSize() - self.original.ByteSize()
        if growth > _MOST_GROWTH_BYTES:
            return f"the file would grow by {growth} bytes"
        return self.witness.objection(result)

    def _guilty(self) -> Rule:
        """The last rule of the shortest leading run of rules that breaks the promise."""
        good, bad = 0, len(self.rules)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._objection(_apply(self.original, self.rules[:middle])[0]) is None:
                good = middle
            else:
                bad = middle
        if bad == 0:
            raise PromiseError("the model computes something else after being read and written")
        return self.rules[bad - 1]


def _apply(
    model: onnx.ModelProto, rules: Sequence[Rule]
) -> tuple[onnx.ModelProto, list[Applied], tuple[Skip, ...]]:
    """The rewritten model (the very same where nothing matched), what was done, and what not."""
    graph = from_model(model)
    swept = to_fixed_point(graph, rules)
    if not swept.counts:
        return model, [], swept.skips
    names = [rule.name for rule in rules if swept.counts[rule.name]]
    applied = [Applied(name, swept.counts[name], swept.nodes_saved[name]) for name in names]
    return to_model(graph, model), applied, swept.skips


def _by_reason(skips: Sequence[Skip]) -> tuple[Skip, ...]:
    """One skip per rule and reason, with the nodes of all."""
    nodes: dict[tuple[str, str], dict[int, gs.Node]] = {}
    for skip in skips:
        nodes.setdefault((skip.rule, skip.reason), {}).update({id(n): n for n in skip.nodes})
    return tuple(Skip(tuple(of.values()), reason, rule) for (rule, reason), of in nodes.items())
