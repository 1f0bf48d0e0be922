"""Selections pushed up: random token networks with every way to select one position."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx import runtime
from autogo_onnx.graph import from_model, to_model
from autogo_onnx.rewriters import push_selection_up
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.sizes import size

LAYERS = st.lists(
    st.sampled_from(
        "mlp residual norm spelled_norm attention batch_norm swap heads split unsqueeze concat "
        "positions softmax clip where".split()
    ),
    min_size=1,
    max_size=6,
)
WIDTH = 4
TOKENS = 5


class _Tokens:
    """A network on float[N, tokens, 4]."""

    def __init__(self, rng: np.random.Generator, opset: int) -> None:
        self.rng, self.opset, self.name, self.rank = rng, opset, "x", 3
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *operands: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"t{len(self.nodes)}{'abc'[i] if i else ''}" for i in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, list(operands), names, **attributes))
        self.name = names[0]
        return self.name

    def constant(self, value: np.ndarray) -> str:
        name = f"k{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(value, name))
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape).astype(np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def with_axes(self, kind: str, operand: str, axes: list[int], **attributes: Any) -> str:
        in_reductions = kind.startswith("Reduce") and kind != "ReduceSum"
        if self.opset >= (18 if in_reductions else 13):
            return self.add(kind, operand, self.ints(*axes), **attributes)
        return self.add(kind, operand, axes=axes, **attributes)

    def layer(self, kind: str) -> None:
        getattr(self, kind)(self.name)

    def mlp(self, x: str) -> None:
        wide = self.add("Add", self.add("MatMul", x, self.normal(WIDTH, 8)), self.normal(8))
        self.add("MatMul", self.add("Relu", wide), self.normal(8, WIDTH))

    def residual(self, x: str) -> None:
        self.mlp(x)
        self.add("Add", x, self.name)

    def norm(self, x: str) -> None:
        if self.opset >= 17:
            self.add("LayerNormalization", x, self.normal(WIDTH), self.normal(WIDTH))
        else:
            self.spelled_norm(x)

    def spelled_norm(self, x: str) -> None:
        centred = self.add("Sub", x, self.with_axes("ReduceMean", x, [-1]))
        squared = self.add("Mul", centred, centred)
        variance = self.with_axes("ReduceMean", squared, [2], keepdims=1)
        spread = self.add(
            "Sqrt", self.add("Add", variance, self.constant(np.array([0.1], np.float32)))
        )
        self.add("Div", centred, spread)

    def attention(self, x: str) -> None:
        q, k, v = (self.add("MatMul", x, self.normal(WIDTH, WIDTH)) for _ in range(3))
        scores = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 2, 1]))
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=2), v)
        self.add("Add", x, mixed)

    def batch_norm(self, x: str) -> None:
        turned = self.add("Transpose", x, perm=[0, 2, 1])
        variance = self.constant(self.rng.random(WIDTH).astype(np.float32))
        values = [self.normal(WIDTH) for _ in range(3)]
        normed = self.add("BatchNormalization", turned, *values, variance)
        self.add("Transpose", normed, perm=[0, 2, 1])

    def swap(self, x: str) -> None:
        relu = self.add("Relu", self.add("Transpose", x, perm=[1, 0, 2]))
        self.add("Transpose", relu, perm=[1, 0, 2])

    def heads(self, x: str) -> None:
        split = self.add("Reshape", x, self.ints(0, 0, 2, 2))
        turned = self.add("Sigmoid", self.add("Transpose", split, perm=[0, 2, 1, 3]))
        self.add("Reshape", self.add("Transpose", turned, perm=[0, 2, 1, 3]), self.ints(0, 0, 4))

    def split(self, x: str) -> None:
        sizes = {"num_outputs": 2} if self.opset >= 18 else {}
        half = self.add("Split", x, outputs=2, axis=-1, **sizes)
        gate = self.add("Sigmoid", half + "b")
        self.add("Concat", self.add("Mul", half, gate), half, axis=-1)

    def unsqueeze(self, x: str) -> None:
        self.with_axes("Squeeze", self.add("Tanh", self.with_axes("Unsqueeze", x, [1])), [1])

    def concat(self, x: str) -> None:
        first = self.add("Gather", x, self.ints(1, 0), axis=2)
        self.add("Concat", first, self.add("Neg", first), axis=2)

    def positions(self, x: str) -> None:
        self.add("Add", x, self.normal(1, TOKENS, WIDTH))

    def softmax(self, x: str) -> None:
        self.add("Softmax", x, axis=2)

    def clip(self, x: str) -> None:
        low, high = (self.constant(np.array(v, np.float32)) for v in (-1, 1))
        self.add("Clip", x, low, high)

    def where(self, x: str) -> None:
        mask = self.constant(self.rng.random((TOKENS, 1)) < 0.5)
        self.add("Where", mask, x, self.normal(1))

    def select(self, how: str, index: int) -> None:
        x = self.name
        if how == "scalar":
            self.rank = 2
            self.add("Gather", x, self.constant(np.array(index)), axis=1)
        elif how == "vector":
            self.add("Gather", x, self.ints(index), axis=-2)
        else:
            end = index + 1 if index != -1 else 2**63 - 1
            self.add("Slice", x, self.ints(index), self.ints(end), self.ints(1))

    def model(self, tokens: int | str) -> onnx.ModelProto:
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self.nodes,
            "g",
            [value("x", 1, ["N", tokens, WIDTH])],
            [value(self.name, 1, [None] * self.rank)],
            self.weights,
        )
        imports = [onnx.helper.make_opsetid("", self.opset)]
        return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    graph = from_model(model)
    swept = to_fixed_point(graph, [push_selection_up.RULE])
    return to_model(graph, model), swept.counts["push_selection_up"]


@given(
    layers=LAYERS,
    how=st.sampled_from(["scalar", "vector", "slice"]),
    index=st.sampled_from([0, -1, 2]),
    tokens=st.sampled_from([TOKENS, "T"]),
    opset=st.sampled_from([11, 13, 17, 18]),
    seed=st.integers(0, 2**16),
)
def test_random_token_networks_keep_their_outputs(
    layers: list[str], how: str, index: int, tokens: int | str, opset: int, seed: int
) -> None:
    builder = _Tokens(np.random.default_rng(seed), opset)
    for kind in layers:
        builder.layer(kind)
    builder.select(how, index)
    model = builder.model(tokens)
    changed, count = rewritten(model)
    onnx.checker.check_model(changed, full_check=True)
    if tokens == TOKENS:
        assert count >= 1
        assert rewritten(changed)[1] == 0
    before, after = (runtime.open_session(m, optimize=False) for m in (model, changed))
    for batch in (1, 3, 0):
        shape = (batch, TOKENS, WIDTH)
        feed = {"x": builder.rng.standard_normal(shape).astype(np.float32)}
        expected, got = (runtime.run(session, None, feed)[0] for session in (before, after))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["scalar", "vector", "slice"])
def test_the_last_block_of_a_transformer_is_computed_for_one_token(how: str) -> None:
    builder = _Tokens(np.random.default_rng(0), 17)
    for kind in ("attention", "norm", "residual", "attention", "norm", "residual", "norm"):
        builder.layer(kind)
    builder.select(how, 0)
    model = builder.model(64)
    changed, count = rewritten(model)
    assert count == 1
    # Of the last attention remain keys and values (2 x 16 per token) and one row of scores (8);
    # the residual layers and projections behind it vanish but for one token.
    saved = size(model).macs - size(changed).macs
    assert saved == 63 * (2 * WIDTH * 8 + WIDTH * WIDTH + 2 * 64 * WIDTH)
