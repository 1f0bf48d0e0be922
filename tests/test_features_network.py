"""Sites of a whole network, against cutting it up and walking every way."""

from __future__ import annotations

import random
from math import log2

import numpy as np
import pytest
from feature_cases import (
    all_ways,
    mean_ahead,
    mean_back,
    named,
    plain_amounts,
    plain_ways,
    random_graph,
    random_link,
    residual_block,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autogo_onnx import cost, features
from autogo_onnx.features.passes import passes, passes_after
from autogo_onnx.features.ways import ALL_WAYS
from autogo_onnx.opgraph import Cut, Op, OpGraph, cut
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segments import is_convex
from autogo_onnx.serialize import canonical_hash
from autogo_onnx.splice import splice

RESIDUAL = "|skip_connect~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|"


def drawn(seed: int) -> tuple[OpGraph, Cut]:
    """A random network and a convex part of it, which need not be contiguous."""
    choice = random.Random(seed)
    graph = random_graph(choice)
    ops = sorted(choice.sample(range(len(graph.ops)), choice.randint(1, len(graph.ops))))
    assume(is_convex(graph, ops))
    part = cut(graph, ops)
    assume(part.inputs and part.outputs)
    return graph, part


def row_of(graph: OpGraph, ops: range, replacement: OpGraph) -> features.Rows:
    one: features.Rows = features.rows(features.Network(graph).site(ops), [replacement])[0]
    return one


def contexts_equal(one: features.Context, other: features.Context) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in vars(one))


@settings(max_examples=30)
@given(st.integers(0, 1 << 32))
def test_a_row_is_what_its_columns_say(seed: int) -> None:
    graph, part = drawn(seed)
    found = named(features.rows(features.Network(graph).site(part.ops), [part.graph])[0])
    side = 16.0
    last = part.ops[-1]
    before = [i for i in range(last) if i not in part.ops]
    behind = range(last + 1, len(graph.ops))
    to = all_ways(graph, range(graph.n_inputs), part.inputs)
    away = [
        way
        for end in graph.outputs
        for way in all_ways(graph, part.outputs, [end])
        if not set(way) & set(part.ops)
    ]
    expected = {
        **{f"predecessor.{k}": v for k, v in plain_amounts(graph, before).items()},
        **{f"successor.{k}": v for k, v in plain_amounts(graph, behind).items()},
        **{f"predecessor.{k}": v for k, v in plain_ways(graph, to, side).items()},
        **{f"successor.{k}": v for k, v in plain_ways(graph, away, side).items()},
    }
    for name in found.keys() & expected.keys():
        assert found[name] == pytest.approx(expected[name], rel=1e-6), name
    assert len(found.keys() & expected.keys()) == 2 * (9 + 12 + 1)
    assert found["network.macs_log2"] == pytest.approx(log2(1 + cost.macs(graph)), rel=1e-6)
    total = log2(1 + cost.activation_bytes(graph))
    assert found["network.bytes_log2"] == pytest.approx(total, rel=1e-6)


@given(st.integers(0, 1 << 32))
def test_means_are_those_of_random_walks(seed: int) -> None:
    graph, part = drawn(seed)
    found = named(features.rows(features.Network(graph).site(part.ops), [part.graph])[0])
    for step in ("weighted", "activation"):
        before = mean_back(graph, part.inputs, step) or 0.0
        behind = mean_ahead(graph, part.outputs, step, part.ops) or 0.0
        assert found[f"predecessor.{step}_path_mean"] == pytest.approx(before, rel=1e-6)
        assert found[f"successor.{step}_path_mean"] == pytest.approx(behind, rel=1e-6)
        own = mean_back(part.graph, part.graph.outputs, step) or 0.0
        assert found[f"replacement.{step}_path_mean"] == pytest.approx(own, rel=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 1 << 32))
def test_the_ways_of_links_of_a_chain_are_those_of_the_chain(seed: int) -> None:
    choice = random.Random(seed)
    net = Builder((1, 8, 16, 16))
    graph = net.graph(net.relu(net.relu(net.relu(0))))
    links = [random_link(choice) for _ in range(3)]
    for index in (2, 1, 0):
        graph = splice(graph, cut(graph, [index]), links[index]).graph
    first, second = len(links[0].ops), len(links[0].ops) + len(links[1].ops)
    found = named(row_of(graph, range(first, second), links[1]))
    walked = all_ways(graph, [0], graph.outputs)
    compared = 0
    for name, value in plain_ways(graph, walked, unit=16.0).items():
        if f"network.{name}" in found:
            assert found[f"network.{name}"] == pytest.approx(value, rel=1e-6, abs=1e-5), name
            compared += 1
    assert compared == 12 + 4 * 5


