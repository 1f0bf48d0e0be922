"""The predictor that is shipped."""

from __future__ import annotations

from importlib import resources

import numpy as np
import onnx
import pytest

from autogo_onnx import features
from autogo_onnx.features import Network
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import ACCURACY, SHIPPED, Predictor, open_predictor
from autogo_onnx.predictor.description import describe
from autogo_onnx.segment_db.families.builder import Builder

NOTHING = OpGraph(((1, 16, 32, 32),), (), (), (0,))
FIRST, BLOCK = 2, 5
"""Operators before the first block of `residual_network`, and in each block."""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return open_predictor()


def residual_network(blocks: int = 6) -> OpGraph:
    """Unlike any network of the training tables: no cells, no normalization, one width."""
    net = Builder((1, 3, 32, 32))
    x = net.relu(net.conv(0, 16, kernel=3))
    for _ in range(blocks):
        x = net.relu(net.add(x, net.conv(net.relu(net.conv(x, 16, kernel=3)), 16, kernel=3)))
    return net.graph(net.classifier(x, 10))


def block(width: int, kernel: int = 3) -> OpGraph:
    """A residual block of another width inside, or of another kernel."""
    net = Builder((1, 16, 32, 32))
    inside = net.relu(net.conv(0, width, kernel=kernel))
    return net.graph(net.relu(net.add(0, net.conv(inside, 16, kernel=kernel))))


def test_it_prefers_more_convolution_in_an_unknown_network(predictor: Predictor) -> None:
    network = residual_network()
    site = Network(network).site(range(FIRST + BLOCK, FIRST + 2 * BLOCK))
    parts = np.stack([features.describe(graph) for graph in (block(8), block(16, 1), NOTHING)])
    found = predictor.compare_parts(site, np.vstack([site.segment, parts]))
    same, narrower, pointwise, nothing = found.mean
    assert same == found.deviation[0] == 0
    assert nothing < min(0, narrower, pointwise)
    assert (found.deviation >= 0).all()


def test_it_is_small_and_says_where_it_comes_from(predictor: Predictor) -> None:
    data = (resources.files("autogo_onnx") / "data" / SHIPPED).read_bytes()
    assert len(data) < 5e6
    imported = {o.domain: o.version for o in onnx.load_model_from_string(data).opset_import}
    assert imported == {"": 21, "ai.onnx.ml": 5}
    assert ACCURACY in predictor.heads()
    assert {"command", "tables_sha256", "versions"} <= predictor.info.keys()
    assert "--seed" in predictor.info["command"]
    assert "nasbench201" in describe(predictor)
