"""Odd models through the whole way: no crash, the same face, and every refusal with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from net_cases import Net
from onnx import TensorProto, helper, numpy_helper

import autogo_onnx
from autogo_onnx import runtime, verify
from autogo_onnx.batching import sample_axes
from autogo_onnx.errors import InputError
from autogo_onnx.gate import other_sizes
from autogo_onnx.options import Level
from autogo_onnx.report import Report
from autogo_onnx.samples import Samples


def optimized(model: onnx.ModelProto) -> Report:
    """The report of a quick run on noise; the new model is checked."""
    report = autogo_onnx.optimize(
        model, level="unverified", target="macs", budget_s=60, max_drop=0.5, min_psnr=10.0
    )
    onnx.checker.check_model(report.model)
    assert verify.signature_problems(model, report.model) == []
    return report


def agree_on(before: onnx.ModelProto, after: onnx.ModelProto, *shapes: tuple[int, ...]) -> None:
    """Both models give finite outputs of the same shapes."""
    for shape in shapes:
        feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
        results = [runtime.run(runtime.open_session(m), None, feed) for m in (before, after)]
        for one, other in zip(*results, strict=True):
            assert one.shape == other.shape
            assert np.isfinite(other).all()


def two_convolutions(
    middle: Callable[[Net, str], str] = Net.relu,
    *,
    shape: tuple[int | str, ...] = ("N", 8, 10, 10),
) -> Net:
    """Convolution, `middle`, convolution, whose result is the last node's."""
    net = Net(*shape)
    net.conv(middle(net, net.conv("x", 8, 16)), 16, 16)
    return net


def built(net: Net) -> onnx.ModelProto:
    return net.model(net.nodes[-1].output[0])


def test_an_optimized_model_can_be_optimized_again() -> None:
    model = built(two_convolutions())
    once = optimized(model)
    assert once.plan
    twice = optimized(once.model)
    agree_on(model, twice.model, (1, 8, 10, 10), (3, 8, 10, 10))
    names = [node.name for node in twice.model.graph.node]
    assert len(names) == len(set(names))


def test_names_of_ours_in_a_subgraph_do_not_collide() -> None:
    def branches(net: Net, x: str) -> str:
        def branch(kind: str, name: str) -> onnx.GraphProto:
            out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            return helper.make_graph([helper.make_node(kind, [x], [name])], kind, [], [out])

        condition = net.constant(np.array(True))
        return net.op(
            "If",
            condition,
            then_branch=branch("Relu", "autogo/0/t0"),
            else_branch=branch("Neg", "other"),
        )

    model = built(two_convolutions(branches))
    report = optimized(model)
    assert report.plan
    agree_on(model, report.model, (2, 8, 10, 10))


def test_behind_an_unknown_shape_the_rest_is_still_optimized() -> None:
    def gelu(net: Net, x: str) -> str:
        return net.op("Gelu", x, domain="com.microsoft")

    net = two_convolutions(gelu)
    graph = helper.make_graph(
        net.nodes,
        "net",
        net.inputs,
        [helper.make_tensor_value_info(net.nodes[-1].output[0], 1, ["N", 16, 10, 10])],
        net.initializers,
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    report = optimized(model)
    assert report.plan
    assert any(s.reason == "shapes are not known" for s in report.skipped)
    agree_on(model, report.model, (2, 8, 10, 10))


def test_a_slope_per_pixel_stays_as_it_is() -> None:
    def prelu(net: Net, x: str) -> str:
        return net.op("PRelu", x, net.random(16, 10, 10))

    model = built(two_convolutions(prelu))
    agree_on(model, optimized(model).model, (2, 8, 10, 10))


def test_one_half_of_a_split_can_be_fitted() -> None:
    net = Net("N", 8, 10, 10)
    first = net.op("Split", net.conv("x", 8, 16), outputs=2, axis=1)
    second = net.nodes[-1].output[1]
    both = net.op("Concat", net.conv(first, 8, 8), second, axis=1)
    model = net.model(net.conv(both, 16, 16))
    report = optimized(model)
    assert report.plan
    agree_on(model, report.model, (2, 8, 10, 10))


def test_half_precision_and_one_dimension_are_left_alone_with_a_reason() -> None:
    net = Net("N", 8, 20)
    weight = net.random(8, 8, 3)
    report = optimized(net.model(net.op("Conv", "x", weight, pads=[1, 1])))
    assert [(s.nodes, s.reason) for s in report.skipped] == [(("node0",), "not two-dimensional")]

    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["N", 8, 6, 6]) for name in "xy"
    ]
    weights = numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float16), "w")
    graph = helper.make_graph([node], "half", infos[:1], infos[1:], [weights])
    imports = [helper.make_opsetid("", 17)]
    half = helper.make_model(graph, opset_imports=imports, ir_version=8)
    assert optimized(half).skipped[0].reason == "weights are float16, not float32"


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (lambda net, x: net.op("ReduceMean", x, keepdims=0), "no axis of output"),
        (
            lambda net, x: net.op("Sub", x, net.op("ReduceMean", x, axes=[0])),
            "depends on the other samples",
        ),
        (
            lambda net, x: net.op("Reshape", x, net.constant(np.array([1, 16, 10, 10]))),
            "does not take two samples",
        ),
    ],
)
def test_models_that_mix_samples_are_not_fitted(
    last: Callable[[Net, str], str], reason: str
) -> None:
    net = two_convolutions()
    last(net, net.nodes[-1].output[0])
    model = built(net)
    report = optimized(model)
    assert not report.plan
    assert any(reason in note for note in report.notes)


