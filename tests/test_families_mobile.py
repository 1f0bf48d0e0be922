"""FBNet, Accel-NASBench and once-for-all MobileNetV3 networks count as published."""

from collections import Counter
from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from published_tables import needs_tables, rows

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families import fbnet, mbconv, ofa_mobilenetv3
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family
from autogo_onnx.segment_db.families.network import Network

EFFICIENTNET_B0 = "1-6-6-6-6-6-6:3-3-5-3-5-5-3:1-2-2-3-3-4-1:1-1-1-1-1-1-1"
# Networks that the authors of once-for-all specialized for a telephone, by its latency.
NOTE8_22_MS = "k3e3,k3e3|k5e3,k5e3|k7e4,k3e3|k5e3,k3e4|k3e6,k7e6@140"
NOTE8_31_MS = "k5e3,k3e3|k5e4,k5e3|k3e4,k3e4,k5e4|k3e4,k5e3,k7e4|k3e6,k3e3,k5e3,k5e3@152"


def _check_fbnet(every: int) -> int:
    listed = rows("help_latency/fbnet_cifar100_latency_ms.csv.gz", every)
    for row in listed:
        network = fbnet.build(row["ops22"])
        assert network.parameters() == int(row["params"]), row["ops22"]
        assert network.macs() == int(row["macs_conv_linear"]), row["ops22"]
    return len(listed)


@needs_tables
def test_fbnet_counts_equal_table() -> None:
    assert _check_fbnet(every=25) == 200


@needs_tables
@pytest.mark.slow
def test_fbnet_counts_equal_whole_table() -> None:
    assert _check_fbnet(every=1) == 5000


def test_fbnet_of_skips_is_what_changes_the_shape() -> None:
    """By hand: stem, six convolutions between stages, head and classifier."""
    network = fbnet.build("|".join(["skip"] * 22))
    widths = (16, 24, 32, 64, 112, 184, 352, 1504)
    between = sum(a * b + 2 * b for a, b in pairwise(widths))
    assert network.parameters() == 27 * 16 + 2 * 16 + between + 1505 * 100
    assert network.graph.output_shapes == ((1, 100),)


def test_fbnet_skips_that_vanish_stand_first() -> None:
    last = (*fbnet.BLOCKS[:4], "skip", *fbnet.BLOCKS[:8], *fbnet.BLOCKS[:8], "k3_e1")
    first = fbnet.with_skips_first("|".join(last))
    assert first.split("|")[:5] == ["k3_e1", "k3_e1_g2", "skip", "k3_e3", "k3_e6"]
    assert fbnet.build(first) == fbnet.build("|".join(last))


def test_fbnet_shuffle_takes_the_groups_by_turns() -> None:
    net = Builder((1, 6, 2, 3))
    network = net.network(fbnet.shuffle(net, 0, 2))
    x = np.arange(36, dtype=np.float32).reshape(1, 6, 2, 3)
    (y,) = ReferenceEvaluator(network.to_onnx(0)).run(None, {"x0": x})
    assert np.array_equal(y, x[:, [0, 3, 1, 4, 2, 5]])


def test_efficientnet_b0_is_one_of_accel_nasbench() -> None:
    """5.29 million parameters and 0.39 billion MACs, as its authors and torchvision have it."""
    network = mbconv.build(EFFICIENTNET_B0)
    assert network.parameters() == 5_288_548
    assert network.macs() == 385_814_752
    assert network.graph.input_shapes == ((1, 3, 224, 224),)
    assert network.graph.output_shapes == ((1, 1000),)


def test_excited_stages_have_a_gate_each_block() -> None:
    plain, excited = (
        mbconv.build(EFFICIENTNET_B0.replace("1-1-1-1-1-1-1", stages))
        for stages in ("0-0-0-0-0-0-0", "0-0-0-0-0-1-0")
    )
    added = Counter(op.kind for op in excited.graph.ops)
    added.subtract(op.kind for op in plain.graph.ops)
    blocks = 4
    assert +added == {
        "GlobalAveragePool": blocks,
        "Conv": 2 * blocks,
        "Sigmoid": 2 * blocks,
        "Mul": 2 * blocks,
    }
    # The squeeze is a quarter of what goes into the block, 112 once and 192 three times.
    gates = ((28, 672), (48, 1152), (48, 1152), (48, 1152))
    more = sum(2 * squeezed * wide + squeezed + wide for squeezed, wide in gates)
    assert excited.parameters() - plain.parameters() == more


