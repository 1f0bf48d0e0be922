"""Isomorphic graphs serialize alike, and the serialization keeps branches together."""

from dataclasses import replace
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from isomorphic_graphs import SHAPE, shuffled

from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.serialize import canonical_form, canonical_hash, canonical_order, tokens

UNARY = (
    Op.make("Relu", (0,)),
    Op.make("Conv", (0,), kernel_shape=(3, 3), pads=(1, 1, 1, 1)),
    Op.make("Conv", (0,), kernel_shape=(1, 1)),
)
BINARY = ("Add", "Add", "Mul", "Sub", "Concat")


@st.composite
def graphs(draw: st.DrawFn, max_ops: int = 14) -> OpGraph:
    """A random graph, with many equal parts so that ties are common."""
    n_inputs = draw(st.integers(1, 3))
    ops: list[Op] = []
    for index in range(draw(st.integers(1, max_ops))):
        operand = st.integers(
            max(0, n_inputs + index - draw(st.integers(1, 8))), n_inputs + index - 1
        )
        if draw(st.booleans()):
            ops.append(replace(draw(st.sampled_from(UNARY)), inputs=(draw(operand),)))
        else:
            ops.append(Op.make(draw(st.sampled_from(BINARY)), (draw(operand), draw(operand))))
    tensor = st.integers(0, n_inputs + len(ops) - 1)
    outputs = draw(st.lists(tensor, min_size=1, max_size=3, unique=True))
    shapes = st.sampled_from([SHAPE, SHAPE, (1, 8, 2, 2)])
    input_shapes = draw(st.lists(shapes, min_size=n_inputs, max_size=n_inputs))
    return OpGraph(tuple(input_shapes), tuple(ops), (SHAPE,) * len(ops), tuple(outputs))


@settings(max_examples=200, deadline=None)
@given(graphs(), st.integers(0, 2**32))
def test_isomorphic_graphs_serialize_alike(graph: OpGraph, seed: int) -> None:
    other = shuffled(graph, seed)
    assert tokens(graph) == tokens(other)
    assert canonical_form(graph) == canonical_form(other)
    assert canonical_hash(graph) == canonical_hash(other)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_order_is_topological_and_whole(graph: OpGraph) -> None:
    order = canonical_order(graph)
    assert sorted(order) == list(range(len(graph.ops)))
    made = set(range(graph.n_inputs))
    for index in order:
        assert made.issuperset(graph.ops[index].inputs)
        made.add(graph.n_inputs + index)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32))
def test_canonical_form_keeps_structure(graph: OpGraph, seed: int) -> None:
    form = canonical_form(shuffled(graph, seed))
    assert canonical_hash(form) == canonical_hash(graph)
    assert tokens(form, range(len(form.ops))) == tokens(graph)


def test_parallel_branches_do_not_interleave() -> None:
    net = Builder(SHAPE)
    first = net.conv(net.relu(0), 8, kernel=3)
    second = net.conv(net.relu(0), 8, kernel=1)
    third = net.conv(net.relu(net.conv(net.relu(0), 8, kernel=1)), 8, kernel=3)
    graph = net.graph(net.concat(first, second, third))
    relus = [i for i, token in enumerate(tokens(graph)) if token.startswith("Relu")]
    assert relus == [0, 2, 4, 6], "every Relu is followed by its own convolution"
    assert tokens(graph)[0:4] == tokens(net.graph(third))[0:3] + tokens(graph)[3:4]


def test_the_same_cell_reads_the_same_in_every_position() -> None:
    arch = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    labels = [t.split("|")[0] for t in tokens(nasbench201.build(arch).folded())]
    cell = labels[1:12]
    inside = [labels[1 + 11 * k : 12 + 11 * k] for k in range(5)]
    assert inside == [cell] * 5


