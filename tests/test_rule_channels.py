"""Dropping channels on random networks: the same outputs, for every batch size and odd sizes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_model, to_model
from autogo_onnx.liveness import cleanup
from autogo_onnx.rewriters import Match, Rule
from autogo_onnx.rewriters.channels.values import equal_rows
from autogo_onnx.rewriters.merge_duplicate_channels import RULE as MERGE
from autogo_onnx.rewriters.remove_dead_channels import RULE as REMOVE
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.rewriters.view import View

STEPS = (
    *("conv", "conv", "conv1x1", "depthwise", "grouped", "relu", "clip", "sigmoid", "leaky"),
    *("prelu", "norm", "scale", "shift", "max_pool", "average_pool", "residual", "concat", "self"),
    *("split", "squeeze_excite", "transpose", "spatial", "resize", "pad", "output", "shape"),
)


class Net:
    """A network that grows by steps, with many zero and many equal filters."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.outputs: list[str] = []
        self.width = int(self.rng.integers(1, 6))
        self.value = "x"
        self.first_width = self.width

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        self.value = names[0]
        return names[0]

    def filters(self, *shape: int) -> np.ndarray:
        """Some zero along either axis, some equal."""
        weight = self.rng.integers(-3, 4, shape).astype(np.float32) / 4
        for axis in (0, 1):
            count = shape[axis]
            view = np.moveaxis(weight, axis, 0)
            view[self.rng.random(count) < 0.35] = 0
            view[self.rng.random(count) < 0.35] = view[0]
        return weight

    def bias(self, size: int) -> np.ndarray:
        return self.rng.choice(np.array([-1, 0, 0.5, 0.5, 1], np.float32), size)

    def layer(self, source: str, out: int, kernel: int) -> str:
        pad = int(self.rng.integers(0, 2)) if kernel > 1 else 0
        inputs = [source, self.constant(self.filters(out, self.width, kernel, kernel))]
        if self.rng.random() < 0.7:
            inputs.append(self.constant(self.bias(out)))
        same: dict[str, Any] = (
            {"auto_pad": "SAME_UPPER"} if self.rng.random() < 0.2 else {"pads": [pad] * 4}
        )
        return self.node("Conv", *inputs, **same)

    def step(self, kind: str) -> None:
        getattr(self, f"add_{kind}", self.add_activation)(kind)

    def add_conv(self, kind: str) -> None:
        out = int(self.rng.integers(2, 9))
        self.layer(self.value, out, 3 if kind == "conv" else 1)
        self.width = out

    add_conv1x1 = add_conv

    def add_depthwise(self, kind: str) -> None:
        weight = self.filters(self.width, 1, 3, 3)
        inputs = (self.value, self.constant(weight), self.constant(self.bias(self.width)))
        pads = [int(self.rng.integers(0, 2))] * 4
        self.node("Conv", *inputs, group=self.width, pads=pads)

    def add_grouped(self, kind: str) -> None:
        if self.width % 2 == 0:
            weight = self.filters(self.width, self.width // 2, 1, 1)
            self.node("Conv", self.value, self.constant(weight), group=2)

    def add_activation(self, kind: str) -> None:
        if kind == "clip":
            bounds = (
                self.constant(np.array(-0.5, np.float32)),
                self.constant(np.array(6, np.float32)),
            )
            self.node("Clip", self.value, *bounds)
        elif kind == "prelu":
            slope = self.rng.choice(np.array([0.1, 0.2], np.float32), (self.width, 1, 1))
            self.node("PRelu", self.value, self.constant(slope))
        else:
            op = {"relu": "Relu", "sigmoid": "Sigmoid", "leaky": "LeakyRelu"}[kind]
            self.node(op, self.value)

    def add_norm(self, kind: str) -> None:
        names = [self.constant(self.bias(self.width)) for _ in range(3)]
        variance = self.constant(np.ones(self.width, np.float32))
        self.node("BatchNormalization", self.value, *names, variance)

    def add_scale(self, kind: str) -> None:
        self.node("Mul", self.value, self.constant(self.bias(self.width).reshape(-1, 1, 1)))

    def add_shift(self, kind: str) -> None:
        self.node("Add", self.constant(self.bias(1)), self.value)

    def add_max_pool(self, kind: str) -> None:
        self.node("MaxPool", self.value, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def add_average_pool(self, kind: str) -> None:
        include = int(self.rng.integers(0, 2))
        pool: dict[str, Any] = {
            "kernel_shape": [3, 3],
            "pads": [1, 1, 1, 1],
            "count_include_pad": include,
        }
        self.node("AveragePool", self.value, **pool)

    def add_residual(self, kind: str) -> None:
        before = self.value
        self.layer(before, self.width, 1)
        self.node("Add", before, self.value)

    def add_concat(self, kind: str) -> None:
        before, width = self.value, self.width
        left = self.layer(before, width, 1)
        right = self.layer(before, 3, 1)
        self.node("Concat", left, before, right, axis=1)
        self.width = 2 * width + 3

    def add_self(self, kind: str) -> None:
        self.node("Concat", self.value, self.value, axis=-3)
        self.width *= 2

    def add_split(self, kind: str) -> None:
        if self.width < 4:
            return
        first = self.width // 2
        sizes = self.constant(np.array([first, self.width - first], np.int64))
        left = self.node("Split", self.value, sizes, outputs=2, axis=1)
        right = left.replace("_0", "_1")
        self.width -= first
        tail = self.layer(right, first, 1)
        self.node("Mul", left, tail)
        self.width = first

    def add_squeeze_excite(self, kind: str) -> None:
        before, width = self.value, self.width
        pooled = self.node("GlobalAveragePool", before)
        self.layer(pooled, 3, 1)
        self.width = 3
        self.layer(self.node("Relu", self.value), width, 1)
        self.width = width
        self.node("Mul", before, self.node("Sigmoid", self.value))

    def add_transpose(self, kind: str) -> None:
        last = self.node("Transpose", self.value, perm=[0, 2, 3, 1])
        summed = self.node("MatMul", last, self.constant(self.filters(self.width, 4)))
        shifted = self.node("Add", summed, self.constant(self.bias(4)))
        self.node("Transpose", shifted, perm=[0, 3, 1, 2])
        self.width = 4

    def add_spatial(self, kind: str) -> None:
        """One map for all channels."""
        before, width = self.value, self.width
        one = self.layer(before, 1, 1)
        self.width = width
        self.node("Mul", before, self.node("Sigmoid", one))

    def add_resize(self, kind: str) -> None:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        self.node("Resize", self.value, "", scales, mode="nearest")

    def add_pad(self, kind: str) -> None:
        pads = self.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
        self.node("Pad", self.value, pads)

    def add_output(self, kind: str) -> None:
        self.outputs.append(self.node("Identity", self.value))

    def add_shape(self, kind: str) -> None:
        axis = self.constant(np.array([int(self.rng.integers(0, 4))], np.int64))
        value = self.value
        taken = self.node("Gather", self.node("Shape", value), axis)
        scale = self.node("Cast", taken, to=TensorProto.FLOAT)
        self.node("Mul", value, scale)

    def finish(self) -> onnx.ModelProto:
        if self.rng.random() < 0.5:
            self.add_conv("conv1x1")
        else:
            pooled = self.node("GlobalAveragePool", self.value)
            flat = self.node("Flatten", pooled)
            weight = self.filters(3, self.width)
            inputs = (flat, self.constant(weight), self.constant(self.bias(3)))
            self.node("Gemm", *inputs, transB=1, alpha=0.5, beta=2.0)
        outputs = [*self.outputs, self.value]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", self.first_width, 11, 10])
        is_flat = self.nodes[-1].op_type == "Gemm"
        ranks = [4] * len(self.outputs) + [2 if is_flat else 4]
        declared = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)
            for name, rank in zip(outputs, ranks, strict=True)
        ]
        graph = helper.make_graph(self.nodes, "g", [x], declared, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def grown(seed: int, kinds: list[str]) -> onnx.ModelProto:
    net = Net(seed)
    net.step("conv")
    for kind in kinds:
        net.step(kind)
    return net.finish()


def rewritten(model: onnx.ModelProto, rule: Rule) -> tuple[onnx.ModelProto, int]:
    graph = from_model(model)
    swept = to_fixed_point(graph, [rule])
    return to_model(graph, model), swept.counts[rule.name]


def assert_same(before: onnx.ModelProto, after: onnx.ModelProto, batch: int) -> None:
    onnx.checker.check_model(after, full_check=True)
    width = before.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(0).standard_normal((batch, width, 11, 10)).astype(np.float32)
    sessions = [runtime.open_session(model, optimize=False) for model in (before, after)]
    try:
        expected = runtime.run(sessions[0], None, {"x": x})
    except InputError:  # more convolutions than pixels
        assume(False)
    got = runtime.run(sessions[1], None, {"x": x})
    for a, b in zip(expected, got, strict=True):
        assert a.shape == b.shape
        scale = float(np.abs(a).max()) if a.size else 1.0
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * max(scale, 1e-3))


