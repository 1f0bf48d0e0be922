from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from autogo_onnx.errors import InputError
from autogo_onnx.graph import (
    DefaultedInput,
    constant_value,
    from_model,
    from_text,
    is_constant,
    to_model,
)
from autogo_onnx.liveness import captured, cleanup, is_op

RESIDUAL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,1,2,2] x) => (float[N,1,2,2] y)
<float[1,1,1,1] w = {2}>
{
  c = Conv(x, w)
  r = Relu(c)
  y = Add(r, c)
}
"""
CONTROL_FLOW = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, bool c) => (float[2] y)
<float[2] k = {1, 2}>
{
  b = Neg(x)
  y = If (c) <
    then_branch = t () => (float[2] u) { u = Add(b, k) },
    else_branch = e () => (float[2] v) { v = Exp(x) }
  >
}
"""


def round_trip(model: onnx.ModelProto) -> onnx.ModelProto:
    return to_model(from_model(model), model)


def normalized(model: onnx.ModelProto) -> bytes:
    """Bytes that do not depend on the order of a node's attributes."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for node in copy.graph.node:
        ordered = sorted(node.attribute, key=lambda attribute: attribute.name)
        attributes = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in ordered]
        del node.attribute[:]
        node.attribute.extend(attributes)
    return bytes(copy.SerializeToString(deterministic=True))


def test_nothing_is_lost_on_the_way_through() -> None:
    model = from_text(RESIDUAL)
    model.domain, model.model_version, model.doc_string = "org.example", 7, "a model"
    model.producer_name = "somebody"
    model.metadata_props.add(key="author", value="me")
    model.graph.doc_string = "a graph"
    model.graph.metadata_props.add(key="k", value="v")
    model.graph.node[0].doc_string = "a node"
    model.graph.node[0].metadata_props.add(key="k", value="v")
    annotation = model.graph.quantization_annotation.add(tensor_name="c")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "s"))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("c", 1, ["N", 1, 2, 2]))
    assert round_trip(model) == model


def test_functions_and_subgraphs_pass_unchanged() -> None:
    model = from_text(CONTROL_FLOW)
    assert round_trip(model) == model
    function = from_text(
        """
        <ir_version: 9, opset_import: ["" : 17, "my" : 1]>
        g (float[2] x) => (float[2] y) { y = my.twice(x) }
        <domain: "my", opset_import: ["" : 17]>
        twice (a) => (b) { b = Add(a, a) }
        """
    )
    assert round_trip(function) == function


@pytest.mark.parametrize("element_type", ["BFLOAT16", "FLOAT8E4M3FN", "INT4", "UINT4", "STRING"])
def test_types_that_numpy_lacks_pass_untouched(element_type: str) -> None:
    kind = getattr(onnx.TensorProto, element_type)
    tensor = onnx.TensorProto(name="k", data_type=kind, dims=[2])
    if element_type == "STRING":
        tensor.string_data.extend([b"a", b"b"])
    else:
        tensor.raw_data = b"\x11\x22"[: 1 if "INT4" in element_type else 2]
        tensor.raw_data += b"\x33\x44" if element_type == "BFLOAT16" else b""
    node = onnx.helper.make_node("Identity", ["k"], ["y"])
    value = onnx.helper.make_tensor_value_info("y", kind, [2])
    graph = onnx.helper.make_graph([node], "g", [], [value], [tensor])
    opset = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    edited = from_model(model)
    assert not is_constant(edited.nodes[0].inputs[0])
    cleanup(edited)
    assert to_model(edited, model) == model


def test_editing_does_not_touch_the_source() -> None:
    model = from_text(RESIDUAL)
    before = model.SerializeToString()
    graph = from_model(model)
    conv = graph.nodes[0]
    conv.inputs[1] = gs.Constant("w", np.full((1, 1, 1, 1), 5, np.float32))
    conv.attrs["kernel_shape"] = [1, 1]
    changed = to_model(graph, model)
    assert model.SerializeToString() == before
    assert onnx.numpy_helper.to_array(changed.graph.initializer[0]).item() == 5
    assert [a.name for a in changed.graph.node[0].attribute] == ["kernel_shape"]


def test_overridable_initializers_are_inputs_and_come_back() -> None:
    model = from_text(RESIDUAL)
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [1, 1, 1, 1]))
    graph = from_model(model)
    weight = graph.nodes[0].inputs[1]
    assert isinstance(weight, DefaultedInput)
    assert weight.listed_by_habit
    assert not is_constant(weight)
    assert to_model(graph, model) == model


def test_before_ir_4_listed_initializers_are_constants_and_stay_listed() -> None:
    model = from_text(RESIDUAL)
    model.ir_version = 3
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [1, 1, 1, 1]))
    graph = from_model(model)
    assert is_constant(graph.nodes[0].inputs[1])
    assert to_model(graph, model) == model
    graph.nodes[0].inputs.append(gs.Constant("b", np.ones(1, np.float32)))
    changed = to_model(graph, model)
    assert [info.name for info in changed.graph.input] == ["x", "w", "b"]
    onnx.checker.check_model(changed)


def test_sparse_initializers_are_refused() -> None:
    model = from_text(RESIDUAL)
    model.graph.sparse_initializer.add().values.name = "s"
    with pytest.raises(InputError, match="sparse"):
        from_model(model)


def test_cleanup_drops_the_dead_and_keeps_the_order() -> None:
    model = from_text(
        """
        g (float[2] x) => (float[2] y)
        <float[2] unused = {1, 2}>
        {
          a = Neg(x)
          dead = Exp(a)
          deader = Add(dead, unused)
          b = Relu(x)
          y = Add(a, b)
        }
        """
    )
    graph = from_model(model)
    cleanup(graph)
    assert [node.op for node in graph.nodes] == ["Neg", "Relu", "Add"]
    assert not to_model(graph, model).graph.initializer
    graph.nodes = [graph.nodes[2], graph.nodes[0], graph.nodes[1]]
    cleanup(graph)
    assert [node.op for node in graph.nodes] == ["Neg", "Relu", "Add"]


def test_cleanup_keeps_what_subgraphs_read_and_unknown_operators() -> None:
    model = from_text(CONTROL_FLOW)
    graph = from_model(model)
    assert captured(graph) >= {"b", "k", "x"}
    cleanup(graph)
    assert to_model(graph, model) == model
    custom = from_text(
        """
        <ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
        g (float[2] x) => (float[2] y) { z = acme.Print(x) y = Relu(x) }
        """
    )
    graph = from_model(custom)
    cleanup(graph)
    assert [node.op for node in graph.nodes] == ["Print", "Relu"]
    assert not is_op(graph.nodes[0], "Print")


def test_deep_unsorted_graphs_are_sorted_without_recursion() -> None:
    names = [f"t{i}" for i in range(5001)]
    nodes = [onnx.helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [value("t0", 1, [1])], [value("t5000", 1, [1])])
    model = onnx.helper.make_model(graph, ir_version=8)
    edited = from_model(model)
    edited.nodes.reverse()
    cleanup(edited)
    assert [node.outputs[0].name for node in edited.nodes] == names[1:]


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value_float = 1.5", np.float32(1.5)),
        ("value_floats = [1.0, 2.0]", np.array([1, 2], np.float32)),
        ("value_int = 3", np.int64(3)),
        ("value_ints = [3, 4]", np.array([3, 4])),
        ("value = double {1.5}", np.float64(1.5)),
    ],
)
def test_constant_nodes_of_every_spelling(attribute: str, expected: np.ndarray) -> None:
    model = from_text(f"g () => (float y) {{ y = Constant <{attribute}> () }}")
    value = constant_value(from_model(model).outputs[0])
    assert value is not None
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def test_real_models_pass_unchanged(shared: Path) -> None:
    for path in sorted((shared / "zoo").glob("*.onnx")):
        model = onnx.load(path)
        before = model.SerializeToString()
        assert normalized(round_trip(model)) == normalized(model), path.name
        assert model.SerializeToString() == before
