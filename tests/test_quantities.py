"""Outputs that hold several quantities: which elements are which, and how they are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from net_cases import Net, pictures

from autogo_onnx import verify
from autogo_onnx.fidelity import error_unit
from autogo_onnx.gate import Gate
from autogo_onnx.ground import Ground, survey
from autogo_onnx.job import begin
from autogo_onnx.options import Options
from autogo_onnx.progress import Silent
from autogo_onnx.quantities import SINGLE, Quantities, quantities_of
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples

X = pictures(0, 3, 3, 8, 8)


def detector(*, levels: int = 2) -> onnx.ModelProto:
    """Boxes in pixels beside scores, of two sizes of maps, as detectors are exported."""
    net = Net("N", 3, 8, 8)
    x, maps = net.relu(net.conv("x", 3, 8)), []
    for _ in range(levels):
        boxes = net.op("Mul", net.conv(x, 8, 4), net.constant(np.full((1, 1, 1), 300.0, "f")))
        scores = net.op("Sigmoid", net.conv(x, 8, 2))
        shape = net.constant(np.array([0, 6, -1], np.int64))
        maps.append(net.op("Reshape", net.op("Concat", boxes, scores, axis=1), shape))
        x = net.op("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
    return net.model(net.op("Transpose", net.op("Concat", *maps, axis=2), perm=(0, 2, 1)))


def ground_of(model: onnx.ModelProto, folder: Path) -> Ground:
    """The model with pictures to fit and to judge on."""
    np.save(folder / "samples.npy", pictures(1, 64, 3, 8, 8))
    options = Options(calibration=folder / "samples.npy", target="macs")
    job = begin(model, options, Silent())
    assert job.samples is not None
    return survey(job, job.samples)


def test_elements_are_told_by_the_operators_they_come_from() -> None:
    model = detector()
    found = quantities_of(model, Samples({"x": X}))
    (kinds,) = found.kinds.values()
    np.testing.assert_array_equal(kinds, np.tile([0, 0, 0, 0, 1, 1], (80, 1)))
    outputs = verify.run(open_session(model), Samples({"x": X}))
    boxes, scores = found.split(outputs)
    (joined,) = outputs.values()
    np.testing.assert_array_equal(boxes[..., 0], joined[..., :4].reshape(3, -1))
    np.testing.assert_array_equal(scores[..., 0], joined[..., 4:].reshape(3, -1))


def test_what_is_sliced_off_and_changed_is_a_quantity_of_its_own() -> None:
    net = Net("N", 3, 8, 8)
    x = net.op("Sigmoid", net.conv("x", 3, 6))
    ends = [net.constant(np.array([v], np.int64)) for v in (0, 2, 6, 1)]
    first = net.op("Slice", x, ends[0], ends[1], ends[3])
    rest = net.op("Slice", x, ends[1], ends[2], ends[3])
    grid = net.constant(np.ones((1, 1, 8, 8), np.float32))
    far = net.op("Mul", first, net.constant(np.full((1, 1, 1), 8.0, np.float32)))
    model = net.model(
        net.op("Concat", far, rest, net.op("Identity", net.op("Add", grid, x)), axis=1)
    )
    (kinds,) = quantities_of(model, Samples({"x": X})).kinds.values()
    assert [sorted(set(row.ravel())) for row in kinds] == [[1]] * 2 + [[2]] * 4 + [[0]] * 6


@pytest.mark.parametrize("same", ["one operator", "class scores"])
def test_other_outputs_stay_whole(same: str) -> None:
    net = Net("N", 3, 8, 8)
    x = net.op("Concat", net.relu(net.conv("x", 3, 4)), net.relu(net.conv("x", 3, 4)), axis=1)
    if same == "class scores":
        mean = net.op("Flatten", net.op("GlobalAveragePool", x))
        x = net.op("Concat", net.op("Sigmoid", mean), net.op("Tanh", mean), axis=1)
    assert quantities_of(net.model(x), Samples({"x": X}), "accuracy") == SINGLE
    whole = {"y": np.ones((3, 4, 2, 2))}
    assert SINGLE.split(whole)[0] is whole["y"]


def ended(kind: str) -> onnx.ModelProto:
    """Boxes and scores that are joined, and what exporters put behind that."""
    net = Net("N", 3, 8, 8)
    x = net.conv("x", 3, 4)
    boxes = net.op("Mul", x, net.constant(np.full((1, 1, 1), 300.0, "f")))
    scores = net.op("Sigmoid", net.conv("x", 3, 4))
    if kind == "Cast":
        return net.model(net.op("Cast", net.op("Concat", boxes, scores, axis=1), to=1))
    if kind == "Where":
        left = net.constant(np.arange(8).reshape(1, 1, 1, 8) < 4)
        return net.model(net.op("Where", left, boxes, scores))
    places = np.stack(np.meshgrid([0], [0, 1], indexing="ij"), -1).astype(np.int64)
    first = net.op("Reshape", net.op("GlobalMaxPool", boxes), net.constant(np.array([1, 4])))
    first = net.op("Slice", first, *(net.constant(np.array([v])) for v in (0, 2, 1)))
    flat = net.op("Unsqueeze", first, net.constant(np.array([2])))
    rows = net.op("Reshape", net.op("GlobalAveragePool", scores), net.constant(np.array([1, 4, 1])))
    return net.model(net.op("ScatterND", rows, net.constant(places), flat))


@pytest.mark.parametrize("kind", ["Cast", "Where", "ScatterND"])
def test_what_only_moves_elements_is_looked_through(kind: str) -> None:
    (kinds,) = quantities_of(ended(kind), Samples({"x": X[:1]}, batch=1)).kinds.values()
    expected = {
        "Cast": np.repeat([0, 1], 4)[:, None, None] + np.zeros((8, 8, 8), int),
        "Where": np.repeat([0, 1], 4) + np.zeros((4, 8, 8), int),
        "ScatterND": np.array([[1], [1], [0], [0]]),
    }[kind]
    np.testing.assert_array_equal(kinds, expected)


def test_the_original_is_asked(tmp_path: Path) -> None:
    """Exact rewriting folds the scale of the boxes into a convolution like that of the scores."""
    net = Net("N", 3, 8, 8)
    boxes = net.op("Mul", net.conv("x", 3, 4), net.constant(np.full((1, 1, 1), 300.0, "f")))
    model = net.model(net.op("Concat", boxes, net.conv("x", 3, 2), axis=1))
    ground = ground_of(model, tmp_path)
    assert "Mul" not in {node.op_type for node in ground.model.graph.node}
    (kinds,) = ground.quantities.kinds.values()
    np.testing.assert_array_equal(kinds[:, 0, 0], [1, 1, 1, 1, 0, 0])


def test_an_output_without_axes_is_no_obstacle(tmp_path: Path) -> None:
    """The height of the picture, say, as a number."""
    net = Net("N", 3, 8, 8)
    x = net.conv(net.relu(net.conv("x", 3, 8)), 8, 8)
    height = net.op("Gather", net.op("Shape", x), net.constant(np.array(2, np.int64)))
    model = net.model(x, net.op("Cast", height, to=onnx.TensorProto.FLOAT))
    ground = ground_of(model, tmp_path)
    activations = ground.activations(ground.fit)
    first = ground.reading.tensors[1]
    assert activations.importance(first) is not None
    assert ground.activations(ground.fit).samples is activations.samples


def test_errors_weigh_what_they_take_of_their_own_quantity() -> None:
    rng = np.random.default_rng(0)
    kinds = np.array([[0, 0, 0, 1]])
    values = rng.standard_normal((50, 1, 4)) * [300, 300, 300, 0.1]
    quantities = Quantities({"y": kinds})
    errors = rng.standard_normal(values.shape) * [3, 3, 3, 0.01]
    weighed = (errors**2 * quantities.weights("y", values)).sum(axis=(1, 2)).mean()
    told = sum(
        np.mean(e**2) / error_unit(v)
        for e, v in zip(
            quantities.split({"y": errors}), quantities.split({"y": values}), strict=True
        )
    )
    assert weighed == pytest.approx(told)


def test_the_gate_sees_scores_beside_boxes(tmp_path: Path) -> None:
    """By the range of the boxes it would pass, whatever becomes of the scores."""
    model = detector(levels=1)
    gate = Gate(ground_of(model, tmp_path))
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    (sigmoid,) = (node for node in changed.graph.node if node.op_type == "Sigmoid")
    sigmoid.op_type = "Softsign"
    found = gate.judge_unfitted(changed)
    assert not found.passes
    held = verify.run(open_session(model), gate.folds[0][1])
    after = verify.run(open_session(changed), gate.folds[0][1])
    whole = verify.judge(list(held.values()), list(after.values()), None)
    assert whole.passes(max_drop=0.01, min_psnr=45)
