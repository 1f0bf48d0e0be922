"""The vocabulary: closed, exact both ways, and still of use for networks it has not seen."""

import random
from itertools import islice

import pytest

from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.segmentation import components, is_connected, pieces
from autogo_onnx.segment_db.vocabulary import LONGEST_PIECE, Vocabulary
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