def _published_macs(network: Network) -> int:
    """MACs, four for a value out of a normalization, one for a value into or out of a pool."""
    graph = network.graph
    total = network.macs()
    for op, shape in zip(graph.ops, graph.op_shapes, strict=True):
        if op.kind == "BatchNormalization":
            total += 4 * prod(shape)
        elif op.kind == "GlobalAveragePool":
            total += prod(graph.shape(op.inputs[0])) + prod(shape)
    return total


def _check_mbconv(every: int) -> int:
    listed = rows("accel_nasbench/accel_nasbench.csv.gz", every)
    for row in listed:
        code = ":".join(row[column] for column in ("expansion7", "kernel7", "layers7", "se7"))
        network = mbconv.build(code)
        assert network.parameters() == round(float(row["params_M"]) * 1e6), code
        assert _published_macs(network) == round(float(row["macs_M"]) * 1e6), code
    return len(listed)


@needs_tables
def test_mbconv_counts_equal_table() -> None:
    assert _check_mbconv(every=40) == 129


@needs_tables
@pytest.mark.slow
def test_mbconv_counts_equal_whole_table() -> None:
    assert _check_mbconv(every=1) == 5138


@pytest.mark.parametrize(
    ("code", "millions"), [(NOTE8_22_MS, (4.3, 67)), (NOTE8_31_MS, (4.6, 101))]
)
def test_ofa_counts_of_specialized_networks(code: str, millions: tuple[float, int]) -> None:
    """As listed at github.com/mit-han-lab/once-for-all, the codes as MMRazor has them."""
    network = ofa_mobilenetv3.build(code)
    assert (round(network.parameters() / 1e6, 1), round(network.macs() / 1e6)) == millions


def test_ofa_reads_what_it_writes() -> None:
    stages, size = ofa_mobilenetv3.parse(NOTE8_31_MS)
    assert stages[3] == ((3, 4), (5, 3), (7, 4))
    assert ofa_mobilenetv3.code_of(stages, size) == NOTE8_31_MS


def test_ofa_excites_three_stages_and_two_have_rectifiers() -> None:
    graph = ofa_mobilenetv3.build(NOTE8_31_MS).graph
    kinds = Counter(op.kind for op in graph.ops)
    blocks = (2, 2, 3, 3, 4)
    assert kinds["HardSigmoid"] == kinds["Mul"] == blocks[1] + blocks[3] + blocks[4]
    # Twice a block; first and last convolution and the one after the pool; the first block once.
    assert kinds["HardSwish"] == 2 * sum(blocks[2:]) + 3
    assert kinds["Relu"] == 2 * sum(blocks[:2]) + 1 + kinds["HardSigmoid"]
    assert kinds["Add"] == 1 + sum(blocks) - len(blocks)


FAMILIES = (fbnet.FAMILY, mbconv.FAMILY, ofa_mobilenetv3.FAMILY)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_codes_are_drawn_once_each_and_give_different_networks(family: Family) -> None:
    codes = list(family.codes(60, 0))
    assert len(codes) == len(set(codes)) == 60
    assert codes[:20] == list(family.codes(20, 0)) != list(family.codes(20, 1))
    networks = [family.build(code) for code in codes[:20]]
    assert all(a != b for (i, a), (j, b) in product(enumerate(networks), repeat=2) if i < j)


@pytest.mark.parametrize(
    ("family", "code", "message"),
    [
        (fbnet.FAMILY, "skip|skip", "is not 22 blocks"),
        (fbnet.FAMILY, "|".join(["k7_e1"] * 22), "is not 22 blocks"),
        (mbconv.FAMILY, "", "does not read"),
        (mbconv.FAMILY, EFFICIENTNET_B0[:-2], "does not read"),
        (mbconv.FAMILY, EFFICIENTNET_B0 + ":1", "does not read"),
        (mbconv.FAMILY, EFFICIENTNET_B0.replace("1-2-2-3", "4-2-2-3"), "does not read"),
        (mbconv.FAMILY, EFFICIENTNET_B0.replace("6", "3"), "does not read"),
        (mbconv.FAMILY, EFFICIENTNET_B0.replace("6", "x"), "does not read"),
        (ofa_mobilenetv3.FAMILY, "", "does not read"),
        (ofa_mobilenetv3.FAMILY, NOTE8_22_MS.replace("@140", ""), "does not read"),
        (ofa_mobilenetv3.FAMILY, NOTE8_22_MS.replace("@140", "@141"), "does not read"),
        (ofa_mobilenetv3.FAMILY, NOTE8_22_MS.replace("k7", "k9"), "does not read"),
        (ofa_mobilenetv3.FAMILY, NOTE8_22_MS.replace(",k7e6@", "@"), "does not read"),
    ],
)
def test_refuses(family: Family, code: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        family.build(code)
