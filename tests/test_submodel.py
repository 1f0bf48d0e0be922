from __future__ import annotations

import numpy as np
import onnx
import pytest
from net_cases import Net, pictures, residual_net, run
from onnx import TensorProto, helper

from autogo_onnx.activations import Activations, bytes_per_sample
from autogo_onnx.errors import InputError
from autogo_onnx.samples import Samples
from autogo_onnx.submodel import Parts, run_batched

MODEL = residual_net(blocks=2)
X = pictures(0, 7, 3, 12, 12)
NAMES = [node.output[0] for node in MODEL.graph.node]
ROUNDED = 1e-3
"""Activations are kept as float16."""


def test_any_tensor_from_any_other() -> None:
    parts = Parts(MODEL)
    whole = run_batched(parts.between({"x": X.dtype}, NAMES), {"x": X}, batch=3)
    for k in range(1, len(NAMES)):
        given = {"x": X, **{name: whole[name] for name in NAMES[:k]}}
        model = parts.between({n: a.dtype for n, a in given.items()}, NAMES[k:])
        for name, array in run_batched(model, given, batch=4).items():
            np.testing.assert_allclose(array, whole[name], rtol=1e-4, atol=1e-5)
    expected = run(MODEL, {"x": X})[0]
    np.testing.assert_allclose(whole[MODEL.graph.output[0].name], expected, rtol=1e-4, atol=1e-5)


def test_only_the_nodes_in_between_run() -> None:
    parts = Parts(MODEL)
    part = parts.between({NAMES[3]: X.dtype}, [NAMES[4]])
    assert [node.output[0] for node in part.graph.node] == [NAMES[4]]
    assert [i.name for i in part.graph.input] == [NAMES[3]]
    assert {t.name for t in part.graph.initializer} == set(part.graph.node[0].input[1:])


def test_downstream_is_everything_that_depends() -> None:
    parts = Parts(MODEL)
    assert parts.downstream({NAMES[-1]}) == {NAMES[-1]}
    assert parts.downstream({"x"}) == {"x", *NAMES}
    assert NAMES[1] not in parts.downstream({NAMES[2]})


def test_weights_can_be_exchanged_between_runs() -> None:
    model = residual_net(blocks=1)
    parts = Parts(model)
    name = model.graph.node[0].input[1]
    before = run_batched(parts.between({"x": X.dtype}, [NAMES[0]]), {"x": X}, batch=8)[NAMES[0]]
    shape = tuple(parts.initializers[name].dims)
    parts.set_weight(name, np.zeros(shape))  # float64 is cast to what the model has
    after = run_batched(parts.between({"x": X.dtype}, [NAMES[0]]), {"x": X}, batch=8)[NAMES[0]]
    assert np.ptp(before) > 0
    assert np.ptp(after, axis=(0, 2, 3)).max() < 1e-6
    assert parts.initializers[name].data_type == TensorProto.FLOAT
    with pytest.raises(AssertionError):
        parts.set_weight(name, np.zeros((1, 1)))


def test_what_a_subgraph_captures_is_needed_and_is_downstream() -> None:
    branch = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["n"])],
        "branch",
        [],
        [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)],
    )
    passed_on = helper.make_graph(
        [helper.make_node("Identity", ["b"], ["m"])],
        "other",
        [],
        [helper.make_tensor_value_info("m", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sigmoid", ["x"], ["b"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=passed_on),
    ]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in "xy"]
    true = helper.make_tensor("c", TensorProto.BOOL, (), [True])
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [true])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    parts = Parts(model)
    assert parts.downstream({"a"}) == {"a", "y"}
    assert parts.downstream({"b"}) == {"b", "y"}
    x = pictures(0, 3, 4)
    found = run_batched(parts.between({"x": x.dtype}, ["y"]), {"x": x}, batch=2)["y"]
    np.testing.assert_allclose(found, -np.maximum(x, 0))


