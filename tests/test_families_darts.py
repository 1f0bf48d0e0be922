"""DARTS and NAS-Bench-301 networks count as published, and `none` leaves nothing behind."""

from collections import Counter
from math import prod

import pytest
from published_tables import needs_tables, rows

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families import darts
from autogo_onnx.segment_db.families.darts import NASBENCH301, published_parameters
from autogo_onnx.segment_db.families.darts_cell import OPERATIONS, code_of, parse
from autogo_onnx.segment_db.families.network import Network

CELLS = ("normal", "reduce")

# The second cells that the authors of DARTS found.
DARTS_V2 = (
    "0:sep_conv_3x3,1:sep_conv_3x3,0:sep_conv_3x3,1:sep_conv_3x3,"
    "1:sep_conv_3x3,0:skip_connect,0:skip_connect,2:dil_conv_3x3/"
    "0:max_pool_3x3,1:max_pool_3x3,2:skip_connect,1:max_pool_3x3,"
    "0:max_pool_3x3,2:skip_connect,2:skip_connect,1:max_pool_3x3"
)
SKIPS = ",".join("0:skip_connect,1:skip_connect" for _ in range(4))
# All of a cell is nothing but its first input.
FIRST_ALONE = "0:skip_connect,1:none," + ",".join("0:none,1:none" for _ in range(3))
NOTHING = ",".join("0:none,1:none" for _ in range(4))


def test_counts_of_published_cells() -> None:
    """3.35 million parameters and 528 million MACs, the auxiliary classifier left out."""
    network = darts.build(DARTS_V2)
    assert network.parameters() == published_parameters(DARTS_V2) == 3_349_342
    assert network.macs() == 528_359_040
    assert network.graph.input_shapes == ((1, 3, 32, 32),)
    assert network.graph.output_shapes == ((1, 10),)


def test_parameters_of_drawn_networks_follow_the_rules() -> None:
    for family, setting in (
        (darts.FAMILY, darts.EVALUATION),
        (darts.NASBENCH301_FAMILY, NASBENCH301),
    ):
        for code in family.codes(5, 0):
            assert family.build(code).parameters() == published_parameters(code, setting=setting)


def _darts_rows(every: int) -> list[tuple[str, dict[str, str]]]:
    return [
        ("/".join(",".join(row[f"{cell}_cell_from_op"].split()) for cell in CELLS), row)
        for row in rows("darts_oncenas/darts_545.csv.gz", every)
    ]


def _check_darts(every: int) -> int:
    """Parameters of all rows, the network's own and its MACs where nothing is without effect."""
    whole = 0
    for code, row in _darts_rows(every):
        assert published_parameters(code) == int(row["params"]), code
        network = darts.build(code)
        assert network.parameters() <= int(row["params"]), code
        if "none" not in code:
            whole += 1
            assert network.parameters() == int(row["params"]), code
            assert network.macs() == int(row["macs_conv_linear"]), code
    return whole


@needs_tables
def test_darts_counts_equal_table() -> None:
    assert _check_darts(every=12) > 10


@needs_tables
@pytest.mark.slow
def test_darts_counts_equal_whole_table() -> None:
    assert _check_darts(every=1) == 186


def _naslib_flops(network: Network) -> int:
    """MACs, values out of normalizations and rectifiers, ten for a value out of a pool, a constant.

    NASLib normalizes what comes out of a pool, the networks that were trained do not.
    """
    values: Counter[str] = Counter()
    for op, shape in zip(network.graph.ops, network.graph.op_shapes, strict=True):
        values[op.kind] += prod(shape)
    pooled = values["MaxPool"] + values["AveragePool"]
    return network.macs() + values["BatchNormalization"] + values["Relu"] + 10 * pooled + 565_760


