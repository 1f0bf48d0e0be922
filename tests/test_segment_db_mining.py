"""What is mined is connected, counted once, and has the boundary it has where it stands."""

from collections import Counter
from itertools import islice

import pytest

from autogo_onnx.opgraph import Op, OpGraph, cut, to_json
from autogo_onnx.segment_db import mining
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.isomorphism import are_isomorphic
from autogo_onnx.segment_db.segment import classes
from autogo_onnx.segment_db.segmentation import is_connected
from autogo_onnx.segment_db.vocabulary import LONGEST_PIECE
from autogo_onnx.serialize import canonical_form, canonical_hash

SHAPE = (1, 8, 4, 4)
GRAPHS = [("a", nasbench201.build(a).folded()) for a in islice(nasbench201.distinct(), 0, 600, 60)]
GRAPHS += [
    ("b", nasbench_macro.build(a).folded()) for a in islice(nasbench_macro.distinct(), 0, None, 400)
]


@pytest.fixture(scope="module")
def mined() -> mining.Mined:
    return mining.mine(GRAPHS, 600)


def test_segments_are_connected_distinct_and_small(mined: mining.Mined) -> None:
    sizes = Counter(len(segment.graph.ops) for segment in mined.segments)
    assert set(sizes) <= set(range(1, LONGEST_PIECE + 1))
    assert len(set(sizes)) > 8
    assert all(is_connected(segment.graph) for segment in mined.segments)
    assert len({segment.id for segment in mined.segments}) == len(mined.segments)


def test_ids_are_canonical_hashes_of_all_variants(mined: mining.Mined) -> None:
    for segment in mined.segments:
        assert canonical_hash(segment.graph) == segment.hash
        assert canonical_form(segment.graph) == segment.graph


def test_every_single_operator_is_counted(mined: mining.Mined) -> None:
    counts = Counter(op.kind for _, graph in GRAPHS for op in graph.ops)
    singles: Counter[str] = Counter()
    for segment in mined.segments:
        if len(segment.graph.ops) == 1:
            singles[segment.graph.ops[0].kind] += segment.count
    assert singles == counts


def test_segments_equal_cuts_of_the_network() -> None:
    """Runs are rebuilt from a table of operators; cutting the graph itself gives the same."""
    graph = canonical_form(GRAPHS[3][1])
    found = mining.mine([("a", graph)], 300).segments
    expected = {
        to_json(canonical_form(cut(graph, range(start, start + length)).graph))
        for length in range(1, LONGEST_PIECE + 1)
        for start in range(len(graph.ops) - length + 1)
    }
    variants = {text for segment in found for text in segment.variants}
    assert variants <= expected
    assert len(variants) > 20


def test_order_and_repetition_of_networks_do_not_matter(mined: mining.Mined) -> None:
    again = mining.mine([*reversed(GRAPHS), GRAPHS[0]], 600)
    assert again == mined
    assert again.networks == len(GRAPHS)


def test_boundaries_are_counted_from_the_most_frequent(mined: mining.Mined) -> None:
    for segment in mined.segments:
        counts = [count for _, count in segment.boundaries()]
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == segment.count


def test_find_uses_a_given_vocabulary(mined: mining.Mined) -> None:
    found = mining.find(GRAPHS, mined.vocabulary)
    assert found == mined.segments


def _sum_rings(*rings: int) -> OpGraph:
    """Sums of neighbours in rings of parallel operators: alike to every local refinement."""
    size = sum(rings)
    ops = [Op("Relu", (0,))] * size
    first = 1
    for length in rings:
        for k in range(length):
            ops.append(Op("Add", (first + k, first + (k + 1) % length)))
        first += length
    sums = tuple(range(1 + size, 1 + 2 * size))
    return OpGraph((SHAPE,), tuple(ops), (SHAPE,) * len(ops), sums)


def test_isomorphism_decides_where_hashes_agree() -> None:
    one, two = _sum_rings(6), _sum_rings(3, 3)
    assert canonical_hash(one) == canonical_hash(two)
    assert not are_isomorphic(one, two)
    variants = Counter({("a", to_json(g)): 1 for g in (one, two)})
    segments = classes(canonical_hash(one), variants)
    assert [segment.number for segment in segments] == [0, 1]
    assert segments[1].id == f"{canonical_hash(one)}.1"


def test_isomorphism_ignores_shapes_and_order() -> None:
    net, other = Builder(SHAPE), Builder((1, 16, 8, 8))
    one = net.graph(net.add(net.relu(0), net.conv(0, 8)))
    mirrored = other.conv(0, 16)
    two = other.graph(other.add(mirrored, other.relu(0)))
    assert are_isomorphic(one, two)
    kernel = Builder(SHAPE)
    assert not are_isomorphic(
        one, kernel.graph(kernel.add(kernel.relu(0), kernel.conv(0, 8, kernel=3)))
    )