def test_outputs_that_depend_on_nothing_are_not_asked_for() -> None:
    net = Net("N", 3, 8, 8)
    out = net.relu("x")
    fixed = net.constant(np.ones(3, np.float32))
    model = net.model(out)
    model.graph.output.append(helper.make_tensor_value_info(fixed, TensorProto.FLOAT, [3]))
    assert Parts(model).outputs == (out,)


def test_a_batch_that_the_model_insists_on_is_filled_up() -> None:
    net = Net(4, 3, 2, 2)
    flat = net.op("Reshape", "x", net.constant(np.array([4, 12], np.int64)))
    model = net.model(flat)
    x = pictures(0, 6, 3, 2, 2)
    found = run_batched(model, {"x": x}, batch=4, whole=True)[flat]
    np.testing.assert_array_equal(found, x.reshape(6, 12))
    with pytest.raises(InputError, match="does not run"):
        run_batched(model, {"x": x}, batch=4)


def activations() -> Activations:
    return Activations(Parts(MODEL), Samples({"x": X}))


def test_activations_grow_and_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = activations()
    known.require([NAMES[4], NAMES[2]])
    assert set(known.known) == {"x", NAMES[2], NAMES[4]}
    expected = run(MODEL, {"x": X})[0]
    found = known.get(MODEL.graph.output[0].name)
    np.testing.assert_allclose(found, expected, rtol=ROUNDED, atol=ROUNDED)
    monkeypatch.setattr(known.parts, "between", None)
    known.require([NAMES[4], "x"])
    assert known.stream(NAMES[2]) is known.known[NAMES[2]]


def test_a_piece_of_a_shape_only_looks_like_one_of_a_sample() -> None:
    """Where shapes are read with one sample, [1] may be either."""
    net = Net("N", 3, 6, 6)
    x = net.conv("x", 3, 4)
    ends = [net.constant(np.array([v], np.int64)) for v in (2, 3)]
    high = net.op("Slice", net.op("Shape", x), *ends)
    model = net.model(net.op("Mul", x, net.op("Cast", high, to=onnx.TensorProto.FLOAT)))
    known = Activations(Parts(model), Samples({"x": pictures(0, 7, 3, 6, 6)}), together=(high, x))
    assert known.get(x).shape == (7, 4, 6, 6)
    assert high not in known.known
    with pytest.raises(InputError, match="does not keep samples apart"):
        known.require([high])


def test_outputs_with_a_changed_tensor() -> None:
    known = activations()
    known.require(NAMES)
    output = MODEL.graph.output[0].name
    same = known.outputs_with({NAMES[4]: known.get(NAMES[4])})
    np.testing.assert_allclose(same[0], known.get(output), rtol=ROUNDED, atol=ROUNDED)
    changed = known.outputs_with({NAMES[4]: np.zeros_like(known.get(NAMES[4]))})
    part = Parts(MODEL).between({NAMES[4]: X.dtype, NAMES[1]: X.dtype}, [output])
    feeds = {NAMES[4]: np.zeros_like(known.get(NAMES[4])), NAMES[1]: known.get(NAMES[1])}
    np.testing.assert_allclose(changed[0], run(part, feeds)[0], rtol=1e-4, atol=1e-5)
    final = known.outputs_with({output: np.ones((7, 5), np.float32)})
    np.testing.assert_array_equal(final[0], np.ones((7, 5)))


def test_fewer_samples_share_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = activations()
    known.require([NAMES[2]])
    some = known.first(3)
    assert (some.count, known.count) == (3, 7)
    output = MODEL.graph.output[0].name
    np.testing.assert_array_equal(some.get("x"), X[:3])
    np.testing.assert_array_equal(some.get(NAMES[2]), known.get(NAMES[2])[:3])
    np.testing.assert_allclose(some.outputs_with({})[0], known.get(output)[:3], rtol=ROUNDED)
    some.require([NAMES[5]])
    assert NAMES[5] not in known.known
    monkeypatch.setattr(known.parts, "between", None)
    some.require([NAMES[2]])