def test_operand_order_matters_where_it_does() -> None:
    def graph(kind: str, swap: bool) -> OpGraph:
        operands = (2, 1) if swap else (1, 2)
        ops = (UNARY[0], UNARY[1], Op(kind, operands))
        return OpGraph((SHAPE,), ops, (SHAPE,) * 3, (3,))

    for kind, alike in [("Add", True), ("Mul", True), ("Concat", False), ("Sub", False)]:
        hashes = {canonical_hash(graph(kind, swap)) for swap in (False, True)}
        assert (len(hashes) == 1) is alike, kind


def test_hash_is_blind_to_shapes_but_not_to_attributes() -> None:
    def conv(channels: int, **attributes: object) -> OpGraph:
        net = Builder((1, channels, 16, 16))
        return net.graph(net.conv(0, channels, **attributes))  # type: ignore[arg-type]

    assert canonical_hash(conv(8, kernel=3)) == canonical_hash(conv(24, kernel=3))
    assert canonical_hash(conv(8, group=8)) == canonical_hash(conv(24, group=24))
    different = [conv(8), conv(8, kernel=3), conv(8, stride=2), conv(8, group=8), conv(8, group=2)]
    assert len({canonical_hash(g) for g in different}) == len(different)


def test_spelled_out_defaults_do_not_matter() -> None:
    short = Op.make("Conv", (0,), kernel_shape=(1, 1))
    full = short.with_attributes(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1)
    one, other = (OpGraph((SHAPE,), (op,), (SHAPE,), (1,)) for op in (short, full))
    assert canonical_hash(one) == canonical_hash(other)
    assert tokens(one) == tokens(other)


def test_sharing_is_structure() -> None:
    conv = UNARY[1]
    shared = OpGraph((SHAPE,), (conv, Op("Add", (1, 1))), (SHAPE,) * 2, (2,))
    apart = OpGraph((SHAPE,), (conv, conv, Op("Add", (1, 2))), (SHAPE,) * 3, (3,))
    assert canonical_hash(shared) != canonical_hash(apart)


def test_identical_branches_in_any_order() -> None:
    """Six equal branches of two: all orders of their operators give one token sequence."""
    sequences = set()
    for branch in permutations(range(3)):
        ops = [replace(UNARY[0], inputs=(0,))] * 3
        ops += [replace(UNARY[1], inputs=(1 + b,)) for b in branch]
        ops += [Op("Add", (4, 5)), Op("Add", (6, 7))]
        sequences.add(tokens(OpGraph((SHAPE,), tuple(ops), (SHAPE,) * 8, (8,))))
    assert len(sequences) == 1


def test_dead_operators_come_last() -> None:
    ops = (Op("Sigmoid", (0,)), Op("Relu", (0,)))
    graph = OpGraph((SHAPE,), ops, (SHAPE,) * 2, (2,))
    assert canonical_order(graph) == (1, 0)


def test_codes_of_networks_come_back_in_every_form() -> None:
    """Alphabet closed when mined; what it lacks is read in a coarser form, at last as OTHER."""
    cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    known = [nasbench_macro.build("01201201").folded(), nasbench201.build(cell).folded()]
    vocabulary = Vocabulary.train(map(tokens, known), 300)
    strange = Builder(SHAPE)
    x = strange.unary("HardSwish", strange.conv(0, 16, kernel=7))
    unknown = strange.graph(strange.unary("Einsum", x), x)
    for graph in (*known, unknown):
        sequence = tokens(graph)
        forms = [vocabulary.decode(form) for form in vocabulary.forms(sequence)]
        encoded = vocabulary.decode(vocabulary.encode(sequence))
        assert encoded in forms
        assert vocabulary.decode(vocabulary.encode(encoded)) == encoded
        assert all(set(form) <= set(vocabulary.alphabet) for form in forms)
        if graph is unknown:
            assert forms == [("Conv", "Activation", "OTHER")] * 3
        else:
            assert forms[0] == sequence == encoded
            assert forms[1] == tuple(token.split("|")[0] for token in sequence)
