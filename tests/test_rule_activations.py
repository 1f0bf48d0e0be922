"""Activations and normalizations spelled out at random become one operator, which is the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogo_onnx import runtime
from autogo_onnx.graph import from_model, from_text, to_model
from autogo_onnx.rewriters import (
    Rule,
    flush_denormals,
    fuse_gelu,
    fuse_hard_sigmoid,
    fuse_hard_swish,
    fuse_layer_norm,
)
from autogo_onnx.rewriters.sweep import to_fixed_point

EXTREMES = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 1e30, -1e30, -3.0, 3.0]


class Lines:
    """Nodes being written, with constants made on the way."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.constants: list[str] = []

    def number(self, value: float) -> str:
        name = f"c{len(self.constants)}"
        kind = self.draw(st.sampled_from(["float", "float[1]", "float[1,1]"]))
        self.constants.append(f"{kind} {name} = {{{float(np.float32(value))!r}}}")
        return name

    def node(self, text: str) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def both(self, op: str, left: str, right: str) -> str:
        pair = [left, right] if self.draw(st.booleans()) else [right, left]
        return self.node(f"{op}({', '.join(pair)})")

    def times(self, tensor: str, factor: float) -> str:
        if factor == 1:
            return tensor
        if self.draw(st.booleans()):
            return self.both("Mul", tensor, self.number(factor))
        return self.node(f"Div({tensor}, {self.number(1 / factor)})")

    def plus(self, tensor: str, shift: float) -> str:
        if self.draw(st.booleans()):
            return self.both("Add", tensor, self.number(shift))
        return self.node(f"Sub({tensor}, {self.number(-shift)})")

    def model(self, opset: int, shape: str = "N,M") -> onnx.ModelProto:
        text = f'<ir_version: 9, opset_import: ["" : {opset}]>\n'
        text += f"g (float[{shape}] x) => (float[{shape}] y)\n"
        text += f"<{', '.join(self.constants)}>\n{{\n" + "\n".join(self.lines) + "\n}"
        last = self.lines[-1].partition(" = ")[0]
        text = text.replace(f"{last} = ", "y = ")
        return from_text(text)


@st.composite
def hard_gates(draw: st.DrawFn, *, swish: bool) -> onnx.ModelProto:
    """Clip(x + 3, 0, 6) / 6, times x or not, with the sixth anywhere."""
    lines = Lines(draw)
    inside = draw(st.sampled_from([1.0, 1 / 6, 2.0]))
    top = 6 * inside
    argument = lines.plus(lines.times("x", inside), 3 * inside)
    bounds = [("Max", 0.0), ("Min", top)]
    match draw(st.sampled_from(["Clip", "pair", "Relu"])):
        case "Clip":
            clamp = lines.node(f"Clip({argument}, {clip_bound(lines, 0.0, top)})")
        case "pair":
            clamp = argument
            for op, bound in draw(st.permutations(bounds)):
                clamp = lines.both(op, clamp, lines.number(bound))
        case _:
            clamp = lines.both("Min", lines.node(f"Relu({argument})"), lines.number(top))
    if not swish:
        if top == 1:
            return lines.model(17)
        lines.times(clamp, 1 / top)
        return lines.model(17)
    place = draw(st.sampled_from(["gate", "x", "product"]))
    gate = lines.times(clamp, 1 / top) if place == "gate" else clamp
    other = lines.times("x", 1 / top) if place == "x" else "x"
    product = lines.both("Mul", gate, other)
    if place == "product":
        lines.times(product, 1 / top)
    return lines.model(17)


def clip_bound(lines: Lines, low: float, high: float) -> str:
    names = []
    for bound in (low, high):
        names.append(f"c{len(lines.constants)}")
        lines.constants.append(f"float {names[-1]} = {{{float(np.float32(bound))!r}}}")
    return ", ".join(names)


@st.composite
def gelus(draw: st.DrawFn) -> onnx.ModelProto:
    """GELU with Erf or Tanh, with the half anywhere."""
    lines = Lines(draw)
    if draw(st.booleans()):
        core = lines.node(f"Erf({lines.times('x', np.sqrt(0.5))})")
    else:
        if draw(st.booleans()):
            cube = lines.node(f"Pow(x, {lines.number(3)})")
        else:
            cube = lines.both("Mul", "x", lines.node("Mul(x, x)"))
        inner = lines.both("Add", "x", lines.times(cube, 0.044715))
        core = lines.node(f"Tanh({lines.times(inner, np.sqrt(2 / np.pi))})")
    place = draw(st.sampled_from(["gate", "x", "product"]))
    half = {place: 0.5}
    gate = lines.times(lines.plus(core, 1.0), half.get("gate", 1))
    product = lines.both("Mul", gate, lines.times("x", half.get("x", 1)))
    lines.times(product, half.get("product", 1))
    return lines.model(20)


