"""Linear tails merged: random rows of convolutions and shuffles, images down to one pixel."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx import runtime
from autogo_onnx.graph import from_model, to_model
from autogo_onnx.rewriters import fuse_linear_tail
from autogo_onnx.rewriters.patterns.bordered import (
    FIRST,
    INNER,
    Bordered,
    Extent,
    Stage,
    compose,
    magnitude,
    reach,
)
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.sizes import size

SIDES = (1, 2, 3, 5, 8)


@st.composite
def stages(draw: st.DrawFn) -> list[Stage]:
    """One to three convolutions, each maybe with a shuffle after it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    channels = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    row = []
    for ins, outs in pairwise(channels):
        block, high, wide = (draw(st.integers(1, 3)) for _ in range(3))
        begin = -draw(st.integers(0, high - 1)), -draw(st.integers(0, wide - 1))
        shape = (block, block, outs, ins, high, wide)
        bias = rng.standard_normal(shape[:3]) * draw(st.booleans())
        row.append(Stage(rng.standard_normal(shape), bias, begin))
    return row


def run_stage(stage: Stage, image: np.ndarray) -> np.ndarray:
    """What the definition says: pad with zeros, sum over the taps, shuffle."""
    block, channels, (high, wide) = stage.block, stage.weight.shape[2], stage.weight.shape[4:]
    rows, columns = image.shape[1:]
    pads = [(-b, k - 1 + b) for b, k in zip(stage.begin, (high, wide), strict=True)]
    padded = np.pad(image, [(0, 0), *pads])
    flat = sum(
        stage.weight[..., i, j] @ padded[:, i : i + rows, j : j + columns].reshape(len(image), -1)
        for i, j in np.ndindex(high, wide)
    )
    made: np.ndarray = stage.bias[..., None, None] + np.reshape(
        flat, (*stage.bias.shape, rows, columns)
    )
    return made.transpose(2, 3, 0, 4, 1).reshape(channels, rows * block, columns * block)


def run_whole(whole: Bordered, image: np.ndarray) -> np.ndarray:
    """The sum of all parts, tap by tap."""
    made = np.zeros((*next(iter(whole.biases.values())).shape, *image.shape[1:]))
    for parts, weight in whole.weights.items():
        places = (
            reads(extent, part, length)
            for extent, part, length in zip(whole.extents, parts, image.shape[1:], strict=True)
        )
        rows, columns = places
        for row, above in rows:
            for column, beside in columns:
                made[..., row, column] += whole.biases[parts]
                for (i, y), (j, x) in ((a, b) for a in above for b in beside):
                    made[..., row, column] += weight[..., i, j] @ image[:, y, x]
    block, _, channels, high, wide = made.shape
    return made.transpose(2, 3, 0, 4, 1).reshape(channels, high * block, wide * block)


def reads(extent: Extent, part: int, length: int) -> list[tuple[int, list[tuple[int, int]]]]:
    """Positions that a part adds to, each with its taps and what they read."""
    if part == INNER:
        offsets = [(p, [p + extent.begin + t for t in range(extent.taps)]) for p in range(length)]
    elif part == FIRST:
        offsets = [(0, list(range(extent.first)))]
    else:
        offsets = [(length - 1, [length - 1 - t for t in range(extent.last)])]
    return [(p, [(t, o) for t, o in enumerate(of) if 0 <= o < length]) for p, of in offsets]


