"""HiAML, Two-Path and Inception: to the node what GENNAPE's and AutoGO's authors built."""

import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import product
from statistics import mean

import onnx
import pytest

from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.segment_db.families import hiaml, inception, twopath
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family
from autogo_onnx.segment_db.families.network import Network
from autogo_onnx.serialize import canonical_hash

FAMILIES = (hiaml.FAMILY, twopath.FAMILY, inception.FAMILY)

# The best network of each family as AutoGO's authors published it.
HIAML = "src1-src1-r30-src3"
TWO_PATH = (
    "conv5x5/2,conv5x5/2:"
    "double3x3+bottleneck-e2-k3,conv1x1+bottleneck-r2-k3/2,"
    "bottleneck-e2-k3+bottleneck-r2-k3+bottleneck-e2-k1,bottleneck-r2-k3/2"
)
INCEPTION = (
    "6=depthwise5x5@16-16,inception_s3x3@16-16,depthwise5x5+conv5x5@16-16:"
    "2=conv5x5+double1x1@128-64:"
    "5=conv3x3@128-128:"
    "3=inception_s5x5@64-64,"
    "conv5x5+inception_p5x5+conv1x1+conv3x3+inception_s3x3+conv5x5+inception_s3x3+depthwise5x5"
    "+inception_p3x3+inception_s5x5+depthwise5x5@32-64,"
    "inception_p3x3+inception_s3x3@32-64,inception_s3x3@64-64"
)

# A plain path of Two-Path, and plain stages of Inception after the first.
PLAIN = "conv3x3/2,conv3x3/2"
REST = "2=conv3x3@64-64:2=conv3x3@128-128:2=conv3x3@256-256"


# Nodes and edges that a block adds, at stride 1 and where it halves; the edges from its input too.
HIAML_BLOCKS = {
    "z": ((11, 12), (11, 12)),
    "a22": ((10, 11), (10, 11)),
    "b23": ((14, 15), (16, 17)),
    "j30": ((11, 12), (13, 14)),
    "g30": ((17, 19), (19, 21)),
    "r30": ((18, 21), (22, 25)),
    "l20": ((6, 6), (6, 6)),
    "t20": ((10, 11), (10, 11)),
    "t31": ((19, 22), (23, 26)),
    "src0": ((10, 11), (10, 11)),
    "src1": ((10, 11), (10, 11)),
    "src3": ((12, 13), (12, 13)),
    "src7": ((16, 17), (16, 17)),
    "src8": ((12, 13), (12, 13)),
}


def _size(graph: OpGraph) -> tuple[int, int]:
    """Nodes and edges as AutoGO's authors count them.

    Inputs and outputs are nodes, a dropout is one and a batch normalization is one; the global pool
    is followed by the linear layer without a flatten. Two edges between the same nodes are one.
    """
    flattens = sum(op.kind == "Flatten" for op in graph.ops)
    edges = sum(len(set(op.inputs)) for op in graph.ops)
    boundary = graph.n_inputs + len(graph.outputs)
    return len(graph.ops) - flattens + boundary, edges - flattens + len(graph.outputs)


@pytest.mark.parametrize(
    ("family", "code", "size", "parameters", "megamacs"),
    [
        (hiaml.FAMILY, HIAML, (107, 118), 2_220_746, 122.1),
        (twopath.FAMILY, TWO_PATH, (56, 58), 1_780_362, 57.7),
        (inception.FAMILY, INCEPTION, (403, 445), 3_537_898, 242.8),
    ],
)
def test_published_network_to_the_node(
    family: Family, code: str, size: tuple[int, int], parameters: int, megamacs: float
) -> None:
    network = family.build(code)
    assert _size(network.graph) == size
    assert network.parameters() == parameters
    assert round(network.macs() / 1e6, 1) == megamacs


@pytest.mark.parametrize(
    ("family", "code"), list(zip(FAMILIES, (HIAML, TWO_PATH, INCEPTION), strict=True))
)
def test_shapes_agree_with_onnx(family: Family, code: str) -> None:
    network = family.build(code)
    model = network.to_onnx(seed=0)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.output)
    }
    made = [shapes[node.output[0]][1:] for node in inferred.node]  # the batch axis is open
    assert made == [shape[1:] for shape in network.graph.op_shapes]


def test_stride_pads_as_tensorflow_does() -> None:
    stem = hiaml.build(HIAML).graph.ops[0]
    assert (stem.get("strides"), stem.get("pads")) == ((2, 2), (0, 0, 1, 1))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_codes_are_distinct_and_follow_the_seed(family: Family) -> None:
    codes = list(family.codes(40, 7))
    assert len(set(codes)) == 40
    assert list(family.codes(40, 7)) == codes
    assert set(family.codes(40, 8)) != set(codes)
    assert len({family.build(code).graph for code in codes[:10]}) == 10


