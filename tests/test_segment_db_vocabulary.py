"""The vocabulary: closed, exact both ways, and still of use for networks it has not seen."""

import random
from collections.abc import Sequence
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx.segment_db.byte_pairs import learn, merge
from autogo_onnx.segment_db.extension import extend, union
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.segmentation import components, is_connected, pieces
from autogo_onnx.segment_db.symbols import LEVELS, character, form, number
from autogo_onnx.segment_db.vocabulary import LONGEST_PIECE, OTHER, Vocabulary
from autogo_onnx.serialize import canonical_order, tokens

CELLS = list(islice(nasbench201.distinct(), 0, 600, 40))
CHAINS = list(islice(nasbench_macro.distinct(), 0, None, 300))
GRAPHS = [nasbench201.build(a).folded() for a in CELLS] + [
    nasbench_macro.build(a).folded() for a in CHAINS
]
SEQUENCES = [tokens(graph) for graph in GRAPHS]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(SEQUENCES, 500)


def test_whole_tokens_come_back(vocabulary: Vocabulary) -> None:
    for sequence in SEQUENCES:
        assert vocabulary.decode(vocabulary.encode(sequence)) == sequence


def test_pieces_are_of_two_to_sixteen_and_of_known_symbols(vocabulary: Vocabulary) -> None:
    assert {len(piece) for piece in vocabulary.pieces} <= set(range(2, LONGEST_PIECE + 1))
    assert max(map(len, vocabulary.pieces)) > 8
    assert set(vocabulary.decode(vocabulary.pieces)) <= set(vocabulary.alphabet)
    assert len(set(vocabulary.pieces)) == len(vocabulary.pieces)


def test_bytes_come_back(vocabulary: Vocabulary) -> None:
    data = vocabulary.to_bytes()
    assert Vocabulary.load(data) == vocabulary
    assert Vocabulary.load(data).to_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"alphabet":["OTHER"],"pieces":[["a"]]}',
        b"1",
        b'{"alphabet":[],"pieces":[]}',
        b'{"alphabet":["OTHER"],"pieces":[[0,-1]]}',
        b'{"alphabet":["OTHER"],"pieces":[[0,1]]}',
    ],
)
def test_broken_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a vocabulary"):
        Vocabulary.load(data)


def test_order_of_training_does_not_matter(vocabulary: Vocabulary) -> None:
    mixed = SEQUENCES + SEQUENCES[:3]
    random.Random(1).shuffle(mixed)
    assert Vocabulary.train(mixed, 500) == vocabulary


def test_unknown_tokens_fall_back_to_their_kind(vocabulary: Vocabulary) -> None:
    strange = ("Conv:k9x9,s3,dense,c+,r-|Input|Clip", "Quantum:c=,r=|Conv|Output")
    assert vocabulary.decode(vocabulary.encode(strange)) == ("Conv", "OTHER")


def test_lengths_sum_up(vocabulary: Vocabulary) -> None:
    for sequence in SEQUENCES:
        assert sum(vocabulary.segment(sequence)) == len(sequence)
    assert vocabulary.segment(()) == ()


def test_thinned_keeps_alphabet_and_order(vocabulary: Vocabulary) -> None:
    half = vocabulary.thinned(0.5, seed=3)
    assert half == vocabulary.thinned(0.5, seed=3)
    assert half != vocabulary.thinned(0.5, seed=4)
    assert half.alphabet == vocabulary.alphabet
    assert len(half.pieces) == pytest.approx(len(vocabulary.pieces) / 2, abs=1)
    kept = [piece for piece in vocabulary.pieces if half.has(piece)]
    assert list(half.pieces) == kept
    assert vocabulary.thinned(1.0, seed=0).segment(SEQUENCES[0]) == (1,) * len(SEQUENCES[0])


def test_long_sequences_are_not_cut() -> None:
    long = SEQUENCES[0] * 40
    assert len(long) > 1500, "sentencepiece's default drops lines beyond 1,397 characters"
    vocabulary = Vocabulary.train([long], 300)
    assert vocabulary.decode(vocabulary.encode(long)) == long
    assert vocabulary.pieces


