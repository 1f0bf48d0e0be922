"""Rules on trial: tried one by one, judged, kept or named; and the judge itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from autogo_onnx import latency
from autogo_onnx.graph import from_text
from autogo_onnx.latency import Paired
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.options import Options
from autogo_onnx.payoff import Payoff
from autogo_onnx.rewriters import RULES, Match, Rule, Skip, Verdict, rewrite
from autogo_onnx.rewriters.view import View
from autogo_onnx.targets import counted

ABS_NEG = from_text("g (float[N,4] x) => (float[N,4] y) { a = Abs(x) b = Abs(a) y = Neg(b) }")
FEED = {"x": np.ones((2, 4), np.float32)}


def _changing(before: str, after: str) -> Rule:
    """On trial: turns one operator into another, which happens to be the same on these models."""

    def find(view: View) -> Iterator[Match | Skip]:
        yield from (Match((node,)) for node in view.graph.nodes if node.op == before)

    def apply(view: View, match: Match) -> None:
        match.nodes[0].op = after

    name = f"{before}_to_{after}".lower()
    return replace(RULES[0], name=name, find=find, apply=apply, on_trial=True)


def _second_abs_to_identity() -> Rule:
    def find(view: View) -> Iterator[Match | Skip]:
        for node in view.graph.nodes:
            if node.op == "Abs" and node.inputs[0].inputs and node.i().op == "Abs":
                yield Match((node,))

    def apply(view: View, match: Match) -> None:
        match.nodes[0].op = "Identity"

    return replace(RULES[0], name="second_abs", find=find, apply=apply, on_trial=True)


def _judged(keep: bool) -> Any:
    seen = []

    def judge(rule: str, before: onnx.ModelProto, after: onnx.ModelProto) -> Verdict:
        seen.append(rule)
        return Verdict(keep, -10, 0.9 if keep else 1.1, 0.01)

    return judge, seen


def test_a_rule_that_does_not_pay_is_named_with_its_figures() -> None:
    judge, seen = _judged(False)
    result = rewrite(ABS_NEG, rules=[_second_abs_to_identity()], judge=judge)
    assert seen == ["second_abs"]
    assert result.model is ABS_NEG
    assert result.applied == ()
    assert [(s.rule, s.reason) for s in result.skips] == [
        ("second_abs", "it was not used: latency ratio 1.100, noise bound 0.010")
    ]


def test_a_rule_that_pays_is_kept_with_its_verdict() -> None:
    judge, _ = _judged(True)
    (applied,) = rewrite(ABS_NEG, rules=[_second_abs_to_identity()], judge=judge).applied
    assert (applied.rule, applied.count) == ("second_abs", 1)
    assert applied.verdict == Verdict(True, -10, 0.9, 0.01)


@pytest.mark.parametrize("to", ["Relu", "Unheard"])
def test_a_rule_on_trial_that_lies_is_dropped_however_well_it_pays(to: str) -> None:
    judge, _ = _judged(True)
    result = rewrite(ABS_NEG, rules=[_changing("Neg", to)], judge=judge)
    assert result.model is ABS_NEG
    assert "broke its promise" in result.skips[0].reason


def test_a_model_that_cannot_be_timed_is_no_gain() -> None:
    judge = Payoff(Options(), LatencyTable("1", 1), FEED, None)
    result = rewrite(ABS_NEG, rules=[_changing("Neg", "Unheard")], judge=judge)
    assert result.model is ABS_NEG
    assert "broke its promise: ONNX Runtime does not load" in result.skips[0].reason


def test_what_was_kept_may_make_an_earlier_rule_match() -> None:
    """`Ceil(Neg)` appears only once the last rule has turned the Floor; order does not matter."""
    model = from_text("g (float[N,4] x) => (float[N,4] y) { a = Floor(x) b = Floor(a) y = Neg(b) }")
    first = _changing("Ceil", "Identity")
    last = replace(
        _changing("Floor", "Ceil"),
        find=lambda view: (
            Match((n,)) for n in view.graph.nodes if n.op == "Floor" and n.inputs[0].inputs
        ),
    )
    result = rewrite(model, rules=[first, last])
    assert result.counts == {"floor_to_ceil": 1, "ceil_to_identity": 1}


def test_a_file_must_not_grow_by_much() -> None:
    def apply(view: View, match: Match) -> None:
        ballast = view.constant("ballast", np.zeros(2**20, np.float32))
        first = view.insert("Gather", [ballast, view.constant("zero", np.array(0))], "picked")
        node = match.nodes[0]
        source = node.inputs[0]
        node.inputs.clear()
        node.inputs.extend([source, first])
        node.op = "Add"

    rule = replace(_changing("Identity", "Add"), apply=apply)
    model = from_text("g (float[N,4] x) => (float[N,4] y) { a = Identity(x) y = Neg(a) }")
    result = rewrite(model, rules=[rule])
    assert result.model is model
    assert "the file would grow by 41" in result.skips[0].reason


def paired(ratio: float, noise: float) -> Paired:
    return Paired(ratio, ratio, noise, 1.0, ratio, 30, 1, "1")


CONV = "g (float[1,4,4,4] x) => (float[1,%d,4,4] y) <float[%d,4,1,1] w = {%s}> { y = Conv(x, w) }"


def conv(channels: int) -> onnx.ModelProto:
    return from_text(CONV % (channels, channels, ",".join(["1"] * (channels * 4))))


@pytest.mark.parametrize(
    ("channels", "ratio", "noise", "keep"),
    [
        (4, 0.95, 0.01, True),
        (4, 1.005, 0.01, True),
        (4, 1.015, 0.01, False),
        (4, 1.05, 0.2, False),  # so noisy that the bound means nothing
        (2, 1.005, 0.01, True),
        (8, 0.995, 0.01, False),  # multiplies more, so it must be clearly faster
        (8, 0.9, 0.01, True),
    ],
)
def test_the_judge(
    channels: int, ratio: float, noise: float, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "compare", lambda *_, **__: paired(ratio, noise))
    judge = Payoff(Options(), LatencyTable("1", 1), FEED, None)
    verdict = judge("rule", conv(4), conv(channels))
    assert verdict == Verdict(keep, (channels - 4) * 64, ratio, noise)


def test_without_a_clock_multiplications_decide() -> None:
    for judge in (
        Payoff(Options(), LatencyTable("1", 1), FEED, None, counted(Options(target="macs"))),
        Payoff(Options(), LatencyTable("1", 1), None, None),
    ):
        assert judge("rule", conv(4), conv(4)) == Verdict(True, 0)
        assert judge("rule", conv(4), conv(8)) == Verdict(False, 256)


def test_noisy_trials_are_repeated_and_all_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([paired(0.99, 0.3), paired(0.97, 0.1), paired(0.9, 0.05)])
    monkeypatch.setattr(latency, "compare", lambda *_, **__: next(tries))
    table = LatencyTable("1", 1)
    judge = Payoff(Options(), table, FEED, None)
    verdict = judge("rule", conv(4), conv(2))
    assert (verdict.latency_ratio, verdict.latency_noise) == (0.9, 0.05)
    assert judge("rule", conv(4), conv(2)) == verdict
    assert sorted(table.entries.values()) == [0.05, 0.9]