def test_first_codes_stay_as_they_are() -> None:
    """The shipped database is mined from such draws, whatever the version of Python."""
    first = [next(family.codes(10, 0)) for family in FAMILIES]
    assert [hashlib.sha256(code.encode()).hexdigest()[:16] for code in first] == [
        "cdd8a4f4e519125d",
        "0858d85af21ade43",
        "712e01030bb69f1e",
    ]


@pytest.mark.parametrize("name", HIAML_BLOCKS)
def test_hiaml_block_to_the_node(name: str) -> None:
    assert (_block(name, 1), _block(name, 2)) == HIAML_BLOCKS[name]


def _block(name: str, stride: int) -> tuple[int, int]:
    nodes, edges = _size(_block_graph(name, stride))
    return nodes - 2, edges - 1


def _block_graph(name: str, stride: int) -> OpGraph:
    net = Builder((1, 64, 16, 16), same_upper=True)
    return net.graph(hiaml.add_block(net, 0, name, 64 * stride, stride))


def test_hiaml_blocks_are_14_different_graphs() -> None:
    assert set(hiaml.BLOCKS) == set(HIAML_BLOCKS)
    for stride in (1, 2):
        assert len({canonical_hash(_block_graph(name, stride)) for name in hiaml.BLOCKS}) == 14


def test_hiaml_sizes() -> None:
    """Sizes are sums over the stages, so one block throughout gives the extremes and the mean."""
    networks = [hiaml.build("-".join([name] * 4)) for name in hiaml.BLOCKS]
    nodes = [_size(network.graph)[0] for network in networks]
    megaparameters = [round(network.parameters() / 1e6, 2) for network in networks]
    assert (min(nodes), max(nodes), round(mean(nodes), 1)) == (55, 167, 109.6)
    assert (min(megaparameters), max(megaparameters)) == (1.28, 3.86)


@pytest.mark.slow
def test_hiaml_has_38416_networks() -> None:
    facts = []
    for code in hiaml.distinct():
        network = hiaml.build(code)
        digest = hashlib.sha256(to_json(network.graph).encode()).digest()
        facts.append((digest, _size(network.graph)[0], round(network.parameters() / 1e6, 2)))
    digests, nodes, megaparameters = map(list, zip(*facts, strict=True))
    assert len(set(digests)) == 38_416
    assert (min(nodes), max(nodes), round(mean(nodes), 1)) == (55, 167, 109.6)
    assert (min(megaparameters), max(megaparameters)) == (1.28, 3.86)


def test_twopath_has_1624_blocks() -> None:
    blocks = twopath.BLOCKS
    names = (*blocks.convolutions, *blocks.supplements)
    chains = [chain for length in (1, 2, 3) for chain in product(names, repeat=length)]
    assert sum(blocks.contains(chain) for chain in chains) == 8 + 144 + 1472


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"{PLAIN}:conv5x5/2,conv3x3/2", f"conv5x5/2,conv3x3/2:{PLAIN}"),
        (f"{PLAIN}:double3x3,{PLAIN}", f"{PLAIN}:conv3x3+conv3x3,{PLAIN}"),
        (f"{PLAIN}:conv3x3+conv1x1/2,conv3x3/2", f"{PLAIN}:conv3x3/2,conv1x1+conv3x3/2"),
    ],
    ids=["paths_swapped", "one_name_for_two", "before_or_after_a_border"],
)
def test_twopath_knows_encodings_of_one_network(first: str, second: str) -> None:
    one, other = ({*map(twopath.layers, twopath.parse(code))} for code in (first, second))
    assert one == other
    assert twopath.build(first) == twopath.build(second)


def test_twopath_tells_strides_apart() -> None:
    """Behind the border, the first convolution of the block has the stride."""
    first, second = f"{PLAIN}:conv3x3+conv5x5/2,conv3x3/2", f"{PLAIN}:conv3x3/2,conv5x5+conv3x3/2"
    assert twopath.build(first) != twopath.build(second)


def test_twopath_samples_as_published() -> None:
    codes = list(twopath.FAMILY.codes(1000, 0))
    assert all(twopath.encode(*twopath.parse(code)) == code for code in codes)
    paths = [path for code in codes for path in twopath.parse(code)]
    chains = [block.operations for path in paths for block in path]
    lengths = Counter(map(len, paths))
    assert [lengths[n] / len(paths) for n in (2, 3, 4)] == pytest.approx([1 / 3] * 3, abs=0.03)
    supplements = set(twopath.BLOCKS.supplements)
    with_supplement = mean(bool(supplements & set(chain)) for chain in chains)
    assert with_supplement == pytest.approx((5 / 13 + 1 - (8 / 13) ** 2) / 3, abs=0.02)


def test_twopath_sizes() -> None:
    networks = [twopath.build(code) for code in twopath.FAMILY.codes(300, 0)]
    nodes = [_size(network.graph)[0] for network in networks]
    assert all(29 <= count <= 123 for count in nodes)
    assert mean(nodes) == pytest.approx(68, abs=2)
    assert all(24e6 < network.macs() < 106e6 for network in networks)