def _check_nasbench301(every: int) -> int:
    checked = 0
    for row in rows("nasbench301_naslib/nb301_darts.csv.gz", every):
        pairs = (row[f"{cell}_cell_pairs_from_op"].split() for cell in CELLS)
        edges = ((pair.split(":") for pair in cell) for cell in pairs)
        code = "/".join(",".join(f"{b}:{OPERATIONS[int(op)]}" for b, op in cell) for cell in edges)
        network = darts.NASBENCH301_FAMILY.build(code)
        assert network.parameters() == published_parameters(code, setting=NASBENCH301), code
        if row["naslib_params_M"]:
            checked += 1
            counted = published_parameters(code, setting=NASBENCH301, affine_cells=False)
            assert counted == round(float(row["naslib_params_M"]) * 1e6), code
            assert _naslib_flops(network) == round(float(row["naslib_flops_M"]) * 1e6), code
    return checked


@needs_tables
def test_nasbench301_counts_equal_table() -> None:
    assert _check_nasbench301(every=12) > 50


@needs_tables
@pytest.mark.slow
def test_nasbench301_counts_equal_whole_table() -> None:
    assert _check_nasbench301(every=1) == 725


def test_none_leaves_nothing_behind() -> None:
    """Each of eight cells reads only the one before the last: 7 reads 5, 3, 1 and the stem."""
    code = f"{FIRST_ALONE}/{FIRST_ALONE}"
    network = darts.NASBENCH301_FAMILY.build(code)
    readers = network.graph.readers()
    unread = [t for t in range(network.graph.n_tensors) if not readers[t]]
    assert unread == list(network.graph.outputs)
    widths = [network.graph.op_shapes[i][1] for i in _convolutions(network)]
    # Stem; cell 1; cell 3, which halves cell 1; cell 5, a reduction; cell 7.
    assert widths == [96, 32, 32, 32, 128, 64, 64, 128]
    assert network.parameters() < published_parameters(code, setting=NASBENCH301)


def _convolutions(network: Network) -> list[int]:
    return [i for i, op in enumerate(network.graph.ops) if op.kind == "Conv"]


def test_a_node_without_input_is_left_out() -> None:
    dead_end = "0:none,1:none,0:skip_connect,2:sep_conv_3x3,0:skip_connect,1:skip_connect"
    cell = dead_end + ",0:skip_connect,1:skip_connect"
    normal, _ = parse(f"{cell}/{SKIPS}")
    assert sorted(normal.live()) == [3, 4, 5]
    network = darts.NASBENCH301_FAMILY.build(f"{cell}/{SKIPS}")
    assert all(network.graph.ops[i].get("group") == 1 for i in _convolutions(network))


def test_order_within_a_node_does_not_matter() -> None:
    swapped = "1:sep_conv_3x3,0:sep_conv_3x3," + DARTS_V2.split(",", 2)[2]
    assert darts.build(swapped) == darts.build(DARTS_V2)


def test_codes_are_drawn_once_each_and_can_be_read() -> None:
    codes = list(darts.FAMILY.codes(200, 0))
    assert len(codes) == len(set(codes)) == 200
    assert all(code_of(*parse(code)) == code for code in codes)
    assert codes[:20] == list(darts.FAMILY.codes(20, 0)) != list(darts.FAMILY.codes(20, 1))
    drawn = (op for code in codes for cell in parse(code) for node in cell.nodes for _, op in node)
    assert set(drawn) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "do not read"),
        (SKIPS, "do not read"),
        (f"{SKIPS}/{SKIPS}/{SKIPS}", "do not read"),
        (f"{SKIPS}/{SKIPS},0:none", "do not read"),
        (f"{SKIPS}/{SKIPS.replace('1:', '0:')}", "do not read"),
        (f"{SKIPS}/{SKIPS.replace('1:', '2:')}", "do not read"),
        (f"{SKIPS}/{SKIPS.replace('1:', 'x:')}", "do not read"),
        (f"{SKIPS}/{SKIPS.replace('skip_connect', 'conv')}", "do not read"),
        (f"{SKIPS}/{NOTHING}", "no path"),
    ],
)
def test_refuses(code: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        darts.build(code)
