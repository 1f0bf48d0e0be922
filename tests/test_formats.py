"""Models in every legal dress: what cannot be understood is carried through, the rest is rewritten.

Each model goes through the whole exact level; its face, its outputs and what must stay are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import autogo_onnx
from autogo_onnx import runtime, verify
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_text

info = helper.make_tensor_value_info
node = helper.make_node


def rewritten(
    model: onnx.ModelProto, feeds: list[dict[str, Any]] | None = None
) -> tuple[onnx.ModelProto, list[str]]:
    """The model after the exact level, and the reasons of what was left alone."""
    onnx.checker.check_model(model)
    report = autogo_onnx.optimize(model, level="exact", target="macs")
    assert verify.signature_problems(model, report.model) == []
    assert not any("broke its promise" in skip.reason for skip in report.skipped)
    result = report.model
    for field in ("ir_version", "producer_name", "domain", "model_version", "doc_string"):
        assert getattr(model, field) == getattr(result, field)
    for mine, theirs in ((model, result), (model.graph, result.graph)):
        assert list(mine.metadata_props) == list(theirs.metadata_props)
    assert model.graph.name == result.graph.name
    assert list(model.functions) == list(result.functions)
    assert list(model.graph.output) == list(result.graph.output)
    for feed in feeds or []:
        one, other = (
            runtime.run(runtime.open_session(m, optimize=False), None, feed)
            for m in (model, result)
        )
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    return result, [skip.reason for skip in report.skipped]


def left_alone(model: onnx.ModelProto, reason: str) -> None:
    result, reasons = rewritten(model)
    assert result is model or result == model
    assert any("left exactly as it is" in r and reason in r for r in reasons), reasons


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv_bn(opset: int, ir_version: int) -> onnx.ModelProto:
    """Conv and BatchNormalization, as old and new exporters write them."""
    stored = [
        numpy_helper.from_array(value, name)
        for name, value in (
            ("w", noise(3, 2, 3, 3)),
            ("s", noise(3)),
            ("b", noise(3, seed=1)),
            ("m", noise(3, seed=2)),
            ("v", noise(3, seed=3) ** 2 + 0.1),
        )
    ]
    inputs = [info("x", 1, ["N", 2, 6, 6])]
    if ir_version < 4:
        inputs += [info(t.name, t.data_type, t.dims) for t in stored]
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", 1, ["N", 3, 6, 6])], stored)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


@pytest.mark.parametrize("opset", range(7, 27))
@pytest.mark.parametrize("ir_version", [3, 4, 8, 10, 13])
def test_every_opset_and_format_version(opset: int, ir_version: int) -> None:
    model = conv_bn(opset, ir_version)
    result, reasons = rewritten(model)
    try:
        runtime.open_session(model)
    except InputError:
        assert result is model
        assert any("left exactly as it is" in reason for reason in reasons)
    else:
        assert kinds(result) == ["Conv"]


def test_versions_beyond_are_left_alone() -> None:
    """ONNX 1.23 knows format 14 and opset 28, ONNX Runtime 1.31 knows 13 and 26, 1.32 format 14."""
    newest = onnx.defs.onnx_opset_version()
    versions = f'ir_version: {onnx.IR_VERSION}, opset_import: ["" : {newest}]'
    model = from_text(f"<{versions}> g (float[N] x) => (float[N] y) {{ y = Relu(x) }}")
    try:
        runtime.open_session(model)
    except InputError:
        left_alone(model, "ONNX Runtime does not load the model")
    else:
        pytest.skip("this ONNX Runtime knows all that this ONNX knows")


def test_versions_long_past_are_kept() -> None:
    old = conv_bn(6, 3)
    result, _ = rewritten(old)
    assert kinds(result) == kinds(old)


def test_names_are_nobodys_business() -> None:
    """No node has a name, or that of a tensor; two of the same ONNX Runtime does not take."""
    model = from_text(
        """
        g (float[N,4] x) => (float[N,4] y)
        { a = Identity(x) b = Relu(a) c = Identity(b) y = Neg(c) }
        """
    )
    result, _ = rewritten(model, [{"x": noise(2, 4)}])
    assert kinds(result) == ["Relu", "Neg"]
    for one, name in zip(model.graph.node, ("a", "y", "b", "x"), strict=True):
        one.name = name
    result, _ = rewritten(model, [{"x": noise(2, 4)}])
    assert kinds(result) == ["Relu", "Neg"]
    model.graph.node[0].name = "b"
    left_alone(model, "same node name")


def test_a_stored_tensor_may_be_an_output_and_an_input_too() -> None:
    stored = from_text(
        """
        g (float[N] x) => (float[2] w, float[N] x, float[N] y)
        <float[2] w = {1, 2}, float[2] unused = {3, 4}>
        { i = Identity(x) y = Relu(i) }
        """
    )
    result, _ = rewritten(stored, [{"x": noise(3)}])
    assert [t.name for t in result.graph.output] == ["w", "x", "y"]


def test_empty_graphs_and_graphs_without_inputs() -> None:
    nothing = from_text("g (float[N] x) => (float[N] x) { }")
    result, _ = rewritten(nothing)
    assert kinds(result) == []
    constant = from_text(
        "g () => (float[2] y) { c = Constant<value_floats=[1.0, 2.0]>() y = Neg(c) }"
    )
    rewritten(constant, [{}])


def test_scalars_and_dimensions_of_size_zero() -> None:
    scalar = from_text("g (float x) => (float y) { i = Identity(x) y = Relu(i) }")
    rewritten(scalar, [{"x": np.array(-1.5, np.float32)}])
    empty = from_text("g (float[0,3] x) => (float[0,3] y) { i = Identity(x) y = Relu(i) }")
    result, _ = rewritten(empty, [{"x": np.zeros((0, 3), np.float32)}])
    assert kinds(result) == ["Relu"]


def test_wide_nodes_and_long_lists_of_constants() -> None:
    names = [f"k{i}" for i in range(200)]
    stored = [
        numpy_helper.from_array(np.array([i, 1], np.float32), name) for i, name in enumerate(names)
    ]
    graph = helper.make_graph(
        [node("Sum", ["x", *names], ["s"]), node("Concat", ["s", *names], ["y"], axis=0)],
        "wide",
        [info("x", 1, [2])],
        [info("y", 1, [402])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rewritten(model, [{"x": noise(2)}])


def test_wrong_declared_dimensions_are_kept_and_not_believed() -> None:
    """Declared [1, T], truly [T, 1, 4], as ddddocr ships it: the reshape must stay."""
    model = from_text(
        """
        g (float[T,4] x) => (float[A,B] y)
        <int64[3] shape = {0, 1, -1}>
        { i = Identity(x) y = Reshape(i, shape) }
        """
    )
    dims = model.graph.output[0].type.tensor_type.shape.dim
    dims[0].dim_value, dims[1].dim_param = 1, "seqlen"
    result, _ = rewritten(model)
    got = runtime.run(runtime.open_session(result, optimize=False), None, {"x": noise(5, 4)})[0]
    assert got.shape == (5, 1, 4)


def test_what_subgraphs_read_stays() -> None:
    """A branch reads `a`, whose maker and reader could both be dropped, and one reads a weight."""
    model = from_text(
        """
        g (float[N,2] x, bool flag) => (float[N,2] y)
        <float[2] w = {1, 2}, float[2] v = {1, 2}>
        {
          a = Identity(x)
          b = Identity(a)
          c = Mul(b, w)
          d = Mul(c, w)
          y = If (flag) <
            then_branch = t () => (float[N,2] p) { p = Add(a, v) },
            else_branch = e () => (float[N,2] q) { a2 = Identity(d) q = Mul(a2, w) }>
        }
        """
    )
    feeds = [{"x": noise(3, 2), "flag": np.array(flag)} for flag in (True, False)]
    result, reasons = rewritten(model, feeds)
    assert any("control flow" in reason for reason in reasons)
    assert len(result.graph.node) <= len(model.graph.node)


def test_the_same_names_inside_and_outside() -> None:
    """Names of a loop's body shadow nothing outside, and are none of ours to take."""
    model = from_text(
        """
        g (float[N,2] x) => (float[N,2] y)
        <int64 count = {2}, bool on = {1}>
        {
          i = Identity(x)
          s = Relu(i)
          r = Loop(count, on, s) <body = b (int64 k, bool c, float[N,2] v) => (bool d, float[N,2] w)
            { d = Identity(c) inner = Relu(v) w = Neg(inner) }>
          t = Identity(r)
          y = Relu(t)
        }
        """
    )
    result, _ = rewritten(model, [{"x": noise(3, 2)}])
    assert kinds(result) == ["Relu", "Loop", "Relu"]


