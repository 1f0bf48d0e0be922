"""What in a trained file must stay, and that a search leaves it alone."""

from __future__ import annotations

import numpy as np
import onnx
from evolved_cases import trained
from net_cases import Net

from autogo_onnx.evolution import Judges, Limits, PredictedAccuracy, Settings, evolve
from autogo_onnx.evolved.base import Base, base_of
from autogo_onnx.evolved.changes import changes


def kinds(base: Base) -> set[str]:
    """Types of the nodes that no change may touch."""
    return {base.reading.nodes[i].op for i in base.untouchable}


def names(base: Base) -> set[str]:
    return {base.reading.nodes[i].name for i in base.untouchable}


def test_of_an_ordinary_network_everything_may_change() -> None:
    assert not base_of(trained(), 0).untouchable


def test_a_node_of_several_outputs_stays() -> None:
    net = Net(1, 8, 12, 12)
    halves = net.op("Split", net.conv("x", 8, 8), outputs=2, axis=1)
    net.nodes[-1].input.append(net.constant(np.array([4, 4], np.int64)))
    joined = net.op("Concat", net.nodes[-1].output[1], halves, axis=1)
    assert kinds(base_of(net.model(net.conv(joined, 8, 8)), 0)) == {"Split"}


def test_half_precision_stays() -> None:
    """Whatever makes or reads tensors of another type would need one of that type."""
    net = Net(1, 8, 12, 12)
    half = net.op("Cast", net.conv("x", 8, 8), to=onnx.TensorProto.FLOAT16)
    back = net.op("Cast", net.op("Relu", half), to=onnx.TensorProto.FLOAT)
    model = net.model(net.conv(back, 8, 8))
    assert kinds(base_of(model, 0)) == {"Cast", "Relu"}


def test_a_convolution_with_computed_weights_stays() -> None:
    net = Net(1, 8, 12, 12)
    x = net.conv("x", 8, 8)
    y = net.op("Conv", x, net.op("GlobalAveragePool", x))
    base = base_of(net.model(net.relu(y)), 0)
    assert [op.kind for op in base.graph.ops] == ["Conv", "GlobalAveragePool", "Conv", "Relu"]
    assert base.untouchable == {2}


def test_pads_that_depend_on_an_open_size_stay() -> None:
    def strided(*size: int | str) -> onnx.ModelProto:
        net = Net(1, 8, *size)
        x = net.conv("x", 8, 8, strides=(2, 2), auto_pad="SAME_UPPER")
        return net.model(net.conv(x, 8, 8))

    assert not base_of(strided(12, 12), 0).untouchable
    assert base_of(strided("H", "W"), 0).untouchable == {0}


def test_an_operator_of_another_domain_stays() -> None:
    net = Net(1, 8, 12, 12)
    x = net.conv("x", 8, 8)
    model = net.model(net.relu(x))
    custom = onnx.helper.make_node("Relu", [x], ["z"], "foreign", domain="other")
    model.graph.node.append(custom)
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [1, 8, 12, 12]))
    model.opset_import.append(onnx.helper.make_opsetid("other", 1))
    assert names(base_of(model, 0)) >= {"foreign"}


def test_a_search_touches_none_of_it() -> None:
    base = base_of(trained(), 0)
    fixed = frozenset({4, 5, 8})
    limits = Limits((-0.9, 0.9), fixed=fixed)
    settings = Settings(iterations=2, parents=3, children=12)
    found = evolve(base.graph, Judges(PredictedAccuracy(base.graph)), settings, limits)
    assert found.history > 12
    gone = {
        index
        for member in found.front
        for change in changes(base.graph, member.edits)
        for index in change.before.ops
    }
    assert gone
    assert gone.isdisjoint(fixed)