@st.composite
def layer_norms(draw: st.DrawFn) -> onnx.ModelProto:
    """A layer normalization over the last one or two axes of N x 3 x 5."""
    lines = Lines(draw)
    axes = draw(st.sampled_from(["-1", "2", "-2, -1", "1, 2"]))
    mean = lines.node(f"ReduceMean <axes = [{axes}]> (x)")
    deviation = lines.node(f"Sub(x, {mean})")
    if draw(st.booleans()):
        square = lines.node(f"Mul({deviation}, {deviation})")
    else:
        square = lines.node(f"Pow({deviation}, {lines.number(2)})")
    variance = lines.node(f"ReduceMean <axes = [{axes}]> ({square})")
    total = lines.both("Add", variance, lines.number(1e-3))
    match draw(st.sampled_from(["Div", "Reciprocal", "Pow"])):
        case "Div":
            lines.node(f"Div({deviation}, {lines.node(f'Sqrt({total})')})")
        case "Reciprocal":
            inverse = lines.node(f"Reciprocal({lines.node(f'Sqrt({total})')})")
            lines.both("Mul", deviation, inverse)
        case _:
            inverse = lines.node(f"Pow({total}, {lines.number(-0.5)})")
            lines.both("Mul", inverse, deviation)
    for op in ("Mul", "Add"):
        if draw(st.booleans()):
            before = lines.lines[-1].partition(" = ")[0]
            name = f"c{len(lines.constants)}"
            lines.constants.append(f"float[5] {name} = {{0.5,-1,2,1,3}}")
            lines.both(op, before, name)
    return lines.model(17, "N,3,5")


def rewritten(model: onnx.ModelProto, rule: Rule) -> onnx.ModelProto:
    graph = from_model(model)
    to_fixed_point(graph, [rule])
    return to_model(graph, model)


def outputs(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return runtime.run(runtime.open_session(model, optimize=False), None, {"x": x})[0]


def some_input(shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(4 * np.random.default_rng(0).standard_normal(shape), np.float32)


def assert_same(model: onnx.ModelProto, changed: onnx.ModelProto, x: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(outputs(changed, x), outputs(model, x), rtol=2e-5, atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(hard_gates(swish=True))
def test_every_hard_swish_is_found(model: onnx.ModelProto) -> None:
    changed = rewritten(model, fuse_hard_swish.RULE)
    assert [node.op_type for node in changed.graph.node] == ["HardSwish"]
    x = some_input((2, 50))
    x[0, : len(EXTREMES)] = EXTREMES
    assert_same(model, changed, x)


@settings(max_examples=60, deadline=None)
@given(hard_gates(swish=False))
def test_every_hard_sigmoid_is_found(model: onnx.ModelProto) -> None:
    changed = rewritten(model, fuse_hard_sigmoid.RULE)
    assert [node.op_type for node in changed.graph.node] == ["HardSigmoid"]
    x = some_input((2, 50))
    x[0, : len(EXTREMES)] = EXTREMES
    assert_same(model, changed, x)


@settings(max_examples=60, deadline=None)
@given(gelus())
def test_every_gelu_is_found(model: onnx.ModelProto) -> None:
    changed = rewritten(model, fuse_gelu.RULE)
    assert [node.op_type for node in changed.graph.node] == ["Gelu"]
    assert_same(model, changed, some_input((2, 50)))


@settings(max_examples=60, deadline=None)
@given(layer_norms())
def test_every_layer_norm_is_found(model: onnx.ModelProto) -> None:
    changed = rewritten(model, fuse_layer_norm.RULE)
    kinds = [node.op_type for node in changed.graph.node]
    assert kinds[0] == "LayerNormalization"
    assert set(kinds[1:]) <= {"Mul", "Add"}  # over two axes a row of five may be left as it is
    assert_same(model, changed, some_input((4, 3, 5)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1e-40, -1e-45, 1.17e-38, 1.18e-38, -1.0]), min_size=2),
    st.sampled_from([np.float32, np.float64]),
)
def test_denormals_are_told_from_all_other_numbers(
    numbers: list[float], dtype: type[np.floating]
) -> None:
    value = np.array(numbers, dtype)
    magnitude = np.abs(value)
    expected = ((magnitude > 0) & (magnitude < np.finfo(dtype).smallest_normal)).any()
    assert flush_denormals.has_denormals(value) == expected
    many = np.concatenate([np.ones(200_000, dtype), value])
    assert flush_denormals.has_denormals(many) == expected


@pytest.mark.parametrize("optimize", [False, True])
def test_flushed_network_gives_the_same_numbers(optimize: bool) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 8, 3, 3)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.1] *= np.float32(1e-39)
    weight[3] *= np.float32(1e-39)  # a dead filter
    model = from_text(
        "g (float[N,8,H,W] x) => (float[N,8,H,W] y) {\n"
        "a = Conv<pads = [1,1,1,1]>(x, w)\n"
        "b = Relu(a)\n"
        "y = Conv<pads = [1,1,1,1]>(b, w)\n}"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    changed = rewritten(model, flush_denormals.RULE)
    (new,) = map(onnx.numpy_helper.to_array, changed.graph.initializer)
    assert not flush_denormals.has_denormals(new)
    assert (new[3] == 0).all()
    x = some_input((2, 8, 9, 7))
    before, after = (
        runtime.run(runtime.open_session(m, optimize=optimize), None, {"x": x})[0]
        for m in (model, changed)
    )
    alive = [c for c in range(8) if c != 3]
    np.testing.assert_allclose(after[:, alive], before[:, alive], rtol=1e-6, atol=1e-6)
    assert np.abs(before[:, 3]).max() < 1e-36
    assert (after[:, 3] == 0).all()
