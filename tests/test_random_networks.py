"""Random networks through all rules: same outputs, valid, idempotent, the same bytes each time."""

from __future__ import annotations

from random import Random

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_layers import LAYERS
from random_nets import Network, network

from autogo_onnx import runtime, signature
from autogo_onnx.rewriters import rewrite


def outputs(net: Network, model: onnx.ModelProto) -> list[np.ndarray]:
    session = runtime.open_session(model, optimize=False)
    return [value for feed in net.feeds() for value in runtime.run(session, None, feed)]


def assert_kept(net: Network) -> None:
    """Judged here by other inputs and another measure than the rewriter's own."""
    result = rewrite(net.model)
    assert not any("broke its promise" in skip.reason for skip in result.skips), result.skips
    assert not any("left exactly as it is" in skip.reason for skip in result.skips), result.skips
    assert signature.problems(net.model, result.model) == []
    onnx.checker.check_model(result.model, full_check=True)
    before, after = outputs(net, net.model), outputs(net, result.model)
    for one, other in zip(before, after, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        scale = np.abs(one).max(initial=0)
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-3 * scale)
    assert rewrite(result.model).counts == {}
    assert rewrite(net.model).model.SerializeToString() == result.model.SerializeToString()


@given(choice=st.randoms(use_true_random=False))
def test_networks(choice: Random) -> None:
    net = network(choice)
    onnx.checker.check_model(net.model, full_check=True)
    assert_kept(net)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_kind_of_layer_beside_others(layer: str) -> None:
    """Seeds, not draws: every kind of layer is met, alone and between convolutions."""
    for seed in range(3):
        assert_kept(network(Random(seed), [layer]))
        assert_kept(network(Random(seed), ["conv", layer, "conv"]))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 2000, 100))
def test_many_networks(first: int) -> None:
    failed = {}
    for seed in range(first, first + 100):
        try:
            assert_kept(network(Random(seed)))
        except AssertionError as error:
            failed[seed] = str(error)[:300]
    assert not failed


def test_no_layer_is_never_built() -> None:
    """A layer that never fits would be tested by nobody."""
    for layer in LAYERS:
        sizes = [len(network(Random(seed), [layer]).model.graph.node) for seed in range(20)]
        assert max(sizes) > 1, layer
