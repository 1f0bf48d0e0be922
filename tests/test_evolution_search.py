"""The search as a whole: valid networks, limits, the same result however it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from autogo_onnx import cost
from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import InputError
from autogo_onnx.evolution import (
    Child,
    Edit,
    Evolution,
    Judges,
    Limits,
    Member,
    Objective,
    PredictedAccuracy,
    Run,
    Settings,
    Unit,
    edited,
    evolve,
    origins,
)
from autogo_onnx.evolution.member import key_of
from autogo_onnx.evolution.predicted import rows_at_places
from autogo_onnx.evolution.settings import operators
from autogo_onnx.features import COLUMNS
from autogo_onnx.opgraph import Op, OpGraph, cut
from autogo_onnx.predictor import Predicted
from autogo_onnx.segment_db import workers
from autogo_onnx.segment_db.families.naming import network
from autogo_onnx.serialize import canonical_form
from autogo_onnx.work_folder import WorkFolder, work_folder
from benchmarks.evolve_speed import is_valid

SMALL = Settings(iterations=2, parents=3, children=12)


@lru_cache(maxsize=1)
def small_network() -> OpGraph:
    return network("nasbench_macro:00121001").folded()


class Larger:
    """The more channels inside, the better; a made-up judge that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Child] = []

    def changes(self, children: Sequence[Child]) -> Predicted:
        self.shown += children
        widths = [sum(shape[1] for shape in c.graph.op_shapes[:-3]) for c in children]
        return Predicted(np.array(widths, np.float64), np.zeros(len(children)))


def found(
    settings: Settings = SMALL, limits: Limits | None = None, run: Run | None = None
) -> Evolution:
    return evolve(small_network(), Judges(Larger()), settings, limits or Limits(), run or Run())


def told(result: Evolution) -> object:
    """All that must be the same, whoever did the work."""
    members = [
        (m.key, m.edits, m.macs, m.parameters, m.change, m.parent, m.iteration)
        for m in result.front
    ]
    counts = [replace(c, seconds=0.0) for c in result.counts]
    return members, result.history, counts


@pytest.mark.parametrize("unit", list(Unit))
def test_children_are_valid_distinct_and_within_the_limits(unit: Unit) -> None:
    value, base = Larger(), small_network()
    limits = Limits(macs_change=(-0.3, 0.2), most_parameters_change=0.5)
    settings = replace(SMALL, unit=unit, iterations=3)
    result = evolve(base, Judges(value), settings, limits)

    assert len(value.shown) > 30
    for child in value.shown[::4]:
        assert is_valid(child.graph)
        assert child.macs == cost.macs(child.graph)
        assert child.parameters == cost.parameters(child.graph)
        assert (child.graph.input_shapes, child.graph.output_shapes) == (
            base.input_shapes,
            base.output_shapes,
        )
        if unit is Unit.OP:
            assert len(child.edit.ops) == 1
            assert len(child.edit.replacement.ops) <= 1
    assert all(0.7 <= c.macs / cost.macs(base) <= 1.2 for c in value.shown)
    assert all(c.parameters <= 1.5 * cost.parameters(base) for c in value.shown)
    # Two parents may draw the same network at a time; the history has it once.
    distinct = {key_of(canonical_form(c.graph)) for c in value.shown}
    assert len(distinct) == result.history - 1 == sum(c.children for c in result.counts)


def test_members_are_their_edits_on_the_base() -> None:
    result = found(replace(SMALL, iterations=3))
    assert max(len(m.edits) for m in result.front) > 1
    for member in result.front:
        assert edited(result.base.graph, member.edits) == member.graph
        assert key_of(canonical_form(member.graph)) == member.key
        kept = origins(result.base.graph, member.edits)
        for index, was in enumerate(kept):
            if was is not None:
                assert member.graph.ops[index].kind == result.base.graph.ops[was].kind
                assert member.graph.op_shapes[index] == result.base.graph.op_shapes[was]


def test_front_is_unbeaten_and_sorted() -> None:
    members = found().front
    changes, macs = [m.change for m in members], [m.macs for m in members]
    assert len(members) > 2
    assert changes == sorted(changes, reverse=True)
    assert macs == sorted(macs, reverse=True)


