from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from net_cases import Net, pictures, reading_of, residual_net, run
from onnx import TensorProto, helper, numpy_helper

from autogo_onnx import model as model_file
from autogo_onnx.graph import from_model, from_text
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import Op
from autogo_onnx.segments import Reading, is_convex, op_weights, read, site_of
from autogo_onnx.submodel import Parts


def assert_same_function(model: onnx.ModelProto, reading: Reading, x: np.ndarray) -> None:
    """The graph that was read, with its weights, computes what the model computes."""
    weights = {i: op_weights(node) for i, node in enumerate(reading.nodes)}
    twin = to_onnx(reading.opgraph, {i: w for i, w in weights.items() if w}, opset=17)
    found = run(twin, {"x0": x})
    for made, expected in zip(found, run(model, {"x": x}), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


PADDED = [
    {"auto_pad": mode, "strides": (sy, sx), "dilations": (d, d), "kernel_shape": kernel}
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
    for kernel in ((3, 3), (2, 5), (1, 1))
    for sy, sx, d in ((1, 1, 1), (2, 3, 1), (1, 1, 2))
    if mode == "VALID" or d == 1  # ONNX Runtime knows no dilated SAME, or has it wrong
]


@pytest.mark.parametrize("attributes", PADDED, ids=str)
@pytest.mark.parametrize("kind", ["Conv", "MaxPool", "AveragePool"])
def test_auto_pad_becomes_explicit(kind: str, attributes: dict[str, Any]) -> None:
    if kind == "AveragePool":  # knows no dilations at this opset
        attributes = {k: v for k, v in attributes.items() if k != "dilations"}
    net = Net(1, 3, 11, 10)
    out = net.conv("x", 3, 4, **attributes) if kind == "Conv" else net.op(kind, "x", **attributes)
    model = net.model(out)
    reading = reading_of(model, x=(1, 3, 11, 10))
    assert "auto_pad" not in dict(reading.opgraph.ops[0].attributes)
    assert_same_function(model, reading, pictures(0, 1, 3, 11, 10))


@pytest.mark.parametrize(
    "attributes",
    [
        {"auto_pad": "SAME_UPPER", "strides": (2, 2)},
        {"auto_pad": "SAME_LOWER", "strides": (2, 1)},
        {"auto_pad": "VALID", "strides": (2, 3)},
        {"output_shape": (12, 15), "strides": (2, 3)},
        {"pads": (1, 0, 0, 1), "output_padding": (1, 0), "strides": (2, 2)},
        {"group": 2, "dilations": (2, 1)},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel", [(3, 3), (4, 5)])
def test_transposed_convolutions_pad_the_other_way_round(
    attributes: dict[str, Any], kernel: tuple[int, int]
) -> None:
    net = Net(1, 4, 6, 5)
    out = net.op("ConvTranspose", "x", net.random(4, 3, *kernel), **attributes)
    model = net.model(out)
    reading = reading_of(model, x=(1, 4, 6, 5))
    names = dict(reading.opgraph.ops[0].attributes)
    assert not {"auto_pad", "output_shape"} & names.keys()
    assert_same_function(model, reading, pictures(0, 1, 4, 6, 5))


def test_auto_pad_of_an_unknown_size_claims_nothing() -> None:
    net = Net(1, 3, "H", "W")
    model = net.model(net.conv("x", 3, 4, auto_pad="SAME_UPPER"))
    op = read(from_model(model), {}).opgraph.ops[0]
    assert op.get("pads") == (0, 0, 0, 0)
    assert reading_of(model, x=(1, 3, 7, 7)).opgraph.ops[0].get("pads") == (1, 1, 1, 1)


def test_a_convolution_has_all_its_attributes() -> None:
    net = Net(1, 4, 8, 8)
    weight = net.random(6, 2, 3, 1)
    reading = reading_of(net.model(net.op("Conv", "x", weight, group=2)), x=(1, 4, 8, 8))
    assert reading.opgraph.ops == (
        Op.make(
            "Conv",
            (0,),
            dilations=(1, 1),
            group=2,
            kernel_shape=(3, 1),
            pads=(0, 0, 0, 0),
            strides=(1, 1),
        ),
    )
    assert reading.opgraph.op_shapes == ((1, 6, 6, 8),)


def test_pools_read_alike_whether_defaults_are_spelled_out() -> None:
    short, long = Net(1, 3, 8, 8), Net(1, 3, 8, 8)
    for kind, more in (
        ("MaxPool", {"storage_order": 0}),
        ("AveragePool", {"count_include_pad": 0}),
    ):
        plain = short.model(short.op(kind, "x", kernel_shape=(2, 2)))
        spelled = long.model(
            long.op(
                kind,
                "x",
                kernel_shape=(2, 2),
                strides=(1, 1),
                pads=(0, 0, 0, 0),
                ceil_mode=0,
                auto_pad="NOTSET",
                **more,
            )
        )
        a, b = (reading_of(m, x=(1, 3, 8, 8)).opgraph for m in (plain, spelled))
        assert a.ops[-1] == b.ops[-1]


def test_counting_the_padding_and_ceil_mode_are_kept() -> None:
    net = Net(1, 3, 7, 7)
    model = net.model(
        net.op(
            "AveragePool",
            "x",
            kernel_shape=(3, 3),
            strides=(2, 2),
            pads=(1, 1, 1, 1),
            count_include_pad=1,
            ceil_mode=1,
        )
    )
    assert_same_function(model, reading_of(model, x=(1, 3, 7, 7)), pictures(0, 1, 3, 7, 7))


@pytest.mark.parametrize("opset", [6, 17])
def test_clip_limits_are_attributes_at_every_opset(opset: int) -> None:
    net = Net(1, 3, 4, 4, opset=opset)
    if opset == 6:
        out = net.op("Clip", "x", min=0.0, max=6.0)
    else:
        six = net.op("Constant", value=numpy_helper.from_array(np.array(6, np.float32)))
        out = net.op("Clip", "x", net.constant(np.array(0, np.float32)), six)
    reading = reading_of(net.model(out), x=(1, 3, 4, 4))
    assert reading.opgraph.ops == (Op.make("Clip", (0,), min=0.0, max=6.0),)


def test_a_clip_of_one_side_has_one_limit() -> None:
    net = Net(1, 3, 4, 4)
    model = net.model(net.op("Clip", "x", "", net.constant(np.array(0.5, np.float32))))
    reading = reading_of(model, x=(1, 3, 4, 4))
    assert reading.opgraph.ops == (Op.make("Clip", (0,), max=0.5),)
    assert_same_function(model, reading, pictures(0, 1, 3, 4, 4))


def test_a_negative_axis_is_counted_from_the_front() -> None:
    net = Net(1, 3, 4, 4)
    model = net.model(net.op("Concat", "x", net.relu("x"), axis=-3))
    reading = reading_of(model, x=(1, 3, 4, 4))
    assert reading.opgraph.ops[-1] == Op.make("Concat", (0, 1), axis=1)


SCAFFOLDING = """
g (float[N,3,8,8] x) => (float[N,M] y)
{
  shape = Shape(x)
  zero = Constant<value_int = 0>()
  first = Gather(shape, zero)
  front = Unsqueeze(first, axes)
  target = Concat<axis = 0>(front, rest)
  a = Relu(x)
  y = Reshape(a, target)
}
"""


def test_shape_scaffolding_is_no_compute() -> None:
    text = SCAFFOLDING.replace(
        "float[N,M] y)", "float[N,M] y) <int64[1] axes = {0}, int64[1] rest = {-1}>"
    )
    reading = reading_of(from_text(text), x=(1, 3, 8, 8))
    assert [op.kind for op in reading.opgraph.ops] == ["Relu", "Reshape"]
    assert [op.inputs for op in reading.opgraph.ops] == [(0,), (1,)]
    assert reading.tensors == ("x", "a", "y")
    assert [node.op for node in reading.nodes] == ["Relu", "Reshape"]
    assert reading.opgraph.op_shapes == ((1, 3, 8, 8), (1, 192))


def test_nodes_of_constants_alone_are_no_compute() -> None:
    net = Net(1, 3, 4, 4)
    doubled = net.op("Add", net.random(3, 1, 1), net.random(3, 1, 1))
    reading = reading_of(net.model(net.op("Mul", "x", doubled)), x=(1, 3, 4, 4))
    assert [op.kind for op in reading.opgraph.ops] == ["Mul"]
    assert reading.opgraph.ops[0].inputs == (0,)


def test_every_output_of_a_node_is_an_operator() -> None:
    net = Net(1, 4, 6, 6)
    net.op("Split", "x", outputs=2, axis=1)
    a, b = net.nodes[-1].output
    model = net.model(net.op("Add", net.relu(b), a))
    reading = reading_of(model, x=(1, 4, 6, 6))
    assert [op.kind for op in reading.opgraph.ops] == ["Split", "Split", "Relu", "Add"]
    assert [op.get("output") for op in reading.opgraph.ops] == [None, 1, None, None]
    assert reading.tensors == ("x", a, b, "relu1a", "add2a")
    assert reading.nodes[0] is reading.nodes[1]
    assert reading.opgraph.ops[3].inputs == (3, 1)


def test_unused_optional_outputs_are_left_out() -> None:
    node = helper.make_node("Dropout", ["x"], ["y", ""])
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xyz"]
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["y"], ["z"])], "g", value[:1], value[2:]
    )
    reading = reading_of(helper.make_model(graph), x=(1, 4))
    assert reading.tensors == ("x", "y", "z")
    assert reading.opgraph.ops[1].inputs == (1,)