def test_inception_reads_what_it_writes() -> None:
    for limits in (inception.PUBLISHED, inception.EARLIER):
        for code in inception.codes(100, 0, limits):
            assert inception.encode(inception.parse(code)) == code


def test_inception_paths_in_any_order() -> None:
    first = inception.build(f"2=conv3x3@16-16,conv5x5@16-16:{REST}")
    assert first == inception.build(f"2=conv5x5@16-16,conv3x3@16-16:{REST}")


@pytest.mark.parametrize("limits", [inception.PUBLISHED, inception.EARLIER])
def test_inception_keeps_limits(limits: inception.Limits) -> None:
    most = [0] * 4
    for code in inception.codes(300, 3, limits):
        for stage in inception.parse(code):
            lengths = [len(path.operations) for path in stage.paths]
            most[len(lengths) - 1] = max(most[len(lengths) - 1], sum(lengths))
            assert min(lengths) >= limits.least[len(lengths) - 1]
    assert tuple(most) == limits.most


def test_inception_published_network_is_beyond_the_published_limits() -> None:
    stage = inception.parse(INCEPTION)[3]
    operations = sum(len(path.operations) for path in stage.paths)
    assert inception.PUBLISHED.most[3] < operations <= inception.EARLIER.most[3]


def test_inception_samples_inner_widths_as_published() -> None:
    ratios = [
        path.inner / path.outer
        for code in inception.codes(500, 0)
        for path in inception.parse(code)[3].paths
        if sum(operation not in inception.POOLS for operation in path.operations) >= 2
    ]
    counts = Counter(ratios)
    shares = [counts[ratio] / len(ratios) for ratio in (0.5, 1, 2)]
    assert shares == pytest.approx([0.3, 0.6, 0.1], abs=0.04)


def test_inception_adds_its_input_where_shapes_agree() -> None:
    ops = inception.build(INCEPTION).graph.ops
    assert sum(op.kind == "Add" for op in ops) == 6 + (2 - 1) + (5 - 1) + (3 - 1)


def test_inception_projects_what_is_too_wide() -> None:
    wide = inception.build(f"2={','.join(['conv3x3@16-16'] * 4)}:{REST}")
    concat = next(i for i, op in enumerate(wide.graph.ops) if op.kind == "Concat")
    assert wide.graph.op_shapes[concat][1] == 64
    assert wide.graph.op_shapes[concat + 1][1] == 32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "average"), [(inception.PUBLISHED, 452), (inception.EARLIER, 664)]
)
def test_inception_sizes(limits: inception.Limits, average: float) -> None:
    codes = inception.codes(3000, 0, limits)
    nodes = [_size(inception.build(code).graph)[0] for code in codes]
    assert mean(nodes) == pytest.approx(average, rel=0.02)
    if limits == inception.PUBLISHED:  # the extremes of other 3,000 draws
        assert mean(120 <= count <= 1064 for count in nodes) > 0.995


@pytest.mark.parametrize(
    ("build", "code", "message"),
    [
        (hiaml.build, "", "4 names"),
        (hiaml.build, "src1-src1-r30", "4 names"),
        (hiaml.build, "src1-src1-r30-src2", "joined by '-'"),
        (twopath.build, "", "not 1 to 3 operations"),
        (twopath.build, PLAIN, "not two paths"),
        (twopath.build, f"{PLAIN}:conv3x3/2", "2 to 4 blocks"),
        (twopath.build, f"{PLAIN}:{PLAIN},conv3x3,conv3x3,conv3x3", "2 to 4 blocks"),
        (twopath.build, f"{PLAIN}:conv3x3/2,conv1x1/2", "at least one of"),
        (twopath.build, f"{PLAIN}:conv3x3/2,conv3x3/2/2", "at least one of"),
        (twopath.build, f"{PLAIN}:conv3x3/2,conv1x1+conv3x3+avgpool3x3/2", "at most one of"),
        (inception.build, REST, "four stages"),
        (inception.build, f"7=conv3x3@32-32:{REST}", "2 to 6 times"),
        (inception.build, f"2=conv3x3:{REST}", "op\\+op@inner-outer"),
        (inception.build, f"2=conv7x7@32-32:{REST}", "at least one of"),
        (inception.build, f"2=conv1x1+conv3x3+double1x1@32-32:{REST}", "at most one of"),
        (inception.build, f"2=conv3x3@64-64:{REST}", "outer widths"),
        (inception.build, f"2={','.join(['conv3x3@16-16'] * 5)}:{REST}", "outer widths"),
        (inception.build, f"2=conv3x3@16-32:{REST}", "inner width 16"),
        (inception.build, f"2={'+'.join(['conv3x3'] * 5)}@32-32:{REST}", "more than 4"),
    ],
)
def test_refuses(build: Callable[[str], Network], code: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(code)