def test_functions_and_foreign_operators_are_kept() -> None:
    model = from_text(
        """
        <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[N] x) => (float[N] y) { i = Identity(x) f = mine.Twice(i) y = Identity(f) }
        <domain: "mine", opset_import: ["" : 17]>
        Twice (a) => (b) { t = Identity(a) b = Add(t, t) }
        """
    )
    result, reasons = rewritten(model, [{"x": noise(3)}])
    assert "Twice" in kinds(result)
    assert any("domain" in reason for reason in reasons)
    foreign = from_text(
        """
        <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[N] x) => (float[N] y) { i = Identity(x) y = mine.Unheard(i) }
        """
    )
    left_alone(foreign, "ONNX Runtime does not load the model")


@pytest.mark.parametrize("kind", ["bfloat16", "float8e4m3fn", "float8e5m2", "int4", "uint4"])
def test_types_that_numpy_does_not_have_are_carried_through(kind: str) -> None:
    number = TensorProto.DataType.Value(kind.upper())
    model = from_text(
        f"""
        <ir_version: 10, opset_import: ["" : 21]>
        g (float[2] x) => (float[2] y)
        {{ i = Identity(x) q = Cast<to={number}>(i) y = Cast<to=1>(q) }}
        """
    )
    result, _ = rewritten(model)
    assert kinds(result)[-2:] == ["Cast", "Cast"]