def time_first(batch: str | int) -> onnx.ModelProto:
    """float[T,N,C], as recurrent networks have it."""
    net = two_convolutions(shape=(batch, 8, 10, 10))
    rows = net.op("ReduceMean", net.nodes[-1].output[0], axes=[2], keepdims=0)
    return net.model(net.op("MatMul", net.op("Transpose", rows, perm=[2, 0, 1]), net.random(16, 5)))


@pytest.mark.parametrize("batch", ["N", 1])
def test_time_may_come_first_in_an_output(batch: str | int) -> None:
    model = time_first(batch)
    report = optimized(model)
    assert report.plan
    sizes = (1,) if batch == 1 else (2, 3)
    agree_on(model, report.model, *((size, 8, 10, 10) for size in sizes))


def test_the_axis_that_counts_samples_is_found() -> None:
    feeds = np.random.default_rng(0).standard_normal((4, 8, 10, 10)).astype(np.float32)
    for batch in (None, 1):
        model = time_first(batch or "N")
        name = model.graph.output[0].name
        assert sample_axes(model, Samples({"x": feeds}, batch=batch)) == {name: 1}
        assert sample_axes(built(two_convolutions()), Samples({"x": feeds}, batch=batch)) == {}
    with pytest.raises(InputError, match="does not count samples"):
        sample_axes(time_first(2), Samples({"x": feeds}, batch=2))


def test_an_output_that_no_input_reaches_does_not_mix_samples() -> None:
    net = two_convolutions()
    result = net.nodes[-1].output[0]
    model = net.model(result, net.op("Identity", net.random(3, 2)))
    feeds = np.random.default_rng(0).standard_normal((4, 8, 10, 10)).astype(np.float32)
    assert sample_axes(model, Samples({"x": feeds})) == {}
    report = optimized(model)
    assert report.plan


def test_a_model_that_onnxruntime_does_not_load_is_carried_through() -> None:
    net = two_convolutions()
    node = helper.make_node("Foo", [net.nodes[-1].output[0]], ["y"], "foo", domain="my.ops")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 16, 10, 10])
    graph = helper.make_graph([*net.nodes, node], "net", net.inputs, [output], net.initializers)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    report = optimized(model)
    assert not report.plan
    assert any("nothing was fitted" in line for line in report.warnings)
    assert "Foo" in {n.op_type for n in report.model.graph.node}


def test_a_scan_that_does_not_run_by_itself_is_no_error() -> None:
    def scan(net: Net, x: str) -> str:
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("in", "out")]
        node = helper.make_node("Neg", ["in"], ["out"])
        body = helper.make_graph([node], "body", infos[:1], infos[1:])
        return net.op("Scan", x, body=body, num_scan_inputs=1)

    report = optimized(built(two_convolutions(scan)))
    assert report.plan or any("nothing was fitted" in note for note in report.notes)


def test_weights_left_in_another_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        built(two_convolutions()), path, save_as_external_data=True, size_threshold=0, location="w"
    )
    with pytest.raises(InputError, match="external data was not read"):
        autogo_onnx.optimize(onnx.load(path, load_external_data=False))
    assert optimized(onnx.load(path)).plan


def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    model = built(two_convolutions(shape=(4, 8, 10, 10)))
    path = tmp_path / "samples.npy"
    np.save(path, np.random.default_rng(0).standard_normal((42, 8, 10, 10)).astype(np.float32))
    report = autogo_onnx.optimize(model, path, target="macs", min_psnr=5.0)
    assert report.plan
    agree_on(model, report.model, (4, 8, 10, 10))


