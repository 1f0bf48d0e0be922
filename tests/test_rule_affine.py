"""Affine maps before, between and after layers on random graphs: the same outputs afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_model, from_text, to_model
from autogo_onnx.rewriters import (
    fold_reciprocal,
    fuse_affine_chain,
    fuse_affine_conv,
    fuse_conv_bn,
    fuse_matmul_add,
    fuse_mul_add,
    fuse_mul_add_bn,
)
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.rewriters.view import View

RULES = [
    module.RULE
    for module in (
        fuse_conv_bn,
        fuse_matmul_add,
        fuse_mul_add,
        fuse_affine_conv,
        fuse_affine_chain,
        fold_reciprocal,
        fuse_mul_add_bn,
    )
]
WIDTH, SIDE = 4, 4  # equal, so that a constant along another axis looks like one along channels
AFFINE = ("Mul", "Add", "Sub", "Sub", "Div", "Neg", "norm", "another_reader", "output")
PICTURE = (*AFFINE, *AFFINE, "conv", "padded", "grouped", "depthwise", "transposed", "swap")
ROWS = (*AFFINE, *AFFINE, "gemm", "matmul", "matmul", "around")


class Net:
    """A graph that grows by steps on a picture float[N,4,H,W] or on rows float[N,4]."""

    def __init__(self, seed: int, rank: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rank = rank
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.extra: list[str] = []
        self.value = "x"

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(value, name))
        return name

    def random(self, *shape: int) -> str:
        values = self.rng.choice(np.array([-2, -1, 0.5, 1, 3], np.float32), shape)
        return self.constant(np.asarray(values, np.float32))

    def node(self, op: str, *inputs: str, **attributes: Any) -> None:
        self.value = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.value], **attributes))

    def operand(self) -> str:
        full = (1, WIDTH, SIDE, SIDE)[: self.rank]
        shape = [size if self.rng.random() < 0.4 else 1 for size in full]
        shape[0] = 1
        return self.random(*shape[int(self.rng.integers(0, self.rank + 1)) :])

    def step(self, kind: str) -> None:
        if kind == "Neg":
            self.node("Neg", self.value)
        elif kind in AFFINE[:5]:
            sides = [self.value, self.operand()]
            if kind != "Div" and self.rng.random() < 0.5:
                sides.reverse()
            self.node(kind, *sides)
        else:
            getattr(self, kind)()

    def norm(self) -> None:
        terms = [self.random(WIDTH) for _ in range(3)]
        variance = self.constant(np.ones(WIDTH, np.float32))
        self.node("BatchNormalization", self.value, *terms, variance)

    def another_reader(self) -> None:
        value = self.value
        self.node("Relu", value)
        self.extra.append(self.value)
        self.value = value

    def output(self) -> None:
        self.extra.append(self.value)

    def bias(self) -> list[str]:
        return [self.random(WIDTH)] if self.rng.random() < 0.5 else []

    def conv(self) -> None:
        kernel = int(self.rng.integers(1, 3))
        weight = self.random(WIDTH, WIDTH, kernel, kernel)
        self.node("Conv", self.value, weight, *self.bias())

    def padded(self) -> None:
        weight = self.random(WIDTH, WIDTH, 3, 3)
        pads: dict[str, Any] = (
            {"auto_pad": "SAME_LOWER"} if self.rng.random() < 0.3 else {"pads": [1] * 4}
        )
        self.node("Conv", self.value, weight, *self.bias(), **pads)

    def grouped(self) -> None:
        self.node("Conv", self.value, self.random(WIDTH, WIDTH // 2, 1, 1), group=2)

    def depthwise(self) -> None:
        weight = self.random(WIDTH, 1, 3, 3)
        self.node("Conv", self.value, weight, *self.bias(), group=WIDTH, pads=[1] * 4)

    def transposed(self) -> None:
        kernel = int(self.rng.integers(1, 3))
        weight = self.random(WIDTH, WIDTH // 2, kernel, kernel)
        self.node("ConvTranspose", self.value, weight, *self.bias(), group=2)

    def swap(self) -> None:
        """Channels last, where a product sums over them, and back."""
        self.node("Transpose", self.value, perm=[0, 2, 3, 1])
        if self.rng.random() < 0.7:
            self.node("Add", self.value, self.random(WIDTH))
        if self.rng.random() < 0.7:
            self.node("MatMul", self.value, self.random(WIDTH, WIDTH))
        self.node("Transpose", self.value, perm=[0, 3, 1, 2])

    def gemm(self) -> None:
        shape = ((WIDTH,), (1, WIDTH), ())[int(self.rng.integers(0, 3))]
        attributes: dict[str, Any] = {
            "alpha": 0.5,
            "beta": 2.0,
            "transB": int(self.rng.integers(0, 2)),
        }
        inputs = (self.value, self.random(WIDTH, WIDTH), self.random(*shape))
        self.node("Gemm", *inputs, **attributes)

    def matmul(self) -> None:
        self.node("MatMul", self.value, self.random(WIDTH, WIDTH))

    def around(self) -> None:
        """BatchNorm1d between an Unsqueeze and a Squeeze."""
        axis = self.constant(np.array([2], np.int64))
        self.node("Unsqueeze", self.value, axis)
        self.norm()
        self.node("Squeeze", self.value, axis)

    def finish(self) -> onnx.ModelProto:
        dims: list[str | int | None] = ["N", WIDTH, "H", SIDE]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims[: self.rank])
        names = dict.fromkeys(n for n in (*self.extra, self.value) if n != "x")
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * self.rank)
            for name in names
        ]
        graph = helper.make_graph(self.nodes, "g", [x], outputs, self.weights)
        opset = [helper.make_opsetid("", 14)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)


def outputs(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    return runtime.run(runtime.open_session(model, optimize=False), None, {"x": x})


@pytest.mark.parametrize(("rank", "steps"), [(4, PICTURE), (2, ROWS)], ids=["picture", "rows"])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 3))
def test_random_graphs_compute_the_same(
    rank: int, steps: tuple[str, ...], data: st.DataObject, seed: int, batch: int
) -> None:
    net = Net(seed, rank)
    for kind in data.draw(st.lists(st.sampled_from(steps), min_size=2, max_size=10)):
        net.step(kind)
    assume(net.value != "x")
    model = net.finish()
    x = np.random.default_rng(seed).standard_normal((batch, WIDTH, SIDE, SIDE)[:rank])
    try:
        expected = outputs(model, x.astype(np.float32))
    except InputError:  # the picture is smaller than a kernel, or than a constant
        assume(False)

    graph = from_model(model)
    to_fixed_point(graph, RULES)
    after = to_model(graph, model)

    onnx.checker.check_model(after, full_check=True)
    assert len(after.graph.node) <= len(model.graph.node)
    for a, b in zip(expected, outputs(after, x.astype(np.float32)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5 * float(np.abs(a).max(initial=1)))
    assert not to_fixed_point(graph, RULES).counts


@pytest.mark.parametrize(
    "nodes",
    [
        "a = MatMul(x, w) b = Div(a, c) d = Erf(b) e = Add(d, c) f = Mul(a, e) y = Mul(f, c)",
        "a = Mul(x, c) b = Add(a, c) d = Tanh(b) y = Mul(a, d)",
        "a = Mul(x, c) b = Div(a, c) d = Erf(b) y = Mul(a, d)",
        "r = ReduceMean <axes = [-1]> (x) a = Sub(x, r) b = Sqrt(a) d = Div(a, b) e = Mul(d, c)"
        " y = Add(e, c)",
        "s = Shape(x) t = Mul(s, i) u = Add(t, i) v = Sub(u, t) y = Expand(x, v)",
    ],
)
def test_nothing_is_said_of_gates_and_sizes(nodes: str) -> None:
    """That an activation reads its input twice is no reason that a user would want to know."""
    text = "g (float[N,2] x) => (y) <float[2,2] w = {1,2,3,4}, float c = {3}, int64 i = {2}> {"
    view = View(from_model(from_text(text + nodes + "}")))
    assert [found for rule in RULES for found in rule.find(view)] == []
