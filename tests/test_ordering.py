"""The canonical form is exact: equal for isomorphic graphs however alike their parts, no others."""

import random
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isomorphic_graphs import (
    SHAPE,
    braid,
    branches,
    complete,
    doubled,
    layers,
    pairs,
    rings,
    rook,
    shrikhande,
    shuffled,
)

from autogo_onnx.opgraph import Op, OpGraph, Shape, to_json
from autogo_onnx.ordering import refinement
from autogo_onnx.ordering.post_order import NotCanonical
from autogo_onnx.segment_db.families import nasbench201
from autogo_onnx.segment_db.isomorphism import are_isomorphic
from autogo_onnx.serialize import canonical_form, canonical_hash, canonical_order, structure, tokens

HARD = {
    "one ring of six": rings(6),
    "two rings of three": rings(3, 3),
    "ring of differences": rings(12, kind="Sub"),
    "rings in rings": rings(3, 4, 5, 3, 4, 5, 3),
    "rook": rook(),
    "Shrikhande": shrikhande(),
    "all pairs": complete(8),
    "all pairs of two kinds": pairs(10, [(n, 5 + m) for n in range(5) for m in range(5)]),
    "all to all": layers(3, 7),
    "equal branches": branches(12, 3),
    "pairs of branches": doubled(6, 2),
    "braid": braid(12),
}


@st.composite
def alike(draw: st.DrawFn) -> OpGraph:
    """Graphs of which every part looks like many others, but for shapes now and then."""
    size = draw(st.integers(3, 7))
    vertex = st.integers(0, size - 1)
    edges = draw(st.lists(st.tuples(vertex, vertex), min_size=1, max_size=9))
    graph = pairs(size, edges, draw(st.sampled_from(["Add", "Sub"])))
    if draw(st.booleans()):
        graph = rings(*draw(st.lists(st.integers(2, 4), min_size=1, max_size=3)))
    shapes = st.sampled_from([SHAPE, SHAPE, SHAPE, (1, 8, 2, 2)])
    n_ops = len(graph.ops)
    op_shapes = draw(st.lists(shapes, min_size=n_ops, max_size=n_ops))
    return replace(graph, op_shapes=tuple(op_shapes))


def with_shapes(graph: OpGraph, seed: int) -> OpGraph:
    """The same structure in other shapes, with attributes that do not matter."""
    draw = random.Random(seed)
    shapes = [(1, 8, 2 * draw.randint(1, 2), 4) for _ in graph.ops]
    ops = [op.with_attributes(epsilon=draw.choice([1e-3, 1e-5])) for op in graph.ops]
    return replace(graph, ops=tuple(ops), op_shapes=tuple(shapes))


@settings(max_examples=150, deadline=None)
@given(alike(), st.integers(0, 2**32))
def test_numbering_does_not_matter(graph: OpGraph, seed: int) -> None:
    form = canonical_form(graph)
    assert to_json(canonical_form(shuffled(graph, seed))) == to_json(form)
    assert canonical_form(form) == form
    assert canonical_hash(form, is_form=True) == canonical_hash(graph)


@settings(max_examples=100, deadline=None)
@given(alike(), alike())
def test_forms_agree_just_when_graphs_are_isomorphic(one: OpGraph, other: OpGraph) -> None:
    agree = structure(canonical_form(one)) == structure(canonical_form(other))
    assert agree == are_isomorphic(one, other)
    assert agree == (canonical_hash(one) == canonical_hash(other))


@settings(max_examples=60, deadline=None)
@given(alike(), st.integers(0, 2**32))
def test_shapes_decide_only_between_equal_structures(graph: OpGraph, seed: int) -> None:
    form = canonical_form(graph)
    other = canonical_form(shuffled(with_shapes(graph, seed), seed))
    assert structure(other) == structure(form)
    assert canonical_hash(other) == canonical_hash(form)