def test_other_sizes_grow_what_is_not_declared_as_a_number() -> None:
    net = Net("N", "H", "W", 3)
    model = net.model(net.op("Transpose", "x", perm=[0, 3, 1, 2]))
    feed = {"x": np.zeros((1, 8, 8, 3), np.float32)}
    found = other_sizes(model, feed)
    sizes = [tuple(int(n) for n in f["x"].shape) for f, _ in found]
    assert sizes == [(1, 9, 11, 3), (2, 8, 13, 3), (1, 15, 10, 3)]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_other_sizes_of_a_padded_network_have_the_same_shapes(auto_pad: str) -> None:
    net = Net("N", 3, "H", "W")
    x = net.relu(net.conv("x", 3, 8, auto_pad=auto_pad, strides=[2, 2]))
    model = net.model(net.conv(x, 8, 8, auto_pad=auto_pad))
    report = optimized(model)
    agree_on(model, report.model, (1, 3, 31, 18), (2, 3, 24, 37))


def on_noise(model: onnx.ModelProto, folder: Path, **options: Any) -> Report:
    """The report of a run on 64 samples of the first input."""
    path = folder / "samples.npy"
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    np.save(path, np.random.default_rng(0).standard_normal((64, *shape)).astype(np.float32))
    return autogo_onnx.optimize(model, path, target="macs", **options)


def beside(
    net: Net, first: str, second: str, kind: int, shape: Sequence[int | str]
) -> onnx.ModelProto:
    """A model whose second output is of another type."""
    model = net.model(first)
    model.graph.output.append(helper.make_tensor_value_info(second, kind, shape))
    onnx.checker.check_model(model)
    return model


def finding(threshold: float) -> onnx.ModelProto:
    """Tells where a map is above a threshold, behind an operator that exact rewriting removes."""
    net = Net("N", 8, 10, 10)
    x = net.conv(net.relu(net.conv(net.op("Identity", "x"), 8, 16)), 16, 16)
    above = net.op("Greater", x, net.constant(np.array(threshold, np.float32)))
    return beside(net, x, net.op("NonZero", above), TensorProto.INT64, [4, "M"])


@pytest.mark.parametrize("level", ["exact", "fitted"])
def test_outputs_as_long_as_what_was_found_are_no_error(level: Level, tmp_path: Path) -> None:
    report = on_noise(finding(5.0), tmp_path, level=level)
    assert report.changed
    assert not report.plan
    told = [note for note in report.notes if "changes its shape with the sample" in note]
    assert len(told) == (level == "fitted")


def test_a_constant_output_beside_a_fixed_batch_is_no_error(tmp_path: Path) -> None:
    net = two_convolutions(shape=(4, 8, 10, 10))
    model = net.model(net.nodes[-1].output[0], net.op("Identity", net.random(10)))
    report = on_noise(model, tmp_path)
    assert any("does not have the batch of 4" in note for note in report.notes)


def test_groups_behind_a_scan_that_does_not_run_by_itself_are_left_alone(tmp_path: Path) -> None:
    def scan(net: Net, x: str) -> str:
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("in", "out")]
        node = helper.make_node("Neg", ["in"], ["out"])
        body = helper.make_graph([node], "body", infos[:1], infos[1:])
        return net.op("Scan", x, body=body, num_scan_inputs=1)

    net = two_convolutions(scan)
    report = on_noise(net.model(net.classifier(net.nodes[-1].output[0], 16, 5)), tmp_path)
    assert report.plan or any("parts of the model do not run" in note for note in report.notes)


def test_names_of_classes_as_an_output_are_no_numbers(tmp_path: Path) -> None:
    """They were kept on the disk as addresses, and read back."""
    net = Net("N", 3, 10, 10)
    scores = net.classifier(net.block(net.relu(net.conv("x", 3, 8)), 8), 8, 4)
    names = net.constant(np.array(["cat", "dog", "emu", "fox"], object))
    label = net.op("Gather", names, net.op("ArgMax", scores, axis=1, keepdims=0))
    model = beside(net, scores, label, TensorProto.STRING, ["N"])
    report = on_noise(model, tmp_path, max_drop=0.3)
    feed = {"x": np.random.default_rng(9).standard_normal((50, 3, 10, 10)).astype(np.float32)}
    found = runtime.run(runtime.open_session(report.model), None, feed)
    top = np.array(["cat", "dog", "emu", "fox"], object)[found[0].argmax(axis=1)]
    assert found[1].tolist() == top.tolist()
    assert report.fidelity is not None
    assert report.fidelity.psnr_db == 150.0
