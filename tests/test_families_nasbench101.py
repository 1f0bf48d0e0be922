"""NAS-Bench-101 is generated whole, and counts exactly as published."""

from collections import Counter
from itertools import combinations, permutations, takewhile

import numpy as np
import onnx
import pytest
from published_tables import needs_tables, rows

from autogo_onnx.errors import InputError
from autogo_onnx.runtime import open_session
from autogo_onnx.segment_db.families.nasbench101 import FAMILY, build, parse
from autogo_onnx.segment_db.families.nasbench101_cells import distinct

THIRTY_THOUSAND = "nasbench101_nbvis/nb101_30k.csv.gz"
ALL_TABLES = (
    THIRTY_THOUSAND,
    "nasbench101_naslib/nb101_500.csv.gz",
    "ecnas_nb101_energy/ecnas_4epoch_energy.csv.gz",
)
OPERATIONS = {"c3": "conv3x3", "c1": "conv1x1", "mp": "maxpool3x3"}

# Trainable parameters, as published, and MACs of the convolutions and the linear layer.
PUBLISHED = {
    "110101:maxpool3x3-maxpool3x3": (1_756_298, 271_979_520),
    "101111:conv3x3-conv3x3": (5_969_674, 884_347_904),
    "1011111111:conv1x1-maxpool3x3-conv3x3": (2_606_755, 392_760_512),
    "1110010101:conv3x3-conv3x3-maxpool3x3": (21_220_234, 3_124_106_240),
    "100110100001001010101:conv3x3-maxpool3x3-conv3x3-conv3x3-conv1x1": (8_555_530, 1_261_835_264),
}


@pytest.mark.parametrize("code", PUBLISHED)
def test_counts_are_the_published(code: str) -> None:
    network = build(code)
    assert (network.parameters(), network.macs()) == PUBLISHED[code]
    assert network.graph.output_shapes == ((1, 10),)


def test_module_without_vertices_is_its_projection() -> None:
    kinds = Counter(op.kind for op in build("1:").graph.ops)
    assert kinds == {
        "Conv": 1 + 9,
        "BatchNormalization": 1 + 9,
        "Relu": 1 + 9,
        "MaxPool": 2,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }


def _counts(table: str, every: int) -> dict[str, tuple[int, int]]:
    """Parameters and MACs of every so many rows of a table, by code."""
    return {
        f"{row['upper_tri_adj']}:"
        + "-".join(OPERATIONS[op] for op in row["interior_ops"].split("|") if op): (
            int(row["trainable_parameters"]),
            int(row["macs_conv_linear"]),
        )
        for row in rows(table, every)
    }


@needs_tables
def test_counts_equal_table() -> None:
    counts = _counts(THIRTY_THOUSAND, 151)
    assert len(counts) == 199
    for code, count in counts.items():
        network = build(code)
        assert (network.parameters(), network.macs()) == count, code


@needs_tables
@pytest.mark.slow
@pytest.mark.parametrize("table", ALL_TABLES)
def test_all_counts_equal_table(table: str) -> None:
    for code, count in _counts(table, 1).items():
        network = build(code)
        assert (network.parameters(), network.macs()) == count, code


@needs_tables
@pytest.mark.slow
def test_codes_are_those_of_the_published_enumeration() -> None:
    assert set(_counts(THIRTY_THOUSAND, 1)) <= set(distinct())


@pytest.mark.slow
def test_there_are_423624_cells() -> None:
    codes = list(distinct())
    assert len(codes) == len(set(codes)) == 423_624


def test_there_are_2532_cells_of_five_vertices_at_most() -> None:
    # EC-NAS-Bench counts 2,532, of which 91 have four vertices at most.
    small = list(takewhile(lambda code: len(parse(code).operations) <= 3, distinct()))
    assert len(small) == 2532
    assert sum(len(parse(code).operations) <= 2 for code in small) == 91


def test_no_two_cells_are_isomorphic() -> None:
    small = list(takewhile(lambda code: len(parse(code).operations) <= 3, distinct()))
    seen: set[str] = set()
    for code in small:
        assert code not in seen, code
        seen |= _renumbered(code)


def _renumbered(code: str) -> set[str]:
    """Codes of all orders of the interior vertices."""
    cell = parse(code)
    found = set()
    for order in permutations(range(1, cell.output)):
        place = (0, *order, cell.output)
        edges = {(place[begin], place[end]) for begin, end in cell.edges}
        operations = [""] * len(order)
        for vertex, operation in enumerate(cell.operations, 1):
            operations[place[vertex] - 1] = operation
        if all(begin < end for begin, end in edges):
            pairs = combinations(range(cell.output + 1), 2)
            bits = "".join("01"[pair in edges] for pair in pairs)
            found.add(f"{bits}:{'-'.join(operations)}")
    return found


def test_codes_are_a_choice_that_the_seed_decides() -> None:
    first, again = list(FAMILY.codes(40, 0)), list(FAMILY.codes(40, 0))
    assert first == again
    assert len(set(first)) == 40
    assert set(first) != set(FAMILY.codes(40, 1))
    for code in first:
        assert FAMILY.build(code).graph.output_shapes == ((1, 10),)


def test_a_vertex_reads_all_but_the_last_channel_of_a_wider_one() -> None:
    # Three vertices feed the output: 43, 43 and 42 of 128 channels. The last reads the first.
    code = "1100011011:conv3x3-conv3x3-conv1x1"
    assert parse(code).widths(128) == {1: 43, 2: 43, 3: 42}
    graph = build(code).graph
    slices = [n for n, op in enumerate(graph.ops) if op.kind == "Slice"]
    assert len(slices) == 9
    for index in slices:
        op = graph.ops[index]
        assert (op.get("axes"), op.get("starts"), op.get("ends")) == ((1,), (0,), (-1,))
        assert graph.op_shapes[index][1] == graph.shape(op.inputs[0])[1] - 1


def test_inner_vertices_are_as_wide_as_their_widest_reader() -> None:
    # 1 -> 2 -> output, 1 -> 3 -> output: vertex 1 feeds no output and takes their width.
    assert parse("1000110011:conv1x1-conv3x3-conv3x3").widths(256) == {1: 128, 2: 128, 3: 128}


def test_runs_as_onnx() -> None:
    network = build("1100011011:conv1x1-maxpool3x3-maxpool3x3")
    model = network.to_onnx(0)
    onnx.checker.check_model(model, full_check=True)
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    [made] = open_session(model).run(None, {"x0": image})
    assert made.shape == (1, 10)
    assert np.isfinite(made).all()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "does not read"),
        ("2:", "does not read"),
        ("101", "does not read"),
        ("101:conv5x5", "does not read"),
        ("111:conv3x3-", "does not read"),
        ("1" * 28 + ":" + "-".join(("conv3x3",) * 6), "7 and 9 are the most"),
        ("1" * 10 + ":" + "-".join(("conv3x3",) * 3), "7 and 9 are the most"),
        ("010:conv3x3", "vertex 1 is on no path"),
        ("110:conv3x3", "vertex 1 is on no path"),
        ("100:conv3x3", "vertex 1 is on no path"),
        ("0:", "vertex 0 is on no path"),
    ],
)
def test_refuses(code: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(code)
