"""The generated networks count exactly as the benchmarks published them."""

import pytest
from published_tables import needs_tables, rows

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder

# By hand: the published count of 00000000 is 387,882 parameters and 7,713,280 MACs.
MACRO_PLAIN = (387_882, 7_713_280)


def test_macro_plain_chain_has_published_counts() -> None:
    network = nasbench_macro.build("00000000")
    assert (network.parameters(), network.macs()) == MACRO_PLAIN


def _check_macro(every: int) -> int:
    listed = rows("nasbench_macro/nasbench_macro_cifar10.csv.gz", every)
    for row in listed:
        network = nasbench_macro.build(row["arch"])
        assert network.parameters() == int(row["params"]), row["arch"]
        assert network.macs() == int(row["macs"]), row["arch"]
    return len(listed)


def _check_nasbench201(every: int) -> int:
    """Parameters of all rows, the network's own and its MACs where nothing is without effect."""
    whole = 0
    for row in rows("nasbench201_test_acc/nb201_test_acc.csv.gz", every):
        arch, parameters = row["arch_str"], int(row["params_cifar10"])
        assert nasbench201.published_parameters(arch) == parameters, arch
        if not nasbench201.parse(arch).structure():
            continue
        network = nasbench201.build(arch)
        assert network.parameters() <= parameters, arch
        convolutions = sum(op.kind == "Conv" for op in network.graph.ops)
        if convolutions == 1 + 6 + 15 * arch.count("nor_conv"):  # no dead branch
            whole += 1
            assert network.parameters() == parameters, arch
            assert network.macs() == int(row["macs_conv_linear_32x32"]), arch
    return whole


@needs_tables
def test_macro_counts_equal_table() -> None:
    assert _check_macro(every=31) == 212


@needs_tables
@pytest.mark.slow
def test_macro_counts_equal_whole_table() -> None:
    assert _check_macro(every=1) == 6561


@needs_tables
def test_nasbench201_counts_equal_table() -> None:
    assert _check_nasbench201(every=71) > 100


@needs_tables
@pytest.mark.slow
def test_nasbench201_counts_equal_whole_table() -> None:
    assert _check_nasbench201(every=1) > 10_000


def test_macro_has_3969_distinct_networks() -> None:
    distinct = list(nasbench_macro.distinct())
    assert len(distinct) == len(set(distinct)) == 3969
    assert nasbench_macro.build("00000010") == nasbench_macro.build("00000001")


def test_nasbench201_reads_what_it_writes() -> None:
    arch = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    assert nasbench201.encode(nasbench201.parse(arch).operations) == arch


def test_nasbench201_drops_dead_branches() -> None:
    arch = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    identity = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    assert nasbench201.build(arch) == nasbench201.build(identity)


def test_nasbench201_sums_in_one_order() -> None:
    first = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|skip_connect~1|skip_connect~2|"
    second = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|skip_connect~2|"
    assert nasbench201.build(first) == nasbench201.build(second)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "no path"),
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", "does not read"),
        ("", "does not read"),
    ],
)
def test_nasbench201_refuses(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nasbench201.build(arch)


def test_macro_refuses() -> None:
    with pytest.raises(InputError, match="digits"):
        nasbench_macro.build("0123")


def test_classes_and_size_are_free() -> None:
    arch = "|skip_connect~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
    network = nasbench201.build(arch, classes=120, size=16)
    assert network.graph.output_shapes == ((1, 120),)
    assert nasbench201.published_parameters(arch, classes=120) == network.parameters()


def test_builder_shapes() -> None:
    net = Builder((1, 8, 9, 9))
    halved = net.pool("MaxPool", net.depthwise(0, kernel=3, stride=2), kernel=2, stride=2)
    assert net.shape(halved) == (1, 8, 2, 2)
    assert net.shape(net.concat(halved, halved)) == (1, 16, 2, 2)