@pytest.mark.parametrize("name", HARD)
def test_hard_graphs_have_one_form(name: str) -> None:
    graph = HARD[name]
    form = canonical_form(graph)
    for seed in range(3):
        other = shuffled(graph, seed)
        assert canonical_form(other) == form
        assert tokens(other) == tokens(graph)
    mixed = with_shapes(graph, 0)
    assert canonical_form(shuffled(mixed, 1)) == canonical_form(mixed)


def test_what_refinement_cannot_tell_apart_has_different_forms() -> None:
    for one, other in [
        (rings(6), rings(3, 3)),
        (rings(8, kind="Sub"), rings(4, 4, kind="Sub")),
        (rook(), shrikhande()),
    ]:
        assert tokens(one, range(len(one.ops))) == tokens(other, range(len(other.ops)))
        assert canonical_hash(one) != canonical_hash(other)


def test_two_branches_of_other_widths_have_one_order() -> None:
    """Equal in structure, so that only shapes can decide, and they must."""

    def graph(*widths: int) -> OpGraph:
        shapes = tuple((1, width, 4, 4) for width in widths)
        ops = (Op("Relu", (0,)), Op("Relu", (1,)), Op("Tanh", (2,)), Op("Tanh", (3,)))
        leaving = (4, 5) if widths[0] < widths[1] else (5, 4)
        return OpGraph(shapes, ops, shapes * 2, leaving)

    assert to_json(canonical_form(graph(8, 16))) == to_json(canonical_form(graph(16, 8)))
    assert tokens(graph(8, 16)) == tokens(graph(16, 8))


def test_inputs_of_commuting_operators_have_one_order() -> None:
    def graph(swap: bool) -> OpGraph:
        ops = (Op("Add", (1, 0) if swap else (0, 1)), Op("Sub", (2, 0)))
        return OpGraph((SHAPE, SHAPE), ops, (SHAPE,) * 2, (3,))

    assert canonical_form(graph(swap=True)) == canonical_form(graph(swap=False))


def test_unused_inputs_have_one_order() -> None:
    unused: tuple[Shape, ...] = ((1, 2), (1, 3), (1, 4))
    ops = (Op("Relu", (3,)),)
    forms = {
        canonical_form(OpGraph((*order, SHAPE), ops, (SHAPE,), (4, order.index((1, 3)))))
        for order in permutations(unused)
    }
    assert len(forms) == 1
    assert forms.pop().input_shapes[0] == SHAPE


@pytest.mark.parametrize(
    "graph", [braid(2000), branches(500, 20), branches(10, 1000), doubled(1000, 4), layers(4, 40)]
)
def test_large_graphs_with_many_ties_take_no_longer(graph: OpGraph) -> None:
    order = canonical_order(graph)
    assert sorted(order) == list(range(len(graph.ops)))


def test_deep_chains_need_no_recursion() -> None:
    size = 20_000
    ops = tuple(Op("Relu", (i,)) for i in range(size))
    assert canonical_order(OpGraph((SHAPE,), ops, (SHAPE,) * size, (size,))) == tuple(range(size))
    twice = tuple(Op("Add", (i, i)) for i in range(size))
    assert len(canonical_order(OpGraph((SHAPE,), twice, (SHAPE,) * size, (size,)))) == size


def test_the_bound_is_said_and_leaves_a_whole_order(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = rook()
    for name in ("MOST_STEPS", "MOST_NESTED"):
        with monkeypatch.context() as patch:
            patch.setattr(refinement, name, 1)
            with pytest.warns(NotCanonical, match="64 operators may depend on their numbering"):
                order = canonical_order(graph)
        assert sorted(order) == list(range(64))


@pytest.mark.parametrize(
    "cell",
    [
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|",
        "|nor_conv_1x1~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    ],
)
def test_networks_have_one_form(cell: str) -> None:
    network = nasbench201.build(cell)
    for graph in (network.graph, network.folded()):
        assert canonical_form(shuffled(graph, 1)) == canonical_form(graph)
