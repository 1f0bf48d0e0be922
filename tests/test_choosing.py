"""What is kept of many candidates and many realized plans."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import onnx

from autogo_onnx.choices import plan_key
from autogo_onnx.fidelity import Fidelity
from autogo_onnx.frontier import best, pareto
from autogo_onnx.gate import Verdict
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.planning import CLEARLY, Scored, promising, undominated
from autogo_onnx.plans import Point
from autogo_onnx.pricing import signature


def conv(pads: tuple[int, ...] = (1, 1, 1, 1), kernel: int = 3) -> OpGraph:
    op = Op.make(
        "Conv",
        (0,),
        kernel_shape=(kernel, kernel),
        pads=pads,
        strides=(1, 1),
        dilations=(1, 1),
        group=1,
    )
    return OpGraph(((1, 8, 6, 6),), (op,), ((1, 8, 6, 6),), (1,))


def scored(saving: float, score: float, ops: tuple[int, ...] = (0,), graph: Any = None) -> Scored:
    site = SimpleNamespace(cut=SimpleNamespace(ops=ops), graph=conv())
    candidate: Any = SimpleNamespace(site=site, graph=graph or conv(kernel=1, pads=(0,) * 4))
    return Scored(candidate, saving, 0.1, score)


def point(ratio: float, drop: float, *, passes: bool = True) -> Point:
    fidelity = Fidelity("expected_drop", 10, drop, drop, 1.0, drop, None, None)
    return Point(onnx.ModelProto(), (), ratio, Verdict(fidelity, None, passes))


def test_undominated_keeps_the_trade_off_only() -> None:
    items = [scored(0.1, 1.0), scored(0.2, 2.0), scored(0.15, 3.0), scored(0.1, 0.9)]
    assert [(i.saving, i.score) for i in undominated(items)] == [(0.2, 2.0), (0.1, 0.9)]


def test_promising_drops_only_what_is_clearly_beaten() -> None:
    def fit(saving: float, nmse: float) -> Any:
        return SimpleNamespace(saving=saving, nmse=nmse)

    good, near, bad = fit(0.2, 0.1), fit(0.2, 0.1 / CLEARLY - 1e-6), fit(0.1, 0.2)
    assert promising([good, near, bad]) == [good, near]
    assert promising([bad]) == [bad]


def test_best_is_the_fastest_that_passes() -> None:
    points = [point(0.5, 0.3, passes=False), point(0.7, 0.01), point(0.8, 0.0)]
    assert best(points) is points[1]
    assert best(points[:1]) is None
    assert best([]) is None


def test_pareto_is_sorted_by_latency_and_leaves_out_the_beaten() -> None:
    points = [point(0.8, 0.0), point(0.7, 0.01), point(0.75, 0.02), point(0.5, 0.3, passes=False)]
    assert [p.ratio for p in pareto(points)] == [0.5, 0.7, 0.8]


def test_plan_key_tells_plans_apart_and_not_their_order() -> None:
    one, other = scored(0.1, 0.0, (0,)), scored(0.1, 0.0, (3,))
    wider = scored(0.1, 0.0, (0,), graph=conv(kernel=2))
    assert plan_key([one, other]) == plan_key([other, one])
    assert plan_key([one]) != plan_key([other])
    assert plan_key([one]) != plan_key([wider])


def test_signature_ignores_pads_and_nothing_else() -> None:
    assert signature(conv(), conv((0, 0, 2, 2))) == signature(conv(), conv((2, 2, 0, 0)))
    assert signature(conv(), conv()) != signature(conv(), conv(kernel=2))
