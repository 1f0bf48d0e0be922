"""Weights for what an evolution put in."""

from __future__ import annotations

import numpy as np
import pytest
from evolved_cases import MAP, conv, two
from segment_cases import Segment

from autogo_onnx.evolution import Edit
from autogo_onnx.evolved.changes import Change, changes
from autogo_onnx.evolved.inheritance import Weights, inherited, initial_weights
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.weights import random_weights


def change(before: OpGraph, after: OpGraph) -> tuple[Change, Weights]:
    """A graph that was replaced as a whole, and made-up weights of what it was."""
    (found,) = changes(before, [Edit(tuple(range(len(before.ops))), after, "db:1")])
    return found, {**random_weights(found.before.graph, 7)}


def test_what_ends_a_change_as_before_keeps_its_bytes() -> None:
    """The last convolution is the base's, whatever comes before it."""
    s = Segment(MAP)
    after = s.graph(s.conv(s.relu(s.conv(s.relu(s.conv(0, 4, 5)), 8, 1)), 8, 3))
    found, given = change(two(3), after)
    result = inherited(found, given, 0)
    assert {3, 4} >= result.kept >= {4}
    assert all(np.array_equal(a, b) for a, b in zip(result.weights[4], given[2], strict=True))


def test_another_kernel_is_the_middle_of_the_bases() -> None:
    found, given = change(conv(5), conv(3))
    result = inherited(found, given, 0)
    assert not result.kept
    assert result.resized == {0}
    assert np.array_equal(result.weights[0][0], given[0][0][:, :, 1:4, 1:4])
    assert np.array_equal(result.weights[0][1], given[0][1])


def test_other_channels_are_drawn_as_he_does() -> None:
    s = Segment((1, 64, 12, 12))
    before = s.graph(s.conv(s.conv(0, 64, 3), 64, 3))
    s = Segment((1, 64, 12, 12))
    after = s.graph(s.conv(s.conv(0, 48, 3), 64, 1))
    found, given = change(before, after)
    result = inherited(found, given, 0)
    assert not result.kept | result.resized
    weight, bias = result.weights[0]
    assert weight.std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert not bias.any()


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_linear_layer_is_inherited_however_it_is_stored(transposed: int) -> None:
    """The matrix is written [out, in]; the base may hold it the other way round."""
    gemm = Op.make("Gemm", (0,), transB=transposed)
    linear = Op("Gemm", (1,), gemm.attributes)
    before, after = (
        OpGraph(((1, 6),), (Op.make(kind, (0,)), linear), ((1, 6), (1, 4)), (2,))
        for kind in ("Relu", "Tanh")
    )
    wanted = np.arange(24, dtype=np.float32).reshape(4, 6)
    stored = wanted if transposed else wanted.T
    found, _ = change(before, after)
    assert found.before.ops == (0, 1)
    result = inherited(found, {1: (stored,)}, 0)
    assert result.kept == {1}
    assert np.array_equal(result.weights[1][0], wanted)


def test_weights_of_another_type_are_not_inherited() -> None:
    found, given = change(conv(5), conv(3))
    half = {k: tuple(v.astype(np.float16) for v in values) for k, values in given.items()}
    result = inherited(found, half, 0)
    assert not result.kept | result.resized


def test_fresh_weights_do_nothing_where_they_may() -> None:
    """Biases 0, scales 1: what is neither a kernel nor a matrix starts neutral."""
    ops = (
        Op.make("Add", (0,)),
        Op.make("Mul", (1,)),
        Op.make("BatchNormalization", (2,)),
        Op.make("PRelu", (3,)),
    )
    weights = initial_weights(OpGraph((MAP,), ops, (MAP,) * 4, (4,)), 0)
    values = [[float(v.reshape(-1)[0]) for v in weights[i]] for i in range(4)]
    assert values == [[0.0], [1.0], [1.0, 0.0, 0.0, 1.0], [0.25]]


def test_the_seed_decides() -> None:
    s = Segment(MAP)
    found, given = change(conv(3), s.graph(s.conv(s.conv(0, 4, 1), 8, 1)))
    first, again, other = (inherited(found, given, seed).weights[0][0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
