"""What is mined is connected, counted once, and has the boundary it has where it stands."""

from collections import Counter
from io import BytesIO
from itertools import islice

import pytest

from autogo_onnx.opgraph import Op, OpGraph, cut, to_json
from autogo_onnx.segment_db import mining, parts
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.isomorphism import are_isomorphic
from autogo_onnx.segment_db.runs import Table
from autogo_onnx.segment_db.segment import classes
from autogo_onnx.segment_db.segmentation import is_connected
from autogo_onnx.segment_db.vocabulary import LONGEST_PIECE, Vocabulary
from autogo_onnx.serialize import canonical_form, canonical_hash, tokens

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


def _parts(size: int) -> list[bytes]:
    return [mining.serialized(GRAPHS[n : n + size]) for n in range(0, len(GRAPHS), size)]


@pytest.mark.parametrize("size", [1, 7])
def test_parts_add_up_to_the_whole(mined: mining.Mined, size: int) -> None:
    divided = _parts(size)
    different, learned_from = mining.choose(divided)
    assert different == learned_from
    vocabulary = mining.learn(divided.__getitem__, learned_from, 600)
    assert vocabulary == mined.vocabulary
    cuts = [mining.cut(p, n, vocabulary) for p, n in zip(divided, different, strict=True)]
    lines = list(parts.summed(parts.unpacked(BytesIO(counts)) for counts in cuts))
    assert tuple(mining.segments(lines)) == mined.segments


def test_networks_come_back_from_bytes() -> None:
    table = Table()
    members = [(family, table.read(canonical_form(graph))) for family, graph in GRAPHS[:5]]
    again, found = parts.unpack_networks(parts.pack_networks(table, members))
    assert found == members
    assert again.operators.values == table.operators.values
    assert again.places.values == table.places.values
    for (_, network), (_, graph) in zip(members, GRAPHS, strict=False):
        assert again.text(network) == tokens(graph)


def test_equal_networks_of_a_family_count_once_in_whatever_part() -> None:
    renamed = [("c", graph) for _, graph in GRAPHS[:2]]
    different, _ = mining.choose(
        [mining.serialized(GRAPHS), *_parts(7), mining.serialized(renamed)]
    )
    assert different[0] == tuple(range(len(GRAPHS)))
    assert set(different[1:-1]) == {()}
    assert different[-1] == (0, 1), "of another family"
    assert mining.choose([]) == ((), ())


def test_what_is_learned_from_is_chosen_whatever_the_parts() -> None:
    def texts(divided: list[bytes]) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for part, numbers in zip(divided, mining.choose(divided, limit=6)[1], strict=True):
            table, members = parts.unpack_networks(part)
            found.update(table.text(members[n][1]) for n in numbers)
        return found

    assert texts(_parts(4)) == texts(_parts(9)[::-1])
    assert len(texts(_parts(4))) == 6


def test_rare_segments_are_left_out_by_family(mined: mining.Mined) -> None:
    lines = list(parts.unpacked(BytesIO(_all_counts(mined.vocabulary))))
    kept = tuple(mining.segments(lines, {"a": 20, "b": 5}))
    frequent = [s for s in mined.segments if s.families["a"] >= 20 or s.families["b"] >= 5]
    assert kept == tuple(frequent)
    assert 10 < len(kept) < len(mined.segments)


def _all_counts(vocabulary: Vocabulary) -> bytes:
    return mining.cut(mining.serialized(GRAPHS), range(len(GRAPHS)), vocabulary)


def test_families_of_any_name_are_counted_apart() -> None:
    odd = "two\tlines\nand a tab"
    found = mining.find([(odd, GRAPHS[0][1]), ("b", GRAPHS[0][1])], Vocabulary(("OTHER",), ()))
    assert {family for segment in found for family in segment.families} == {odd, "b"}
    assert all(s.families[odd] == s.families["b"] for s in found)


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
    assert canonical_hash(one) != canonical_hash(two), "so pretend that they agree"
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
