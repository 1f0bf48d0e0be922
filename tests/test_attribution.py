from __future__ import annotations

import onnx
import pytest

from autogo_onnx.attribution import Timed, saved
from autogo_onnx.node_times import NodeTime, name_nodes

BASE = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,4,4] x, float[8,8,1,1] w)
    => (float[1,8,4,4] y) {
    a = Conv(x, w)
    b = Relu(a)
    c = Conv(b, w)
    d = Add(c, b)
    y = Relu(d)
}"""
CHANGED = BASE.replace("c = Conv(b, w)", "new_t0 = Conv(b, w) c = Conv(new_t0, w)")


def timed(text: str, times: dict[str, float], owners: dict[str, str]) -> Timed:
    """A model, `w` being a weight, whose nodes take so many microseconds, in this order."""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.TensorProto(name="w", data_type=1, dims=[8, 8, 1, 1]))
    name_nodes(model)
    return Timed.of(model, [NodeTime(name, us) for name, us in times.items()], owners)


def test_a_fused_activation_belongs_to_its_layer() -> None:
    owners = {"a": "first", "c": "second"}
    before = timed(BASE, {"b_nchwc": 20.0, "c_nchwc": 10.0}, owners)
    after = timed(
        CHANGED,
        {"b_nchwc": 5.0, "new_t0_nchwc": 2.0, "c_nchwc": 3.0},
        owners | {"new_t0": "second"},
    )
    assert saved(before, after, 0.0) == {"first": 15.0, "second": 5.0}
    assert saved(before, after, 1.0) == {"first": 15.0, "second": 6.0}


def test_what_is_added_belongs_to_the_nearest_and_what_is_in_both_to_nobody() -> None:
    owners = {"c": "second", "new_t0": "second"}
    before = timed(BASE, {"fused a": 8.0, "b": 1.0, "c": 10.0, "ReorderOutput": 2.0}, owners)
    after = timed(
        CHANGED,
        {"fused a": 9.0, "b": 4.0, "ReorderInput": 3.0, "new_t0": 2.0, "c": 1.0},
        owners,
    )
    assert saved(before, after, 0.0) == {"second": 12.0 - 6.0}


def test_nodes_that_onnxruntime_adds_are_known_again_whatever_their_numbers() -> None:
    owners = {"c": "second", "new_t0": "second"}
    before = timed(BASE, {"a": 8.0, "ReorderInput_token_4": 5.0, "b": 1.0, "c": 10.0}, owners)
    after = timed(
        CHANGED,
        {"a": 8.0, "ReorderInput_token_9": 1.0, "b": 1.0, "Mul_7": 2.0, "new_t0": 3.0, "c": 3.0},
        owners,
    )
    assert saved(before, after, 0.0) == {"second": 10.0 - 8.0}


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("c", "c"), ("c_nchwc", "c"), ("fused c", "c"), ("c_token_12_nchwc", "c"), ("c/MatMul", "c")],
)
def test_names_that_onnxruntime_gives_are_understood(name: str, tensor: str) -> None:
    alone = timed(BASE, {name: 1.0}, {tensor: "its"})
    assert saved(alone, timed(BASE, {}, {}), 0.0) == {"its": 1.0}
