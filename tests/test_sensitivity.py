from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from net_cases import Net, pictures, reading_of, residual_net

from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import OutOfTime
from autogo_onnx.samples import Samples
from autogo_onnx.segments import Reading
from autogo_onnx.sensitivity import Sensitivity
from autogo_onnx.sensitivity.backward import Backward
from autogo_onnx.submodel import Parts

SHAPE = (3, 12, 12)
FOREVER = Deadline(float("inf"))


def opened(model: onnx.ModelProto) -> tuple[Parts, Reading]:
    return Parts(model), reading_of(model, x=(2, *SHAPE))


def slope(parts: Parts, values: dict[str, np.ndarray], name: str, way: np.ndarray) -> float:
    """Of the sum of all outputs, along a way from a tensor; a double difference in float32."""
    from autogo_onnx.submodel import run_batched

    given = {n: np.dtype(np.float32) for n in ("x", name)}
    part = parts.between(given, parts.outputs)
    totals = []
    for sign in (1.0, -1.0):
        moved = (values[name] + sign * way).astype(np.float32)
        made = run_batched(part, {"x": values["x"], name: moved}, batch=2)
        totals.append(sum(float(np.sum(v, dtype=np.float64)) for v in made.values()))
    return (totals[0] - totals[1]) / 2.0


def assert_gradients(model: onnx.ModelProto, unreached: int = 0) -> None:
    """All tensors: what the gradient says of a small step is what the outputs do."""
    parts, reading = opened(model)
    backward = Backward(parts, reading)
    assert len(reading.tensors) - len(backward.reached) == unreached
    values = backward.values({"x": pictures(3, 2, *SHAPE)})
    seeds = {name: np.ones_like(values[name]) for name in parts.outputs}
    found = backward.gradients(values, seeds, backward.reached)
    rng = np.random.default_rng(0)
    for name in sorted(backward.reached - set(parts.outputs)):
        # Along the gradient itself: steps across would tell nothing but rounding.
        way = found[name] * (1.0 + 0.5 * rng.standard_normal(found[name].shape))
        way *= 2e-3 / (np.abs(way).max() or 1.0)
        told = float(np.vdot(found[name], way))
        assert slope(parts, values, name, way) == pytest.approx(told, rel=0.05, abs=2e-5), name


