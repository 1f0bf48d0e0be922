"""Encodings of one network are one, and others are not."""

from __future__ import annotations

import random
from collections import Counter
from functools import lru_cache
from itertools import combinations, product, takewhile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from label_oracles import compute_the_same

from autogo_onnx.predictor_training.labels import (
    darts,
    nasbench101_cells,
    nasbench201,
    nasbench_macro,
    transnasbench101,
)
from autogo_onnx.predictor_training.labels.four_node_cells import Meaning, network_of
from autogo_onnx.segment_db.families.darts_cell import NODES, Cell, code_of, draw, parse
from autogo_onnx.segment_db.families.nasbench101_cells import distinct

MEANINGS = {
    "averages": Meaning(zero="0", identity="1", average="pool"),
    "reduces": Meaning(zero="0", identity="1", reduces=True),
}
OPERATIONS = {"averages": ("0", "1", "22", "333", "pool"), "reduces": ("0", "1", "22", "333")}


def cells(name: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.tuples(*[st.sampled_from(OPERATIONS[name])] * 6)


@pytest.mark.parametrize("name", MEANINGS)
def test_cells_that_compute_the_same_and_only_those_are_one_network(name: str) -> None:
    """All pairs among 100 random cells without many convolutions, where equals are frequent."""
    generator, meaning = random.Random(1), MEANINGS[name]
    weights = {"averages": (3, 3, 2, 1, 2), "reduces": (3, 3, 2, 1)}[name]
    drawn = [tuple(generator.choices(OPERATIONS[name], weights, k=6)) for _ in range(110)]
    known = [(cell, network_of(cell, meaning)) for cell in dict.fromkeys(drawn)]
    outcomes: Counter[bool] = Counter()
    for (one, network), (other, other_network) in combinations(known, 2):
        if network and other_network:
            assert (network == other_network) == compute_the_same(one, other, meaning), (one, other)
            outcomes[network == other_network] += 1
    assert min(outcomes[True], outcomes[False]) > 50


@given(cells("averages"))
def test_a_cell_is_nothing_just_when_no_path_leads_through_it(operations: tuple[str, ...]) -> None:
    a, b, c, d, e, f = (operation != "0" for operation in operations)
    node_2 = b or (a and c)
    assert bool(network_of(operations, MEANINGS["averages"])) == (d or (a and e) or (node_2 and f))


def test_one_convolution_read_twice_is_not_two_convolutions() -> None:
    twice = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|"
    two = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|skip_connect~2|"
    assert nasbench201.network(twice) != nasbench201.network(two)


def test_encodings_of_one_network_are_one() -> None:
    identity = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    with_a_dead_edge = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
    nothing = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
    assert nasbench201.network(identity) == nasbench201.network(with_a_dead_edge) == "x"
    assert nasbench201.network(nothing) == ""
    assert nasbench_macro.network("00101010") == nasbench_macro.network("00110010")
    first_counts = nasbench_macro.network("10000000") != nasbench_macro.network("01000000")
    assert first_counts, "a first block is never dropped"
    kept = transnasbench101.micro_network("64-41414-0_10_002")
    assert kept != transnasbench101.micro_network("64-41414-0_00_200"), "its reduction has weights"


@lru_cache
def few_vertices(most: int) -> list[str]:
    """All cells of NAS-Bench-101 with at most so many vertices."""
    return list(
        takewhile(lambda code: len(code.partition(":")[2].split("-")) <= most - 2, distinct())
    )


def test_no_two_listed_cells_of_nasbench101_are_one() -> None:
    codes = few_vertices(5)
    assert (len(few_vertices(4)), len(codes)) == (91, 2532), "as EC-NAS-Bench counts them"
    assert len({nasbench101_cells.network(code) for code in codes}) == len(codes)


@given(st.integers(0, 2**32))
def test_another_order_of_vertices_is_the_same_cell(seed: int) -> None:
    generator = random.Random(seed)
    code = generator.choice(few_vertices(5))
    bits, _, names = code.partition(":")
    operations = names.split("-")
    size = len(operations) + 2
    edges = {
        pair for pair, bit in zip(combinations(range(size), 2), bits, strict=True) if bit == "1"
    }
    inner = generator.sample(range(1, size - 1), size - 2)
    place = dict(enumerate([0, *inner, size - 1]))
    moved = {(place[begin], place[end]) for begin, end in edges}
    assume(all(begin < end for begin, end in moved))
    named = dict(zip((place[v] for v in range(1, size - 1)), operations, strict=True))
    other = "".join(str(int(pair in moved)) for pair in combinations(range(size), 2))
    other += ":" + "-".join(named[v] for v in range(1, size - 1))
    assert nasbench101_cells.network(code) == nasbench101_cells.network(other)


def test_near_cells_of_nasbench101_are_those_that_edits_make() -> None:
    codes = few_vertices(4)
    number = {nasbench101_cells.network(code): index for index, code in enumerate(codes)}
    expected: list[set[int]] = [set() for _ in codes]
    for index, code in enumerate(codes):
        bits, _, names = code.partition(":")
        operations = names.split("-") if names else []
        for place, new in product(range(len(operations)), ("conv3x3", "conv1x1", "maxpool3x3")):
            edited = "-".join([*operations[:place], new, *operations[place + 1 :]])
            expected[index].add(number[nasbench101_cells.network(f"{bits}:{edited}")])
        for place, bit in enumerate(bits):
            toggled = bits[:place] + str(1 - int(bit)) + bits[place + 1 :]
            for other in trimmed(toggled, operations):
                expected[index].add(number[nasbench101_cells.network(other)])
                expected[number[nasbench101_cells.network(other)]].add(index)
    found = nasbench101_cells.near(codes)
    assert found == tuple(tuple(sorted(e - {i})) for i, e in enumerate(expected))


def trimmed(bits: str, operations: list[str]) -> list[str]:
    """The code without vertices on no path; none where no path is left."""
    size = len(operations) + 2
    pairs = list(combinations(range(size), 2))
    edges = {pair for pair, bit in zip(pairs, bits, strict=True) if bit == "1"}

    def reaches(begin: int, end: int) -> bool:
        return begin == end or any(reaches(b, end) for a, b in edges if a == begin)

    if not reaches(0, size - 1):
        return []
    kept = [v for v in range(size) if reaches(0, v) and reaches(v, size - 1)]
    new_bits = "".join(str(int(pair in edges)) for pair in combinations(kept, 2))
    return [f"{new_bits}:{'-'.join(operations[v - 1] for v in kept[1:-1])}"]


@given(st.integers(0, 2**32))
def test_darts_cells_are_the_same_in_any_order_of_nodes(seed: int) -> None:
    generator = random.Random(seed)
    normal, reduction = (parse(draw(generator))[n] for n in (0, 1))
    order = generator.sample(range(2, 2 + NODES), NODES)
    place = {0: 0, 1: 1, **dict(zip(range(2, 2 + NODES), order, strict=True))}
    nodes = dict(zip(order, normal.nodes, strict=True))
    moved = {
        node: tuple((place[begin], operation) for begin, operation in edges)
        for node, edges in nodes.items()
    }
    assume(all(begin < node for node, edges in moved.items() for begin, _ in edges))
    other = Cell(tuple((moved[n][1], moved[n][0]) for n in sorted(moved)))
    code, same = code_of(normal, reduction), code_of(other, reduction)
    assert darts.network(code) == darts.network(same)
    changed = next(iter(darts.edits(code)))
    assert darts.network(changed) != darts.network(code)
