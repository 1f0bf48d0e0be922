"""What is drawn: where a network changes, and what could stand there."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import islice

import numpy as np
import pytest

from autogo_onnx.cost import macs
from autogo_onnx.evolution.replacements import Replacements
from autogo_onnx.evolution.settings import Limits, Settings, Unit, operators
from autogo_onnx.evolution.sources import LARGEST, PER_SEGMENTATION, Sources
from autogo_onnx.opgraph import Op, OpGraph, cut
from autogo_onnx.segment_db.families.naming import network
from autogo_onnx.segment_db.segmentation import is_connected
from autogo_onnx.segment_db.store import Store, open_store
from autogo_onnx.segments import is_convex


@lru_cache(maxsize=1)
def store() -> Store:
    return open_store()


@lru_cache(maxsize=2)
def folded(code: str) -> OpGraph:
    return network(code).folded()


def sources(code: str, settings: Settings = Settings()) -> Sources:  # noqa: B008
    return Sources(folded(code), store().vocabulary(), settings)


@pytest.mark.parametrize("code", ["published:resnet50", "published:unet_denoising"])
def test_sources_are_whole_segments_inside_the_network(code: str) -> None:
    graph, generator = folded(code), np.random.default_rng(0)
    drawn = sources(code).draw(generator)
    assert len(drawn) == PER_SEGMENTATION == len({part.ops for part in drawn})
    for part in drawn:
        assert 1 <= len(part.ops) <= LARGEST
        assert part == cut(graph, part.ops)
        assert is_connected(part.graph)
        assert is_convex(graph, part.ops)
        assert min(part.inputs) >= graph.n_inputs
        assert not set(part.outputs) & set(graph.outputs)


def test_what_costs_more_is_drawn_more_often() -> None:
    graph, generator = folded("published:unet_denoising"), np.random.default_rng(0)
    settings = Settings(unit=Unit.OP)
    drawer = sources("published:unet_denoising", settings)
    first = Counter(drawer.draw(generator)[0].ops[0] for _ in range(200))
    mean = np.mean([macs(cut(graph, [index]).graph) for index in first.elements()])
    assert mean > 1.5 * macs(graph) / len(graph.ops)
    # What costs nothing has its turn, too.
    assert any(macs(cut(graph, [index]).graph) == 0 for index in first)


def test_ends_are_sources_where_that_is_asked_for() -> None:
    conv = Op.make("Conv", (0,), kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    cell = OpGraph(((1, 8, 4, 4),), (conv, Op("Relu", (1,))), ((1, 8, 4, 4),) * 2, (2,))
    vocabulary, generator = store().vocabulary(), np.random.default_rng(0)
    assert Sources(cell, vocabulary, Settings()).draw(generator) == []
    assert Sources(cell, vocabulary, Settings(ends=True)).draw(generator)


def test_fixed_operators_are_in_no_source() -> None:
    graph, generator = folded("published:resnet50"), np.random.default_rng(0)
    fixed = frozenset(range(0, len(graph.ops), 7))
    drawer = Sources(graph, store().vocabulary(), Settings(), fixed)
    assert all(fixed.isdisjoint(part.ops) for _ in range(3) for part in drawer.draw(generator))


def a_pair() -> OpGraph:
    """Two convolutions with a rectifier between."""
    conv = Op.make(
        "Conv", (0,), dilations=(1, 1), group=1, kernel_shape=(3, 3), pads=(1,) * 4, strides=(1, 1)
    )
    ops = (conv, Op("Relu", (1,)), Op("Conv", (2,), conv.attributes))
    return OpGraph(((1, 16, 8, 8),), ops, ((1, 16, 8, 8),) * 3, (3,))


@pytest.mark.parametrize("unit", list(Unit))
def test_replacements_have_the_boundary_and_only_allowed_operators(unit: Unit) -> None:
    limits = Limits(forbidden=frozenset({"Concat", "DepthwiseConv", "GroupedConv"}))
    drawer = Replacements(store(), Settings(unit=unit), limits)
    drawn = islice(drawer.draw(a_pair(), 2.0 * macs(a_pair()), np.random.default_rng(0)), 120)
    found = [(name, graph) for name, graph in drawn if graph is not None]
    graphs = [graph for _, graph in found]
    assert len(set(graphs)) == len(graphs) > 20
    for graph in graphs:
        assert graph.input_shapes == graph.output_shapes == ((1, 16, 8, 8),)
        assert limits.operators.issuperset(operators(graph))
        assert graph != a_pair()
        assert unit is Unit.SEGMENT or len(graph.ops) <= 1
    assert dict(found)["identity"].ops == ()
    kinds = {name.partition(":")[0] for name, _ in found}
    assert kinds == {"db", "identity"} | ({"variant"} if unit is Unit.SEGMENT else set())


def test_drawing_is_seeded() -> None:
    drawer = Replacements(store(), Settings(), Limits())

    def names(seed: int) -> list[str]:
        drawn = drawer.draw(a_pair(), 1e9, np.random.default_rng(seed))
        return [name for name, _ in islice(drawn, 20)]

    assert names(0) == names(0) != names(1)