def pools(net: Net) -> str:
    x = net.conv("x", 3, 4)
    a = net.op("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 0, 0, 1), ceil_mode=1)
    b = net.op("AveragePool", a, kernel_shape=(3, 2), pads=(1, 0, 1, 1))
    padded: dict[str, Any] = {"pads": (1, 1, 0, 0), "count_include_pad": 1}
    return net.op("AveragePool", b, kernel_shape=(2, 2), strides=(2, 2), **padded)


def convolutions(net: Net) -> str:
    x = net.conv("x", 3, 8, kernel_shape=(3, 2), strides=(2, 3), pads=(2, 0, 1, 1))
    x = net.conv(x, 8, 8, 3, group=4, dilations=(2, 1), pads=(2, 1, 2, 1))
    weight = net.random(8, 5, 3, 3)
    return net.op("ConvTranspose", x, weight, strides=(2, 2), pads=(1, 1, 0, 0))


def activations(net: Net) -> str:
    x = net.conv("x", 3, 4)
    for kind in ("HardSwish", "Sigmoid", "Elu", "LeakyRelu", "Tanh", "Softplus", "Relu"):
        x = net.op(kind, net.conv(x, 4, 4))
    slopes = net.constant(np.full((4, 1, 1), 0.3, np.float32))
    return net.op("PRelu", net.conv(x, 4, 4), slopes)


def gates(net: Net) -> str:
    """Squeeze and excite, differences and quotients, broadcast."""
    x = net.conv("x", 3, 4)
    mean = net.op("ReduceMean", x, axes=(2, 3), keepdims=1)
    gate = net.op("HardSigmoid", net.conv(mean, 4, 4, 1))
    y = net.op("Sub", net.op("Mul", x, gate), net.constant(np.full((1, 1, 1), 0.5, np.float32)))
    one = net.constant(np.full(1, 2.0, np.float32))
    return net.op("Div", y, net.op("Add", net.op("Sigmoid", net.conv(x, 4, 4)), one))


def movers(net: Net) -> str:
    x = net.conv("x", 3, 8)
    a = net.op("DepthToSpace", x, blocksize=2)
    ends = [net.constant(np.array(v, np.int64)) for v in ([1, 0], [20, 24], [2, 3])]
    b = net.op("Slice", a, ends[0], ends[1], ends[2])
    pads = net.constant(np.array([0, 0, 2, 0, 0, 0, 3, 0], np.int64))
    c = net.op("Pad", b, pads)
    scales = net.constant(np.array([1, 1, 2, 1], np.float32))
    d = net.op("Resize", c, "", scales, mode="nearest")
    e = net.op("Transpose", net.op("Concat", d, d, axis=1), perm=(0, 2, 3, 1))
    shape = net.constant(np.array([0, -1, 4], np.int64))
    rows = net.op("MatMul", net.op("Reshape", e, shape), net.random(4, 3))
    return net.op("Softmax", rows, axis=-1)


def computed_shapes(net: Net) -> str:
    x = net.conv("x", 3, 4)
    rows = net.op("Tanh", net.op("Flatten", x))
    return net.op("Reshape", rows, net.op("Shape", x))


@pytest.mark.parametrize("tail", [pools, convolutions, activations, gates, movers, computed_shapes])
def test_gradients_are_slopes(tail: Callable[[Net], str]) -> None:
    net = Net("N", *SHAPE)
    made = tail(net)
    assert_gradients(net.model(net.op("Mul", made, made)))


def test_gradients_add_up_over_branches_and_outputs() -> None:
    net = Net("N", *SHAPE)
    x = net.relu(net.conv("x", 3, 4))
    first, second = net.block(x, 4), net.conv(x, 4, 2)
    assert_gradients(net.model(net.op("Mul", first, first), net.op("Tanh", second)))


def test_nothing_is_told_of_what_reaches_an_unknown_operator() -> None:
    net = Net("N", *SHAPE)
    x = net.conv("x", 3, 4)
    known = net.op("Mul", net.conv(x, 4, 4), x)
    beside = net.op("Floor", net.conv(x, 4, 4))
    model = net.model(net.op("Add", known, beside))
    _, reading = opened(model)
    reached = Backward(Parts(model), reading).reached
    numbers = {reading.tensors.index(name) for name in reached}
    kinds = {reading.opgraph.ops[t - 1].kind for t in numbers if t}
    assert kinds == {"Add", "Conv", "Floor", "Mul"}
    assert "x" not in reached
    assert x not in reached


def sensitivity(model: onnx.ModelProto, count: int, seed: int = 0) -> Sensitivity:
    samples = Samples({"x": pictures(1, count, *SHAPE)})
    return Sensitivity(opened(model)[1], samples, batch=8, seed=seed)


def test_the_metric_tells_which_errors_move_the_outputs() -> None:
    """On new samples, errors along its largest direction count as much more as it says."""
    model = residual_net(blocks=2)
    parts, reading = opened(model)
    name = next(
        reading.tensors[i + 1] for i, op in enumerate(reading.opgraph.ops) if op.kind == "Add"
    )
    found = sensitivity(model, 100).of(name, parts, FOREVER)
    assert found is not None
    values, vectors = np.linalg.eigh(found.metric)
    backward = Backward(parts, reading)
    known = backward.values({"x": pictures(9, 100, *SHAPE)})
    given = {n: np.dtype(np.float32) for n in ("x", name)}
    from autogo_onnx.submodel import run_batched

    part, rng = parts.between(given, parts.outputs), np.random.default_rng(0)
    noise = 0.02 * rng.standard_normal((100, 1, 12, 12))
    powers = []
    for way in (vectors[:, 0], vectors[:, -1]):
        moved = known[name] + noise * way[:, None, None]
        feed = {"x": known["x"], name: moved.astype(np.float32)}
        out = run_batched(part, feed, batch=50)[parts.outputs[0]] - known[parts.outputs[0]]
        powers.append(float(np.square(out - out.mean(axis=1, keepdims=True)).sum()))
    assert powers[1] > 3.0 * powers[0]
    assert powers[1] / powers[0] == pytest.approx(values[-1] / values[0], rel=0.5)


def test_it_is_known_of_what_fits_aim_at_but_not_of_outputs() -> None:
    model = residual_net(blocks=1)
    parts, reading = opened(model)
    found = sensitivity(model, 10)
    told = {
        op.kind: found.of(reading.tensors[i + 1], parts, FOREVER) is not None
        for i, op in enumerate(reading.opgraph.ops)
    }
    assert told == {
        "Conv": True,
        "Relu": False,
        "Add": True,
        "GlobalAveragePool": False,
        "Flatten": False,
        "Gemm": False,
    }


def test_the_same_seed_tells_the_same() -> None:
    model = residual_net(blocks=1)
    parts, reading = opened(model)
    name = reading.tensors[1]
    metrics = []
    for seed in (0, 0, 1):
        found = sensitivity(model, 20, seed).of(name, parts, FOREVER)
        assert found is not None
        metrics.append(found.metric)
    np.testing.assert_array_equal(metrics[0], metrics[1])
    assert not np.array_equal(metrics[0], metrics[2])


def test_it_ends_with_the_budget() -> None:
    model = residual_net(blocks=1)
    parts, reading = opened(model)
    with pytest.raises(OutOfTime):
        sensitivity(model, 10).of(reading.tensors[1], parts, Deadline(-1.0))
