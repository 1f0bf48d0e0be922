from __future__ import annotations

from collections.abc import Sequence

import onnx
import pytest
from fitting_cases import convolution
from hypothesis import given
from hypothesis import strategies as st
from net_cases import pictures, reading_of, residual_net

from autogo_onnx import pricing
from autogo_onnx.deadline import Deadline
from autogo_onnx.fitting.moments import Window
from autogo_onnx.given import Pace
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.node_times import NodeTime
from autogo_onnx.pricing import (
    GROUP,
    Change,
    Measure,
    all_replaced,
    disjoint,
    measure_savings,
    signature,
)
from autogo_onnx.sites import find_sites
from autogo_onnx.step import Step
from autogo_onnx.variants import variants

MODEL = residual_net(width=16, blocks=2)
READING = reading_of(MODEL, x=(1, 3, 12, 12))
SITES = find_sites(READING, [], fixed_size=True)
FEED = {"x": pictures(0, 1, 3, 12, 12)}


def steps(kind: str, *names: str) -> list[Step]:
    """The first variant of a kind at the convolutions of these names."""
    return [
        Step(site, next(v.graph for v in variants(site.graph) if v.name == kind), {})
        for site in SITES
        if len(site.names) == 1 and site.names[0] in names
    ]


def test_equal_pairs_share_a_signature_whatever_their_pads() -> None:
    same = Window((3, 3), pads=(1, 1, 1, 1))
    a, b = convolution(8, 8, (9, 9), same), convolution(8, 16, (9, 9), same)
    shifted = convolution(8, 8, (9, 9), Window((3, 3), pads=(2, 1, 0, 1)))
    point = convolution(8, 8, (9, 9), Window((1, 1)))
    assert signature(a, point) == signature(shifted, point)
    assert len({signature(*p) for p in ((a, point), (point, a), (b, point), (a, b))}) == 4
    assert signature(a, point).startswith("segment/")


def test_disjoint_takes_what_comes_first() -> None:
    wide = next(site for site in SITES if site.names == ("node2", "node3", "node4"))
    pair = [Step(wide, wide.graph, {})]
    alone = steps("separable", "node2", "node4", "node7")
    assert disjoint([*pair, *alone]) == [*pair, alone[2]]
    assert disjoint([*alone, *pair]) == alone


ALIKE = {
    "a": steps("separable", "node2", "node4", "node7", "node9"),
    "b": steps("low_rank", "node2"),
    "c": steps("low_rank", "node4"),
    "known": steps("separable", "node4"),
}
CHANGES = {
    key: Change(
        frozenset(READING.nodes[i].outputs[0].name for s in some for i in s.site.cut.ops), len(some)
    )
    for key, some in ALIKE.items()
}


def make(keys: Sequence[str]) -> tuple[onnx.ModelProto, dict[str, str]]:
    pairs = [(key, step) for key in keys for step in ALIKE[key]]
    model, new = all_replaced(MODEL, [step for _, step in pairs], 0)
    return model, {name: pairs[k][0] for name, k in new.items()}


def test_prices_are_shares_per_site_and_known_ones_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pricing, "SECONDS_PER_SESSION", 0.02)
    table = LatencyTable("1", 1, {"known": 0.25})
    done: list[int] = []
    assert measure_savings(MODEL, CHANGES, make, Measure(FEED), table, done.append) == []
    assert set(table.entries) == {"a", "b", "c", "known"}
    assert table.entries["known"] == 0.25
    assert all(-2.0 < table.entries[key] < 1.0 for key in "abc")
    assert table.entries["a"] < 0.25
    assert done == [1, 3]


def test_changes_that_share_a_model_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(models: Sequence[onnx.ModelProto], _: Measure) -> tuple[list[list[NodeTime]], float]:
        """A new operator of the k-th replacement in a model takes 2 + k us, any other 10."""
        times = [[NodeTime(n.name, us(n.name)) for n in model.graph.node] for model in models]
        return times, whole

    whole = 9.0 * len(MODEL.graph.node)  # timing takes a microsecond per operator

    def us(name: str) -> float:
        return 2.0 + int(name.split("/")[1]) if "/" in name else 10.0

    monkeypatch.setattr(pricing, "_timed", timed)
    table = LatencyTable("1", 1)
    measure_savings(MODEL, CHANGES, make, Measure(FEED), table)
    # A pair's first operator is new, its second makes what the site made.
    costs = {"a": 2.0 + (0 + 1 + 2 + 3) / 4, "b": 2.0, "c": 3.0, "known": 2.0}
    expected = {key: (1.0 - us) / whole for key, us in costs.items()}
    assert table.entries == pytest.approx(expected)


def test_nothing_is_measured_when_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "interleave", None)
    prices = dict.fromkeys(CHANGES, 0.5)
    table = LatencyTable("1", 1, dict(prices))
    measure_savings(MODEL, CHANGES, make, Measure(FEED), table)
    assert table.entries == prices


def test_no_group_is_begun_that_would_end_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "interleave", None)
    table = LatencyTable("1", 1, {"known": 0.25})
    late = Measure(FEED, deadline=Deadline(0.0))
    assert measure_savings(MODEL, CHANGES, make, late, table) == ["a", "b", "c"]
    assert table.entries == {"known": 0.25}


def test_slow_or_large_models_are_measured_a_few_at_a_time() -> None:
    assert Measure(FEED, pace=Pace(0.01, 0.001)).group == GROUP
    assert Measure(FEED, pace=Pace(0.5, 0.1)).group == 3
    assert Measure(FEED, pace=Pace(10.0, 1.0)).group == 1


@given(st.lists(st.frozensets(st.sampled_from("abcdef"), min_size=1), max_size=12))
def test_changes_share_a_model_only_where_they_change_different_layers(
    touched: list[frozenset[str]],
) -> None:
    changes = {str(k): Change(tensors, 1) for k, tensors in enumerate(touched)}
    models = pricing._shared(changes)
    assert sorted(key for keys in models for key in keys) == sorted(changes)
    for keys in models:
        assert sum(len(changes[key].tensors) for key in keys) == len(
            frozenset().union(*(changes[key].tensors for key in keys))
        )
    assert all(keys[0] == min(keys, key=int) for keys in models)
