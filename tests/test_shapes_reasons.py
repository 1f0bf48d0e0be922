"""Refusals of the shape model: they name what conflicts, with sizes or channels."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_cases import Segment, random_demand, random_segment
from shape_checks import reason

from autogo_onnx.shapes import Infeasible, adapt, explanation
from autogo_onnx.shapes.problem import Problem


def test_refusals_name_what_conflicts() -> None:
    s = Segment((1, 16, 8, 8))
    kept = s.graph(s.relu(s.pool(0)))
    assert reason(kept, [(1, 16, 8, 8)], [(1, 32, 4, 4)]) == (
        "nothing changes channels between these: input 0 has 16 channels, "
        "output 0 of Relu (operator 1) has 32 channels"
    )
    assert reason(kept, [(1, 16, 8, 8)], [(1, 16, 1, 1)]) == (
        "output 0 of Relu (operator 1) can be 2x2 or 2x3 or 3x2 ... but must be 1x1"
    )
    s = Segment((1, 16, 8, 8))
    dense = s.graph(s.concat(0, s.conv(0, 16)))
    assert reason(dense, [(1, 64, 8, 8)], [(1, 64, 8, 8)]) == (
        "Concat (operator 1) needs 64 channels, its branches can give 65 channels or more "
        "(input 0 has 64 channels, output 0 of Concat (operator 1) has 64 channels)"
    )
    assert "cannot serve 2 and 1" in reason(dense, [(1, 64, 8, 8)] * 2, [(1, 100, 8, 8)])
    assert "batch" in reason(dense, [(1, 64, 8, 8)], [(2, 100, 8, 8)])
    assert reason(s.graph(), [(1, 64, 8, 8)], []) == "a segment without inputs or without outputs"


def test_an_unknown_operator_is_named() -> None:
    s = Segment((1, 16, 8, 8))
    assert reason(s.graph(s.unary("LSTM", 0)), [(1, 8, 8, 8)], [(1, 8, 8, 8)]).startswith(
        "LSTM (operator 0)"
    )


def test_a_concatenation_says_what_its_branches_can_give() -> None:
    s = Segment((1, 32, 8, 8), (1, 64, 8, 8))
    twice = s.graph(s.concat(0, 0), s.conv(1, 48))
    told = reason(twice, [(1, 32, 8, 8), (1, 64, 8, 8)], [(1, 96, 8, 8), (1, 48, 8, 8)])
    assert told.startswith(
        "Concat (operator 0) needs 48 or 96 channels, its branches can give 64 or 128 channels"
    )


def test_a_conflict_of_several_sums_names_them_all() -> None:
    s = Segment((1, 16, 8, 8))
    shared = s.conv(0, 16)
    graph = s.graph(s.concat(shared, 0), s.concat(shared, s.relu(shared)))
    told = reason(graph, [(1, 16, 8, 8)], [(1, 48, 8, 8), (1, 48, 8, 8)])
    for name in ("Concat (operator 1)", "Concat (operator 3)", "input 0 has 16 channels"):
        assert name in told
    assert "output 0 of Concat (operator 1) has 48 channels" in told


def test_a_conflict_leaves_out_what_has_nothing_to_do_with_it() -> None:
    s = Segment((1, 16, 8, 8))
    branch = s.relu(s.concat(s.conv(0, 8), s.conv(0, 8)))
    graph = s.graph(s.relu(0), s.conv(branch, 16), s.conv(0, 24, 3, 2))
    told = reason(graph, [(1, 16, 8, 8)], [(1, 32, 8, 8), (1, 64, 8, 8), (1, 96, 4, 4)])
    assert told == (
        "nothing changes channels between these: input 0 has 16 channels, "
        "output 0 of Relu (operator 4) has 32 or 64 or 96 channels"
    )


def test_sizes_that_two_boundary_tensors_share() -> None:
    s = Segment((1, 16, 8, 8), (1, 16, 8, 8))
    graph = s.graph(s.join("Add", 0, 1))
    told = reason(graph, [(1, 16, 8, 8), (1, 16, 4, 4)], [(1, 16, 8, 8)])
    assert told == ("these sizes do not go together: input 0 is 4x4 or 8x8, input 1 is 4x4 or 8x8")


def test_the_lattice_is_never_to_blame() -> None:
    """It is left where nothing on it fits: 1 + 1 channels would do, were it not for the sizes."""
    s = Segment((1, 128, 16, 16), (1, 128, 16, 16))
    graph = s.graph(s.concat(s.relu(s.conv(0, 128, 1)), s.relu(s.conv(1, 128, 1))))
    told = reason(graph, [(1, 64, 30, 46), (1, 64, 31, 47)], [(1, 2, 31, 47)])
    assert told == (
        "these sizes do not go together: input 0 is 30x46 or 31x47, input 1 is 30x46 or 31x47"
    )


def test_channels_that_conflict_at_these_sizes_only() -> None:
    s = Segment((1, 64, 8, 8), (1, 32, 4, 4))
    graph = s.graph(s.concat(s.conv(0, 32, 3, 2), 1))
    told = reason(graph, [(1, 16, 32, 32), (1, 32, 16, 16)], [(1, 32, 16, 16)])
    assert told == (
        "Concat (operator 1) needs 32 channels, its branches can give 33 channels or more (input 1 "
        "has 32 channels, output 0 of Concat (operator 1) has 32 channels), where input 1 is 16x16"
    )


def test_a_multiple_that_cannot_be_is_said_as_a_formula_in_lowest_terms() -> None:
    s = Segment((1, 8, 8, 8))
    wide = s.graph(s.conv(s.conv(0, 8), 24, group=8))
    assert reason(wide, [(1, 10, 9, 9)], [(1, 31, 9, 9)]) == (
        "Conv (operator 1) means Conv (operator 1) = 3 x Conv (operator 0), "
        "but output 0 of Conv (operator 1) has 31 channels"
    )
    s = Segment((1, 16, 8, 8))
    quarter = s.graph(s.put("Slice", 0, (1, 4, 8, 8), starts=(4,), ends=(8,), axes=(1,)))
    assert "means 4 x Slice (operator 0) = input 0" in reason(
        quarter, [(1, 26, 8, 8)], [(1, 6, 8, 8)]
    )


def test_operators_that_disagree_on_the_axis_of_channels_are_named() -> None:
    s = Segment((1, 8, 8, 8))
    turned = s.put("Transpose", 0, (1, 8, 8, 8), perm=(0, 2, 3, 1))
    told = reason(s.graph(s.conv(0, 16), s.conv(turned, 16)), [(1, 8, 4, 4)], [(1, 8, 4, 4)] * 2)
    assert (
        told == "Conv (operator 1) takes axis 1 of input 0 for channels, Conv (operator 2) axis 2"
    )


def test_the_one_channel_of_a_gate_is_named() -> None:
    s = Segment((1, 16, 8, 8))
    mean = s.put("ReduceMean", 0, (1, 1, 8, 8), axes=(1,), keepdims=1)
    graph = s.graph(s.join("Mul", 0, mean), mean)
    told = reason(graph, [(1, 16, 8, 8)], [(1, 16, 8, 8), (1, 16, 8, 8)])
    assert told == (
        "output 1 of ReduceMean (operator 0) has 16 channels, but by its structure 1 channel"
    )


def test_other_numbers_of_axes_are_said_with_the_shapes() -> None:
    s = Segment((1, 16, 8, 8))
    told = reason(s.graph(s.relu(0)), [(1, 16, 8, 8)], [(1, 16)])
    assert told == "its outputs [1,16,8,8] have other numbers of axes than [1,16]"


def test_a_reason_is_searched_for_only_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Problem] = []

    def explain(problem: Problem) -> str:
        calls.append(problem)
        return "why"

    monkeypatch.setattr(explanation, "explain", explain)
    s = Segment((1, 16, 8, 8))
    result = adapt(s.graph(s.relu(0)), [(1, 16, 8, 8)], [(1, 32, 8, 8)])
    assert isinstance(result, Infeasible)
    assert not calls
    assert (result.reason, result.reason, len(calls)) == ("why", "why", 1)


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.booleans())
def test_every_refusal_names_an_operator_and_a_number(seed: int, rich: bool) -> None:
    segment = random_segment(seed, rich=rich)
    result = adapt(segment, *random_demand(segment, seed))
    if isinstance(result, Infeasible):
        names = [f"{op.kind} (operator {i})" for i, op in enumerate(segment.ops)]
        ports = [f"put {n} " for n in range(8)]
        assert any(name in result.reason for name in (*names, *ports)), result.reason
        numbers = result.reason
        for name in (*names, *ports):
            numbers = numbers.replace(name, "")
        assert any(c.isdigit() for c in numbers), result.reason