def quantized() -> onnx.ModelProto:
    model = from_text(
        """
        g (float[N,2] x) => (float[N,2] y)
        <float s = {0.1}, uint8 z = {128}, float[2,2] w = {1,2,3,4}>
        {
          i = Identity(x)
          q = QuantizeLinear(i, s, z)
          d = DequantizeLinear(q, s, z)
          m = MatMul(d, w)
          q2 = QuantizeLinear(m, s, z)
          y = DequantizeLinear(q2, s, z)
        }
        """
    )
    annotation = model.graph.quantization_annotation.add(tensor_name="m")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    return model


def test_quantization_is_kept() -> None:
    model = quantized()
    result, reasons = rewritten(model, [{"x": noise(4, 2)}])
    assert [k for k in kinds(result) if "quantize" in k.lower()] == [
        *("QuantizeLinear", "DequantizeLinear") * 2
    ]
    assert list(result.graph.quantization_annotation) == list(model.graph.quantization_annotation)
    assert "s" in {t.name for t in result.graph.initializer}
    assert any("quantized" in reason for reason in reasons)


def test_metadata_and_documentation_are_kept() -> None:
    model = conv_bn(17, 8)
    model.doc_string, model.domain, model.model_version = "about", "here", 7
    model.metadata_props.add(key="a", value="b")
    model.graph.doc_string = "graph"
    model.graph.input[0].doc_string = "input"
    model.graph.output[0].doc_string = "output"
    result, _ = rewritten(model)
    assert result.graph.doc_string == "graph"
    assert result.graph.input[0] == model.graph.input[0]
    assert kinds(result) == ["Conv"]


def test_training_is_no_inference() -> None:
    model = from_text(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,2,3,3] x) => (float[N,2,3,3] y, float[2] m2, float[2] v2)
        <float[2,2,1,1] w = {1,2,3,4}, float[2] s = {2,3}, float[2] b = {1,0}, float[2] m = {0,1},
         float[2] v = {4,9}>
        {
          c = Conv(x, w)
          y, m2, v2 = BatchNormalization<training_mode=1>(c, s, b, m, v)
        }
        """
    )
    result, _ = rewritten(model)
    assert kinds(result) == ["Conv", "BatchNormalization"]
    dropout = from_text(
        """
        g (float[N,2] x) => (float[N,2] y)
        <float ratio = {0.5}, bool training = {1}>
        { d = Dropout(x, ratio, training) y = Relu(d) }
        """
    )
    left_alone(dropout, "random")


def test_overridable_weights_stay_inputs_and_stay_in_effect() -> None:
    model = conv_bn(17, 8)
    model.graph.input.append(info("s", 1, [3]))
    feeds: list[Mapping[str, Any]] = [
        {"x": noise(2, 2, 6, 6)},
        {"x": noise(2, 2, 6, 6), "s": noise(3)},
    ]
    result, _ = rewritten(model, [dict(feed) for feed in feeds])
    assert kinds(result) == ["Conv", "BatchNormalization"]
    assert "s" in {i.name for i in result.graph.input}


def test_sparse_and_string_and_optional_things_do_no_harm() -> None:
    values = numpy_helper.from_array(np.array([3], np.float32), "s")
    sparse = from_text("g (float[2] x) => (float[2] y) { i = Identity(x) y = Relu(i) }")
    sparse.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1]), "at"), [2])
    )
    sparse.graph.node[1].CopyFrom(node("Add", ["i", "s"], ["y"]))
    left_alone(sparse, "sparse")
    text = from_text("g (string[N] x) => (string[N] y) { i = Identity(x) y = Identity(i) }")
    result, _ = rewritten(text)
    assert len(result.graph.node) == 1
    optional = from_text(
        "g (float[N] x) => (float[N] y) { o = Optional(x) y = OptionalGetElement(o) }"
    )
    rewritten(optional)
    clipped = from_text(
        'g (float[N] x) => (float[N] y) <float top = {1}> { i = Identity(x) y = Clip(i, "", top) }'
    )
    result, _ = rewritten(clipped, [{"x": noise(9)}])
    assert list(result.graph.node[0].input) == ["x", "", "top"]
