"""Rules that move convolutions past resizing, joining and pooling, on random geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autogo_onnx import runtime
from autogo_onnx.graph import from_model, to_model
from autogo_onnx.rewriters import (
    Rule,
    fuse_nearest_conv,
    split_concat_conv,
    swap_conv_average_pool,
    swap_resize_conv,
)
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.rewriters.view import View

Case = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
SPATIAL = st.integers(1, 6)


class Built:
    """A model in the making: float inputs with open batch and image, and random weights."""

    def __init__(self, seed: int, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, *shape: int | str) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def constant(self, value: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape).astype(np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(self, x: str, c_in: int, c_out: int, *kernel: int, **attributes: Any) -> str:
        weight = self.weight(c_out, c_in // attributes.get("group", 1), *kernel)
        bias = [self.weight(c_out)] if self.rng.random() < 0.7 else []
        return self.op("Conv", x, weight, *bias, **attributes)

    def model(self, *outputs: str, rank: int = 4) -> onnx.ModelProto:
        infos = [
            helper.make_tensor_value_info(o, TensorProto.FLOAT, [None] * rank) for o in outputs
        ]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def feed(self, *shapes: Sequence[int]) -> dict[str, np.ndarray]:
        values = (self.rng.standard_normal(shape).astype(np.float32) for shape in shapes)
        return {info.name: value for info, value in zip(self.inputs, values, strict=True)}


def agrees(rule: Rule, model: onnx.ModelProto, feeds: Sequence[Mapping[str, np.ndarray]]) -> int:
    """Check the rewritten model on every feed; how often the rule was applied."""
    graph = from_model(model)
    count = to_fixed_point(graph, [rule]).counts[rule.name]
    changed = to_model(graph, model)
    onnx.checker.check_model(changed, full_check=True)
    sessions = [runtime.open_session(m, optimize=False) for m in (model, changed)]
    for feed in feeds:
        expected, got = (runtime.run(session, None, feed) for session in sessions)
        for one, other in zip(expected, got, strict=True):
            assert one.shape == other.shape
            scale = np.abs(one).max(initial=1e-3)
            np.testing.assert_allclose(other, one, atol=2e-5 * scale, rtol=0)
    return count


TRANSFORMATIONS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@st.composite
def resize_attributes(draw: st.DrawFn) -> dict[str, Any]:
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    found: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": draw(st.sampled_from(TRANSFORMATIONS)),
    }
    if mode == "nearest":
        return {**found, "nearest_mode": draw(st.sampled_from(ROUNDINGS))}
    if mode == "cubic":
        found["cubic_coeff_a"] = draw(st.sampled_from([-0.75, -0.5]))
        found["exclude_outside"] = draw(st.integers(0, 1))
    return {**found, "antialias": draw(st.integers(0, 1))}


@Case
@given(
    attributes=resize_attributes(),
    form=st.sampled_from(["scales", "sizes", "computed", "axes"]),
    scales=st.tuples(*[st.sampled_from([1.0, 1.5, 2.0, 2.7, 3.0])] * 2),
    groups=st.sampled_from([1, 2]),
    images=st.lists(st.tuples(st.integers(1, 3), SPATIAL, SPATIAL), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_resize_then_conv(
    attributes: dict[str, Any],
    form: str,
    scales: tuple[float, float],
    groups: int,
    images: list[tuple[int, int, int]],
    seed: int,
) -> None:
    assume(max(scales) > 1)
    net = Built(seed, opset=19)
    if form == "sizes":
        images = images[:1]
    n, h, w = images[0]
    x = net.input(*((n, 4, h, w) if form == "sizes" else ("N", 4, "H", "W")))
    sizes = [int(np.ceil(scale * size)) + 1 for scale, size in zip(scales, (h, w), strict=True)]
    if form == "scales":
        given = ["", net.constant(np.array([1, 1, *scales], np.float32))]
    elif form == "sizes":
        given = ["", "", net.constant([n, 4, *sizes])]
    elif form == "axes":
        attributes = {**attributes, "axes": [2, -1]}
        given = ["", net.constant(np.array(scales, np.float32))]
    else:
        front = net.op("Shape", x, start=0, end=2)
        tail = net.op("Mul", net.op("Shape", x, start=2), net.constant([2, 3]))
        given = ["", "", net.op("Concat", front, tail, axis=0)]
    large = net.op("Resize", x, *given, **attributes)
    model = net.model(
        net.conv(large, 4, 2, 1, 1, group=groups), net.conv(large, 4, 2, 1, 1, auto_pad="VALID")
    )
    feeds = [net.feed((n, 4, h, w)) for n, h, w in images]
    assert agrees(swap_resize_conv.RULE, model, feeds) == 1


@Case
@given(
    kinds=st.lists(
        st.sampled_from(["full", "half", "half linear", "third", "pixel", "expanded"]),
        min_size=2,
        max_size=5,
    ),
    convs=st.integers(1, 2),
    images=st.lists(st.tuples(st.integers(1, 2), SPATIAL, SPATIAL), min_size=1, max_size=2),
    seed=st.integers(0, 99),
)
def test_concat_then_conv(
    kinds: list[str], convs: int, images: list[tuple[int, int, int]], seed: int
) -> None:
    has_pixel = "pixel" in kinds or "expanded" in kinds
    assume(not {"full"}.issuperset(kinds) and not {"pixel", "expanded"}.issuperset(kinds))
    net = Built(seed)
    images = [(n, 6 * h, 6 * w) for n, h, w in images[: 1 if has_pixel else 2]]
    n, h, w = images[0]
    batch = n if has_pixel else "N"
    parts, channels, shrinks = [], [], []
    for kind in kinds:
        count = 64 + int(net.rng.integers(64))
        channels.append(count)
        if kind in ("pixel", "expanded"):
            x = net.input(batch, count, 1, 1)
            shape = net.constant([n, count, h, w])
            made = (
                net.op("Expand", x, shape)
                if kind == "expanded"
                else net.op("Resize", x, "", "", shape, mode="linear")
            )
            shrinks.append(0)
        else:
            factor = {"full": 1, "third": 3}.get(kind, 2)
            x = made = net.input(batch, count, "H", "W" if factor == 1 else f"W{factor}")
            if factor > 1:
                scales = net.constant(np.array([1, 1, factor, factor], np.float32))
                mode = "linear" if "linear" in kind else "nearest"
                made = net.op("Resize", x, "", scales, mode=mode)
            shrinks.append(factor)
        parts.append(made)
    joined = net.op("Concat", *parts, axis=1)
    model = net.model(*(net.conv(joined, sum(channels), 5, 1, 1) for _ in range(convs)))
    feeds = [
        net.feed(
            *(
                (n, count, h // shrink, w // shrink) if shrink else (n, count, 1, 1)
                for count, shrink in zip(channels, shrinks, strict=True)
            )
        )
        for n, h, w in images
    ]
    assert agrees(split_concat_conv.RULE, model, feeds) == 1


@Case
@given(
    kind=st.sampled_from(["AveragePool", "GlobalAveragePool", "ReduceMean", "squeezed"]),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(2, 3)),
    pads=st.tuples(*[st.integers(0, 1)] * 4),
    counts=st.integers(0, 1),
    ceil=st.integers(0, 1),
    axes=st.lists(st.sampled_from([2, 3]), min_size=1, max_size=2, unique=True),
    groups=st.sampled_from([1, 2]),
    opset=st.sampled_from([11, 13, 17, 18]),
    images=st.lists(
        st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9)), min_size=1, max_size=3
    ),
    seed=st.integers(0, 99),
)
def test_conv_then_average(
    kind: str,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, ...],
    counts: int,
    ceil: int,
    axes: list[int],
    groups: int,
    opset: int,
    images: list[tuple[int, int, int]],
    seed: int,
) -> None:
    net = Built(seed, opset)
    conv = net.conv(net.input("N", 4, "H", "W"), 4, 6, 1, 1, group=groups)
    if kind == "AveragePool":
        pads = tuple(min(p, k - 1) for p, k in zip(pads, kernel * 2, strict=True))
        made = net.op(
            kind,
            conv,
            kernel_shape=kernel,
            strides=strides,
            pads=pads,
            count_include_pad=counts,
            ceil_mode=ceil,
        )
    elif kind == "GlobalAveragePool":
        made = net.op(kind, conv)
    else:
        keep = {"keepdims": int(kind == "ReduceMean")}
        if opset < 18:
            made = net.op("ReduceMean", conv, axes=axes, **keep)
        else:
            made = net.op("ReduceMean", conv, net.constant(axes), **keep)
    has_bias = len(net.nodes[0].input) == 3
    refused = kind == "AveragePool" and has_bias and counts and (ceil or any(pads))
    feeds = [net.feed((n, 4, h, w)) for n, h, w in images]
    model = net.model(made, rank=4 - len(axes) if kind == "squeezed" else 4)
    assert agrees(swap_conv_average_pool.RULE, model, feeds) == int(not refused)


@Case
@given(
    dims=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=3
    ),
    transformation=st.sampled_from(TRANSFORMATIONS),
    rounding=st.sampled_from(ROUNDINGS),
    auto_pad=st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER"]),
    outputs=st.sampled_from([1, 5, 17]),
    others=st.sampled_from([None, "full", "same", "linear"]),
    images=st.lists(st.tuples(st.integers(1, 2), *[SPATIAL] * 3), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_repeated_pixels_then_conv(
    dims: list[tuple[int, int, int]],
    transformation: str,
    rounding: str,
    auto_pad: str,
    outputs: int,
    others: str | None,
    images: list[tuple[int, ...]],
    seed: int,
) -> None:
    kernel, factors, wanted = zip(*dims, strict=True)
    assume(any(k > 1 and s > 1 for k, s in zip(kernel, factors, strict=True)))
    rank = len(dims)
    assume(others != "linear" or rank == 2)
    net = Built(seed, 19)
    names = ("H", "W", "D")[:rank]
    scales = net.constant(np.array([1, 1, *factors], np.float32))
    how = {"coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    parts = [net.op("Resize", net.input("N", 2, *names), "", scales, mode="nearest", **how)]
    if others is not None:
        small = others != "full"
        x = net.input("N", 3, *(names if small else (f"{name}2" for name in names)))
        if small:
            attributes = {"mode": "linear"} if others == "linear" else {"mode": "nearest", **how}
            x = net.op("Resize", x, "", scales, **attributes)
        parts.append(x)
    source = net.op("Concat", *parts, axis=1) if others else parts[0]
    before = [min(p, k - 1) for p, k in zip(wanted, kernel, strict=True)]
    padding: dict[str, Any] = {"auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        padding = {"pads": [*before, *(k - 1 - p for p, k in zip(before, kernel, strict=True))]}
    model = net.model(
        net.conv(source, 5 if others else 2, outputs, *kernel, **padding), rank=rank + 2
    )
    feeds = []
    for n, *image in images:
        size = image[:rank]
        large = [s * d for s, d in zip(factors, size, strict=True)]
        shapes = [(n, 2, *size)]
        if others is not None:
            shapes.append((n, 3, *(size if others != "full" else large)))
        feeds.append(net.feed(*shapes))
    if transformation == "asymmetric":
        repeats = rounding == "floor" or (rounding == "round_prefer_floor" and max(factors) < 3)
    else:
        repeats = transformation != "align_corners" and rounding.startswith("round")
    assert agrees(fuse_nearest_conv.RULE, model, feeds) == int(repeats)


def test_the_old_upsample_rounds_down() -> None:
    for opset in (7, 9, 10):
        net = Built(0, opset)
        x = net.input("N", 2, "H", "W")
        if opset == 7:
            large = net.op("Upsample", x, scales=[1.0, 1.0, 3.0, 3.0])
        else:
            scales = net.constant(np.array([1, 1, 3, 3], np.float32))
            large = net.op("Resize" if opset == 10 else "Upsample", x, scales)
        model = net.model(net.conv(large, 2, 20, 3, 3, pads=[1, 1, 1, 1]))
        feeds = [net.feed((2, 2, 5, 4)), net.feed((1, 2, 1, 1))]
        assert agrees(fuse_nearest_conv.RULE, model, feeds) == 1


def test_channels_are_proven_through_computed_shapes() -> None:
    """As PyTorch exports a decoder of token maps with an open image: `reshape(n, -1, h, w)`."""
    net = Built(3)
    small, large = net.input("N", 40, "H", "W"), net.input("N", 8, "P", "Q")
    tokens = net.op("Reshape", small, net.constant([0, 40, -1]))
    shapes = [net.op("Shape", tensor) for tensor in (small, large)]
    batch = net.op("Slice", shapes[0], net.constant([0]), net.constant([1]))
    size = [net.op("Slice", s, net.constant([2]), net.constant([4])) for s in shapes]
    image_shape = net.op("Concat", batch, net.constant([-1]), size[0], axis=0)
    image = net.op("Reshape", tokens, image_shape)
    target = net.op("Concat", batch, net.constant([40]), size[1], axis=0)
    enlarged = net.op("Resize", image, "", "", target, mode="linear")
    y = net.conv(net.op("Concat", enlarged, large, axis=1), 48, 4, 1, 1)
    feeds = [net.feed((n, 40, 2, 3), (n, 8, 4 * s, 6)) for n, s in ((1, 1), (2, 2))]
    assert agrees(split_concat_conv.RULE, net.model(y), feeds) == 1


def test_sizes_that_resize_is_given() -> None:
    net = Built(5, opset=18)
    x, like = net.input("N", 3, "H", "W"), net.input("N", "C", "P", "Q")
    size = net.op("Shape", like, start=2, end=4)
    shape = net.op("Shape", x, start=0, end=2)
    whole = net.op("Resize", x, "", "", net.op("Concat", shape, size, axis=0))
    on_axes = net.op("Resize", x, "", "", size, axes=[-2, 3])
    kept = {"keep_aspect_ratio_policy": "not_larger"}
    unsure = net.op("Resize", x, "", "", size, axes=[2, 3], **kept)
    graph = from_model(net.model(whole, on_axes, unsure))
    view = View(graph)
    of = {t.name: view.dimensions.of(t) for node in graph.nodes for t in node.outputs}
    wanted = view.dimensions.of(graph.inputs[1])
    assert wanted is not None
    for name in (whole, on_axes):
        assert of[name] == (*(of[name] or ())[:1], 3, *wanted[2:])
    assert (of[unsure] or wanted)[2:] != wanted[2:]
