"""Narrower layers: which share their channels, which channels go, and what that costs and saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from net_cases import Net, pictures, reading_of, run

from autogo_onnx import fidelity, job
from autogo_onnx.assemble import Realized, realize
from autogo_onnx.cost import macs
from autogo_onnx.fitting.elimination import Problem, dropping_order, elimination_order
from autogo_onnx.fitting.moments import Moments, Window, moments
from autogo_onnx.graph import from_model
from autogo_onnx.ground import Ground, survey
from autogo_onnx.options import Options
from autogo_onnx.progress import Silent
from autogo_onnx.sites import find_sites
from autogo_onnx.sizes import size
from autogo_onnx.step import Step
from autogo_onnx.variants import variants
from autogo_onnx.widths import Narrowing, propose_narrowings
from autogo_onnx.widths.base import narrowed
from autogo_onnx.widths.narrowing import Workbench
from autogo_onnx.widths.overlaps import overlaps
from autogo_onnx.widths.prices import widths
from autogo_onnx.widths.slicing import sliced
from autogo_onnx.widths.spaces import Space, find_spaces

SHAPE = (3, 12, 12)


def chain() -> onnx.ModelProto:
    net = Net("N", *SHAPE)
    x = net.relu(net.conv("x", 3, 16))
    x = net.relu(net.conv(x, 16, 24, bias=False))
    return net.model(net.classifier(net.relu(net.conv(x, 24, 32)), 32, 5))


def residual() -> onnx.ModelProto:
    net = Net("N", *SHAPE)
    x = net.block(net.relu(net.conv("x", 3, 8)), 8)
    return net.model(net.classifier(net.block(x, 8), 8, 5))


def inverted() -> onnx.ModelProto:
    """Wide inside, with a depthwise convolution and squeeze and excitation."""
    net = Net("N", *SHAPE)
    x = net.relu(net.conv("x", 3, 8))
    wide = net.relu(net.conv(net.conv(x, 8, 16, 1), 16, 16, group=16))
    small = net.relu(net.conv(net.op("GlobalAveragePool", wide), 16, 4, 1))
    gate = net.op("Sigmoid", net.conv(small, 4, 16, 1))
    x = net.op("Add", x, net.conv(net.op("Mul", wide, gate), 16, 8, 1))
    return net.model(net.classifier(x, 8, 5))


def flattened() -> onnx.ModelProto:
    net = Net("N", 3, 4, 4)
    flat = net.op("Flatten", net.relu(net.conv("x", 3, 8)))
    bias = net.constant(np.zeros(5, np.float32))
    return net.model(net.op("Gemm", flat, net.random(5, 128), bias, transB=1))


def joined() -> onnx.ModelProto:
    net = Net("N", *SHAPE)
    parts = [net.relu(net.conv("x", 3, width)) for width in (8, 12)]
    return net.model(net.conv(net.op("Concat", *parts, axis=1), 20, 6))


CASES = [chain, residual, inverted, flattened, joined]


def shape_of(model: onnx.ModelProto, batch: int) -> tuple[int, ...]:
    return tuple(d.dim_value or batch for d in model.graph.input[0].type.tensor_type.shape.dim)


def spaces_of(model: onnx.ModelProto) -> tuple[Space, ...]:
    return find_spaces(from_model(model), reading_of(model, x=shape_of(model, 1)))


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (chain, [16, 24, 32]),
        (residual, [8, 8, 8]),
        (inverted, [8, 16, 4]),
        (flattened, [8]),
        (joined, [8, 12]),
    ],
)
def test_layers_that_share_channels_are_one_space(
    build: Callable[[], onnx.ModelProto], sizes: list[int]
) -> None:
    assert [space.size for space in spaces_of(build())] == sizes


def test_a_residual_stream_is_made_and_read_by_all_its_blocks() -> None:
    stream = spaces_of(residual())[0]
    assert len(stream.makers) == 3  # the stem, and the last layer of either block
    assert len(stream.readers) == 3  # the first layer of either block, and the classifier


def test_channels_that_leave_the_graph_or_belong_to_groups_stay() -> None:
    net = Net("N", *SHAPE)
    x = net.relu(net.conv("x", 3, 8))
    model = net.model(x, net.conv(net.relu(net.conv(x, 8, 8, group=2)), 8, 4))
    assert spaces_of(model) == ()


@pytest.mark.parametrize("build", CASES)
def test_a_sliced_model_is_the_one_whose_readers_ignore_the_channels(
    build: Callable[[], onnx.ModelProto],
) -> None:
    model = build()
    feeds = {"x": pictures(1, *shape_of(model, 2))}
    rng = np.random.default_rng(2)
    for space in spaces_of(model):
        kept = np.sort(rng.choice(space.size, space.size // 2, replace=False))
        narrow, _ = sliced(model, {space: kept})
        onnx.checker.check_model(narrow, full_check=True)
        assert len(narrow.SerializeToString()) < len(model.SerializeToString())
        ignoring = without(model, space, np.setdiff1d(np.arange(space.size), kept))
        np.testing.assert_allclose(run(narrow, feeds)[0], run(ignoring, feeds)[0], atol=2e-5)


def without(model: onnx.ModelProto, space: Space, gone: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """The model whose readers multiply some channels by zero."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    reading = reading_of(model, x=shape_of(model, 1))
    weights = {t.name: t for t in result.graph.initializer}
    for reader in space.readers:
        tensor = weights[reading.nodes[reader.op].inputs[1].name]
        values = np.array(onnx.numpy_helper.to_array(tensor))
        values[:, reader.channels[gone].reshape(-1)] = 0.0
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return result