@given(row=stages(), lengths=st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_one_map_does_the_work_of_a_row(row: list[Stage], lengths: tuple[int, int]) -> None:
    whole = compose(row, lengths)
    if whole is None:
        return
    reached = reach(row, lengths)
    assert reached is not None
    for values in (*whole.weights.values(), *whole.biases.values()):
        assert np.abs(values).max(initial=0) <= magnitude(row, reached) * (1 + 1e-9)
    channels = row[0].weight.shape[3]
    for more in ((0, 0), (1, 0), (3, 4)):
        shape = (channels, lengths[0] + more[0], lengths[1] + more[1])
        image = np.random.default_rng(0).standard_normal(shape)
        expected = image
        for stage in row:
            expected = run_stage(stage, expected)
        np.testing.assert_allclose(run_whole(whole, image), expected, atol=1e-10)


def test_padding_that_reaches_further_is_refused() -> None:
    wide = Stage(np.ones((1, 1, 1, 1, 5, 1)), np.zeros((1, 1, 1)), (-2, 0))
    assert compose([wide, wide], (9, 9)) is None
    shuffled = Stage(np.ones((2, 2, 1, 1, 5, 1)), np.zeros((2, 2, 1)), (-2, 0))
    assert compose([shuffled, wide], (1, 1)) is not None


def tail(row: list[Stage], *, opset: int = 17, crd: bool = False, dims: Any = "HW") -> Any:
    """A model of Conv and DepthToSpace nodes."""
    nodes, weights, name = [], [], "x"
    for index, stage in enumerate(row):
        block, weight, bias = stage.block, stage.weight, stage.bias
        if crd:
            weight, bias = np.moveaxis(weight, 2, 0), np.moveaxis(bias, 2, 0)
        for role, value in (("w", weight.reshape(-1, *weight.shape[3:])), ("b", bias.reshape(-1))):
            tensor = onnx.numpy_helper.from_array(value.astype(np.float32), f"{role}{index}")
            weights.append(tensor)
        high, wide = weight.shape[4:]
        pads = [-b for b in stage.begin]
        pads += [k - 1 - p for k, p in zip((high, wide), pads, strict=True)]
        operands = [name, f"w{index}", f"b{index}"]
        nodes.append(onnx.helper.make_node("Conv", operands, [f"c{index}"], pads=pads))
        name = f"c{index}"
        if block > 1:
            shuffle = onnx.helper.make_node("DepthToSpace", [name], [f"d{index}"], blocksize=block)
            if crd:
                shuffle.attribute.append(onnx.helper.make_attribute("mode", "CRD"))
            nodes.append(shuffle)
            name = f"d{index}"
    info = onnx.helper.make_tensor_value_info
    shape = ["N", row[0].weight.shape[3], *dims]
    graph = onnx.helper.make_graph(
        nodes, "g", [info("x", 1, shape)], [info(name, 1, [None] * 4)], weights
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    graph = from_model(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuse_linear_tail, "_MACS_PER_RING", -(10**6))  # merge whatever can be
        swept = to_fixed_point(graph, [fuse_linear_tail.RULE])
    return to_model(graph, model), swept.counts["fuse_linear_tail"]


@given(
    row=stages(),
    opset=st.sampled_from([9, 11, 17]),
    crd=st.booleans(),
    dims=st.sampled_from(["HW", ("H", 3), (2, "W"), (4, 5), (1, 1)]),
)
def test_random_tails_keep_their_outputs(
    row: list[Stage], opset: int, crd: bool, dims: Any
) -> None:
    model = tail(row, opset=opset, crd=crd and opset >= 11, dims=dims)
    changed, count = rewritten(model)
    onnx.checker.check_model(changed, full_check=True)
    if not count:
        assert changed.graph.node == model.graph.node
        return
    before, after = (runtime.open_session(m, optimize=False) for m in (model, changed))
    rng = np.random.default_rng(0)
    sides = [d if isinstance(d, int) else None for d in dims]
    for batch, side in zip((1, 2, 3, 1, 0), SIDES, strict=True):
        shape = (batch, row[0].weight.shape[3], sides[0] or side, sides[1] or (9 - side))
        feed = {"x": rng.standard_normal(shape).astype(np.float32)}
        expected, got = (runtime.run(session, None, feed)[0] for session in (before, after))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scale", "layers"), [(2, 2), (3, 2), (4, 3)])
def test_super_resolution_tails_become_one_convolution(scale: int, layers: int) -> None:
    """64 -> 64 s^2 -> shuffle -> 3 channels, as in EDSR; twice by 2 for x4."""
    rng, row = np.random.default_rng(0), []
    for block in [2, 2] if scale == 4 else [scale]:
        shape = (block, block, 16, 16, 3, 3)
        row.append(Stage(rng.standard_normal(shape), rng.standard_normal(shape[:3]), (-1, -1)))
    row.append(Stage(rng.standard_normal((1, 1, 3, 16, 3, 3)), np.zeros((1, 1, 3)), (-1, -1)))
    assert len(row) == layers
    model = tail(row, dims=(24, 24))
    graph = from_model(model)
    assert to_fixed_point(graph, [fuse_linear_tail.RULE]).counts["fuse_linear_tail"] == 1
    changed = to_model(graph, model)
    shapes = [tuple(t.dims) for t in changed.graph.initializer if len(t.dims) == 4]
    assert (3 * scale**2, 16, 5, 5) in shapes
    assert size(changed).macs < 0.7 * size(model).macs