def test_the_other_samples_are_those_that_come_after(monkeypatch: pytest.MonkeyPatch) -> None:
    known = activations()
    known.require([NAMES[2]])
    rest = known.after(3)
    assert (rest.count, known.count) == (4, 7)
    np.testing.assert_array_equal(rest.get("x"), X[3:])
    output = MODEL.graph.output[0].name
    np.testing.assert_allclose(rest.outputs_with({})[0], known.get(output)[3:], rtol=ROUNDED)
    monkeypatch.setattr(known.parts, "between", None)
    np.testing.assert_array_equal(rest.get(NAMES[2]), known.get(NAMES[2])[3:])
    assert known.after(7).count == 7


def test_a_model_that_differs_in_a_weight_shares_what_comes_before_it() -> None:
    known = activations()
    known.require(NAMES)
    other = onnx.ModelProto()
    other.CopyFrom(MODEL)
    late = [node for node in other.graph.node if node.op_type == "Conv"][-1]
    parts = Parts(other)
    old = onnx.numpy_helper.to_array(parts.initializers[late.input[1]])
    parts.set_weight(late.input[1], 2 * old)
    made = known.of(parts, late.output)
    assert set(made.known) == set(known.known) - parts.downstream(late.output)
    assert late.input[0] in made.known
    expected = run(parts.model, {"x": X})[0]
    found = made.outputs_with({})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert not np.allclose(found, known.outputs_with({})[0], rtol=1e-2)


def test_another_model_on_the_same_samples_knows_nothing_yet() -> None:
    known = activations()
    known.require([NAMES[2]])
    other = known.of(Parts(residual_net(blocks=1, seed=3)))
    assert set(other.known) == {"x"}
    assert other.batch == known.batch


def test_several_inputs_of_several_types_are_fed_together() -> None:
    net = Net("N", 3, 4, 4)
    net.inputs.append(helper.make_tensor_value_info("rows", TensorProto.INT64, ["N", 2]))
    net.inputs.append(helper.make_tensor_value_info("shift", TensorProto.FLOAT, ["N", 3, 1, 1]))
    shifted = net.op("Add", net.conv("x", 3, 3), "shift")
    flat = net.op("Reshape", shifted, net.constant(np.array([0, 48], np.int64)))
    picked = net.op("GatherElements", flat, "rows", axis=1)
    rng = np.random.default_rng(0)
    feeds = {
        "x": pictures(0, 7, 3, 4, 4),
        "rows": rng.integers(0, 48, (7, 2)),
        "shift": rng.standard_normal((7, 3, 1, 1), np.float32),
    }
    model = net.model(picked)
    known = Activations(Parts(model), Samples(feeds), batch=2)
    known.require([shifted])
    expected = run(model, feeds)[0]
    np.testing.assert_allclose(known.get(picked), expected, rtol=2 * ROUNDED, atol=ROUNDED)
    assert known.get("rows").dtype == np.int64
    zeros = known.outputs_with({shifted: np.zeros((7, 3, 4, 4), np.float32)})
    np.testing.assert_array_equal(zeros[0], np.zeros((7, 2)))


def test_a_tensor_that_mixes_samples_is_named() -> None:
    net = Net("N", 3, 8, 8)
    total = net.op("ReduceSum", "x", net.constant(np.array([0], np.int64)), keepdims=0)
    mixed = net.op("ReduceMax", "x", keepdims=0)
    model = net.model(total, mixed)
    for name in (total, mixed):
        known = Activations(Parts(model), Samples({"x": pictures(0, 7, 3, 8, 8)}))
        with pytest.raises(InputError, match=f"{name}.*first axis"):
            known.get(name)


def test_bytes_count_each_tensor_once() -> None:
    shapes = {"a": (1, 3, 2, 2), "b": (1, 5)}
    assert bytes_per_sample(shapes, ["a", "b", "a", "unknown"]) == 4 * (12 + 5)