def some_moments(seed: int, channels: int, kernel: int = 3) -> tuple[Moments, np.ndarray[Any, Any]]:
    """Of a random layer on correlated channels, and the patch columns of each channel."""
    rng = np.random.default_rng(seed)
    mixed = np.einsum(
        "oc,nchw->nohw", rng.normal(size=(channels,) * 2), pictures(seed, 30, channels, 7, 7)
    )
    target = np.einsum("oc,nchw->nohw", rng.normal(size=(4, channels)), mixed)
    target += 0.3 * np.roll(target, 1, axis=-1)
    window = Window((kernel, kernel), pads=(kernel // 2,) * 4)
    found = moments([(mixed.astype(np.float32), window)], target.astype(np.float32))
    return found, np.arange(channels * kernel**2).reshape(channels, -1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 7))
def test_errors_are_those_of_fits_to_what_is_left(seed: int, channels: int) -> None:
    problems = [Problem(*some_moments(seed + k, channels)) for k in range(2)]
    order, errors = dropping_order(problems, channels - 1)
    assert len(set(order.tolist())) == channels - 1
    full = sum(p.moments.error(p.moments.solution) for p in problems)
    for gone in range(1, channels):
        rest = np.setdiff1d(np.arange(channels), order[:gone])
        parts = [p.moments.take(p.columns[rest].reshape(-1)) for p in problems]
        left = sum(part.error(part.solution) for part in parts)
        assert errors[gone - 1] == pytest.approx(left - full, abs=2e-3)


def test_one_reader_drops_as_the_elimination_of_one_layer_does() -> None:
    found, columns = some_moments(3, 8)
    order, _ = dropping_order([Problem(found, columns)], 7)
    np.testing.assert_array_equal(order, elimination_order(found, 8)[:7])


def test_the_first_channel_to_go_is_the_one_that_both_readers_miss_least() -> None:
    problems = [Problem(*some_moments(k, 6)) for k in (5, 6)]
    order, errors = dropping_order(problems, 1)
    grown = []
    for channel in range(6):
        rest = np.setdiff1d(np.arange(6), [channel])
        parts = [p.moments.take(p.columns[rest].reshape(-1)) for p in problems]
        grown.append(sum(part.error(part.solution) for part in parts))
    assert order[0] == int(np.argmin(grown))
    assert errors[0] >= 0.0


def ground_of(model: onnx.ModelProto, folder: Path) -> Ground:
    """The model with samples, counted in multiply-accumulates."""
    np.save(folder / "samples.npy", pictures(7, *shape_of(model, 256)))
    options = Options(calibration=folder / "samples.npy", target="macs")
    begun = job.begin(model, options, Silent())
    assert begun.samples is not None
    return survey(begun, begun.samples)


def narrowings_of(ground: Ground) -> list[Narrowing]:
    return propose_narrowings(ground, ground.activations(ground.fit))


@pytest.mark.parametrize("build", [chain, residual, inverted, joined])
def test_counted_savings_are_exact_and_so_are_overlaps(
    build: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    ground = ground_of(build(), tmp_path)
    whole = ground.macs
    found = narrowings_of(ground)
    assert found
    less = overlaps(ground.reading.opgraph, [], found)
    for one in found[::3]:
        base = narrowed(ground, [one])
        saved = 1 - macs(base.reading.opgraph) / whole
        assert one.saving == pytest.approx(saved, abs=1e-6)
        assert one.macs_delta == macs(base.reading.opgraph) - whole
        before, after = size(ground.model).params, size(base.model).params
        assert one.params_delta == pytest.approx(after - before, abs=one.space.size)
    pairs = [(i, j) for i, j in less if found[i].space is not found[j].space]
    for i, j in pairs[::7]:
        both = macs(narrowed(ground, [found[i], found[j]]).reading.opgraph)
        together = found[i].saving + found[j].saving - less[i, j]
        assert together == pytest.approx(1 - both / whole, abs=1e-6)


def doubled() -> onnx.ModelProto:
    """A chain whose every hidden channel is there twice, at other scales."""
    model = chain()
    values = {t.name: np.array(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            for name in node.input[1:]:
                half = len(values[name]) // 2
                values[name][half:] = 0.5 * values[name][:half]
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return model


def test_channels_that_others_can_stand_for_go_and_nothing_is_lost(tmp_path: Path) -> None:
    ground = ground_of(doubled(), tmp_path)
    halves = [n for n in narrowings_of(ground) if 2 * len(n.kept) == n.space.size]
    assert [n.space.size for n in halves] == [16, 24, 32]
    assert all(n.nmse < 1e-4 and n.score < 1e-4 for n in halves)
    base = narrowed(ground, halves)
    original = ground.activations(ground.fit)
    made = realize(
        base.model, base.reading, [], base.targets(original), ground.settings, base.changed
    )
    assert isinstance(made, Realized)
    fresh = {"x": pictures(4, 50, *SHAPE)}
    assert fidelity.judge(run(ground.model, fresh), run(made.model, fresh), None).nmse < 1e-3
    assert 3 * macs(base.reading.opgraph) < ground.macs


def test_scores_are_taken_on_samples_that_no_reader_was_fitted_on(tmp_path: Path) -> None:
    ground = ground_of(chain(), tmp_path)
    original = ground.activations(ground.fit)
    bench = Workbench(ground, original, spaces_of(ground.model), 32)
    judged, learnt = (a.get("x") for a in (bench.jury.activations, bench.learning))
    assert (len(judged), len(learnt)) == (32, original.count - 32)
    assert not {one.tobytes() for one in judged} & {one.tobytes() for one in learnt}


def test_widths_end_where_one_is_of_no_use(tmp_path: Path) -> None:
    ground = ground_of(chain(), tmp_path)
    bench = Workbench(ground, ground.activations(ground.fit), spaces_of(ground.model), 32)
    space = max(spaces_of(ground.model), key=lambda s: s.size)
    sizes = (28, 24, 20, 16, 12, 8, 4)
    scores = [score for _, _, score in bench.candidates(space, sizes)]
    bench.jury = replace(bench.jury, most=np.inf, most_error=np.inf)
    every = [score for _, _, score in bench.candidates(space, sizes)]
    assert len(every) >= 5
    assert scores == every[: len(scores)]
    bench.jury = replace(bench.jury, most=every[2] * 0.999)
    assert [s for _, _, s in bench.candidates(space, sizes)] == every[:3]


def test_segments_are_put_into_narrower_neighbours(tmp_path: Path) -> None:
    """A segment chosen for the original's widths is adapted to those that are left."""
    ground = ground_of(chain(), tmp_path)
    space = next(s for s in spaces_of(ground.model) if s.size == 24)
    quarter = next(n for n in narrowings_of(ground) if n.space.makers == space.makers)
    base = narrowed(ground, [quarter])
    [middle] = [
        site
        for site in find_sites(ground.reading, [], fixed_size=True)
        if site.cut.ops == space.makers
    ]
    pair = next(v.graph for v in variants(middle.graph) if v.name == "separable")
    step = base.step(middle, pair)
    assert isinstance(step, Step)
    assert step.replacement.output_shapes[0][1] == len(quarter.kept)
    assert [op.kind for op in step.replacement.ops] == ["Conv", "Conv"]
    assert len(step.site_weights[0][0]) == len(quarter.kept)


def test_widths_are_whole_blocks_where_blocks_count() -> None:
    assert widths(48, in_blocks=True) == (32, 16)
    assert widths(40, in_blocks=True) == (32, 24, 16, 8)
    assert widths(6, in_blocks=True) == ()
    assert all(0 < w < 6 for w in widths(6, in_blocks=False))