@settings(max_examples=30)
@given(st.integers(0, 1 << 32))
def test_an_edited_network_is_the_network_described_anew(seed: int) -> None:
    graph, part = drawn(seed)
    choice = random.Random(seed)
    replacement = _other(choice, part.graph)
    edited = features.Network(graph).replaced(part.ops, replacement)
    anew = features.Network(edited.graph)
    for index in choice.sample(range(len(edited.graph.ops)), min(3, len(edited.graph.ops))):
        assert contexts_equal(edited.site([index]), anew.site([index]))


def _other(choice: random.Random, segment: OpGraph) -> OpGraph:
    """A graph with the segment's boundary: any link, nothing, or with one operator another."""
    shape = segment.input_shapes[0]
    if segment.n_inputs == 1 and segment.output_shapes == (shape,) == ((1, 8, 16, 16),):
        identity = OpGraph((shape,), (), (), (0,))
        return choice.choice([random_link(choice), identity])
    index = choice.randrange(len(segment.ops))
    op, ops = segment.ops[index], list(segment.ops)
    if op.inputs and segment.shape(op.inputs[0]) == segment.op_shapes[index]:
        ops[index] = Op.make("Relu", op.inputs[:1])
    return OpGraph(segment.input_shapes, tuple(ops), segment.op_shapes, segment.outputs)


@given(st.integers(0, 1 << 32))
def test_a_part_in_its_own_place_is_the_same_network(seed: int) -> None:
    graph, part = drawn(seed)
    again = splice(graph, part, part.graph)
    assert canonical_hash(again.graph) == canonical_hash(graph)
    assert again.graph.output_shapes == graph.output_shapes
    kept = {new: old for new, old in enumerate(again.origins) if old is not None}
    assert sorted([*kept.values(), *part.ops]) == list(range(len(graph.ops)))
    for new, old in kept.items():
        assert again.graph.ops[new].kind == graph.ops[old].kind
        assert again.graph.op_shapes[new] == graph.op_shapes[old]
    if part.ops == tuple(range(part.ops[0], part.ops[-1] + 1)):
        assert again.graph == graph


def test_only_what_an_edit_changed_is_described_again() -> None:
    graph = nasbench201.build(RESIDUAL).folded()
    middle = len(graph.ops) // 2
    before = passes(graph)
    part = cut(graph, [middle])
    edit = splice(graph, part, part.graph)
    assert edit.graph == graph
    after = passes_after(before, part, edit)
    kept = [one is other for one, other in zip(after.ahead, before.ahead, strict=True)]
    assert kept.count(False) == 1, "the operator's output alone"
    kept = [one is other for one, other in zip(after.back, before.back, strict=True)]
    assert all(kept[: part.inputs[0]])
    assert all(kept[graph.n_inputs + middle + 1 :])


def test_nothing_before_the_segment() -> None:
    graph = nasbench_macro.build("01200120").folded()
    found = named(row_of(graph, range(5), cut(graph, range(5)).graph))
    assert np.isfinite(list(found.values())).all()
    assert found["network.depth"] == found["predecessor.macs_log2"] == 0


def test_an_empty_segment_stands_behind_its_tensor() -> None:
    graph = nasbench_macro.build("01200120").folded()
    tensor = 7
    site = features.Network(graph).site_at(tensor)
    found = named(features.rows_of_parts(site, site.segment[None])[0])
    neighbour = named(row_of(graph, range(tensor, tensor + 1), cut(graph, [tensor]).graph))
    assert found["replacement.ops"] == found["replacement.macs_log2"] == 0
    assert found["predecessor.macs_log2"] == neighbour["predecessor.macs_log2"]
    assert found["network.macs_log2"] == neighbour["network.macs_log2"]
    assert found["network.weighted_path_max"] == neighbour["network.weighted_path_max"]