@pytest.mark.parametrize("rule", [REMOVE, MERGE], ids=lambda rule: rule.name)
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from(STEPS), max_size=9),
    batch=st.integers(1, 3),
)
def test_random_networks_compute_the_same(
    rule: Rule, seed: int, kinds: list[str], batch: int
) -> None:
    model = grown(seed, kinds)
    after, _ = rewritten(model, rule)
    assert_same(model, after, batch)
    again, count = rewritten(after, rule)
    assert count == 0
    assert again == after


@pytest.mark.parametrize("rule", [REMOVE, MERGE], ids=lambda rule: rule.name)
@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from(STEPS), max_size=6),
    shuffle=st.randoms(use_true_random=False),
)
def test_nodes_may_come_in_any_order(
    rule: Rule, seed: int, kinds: list[str], shuffle: random.Random
) -> None:
    model = grown(seed, kinds)
    graph = from_model(model)
    view = View(graph)
    shuffle.shuffle(graph.nodes)
    edited: set[int] = set()
    for match in list(rule.find(view)):
        if isinstance(match, Match) and edited.isdisjoint(map(id, match.nodes)):
            rule.apply(view, match)
            edited.update(map(id, match.nodes))
    cleanup(graph)
    assert_same(model, to_model(graph, model), 2)


def test_random_networks_lose_channels() -> None:
    for rule in (REMOVE, MERGE):
        counts = [
            rewritten(grown(seed, ["relu", "conv", "depthwise", "concat"]), rule)[1]
            for seed in range(20)
        ]
        assert sum(count > 0 for count in counts) >= 10


def test_rows_that_differ_anywhere_differ() -> None:
    table = np.zeros((5, 100), np.float32)
    table[1, 50] = 1
    table[2, 50] = -0.0
    table[4, 50] = 1
    assert equal_rows(table).tolist() == [0, 1, 2, 0, 1]
    assert equal_rows(table.reshape(5, 50, 2).swapaxes(0, 1)[:, :, :1].swapaxes(0, 1)).size == 5
    assert equal_rows(np.zeros((3, 0))).tolist() == [0, 0, 0]