def overridable(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with one initializer listed as an input as well."""
    proto = next(t for t in model.graph.initializer if t.name == name)
    info = helper.make_tensor_value_info(name, proto.data_type, proto.dims)
    model.graph.input.append(info)
    return model


def test_a_weight_that_callers_may_override_is_an_operand() -> None:
    net = Net(1, 3, 8, 8)
    model = overridable(net.model(net.relu(net.conv("x", 3, 4))), "w0")
    graph = from_model(model)
    reading = read(graph, model_file.tensor_shapes(model, {"x": (1, 3, 8, 8)}))
    assert reading.tensors[:2] == ("x", "w0")
    assert reading.opgraph.ops[0].inputs == (0, 1)
    assert len(op_weights(reading.nodes[0])) == 1  # the bias


def test_kinds_of_other_domains_are_not_mistaken_for_onnx() -> None:
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"], domain="my.domain")
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    reading = reading_of(helper.make_model(graph, opset_imports=imports), x=(1, 4))
    assert reading.opgraph.ops[0].kind == "my.domain::Relu"


def test_what_a_subgraph_captures_is_an_operand_of_its_node() -> None:
    branch = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["n"])],
        "branch",
        [],
        [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:]))
    reading = reading_of(model, x=(1, 4))
    assert reading.opgraph.ops[3].kind == "If"
    assert set(reading.opgraph.ops[3].inputs) == {3, 1}


def test_a_site_knows_its_boundary() -> None:
    model = residual_net(blocks=1)
    reading = reading_of(model, x=(1, 3, 12, 12))
    assert [op.kind for op in reading.opgraph.ops][:6] == [
        "Conv",
        "Relu",
        "Conv",
        "Relu",
        "Conv",
        "Add",
    ]
    site = site_of(reading, [2, 3, 4])
    assert site.names == ("node2", "node3", "node4")
    assert site.inputs == (reading.nodes[2].inputs[0].name,)
    assert site.outputs == (reading.nodes[4].outputs[0].name,)
    assert [op.inputs for op in site.graph.ops] == [(0,), (1,), (2,)]
    x = pictures(0, 1, 8, 12, 12)
    weights = {k: op_weights(reading.nodes[i]) for k, i in enumerate(site.cut.ops)}
    made = run(to_onnx(site.graph, weights), {"x0": x})[0]
    part = Parts(model).between({site.inputs[0]: x.dtype}, site.outputs)
    expected = run(part, {site.inputs[0]: x})[0]
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def test_convexity_of_a_block() -> None:
    graph = reading_of(residual_net(blocks=1), x=(1, 3, 12, 12)).opgraph
    assert is_convex(graph, [2, 3, 4, 5])
    assert is_convex(graph, [2])
    assert not is_convex(graph, [2, 4])
    assert not is_convex(graph, [1, 5])  # the path through the convolutions comes back
    assert is_convex(graph, [0, 1])