def test_rows_equal_single_rows() -> None:
    graph = nasbench201.build(RESIDUAL).folded()
    site = features.Network(graph).site(range(20, 28))
    segment = cut(graph, range(20, 28)).graph
    replacements = [segment, residual_block(), OpGraph(segment.input_shapes, (), (), (0,))]
    together = features.rows(site, replacements)
    assert together.dtype == np.float32
    assert together.shape == (3, len(features.COLUMNS))
    for one, replacement in zip(together, replacements, strict=True):
        assert np.array_equal(one, features.rows(site, [replacement])[0])
    assert features.rows(site, []).shape == (0, len(features.COLUMNS))


def test_a_segment_replaced_by_itself_changes_nothing() -> None:
    graph = nasbench_macro.build("12021021").folded()
    middle = range(len(graph.ops) // 3, 2 * len(graph.ops) // 3)
    segment = cut(graph, middle).graph
    found = named(row_of(graph, middle, segment))
    changes = {name: v for name, v in found.items() if name.startswith("change.")}
    assert len(changes) > 80
    assert not any(changes.values())
    assert found["network.macs_log2_change"] == 0
    assert found["network.macs_log2"] == pytest.approx(np.log2(1 + cost.macs(graph)), rel=1e-6)
    share = cost.macs(segment) / cost.macs(graph)
    assert found["network.macs_share"] == pytest.approx(share, rel=1e-5)


def test_a_replaced_block_is_seen_as_in_the_network_that_has_it() -> None:
    """P, S' and C of the rewrite are those of the network after, and so is its predicted value."""
    parent, child = (nasbench_macro.build(code) for code in ("11210110", "11220110"))
    before, after = (built.folded_places()[3] for built in (parent, child))
    replacement = cut(child.folded(), after).graph
    changed = named(row_of(parent.folded(), before, replacement))
    own = named(row_of(child.folded(), after, replacement))
    seen = [
        name
        for name in features.COLUMNS
        if name.startswith(("replacement.", "predecessor.", "successor.", "network."))
        and not name.endswith(("_change", "_share"))
    ]
    assert [changed[name] for name in seen] == pytest.approx([own[name] for name in seen], rel=1e-5)
    assert changed["change.macs_log2"] > 0
    assert own["change.macs_log2"] == 0


def test_columns_that_are_the_same_for_all_replacements_come_once() -> None:
    assert len(set(features.COLUMNS)) == len(features.COLUMNS)
    assert "replacement.in_channels_log2" in features.COLUMNS
    assert "segment.in_channels_log2" not in features.COLUMNS


def test_an_identity_leaves_the_readers_to_its_input() -> None:
    graph = residual_block()
    (relu,) = [i for i, op in enumerate(graph.ops) if op.kind == "Relu"]
    part = cut(graph, [relu])
    nothing = OpGraph(part.graph.input_shapes, (), (), (0,))
    assert len(splice(graph, part, nothing).graph.ops) == len(graph.ops) - 1
    edited = features.Network(graph).replaced([relu], nothing)
    anew = features.Network(edited.graph)
    assert contexts_equal(edited.site([0]), anew.site([0]))


def test_sites_of_a_network_with_very_many_ways() -> None:
    net = Builder((1, 4, 4, 4))
    x = 0
    for _ in range(2000):
        x = net.add(x, x)
    graph = net.graph(x)
    found = named(row_of(graph, range(1500, 1501), cut(graph, [1500]).graph))
    assert found[f"predecessor.{ALL_WAYS}"] == pytest.approx(1500)
    assert found[f"successor.{ALL_WAYS}"] == pytest.approx(499)
    assert found["network.pointwise_spatial_ways_log2"] == pytest.approx(2000)


def test_networks_without_operators_inputs_or_outputs() -> None:
    shape = (1, 8, 4, 4)
    identity = OpGraph((shape,), (), (), (0,))
    found = named(features.rows(features.Network(identity).site_at(0), [identity])[0])
    assert found["network.depth"] == found["network.macs_log2"] == 0
    unread = OpGraph((shape,), (Op.make("Relu", (0,)),), (shape,), ())
    source = OpGraph((), (Op.make("Custom", ()),), (shape,), (0,))
    for graph in (unread, source):
        assert np.isfinite(row_of(graph, range(1), cut(graph, [0]).graph)).all()
    assert np.isfinite(features.describe(OpGraph((), (), (), ()))).all()
