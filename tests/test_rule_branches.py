"""Sums of random branches, and random convolutions in a row: same outputs, and less work.

Sizes are left open, and tried even and odd, down to one element.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_model, from_text, to_model
from autogo_onnx.rewriters import Rule, merge_consecutive_layers, merge_parallel_layers
from autogo_onnx.rewriters.patterns import stencil
from autogo_onnx.rewriters.patterns.stencil import Axis, Row, Stencil, compose, diagonal, regrouped
from autogo_onnx.rewriters.rule import Match, Skip
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.rewriters.view import View

PARALLEL, CONSECUTIVE = merge_parallel_layers.RULE, merge_consecutive_layers.RULE
RANDOMS = st.integers(0, 2**32 - 1).map(Random)
SIZES = (1, 2, 3, 6, 7, 12)


@dataclass
class Net:
    """A model under construction; its input is `x`, float[N,channels,*spatial]."""

    random: Random
    channels: int
    rank: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, *shape: int) -> str:
        values = np.array([self.random.gauss(0, 1) for _ in range(int(np.prod(shape)))])
        self.weights.append(
            numpy_helper.from_array(
                values.reshape(shape).astype(np.float32), f"w{len(self.weights)}"
            )
        )
        return self.weights[-1].name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        result = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [result], name=result, **attributes))
        return result

    def conv(self, x: str, ins: int, outs: int, *, stride: int, keep: bool) -> str:
        """A random convolution; `keep`: of the size that a 1x1 one with this stride makes."""
        taps = [self.random.choice((1, 1, 2, 3, 3, 5)) for _ in range(self.rank)]
        steps = [self.random.choice((1, 1, 2)) for _ in range(self.rank)]
        widths = [(t - 1) * s for t, s in zip(taps, steps, strict=True)]
        before = [self.random.choice((w // 2, w // 2, self.random.randint(0, w))) for w in widths]
        after = [w - b for w, b in zip(widths, before, strict=True)]
        if not keep:
            before = [self.random.randint(0, 2) for _ in taps]
            after = [self.random.randint(0, 2) for _ in taps]
        groups = self.random.choice([g for g in (1, 1, 2, 4) if ins % g == 0 and outs % g == 0])
        bias = [self.constant(outs)] if self.random.random() < 0.5 else []
        return self.add(
            "Conv",
            x,
            self.constant(outs, ins // groups, *taps),
            *bias,
            group=groups,
            strides=[stride] * self.rank,
            dilations=steps,
            pads=[*before, *after],
        )

    def dense(self, x: str, ins: int, outs: int) -> str:
        if self.random.random() < 0.5:
            return self.add("MatMul", x, self.constant(ins, outs))
        turned = self.random.choice((0, 1))
        return self.add(
            "Gemm",
            x,
            self.constant(outs, ins) if turned else self.constant(ins, outs),
            self.constant(outs),
            transB=turned,
            alpha=self.random.choice((1.0, 0.3)),
            beta=self.random.choice((1.0, 0.7)),
        )

    def affine(self, x: str, channels: int) -> str:
        kind = self.random.choice(("Mul", "Neg", "Sub", "norm"))
        if kind == "Neg":
            return self.add("Neg", x)
        if kind == "norm":
            name = self.constant(channels)
            self.weights.append(
                numpy_helper.from_array(
                    np.linspace(0.5, 2, channels, dtype=np.float32), f"w{len(self.weights)}"
                )
            )
            return self.add("BatchNormalization", x, name, name, name, self.weights[-1].name)
        size = self.random.choice((1, channels))
        sides = [self.constant(size, *(1,) * self.rank), x]
        self.random.shuffle(sides)
        return self.add(kind, *sides)

    def mean(self, x: str) -> str:
        return self.add(
            "AveragePool",
            x,
            kernel_shape=[3] * self.rank,
            pads=[1] * 2 * self.rank,
            count_include_pad=self.random.choice((1, 1, 0)),
        )

    def branch(self, outs: int, stride: int) -> str:
        """A term of a sum: linear in `x`, most often."""
        same = outs == self.channels and stride == 1
        kinds = ["conv", "conv", "chain", "other"]
        kind = self.random.choice([*kinds, "identity", "affine", "mean"] if same else kinds)
        if kind == "identity":
            return "x"
        if kind == "affine":
            return self.affine("x", outs)
        if kind == "mean":
            return self.mean(self.affine("x", outs) if self.random.random() < 0.5 else "x")
        if kind == "chain":
            middle = self.random.choice((2, 4))
            first = self.conv("x", self.channels, middle, stride=1, keep=True)
            return self.conv(first, middle, outs, stride=stride, keep=True)
        made = self.conv("x", self.channels, outs, stride=stride, keep=kind == "conv")
        return self.add("Relu", made) if kind == "other" else made

    def total(self, terms: list[str]) -> str:
        """The terms in a random tree of Add, Sub and Sum."""
        while len(terms) > 1:
            count = self.random.randint(2, min(3, len(terms)))
            parts = [terms.pop(self.random.randrange(len(terms))) for _ in range(count)]
            op = self.random.choice(("Add", "Sub")) if count == 2 else "Sum"
            terms.append(self.add(op, *parts))
        return terms[0]

    def model(self, result: str, lengths: tuple[int, ...] = ()) -> onnx.ModelProto:
        spatial = lengths or [f"d{axis}" for axis in range(self.rank)]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", self.channels, *spatial))
        open_shape = [f"y{axis}" for axis in range(self.rank + 2)]
        y = helper.make_tensor_value_info(result, TensorProto.FLOAT, open_shape)
        graph = helper.make_graph(self.nodes, "g", [x], [y], self.weights)
        opset = self.random.choice((7, 11, 17, 21))
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )


Runs = list[tuple[dict[str, np.ndarray], np.ndarray]]


def runs(model: onnx.ModelProto) -> Runs:
    """Feeds of every size that the model takes, even and odd, and what it makes of them."""
    _, channels, *spatial = model.graph.input[0].type.tensor_type.shape.dim
    given_sizes = [d.dim_value for d in spatial if d.dim_value]
    found: Runs = []
    try:
        session = runtime.open_session(model, optimize=False)
    except InputError:
        return found  # the sizes do not fit each other
    rng = np.random.default_rng(0)
    for size in SIZES if not given_sizes else given_sizes[:1]:
        shape = given_sizes or [size, *[size % 5 + 3] * len(spatial)][: len(spatial)]
        feed = {"x": rng.standard_normal((2, channels.dim_value, *shape)).astype(np.float32)}
        try:
            found.append((feed, runtime.run(session, None, feed)[0]))
        except InputError:
            continue
    return found


def changed(model: onnx.ModelProto, rule: Rule) -> tuple[onnx.ModelProto, int]:
    """The model after a rule, valid and at its fixed point; how often the rule was applied."""
    graph = from_model(model)
    swept = to_fixed_point(graph, [rule])
    result = to_model(graph, model)
    onnx.checker.check_model(result, full_check=True)
    assert to_fixed_point(from_model(result), [rule]).counts[rule.name] == 0
    return result, swept.counts[rule.name]


def assert_same(model: onnx.ModelProto, known: Runs) -> None:
    """The same outputs as before."""
    session = runtime.open_session(model, optimize=False)
    for feed, expected in known:
        (got,) = runtime.run(session, None, feed)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def kernel_bytes(model: onnx.ModelProto) -> int:
    """Size of the kernels that convolutions read."""
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return sum(len(w.raw_data) for w in model.graph.initializer if w.name in kernels)


@settings(max_examples=300)
@given(RANDOMS)
def test_sums_of_branches_stay_the_same(random: Random) -> None:
    net = Net(random, channels=random.choice((1, 2, 4)), rank=random.choice((1, 2, 2)))
    outs, stride = random.choice((net.channels, 2, 4)), random.choice((1, 1, 1, 2))
    terms = [net.branch(outs, stride) for _ in range(random.randint(2, 5))]
    lengths = random.choice(((), (7,) * net.rank, (8,) * net.rank))
    model = net.model(net.total(terms), lengths)
    known = runs(model)
    assume(known)

    result, _ = changed(model, PARALLEL)

    if model.opset_import[0].version >= 8:  # before, Sum nodes are spelled out as Adds
        assert len(result.graph.node) <= len(model.graph.node)
    assert kernel_bytes(result) <= kernel_bytes(model)
    assert_same(result, known)


@settings(max_examples=200)
@given(RANDOMS)
def test_convolutions_in_a_row_stay_the_same(random: Random) -> None:
    net = Net(random, channels=random.choice((1, 2, 4)), rank=random.choice((1, 2, 2)))
    x, ins = "x", net.channels
    for _ in range(random.randint(2, 3)):
        outs = random.choice((1, 2, 4, 8))
        x = net.conv(x, ins, outs, stride=random.choice((1, 1, 2)), keep=random.random() < 0.7)
        ins = outs
    model = net.model(x)
    known = runs(model)
    assume(known)

    result, count = changed(model, CONSECUTIVE)

    assert len(result.graph.node) == len(model.graph.node) - count
    assert_same(result, known)


@settings(max_examples=100)
@given(RANDOMS)
def test_dense_layers_stay_the_same(random: Random) -> None:
    net = Net(random, channels=random.choice((1, 2, 4)), rank=0)
    outs = random.choice((net.channels, 3))
    terms = [net.dense("x", net.channels, outs)]
    for _ in range(random.randint(1, 3)):
        middle = random.choice((1, 2, 4))
        kind = random.choice(("one", "two", "same"))
        if kind == "two":
            terms.append(net.dense(net.dense("x", net.channels, middle), middle, outs))
        elif kind == "same" and outs == net.channels:
            terms.append(random.choice(("x", net.affine("x", outs))))
        else:
            terms.append(net.dense("x", net.channels, outs))
    model = net.model(net.total(terms))
    known = runs(model)
    assume(known)

    first, _ = changed(model, PARALLEL)
    second, _ = changed(model, CONSECUTIVE)

    assert_same(first, known)
    assert_same(second, known)


@pytest.mark.parametrize("outs", [4, 8])
def test_everything_a_block_trains_with_becomes_one_convolution(outs: int) -> None:
    net = Net(Random(0), channels=4, rank=2)
    middle = {"pads": [1, 1, 1, 1]}
    square = net.add("Conv", "x", net.constant(outs, 4, 3, 3), net.constant(outs), **middle)
    row = net.add("Conv", "x", net.constant(outs, 4, 1, 3), pads=[0, 1, 0, 1])
    point = net.add("Conv", "x", net.constant(outs, 1, 1, 1), group=4)
    first = net.add("Conv", "x", net.constant(4, 4, 1, 1), net.constant(4), **middle)
    second = net.add("Conv", first, net.constant(outs, 4, 3, 3))
    terms = [square, row, point, second]
    if outs == 4:
        terms += ["x", net.affine("x", 4), net.affine("x", 4)]
    model = net.model(net.total(terms))

    result, count = changed(model, PARALLEL)

    assert [node.op_type for node in result.graph.node] == ["Conv"]
    assert count == 1
    assert_same(result, runs(model))


def test_axes_compose_as_output_sizes_do() -> None:
    for first in (Axis(-1, 1, 3, 2, -1), Axis(0, 1, 1, 3, 0), Axis(-2, 2, 2, 1, 1)):
        for second in (Axis(0, 1, 2, 2, -1), Axis(-1, 2, 3, 1, -2), Axis(0, 1, 1, 1, 0)):
            both = second.after(first)
            for length in range(8, 20):
                made = (length - 1 + first.reach) // first.stride + 1
                made = (made - 1 + second.reach) // second.stride + 1
                assert made == (length - 1 + both.reach) // both.stride + 1


def test_a_border_that_no_layer_has_is_refused() -> None:
    point = diagonal(np.ones(1), np.ones(1), 1)
    padded = Stencil((Axis(-1, 1, 3, 1, 0),), np.ones((1, 1, 3)), np.zeros(1))
    assert compose(point, padded) is None
    assert compose(padded, padded) is None
    assert compose(padded, point) is not None


def test_fewer_groups_hold_zeros_between_the_old_ones() -> None:
    weight = np.arange(1, 5).reshape(4, 1, 1)
    assert regrouped(weight, 4, 2).reshape(4, 2).tolist() == [[1, 0], [0, 2], [3, 0], [0, 4]]


@given(random=RANDOMS)
def test_no_weight_of_a_row_is_larger_than_its_bound(random: Random) -> None:
    rng, widths = np.random.default_rng(random.randrange(2**32)), [2, 4, 6, 2]
    row: Row | None = Row.of(diagonal(np.ones(2), np.zeros(2), 1))
    for ins, outs in pairwise(widths):
        groups, taps = random.choice([1, 2]), random.randint(1, 3)
        weight = rng.standard_normal((outs, ins // groups, taps)) * 10.0 ** random.randint(-3, 3)
        axes = (Axis(0, 1, taps, 1, 1 - taps),)
        part = Stencil(axes, weight, rng.standard_normal(outs), groups)
        assert row is not None
        row = row.then(part)
    assert row is not None
    whole = row.whole()
    assert (whole.axes, whole.groups) == (row.axes, row.groups)
    values = np.concatenate([whole.weight.ravel(), whole.bias])
    assert np.abs(values).max() <= row.magnitude * (1 + 1e-9)


@pytest.mark.parametrize("size", [1.0, 1e20])
def test_looking_composes_nothing(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """Weights are multiplied once, where a rule is applied; too large ones are refused unseen."""
    text = (
        "g (float[N,2] x) => (float[N,2] y) <float[2,2] w = {{{0},0,0,{0}}}> {{ a = MatMul(x, w) "
    )
    model = from_text(text.format(size) + "y = MatMul(a, w) }")
    monkeypatch.setattr(stencil, "compose", None)
    (found,) = merge_consecutive_layers.RULE.find(View(from_model(model)))
    assert isinstance(found, Match) == (size == 1.0)
    monkeypatch.setattr(merge_consecutive_layers, "MOST_WORK", 7)  # 2 * 2 * 2 multiplications
    (found,) = merge_consecutive_layers.RULE.find(View(from_model(model)))
    assert isinstance(found, Skip)
    assert ("long" in found.reason) or ("overflow" in found.reason)