def test_pieces_cover_the_networks_they_were_learned_from(vocabulary: Vocabulary) -> None:
    lengths = [n for sequence in SEQUENCES for n in vocabulary.segment(sequence)]
    assert sum(lengths) / len(lengths) > 2.5


def test_pieces_partition_the_graph_into_connected_parts(vocabulary: Vocabulary) -> None:
    for graph in GRAPHS:
        parts = pieces(graph, vocabulary)
        assert sorted(i for part in parts for i in part) == list(range(len(graph.ops)))
        assert all(len(components(graph, part)) == 1 for part in parts)


def test_pieces_of_a_chain_stand_in_order(vocabulary: Vocabulary) -> None:
    graph = nasbench_macro.build("00000000").folded()
    assert [i for part in pieces(graph, vocabulary) for i in part] == list(canonical_order(graph))


def test_a_network_of_another_kind_falls_into_pieces(vocabulary: Vocabulary) -> None:
    net = Builder((1, 3, 64, 64))
    x = 0
    for width in (16, 24, 40):
        x = net.op("HardSwish", (net.conv(x, width, kernel=3),), (1, width, 64, 64))
    graph = net.graph(net.classifier(x, 7))
    sizes = [len(part) for part in pieces(graph, vocabulary)]
    assert max(sizes) > 2, "activations are alike in the coarsest form"


def test_sharing_an_input_does_not_connect() -> None:
    net = Builder((1, 8, 4, 4))
    assert not is_connected(net.graph(net.relu(0), net.conv(0, 8)))
    chain = Builder((1, 8, 4, 4))
    assert is_connected(chain.graph(chain.relu(chain.conv(0, 8))))


def _merged_slowly(symbols: str, pieces: Sequence[str]) -> tuple[str, ...]:
    """Byte-pair encoding as it is defined: the earliest piece, leftmost, joined over and over."""
    parts = list(symbols)
    while True:
        joins = [
            (pieces.index(a + b), n) for n, (a, b) in enumerate(pairwise(parts)) if a + b in pieces
        ]
        if not joins:
            return tuple(parts)
        _, at = min(joins)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=2, max_size=5), max_size=12, unique=True),
)
def test_merging_follows_the_definition(symbols: str, pieces: list[str]) -> None:
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    assert merge(symbols, ranks) == _merged_slowly(symbols, pieces)


def test_a_network_of_20000_operators_is_cut(vocabulary: Vocabulary) -> None:
    long = (SEQUENCES[0] * 500)[:20_000]
    lengths = vocabulary.segment(long)
    assert sum(lengths) == len(long) == 20_000
    assert len(lengths) < 10_000


def test_nothing_to_learn_from() -> None:
    assert learn([], 10, 16) == learn(["a", "b"], 10, 16) == ()
    empty = Vocabulary.train([], 100)
    assert empty == Vocabulary((OTHER,), ())
    assert empty.decode(empty.encode(("Conv:c=,r=|Input|Output",))) == (OTHER,)
    assert Vocabulary.train([("Conv:c=,r=|Input|Output",)], 100).pieces == ()


def test_characters_count_without_gaps() -> None:
    several = [character(n) for n in range(7000)]
    assert len(set(several)) == 7000
    assert [number(symbol) for symbol in several] == list(range(7000))


def test_a_small_alphabet_knows_all_kinds_and_the_most_frequent_tokens() -> None:
    whole = Vocabulary.train(SEQUENCES, 10_000).alphabet
    small = Vocabulary.train(SEQUENCES, 120)
    kinds = {form(token, 2) for sequence in SEQUENCES for token in sequence}
    assert kinds < set(small.alphabet) < set(whole)
    assert len(small.alphabet) == 30
    assert small.pieces
    finer = set(small.alphabet) - kinds - {OTHER}
    counts = {
        text: sum(form(t, level) == text for s in set(SEQUENCES) for t in s)
        for text in set(whole) - kinds
        for level in LEVELS[:2]
        if form(text, level) == text
    }
    assert min(counts[t] for t in finer) >= max(counts[t] for t in counts if t not in finer)


