"""Conversion to another opset on demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autogo_onnx import opset, optimize, signature
from autogo_onnx.cli import run
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_text
from autogo_onnx.messages import opset_of


def hard_swish_11() -> onnx.ModelProto:
    model = from_text(
        '<ir_version: 6, opset_import: ["" : 11], producer_name: "somebody">\n'
        "g (float[batch,8] x) => (float[batch,8] y)\n"
        "<float three = {3}, float low = {0}, float six = {6}>\n"
        "{ a = Add(x, three) b = Clip(a, low, six) c = Mul(x, b) y = Div(c, six) }"
    )
    model.metadata_props.add(key="licence", value="MIT")
    model.graph.node[0].doc_string = "plus three"
    model.graph.node[0].metadata_props.add(key="scope", value="head")
    return model


def test_the_opset_is_never_raised_without_being_asked() -> None:
    report = optimize(hard_swish_11(), target="macs")
    assert opset_of(report.model) == 11
    assert [node.op_type for node in report.model.graph.node] == ["HardSigmoid", "Mul"]


def test_a_raised_opset_gives_rules_more_to_rewrite_to() -> None:
    report = optimize(hard_swish_11(), target="macs", opset=14)
    assert opset_of(report.model) == 14
    assert [node.op_type for node in report.model.graph.node] == ["HardSwish"]
    assert any("from opset 11 to 14" in note for note in report.notes)
    assert report.source.opset == 11
    assert report.rewrites[0].rule == "convert_opset"


def test_conversion_alone_is_kept() -> None:
    model = from_text(
        '<ir_version: 6, opset_import: ["" : 11]>\n'
        "g (float[N,4] x) => (float[N,1] y) { y = ReduceSum <axes = [1]> (x) }"
    )
    report = optimize(model, target="macs", opset=13)
    assert opset_of(report.model) == 13
    assert len(report.model.graph.node[-1].input) == 2


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    before, after = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(hard_swish_11(), before)
    arguments = ["optimize", str(before), "-o", str(after), "--target", "macs", "-q", "--opset"]
    assert run([*arguments, "14"]) == 0
    assert opset_of(onnx.load(after)) == 14
    after.unlink()
    assert run([*arguments, "9"]) == 2
    assert not after.exists()


def test_all_but_the_nodes_stays_as_it_was() -> None:
    model = hard_swish_11()
    converted = opset.convert(model, 17)
    assert converted.opset_import[0].version == 17
    assert converted.ir_version == 6
    assert converted.producer_name == "somebody"
    assert converted.metadata_props == model.metadata_props
    assert signature.inputs(converted) == signature.inputs(model)
    assert signature.outputs(converted) == signature.outputs(model)
    assert converted.graph.node[0].doc_string == "plus three"
    assert converted.graph.node[0].metadata_props == model.graph.node[0].metadata_props
    assert not converted.graph.value_info
    assert model.opset_import[0].version == 11


def test_the_same_opset_is_the_same_model() -> None:
    model = hard_swish_11()
    assert opset.convert(model, 11) is model


def test_wrong_declared_shapes_are_kept() -> None:
    model = from_text(
        '<ir_version: 6, opset_import: ["" : 11]>\n'
        "g (float[2,3,4] x) => (float[seq] y) { y = ReduceSum <axes = [1]> (x) }"
    )
    converted = opset.convert(model, 13)
    assert signature.outputs(converted)[0].dims == ("seq",)
    assert [node.op_type for node in converted.graph.node][-1] == "ReduceSum"


def test_large_weights_come_through() -> None:
    weight = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    model = from_text(
        '<ir_version: 6, opset_import: ["" : 11]>\n'
        "g (float[N,256] x) => (float[N,256] y) { y = MatMul(x, w) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    converted = opset.convert(model, 17)
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(converted.graph.initializer[0]), weight
    )


@pytest.mark.parametrize("wanted", [6, 27])
def test_opsets_out_of_range_are_refused(wanted: int) -> None:
    with pytest.raises(InputError, match="must be from 7 to 26"):
        opset.convert(hard_swish_11(), wanted)


def test_lowering_is_refused_where_an_operator_has_no_way_back() -> None:
    with pytest.raises(InputError, match=r"opset 11 to 9: onnx does not convert the model: .*Clip"):
        opset.convert(hard_swish_11(), 9)


def test_lowering_works_where_it_can() -> None:
    model = from_text(
        '<ir_version: 8, opset_import: ["" : 17]>\n'
        "g (float[N,4] x) => (float[N,4] y) { y = Exp(x) }"
    )
    assert opset_of(opset.convert(model, 13)) == 13


def test_functions_are_refused() -> None:
    model = from_text(
        '<ir_version: 8, opset_import: ["" : 11, "mine" : 1]>\n'
        "g (float[2,3] x) => (float[2,1] y) { y = mine.f(x) }\n"
        '<opset_import: ["" : 11], domain: "mine">\n'
        "f (x) => (y) { y = ReduceSum <axes = [1]> (x) }"
    )
    with pytest.raises(InputError, match="local functions"):
        opset.convert(model, 13)


def test_a_model_that_does_not_run_is_refused() -> None:
    model = from_text(
        '<ir_version: 8, opset_import: ["" : 11, "custom" : 1]>\n'
        "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) y = custom.Op(a) }"
    )
    with pytest.raises(InputError, match="cannot be verified"):
        opset.convert(model, 13)


def test_a_conversion_that_changes_the_outputs_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.opset_import[0].version = target
        changed.graph.node[-1].op_type = "Mul"
        return changed

    monkeypatch.setattr(onnx.version_converter, "convert_version", wrong)
    with pytest.raises(InputError, match="the converted model is not the same"):
        opset.convert(hard_swish_11(), 14)