def test_seed_decides_and_repeats() -> None:
    assert told(found()) == told(found())
    assert told(found()) != told(found(replace(SMALL, seed=1)))


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same() -> None:
    alone = found()
    with workers.local(2) as pair:
        assert told(found(run=Run(workers=pair))) == told(alone)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_search_goes_on(tmp_path: Path, after: int) -> None:
    settings = replace(SMALL, iterations=3)
    seen: list[int] = []

    def stop(now: Evolution) -> None:
        seen.append(len(now.counts))
        if len(now.counts) == after:
            raise Stopped

    with pytest.raises(Stopped), work_folder(tmp_path / "work", b"key") as folder:
        found(settings, run=Run(folder=folder, watch=stop))
    with work_folder(tmp_path / "work", b"key") as folder:
        again = found(settings, run=Run(folder=folder, watch=lambda e: seen.append(len(e.counts))))
    assert seen == [*range(1, after + 1), *range(after + 1, 4)]
    assert told(again) == told(found(settings))
    assert not (tmp_path / "work").exists()


def test_what_was_kept_for_other_limits_is_not_gone_on_with(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path, b"key")
    first = found(run=Run(folder=folder))
    narrow = Limits(macs_change=(-0.01, 0.0))
    other = found(limits=narrow, run=Run(folder=folder))
    assert told(other) == told(found(limits=narrow)) != told(first)


def test_only_admitted_networks_count() -> None:
    def admit(graph: OpGraph) -> bool:
        return len(graph.ops) <= len(small_network().ops)

    value = Larger()
    result = evolve(small_network(), Judges(value, admit), SMALL)
    refused = sum(c.refused.get("not admitted", 0) for c in result.counts)
    assert refused
    assert all(admit(child.graph) for child in value.shown)


def test_operators_that_are_forbidden_are_not_brought_in() -> None:
    limits = Limits(forbidden=frozenset({"DepthwiseConv", "GroupedConv", "Concat"}))
    for member in found(limits=limits).front:
        for edit in member.edits:
            assert limits.forbidden.isdisjoint(operators(edit.replacement))


def test_without_allowed_operators_only_identities_are_left() -> None:
    limits = Limits(macs_change=(-0.9, 0.1), allowed=frozenset({"Xor"}))
    result = found(Settings(iterations=1, parents=1, children=4), limits)
    assert result.history > 1
    assert {edit.source for m in result.front for edit in m.edits} <= {"identity"}


def test_latency_is_judged_by_the_sum_of_its_parts() -> None:
    judges = Judges(Larger(), latency_ms=lambda graph: float(len(graph.ops)))
    settings = replace(SMALL, objectives=(Objective.LATENCY,))
    result = evolve(small_network(), judges, settings, Limits(most_latency_change=0.0))
    for member in result.front:
        assert member.latency_ms == len(member.graph.ops) <= len(small_network().ops)


def test_no_time_gives_the_base() -> None:
    result = found(run=Run(deadline=Deadline(0.0)))
    assert [m.key for m in result.front] == [result.base.key]
    assert result.counts == ()


def test_a_network_without_sources_has_no_children() -> None:
    alone = OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,))
    result = evolve(alone, Judges(Larger()), SMALL)
    assert [len(result.front), result.history] == [1, 1]


def test_predicted_accuracy_depends_on_the_network_alone() -> None:
    base = small_network()
    value = Larger()
    evolve(base, Judges(value), replace(SMALL, iterations=1))
    some = value.shown[:4]
    predicted = PredictedAccuracy(base)
    together = predicted.changes(some)
    apart = [predicted.changes([child]).mean[0] for child in some]
    assert together.mean.tolist() == apart
    assert (together.deviation >= 0).all()
    # Operators replaced by themselves.
    same = Edit((3, 4), cut(base, (3, 4)).graph, "")
    (unchanged,) = predicted.changes([Child(_root(base), same, 0, 0)]).mean
    assert unchanged == 0.0


@pytest.mark.parametrize("count", [0, 1, 5, 16, 40])
def test_networks_of_few_operators_are_seen_at_as_many_places(count: int) -> None:
    ops = tuple(Op("Relu", (index,)) for index in range(count))
    chain = OpGraph(((1, 4, 8, 8),), ops, ((1, 4, 8, 8),) * count, (count,))
    rows = rows_at_places(chain, 16)
    assert rows.shape == (16, len(COLUMNS))
    seen = rows[:, COLUMNS.index("segment.activation_ops")]
    assert seen.sum() == max(count, 16 * (count > 0))


def _root(graph: OpGraph) -> Member:
    return Member((), graph, "", 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"children": 0},
        {"consecutive": 4},
        {"dropped": 1.0},
        {"seed": -1},
        {"objectives": (Objective.MACS, Objective.MACS)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_limits_that_the_base_breaks_are_refused() -> None:
    with pytest.raises(InputError, match="breaks the limit"):
        Limits(macs_change=(0.1, 0.2))