def test_what_is_left_alone_is_read_in_the_other_forms() -> None:
    """One half is as mined, the other like it in its kinds only."""
    vocabulary = Vocabulary((OTHER, "A", "B", "A:2", "B:2", "A:1|x|y", "B:1|x|y"), ())
    fine, coarse = vocabulary.forms(("A:1|x|y", "B:1|x|y"))[::2]
    vocabulary = Vocabulary(vocabulary.alphabet, (fine, coarse))
    mixed = ("A:1|x|y", "B:1|x|y", "A:2|z|y", "B:2|x|z")
    assert [len(part) for part in vocabulary.encode(mixed)] == [2, 1, 1]
    assert vocabulary.segment(mixed) == (2, 2)


def _foreign(repeats: int) -> tuple[str, ...]:
    """Tokens of a network that no NAS family has: transformer-like, one block over and over."""
    block = ("MatMul:c=,r=|Add|Add", "Add:constant,c=,r=|MatMul|Quantum", "Quantum:c=,r=|Add|Add")
    return ("Conv:k16x16,s3,dense,c+,r-|Input|Add", *block * repeats, "Once:c=,r=|Add|Output")


def test_extension_learns_what_repeats(vocabulary: Vocabulary) -> None:
    assert "Quantum" not in vocabulary.alphabet
    assert max(vocabulary.segment(_foreign(4))) <= 2
    extended = extend(vocabulary, [_foreign(4)])
    new = set(extended.alphabet) - set(vocabulary.alphabet)
    assert {"Quantum", "Once", "Quantum:c=,r=", "Quantum:c=,r=|Add|Add"} <= new
    assert not {t for t in new if t.startswith(("Once:", "Conv:"))}, "these occur once"
    assert min(extended.segment(_foreign(4))[1:-1]) >= 3
    seldom = extend(vocabulary, [_foreign(1)])
    assert seldom.pieces == vocabulary.pieces, "nothing repeats in one block"
    assert extend(vocabulary, [_foreign(1), _foreign(1)]).pieces != vocabulary.pieces


def test_extension_stands_behind_and_leaves_the_mined_networks_as_they_were(
    vocabulary: Vocabulary,
) -> None:
    extended = extend(vocabulary, [_foreign(3), _foreign(2)])
    assert extended.alphabet[: len(vocabulary.alphabet)] == vocabulary.alphabet
    assert extended.pieces[: len(vocabulary.pieces)] == vocabulary.pieces
    assert max(map(len, extended.pieces)) <= LONGEST_PIECE
    assert len(set(extended.pieces)) == len(extended.pieces)
    for sequence in SEQUENCES:
        assert extended.encode(sequence) == vocabulary.encode(sequence)
        assert extended.segment(sequence) == vocabulary.segment(sequence)
    assert Vocabulary.load(extended.to_bytes()) == extended


def test_order_of_extension_does_not_matter(vocabulary: Vocabulary) -> None:
    new = [_foreign(3), _foreign(2), SEQUENCES[0] + SEQUENCES[0]]
    assert extend(vocabulary, new) == extend(vocabulary, new[::-1])
    assert extend(vocabulary, []) == vocabulary


def test_union_joins_two_extensions(vocabulary: Vocabulary) -> None:
    one = extend(vocabulary, [_foreign(3)])
    other = extend(vocabulary, [("Warp:c=|Input|Warp", "Weft:c=|Warp|Warp") * 3])
    both = union(one, other)
    assert both.alphabet[: len(one.alphabet)] == one.alphabet
    assert both.pieces[: len(one.pieces)] == one.pieces
    assert set(both.alphabet) == {*one.alphabet, *other.alphabet}
    assert both.decode(both.pieces[len(one.pieces) :]) == other.decode(
        piece for piece in other.pieces if not vocabulary.has(piece)
    )
    assert union(both, other) == union(both, one) == both
    assert union(vocabulary, one) == one
