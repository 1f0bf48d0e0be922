"""Look-up: nothing that could stand at a site is missed, and it is what the rows say."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_db_cases import add_own, small_mined, write_small

from autogo_onnx.cost import macs
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segment_db.facts import Demand, axes_of, facts
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.image import empty
from autogo_onnx.segment_db.lookup import Shelf, fill_shelves
from autogo_onnx.segment_db.packing import Lexicon, pack, unpack
from autogo_onnx.segment_db.store import StoredSegment, open_store
from autogo_onnx.segment_db.writer import Entry, Writer
from autogo_onnx.serialize import canonical_hash
from autogo_onnx.shapes import Infeasible, adapt

SITES = [
    ((1, 16, 32, 32), (1, 16, 32, 32)),
    ((1, 64, 28, 28), (1, 128, 14, 14)),
    ((1, 24, 15, 23), (1, 40, 15, 23)),
    ((1, 3, 64, 64), (1, 32, 16, 16)),
    ((1, 32, 7, 7), (1, 32, 5, 5)),
    ((1, 32, 8, 8), (1, 32, 16, 16)),
    ((1, 32, 8, 8), (1, 10)),
    ((1, 320, 7, 7), (1, 320, 1, 1)),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("lookup") / "small.db")


@given(st.lists(st.integers(0, 1 << 62)))
def test_packed_numbers_come_back(numbers: list[int]) -> None:
    assert unpack(pack(numbers)) == numbers


def test_packed_graphs_come_back() -> None:
    net = Builder((1, 3, 32, 32))
    x = net.op("LeakyRelu", (net.conv(0, 16, kernel=7),), (1, 16, 32, 32), alpha=0.1)
    y = net.op("Resize", (x,), (1, 16, 64, 64), mode="nearest")
    graphs = [net.graph(y), net.graph(x), *(s.graph for s in small_mined().segments)]
    with empty() as connection:
        writing = Lexicon(connection)
        packed = [writing.pack(graph) for graph in graphs]
        assert [Lexicon(connection).unpack(data) for data in packed] == graphs
        assert sum(map(len, packed)) < 60 * len(graphs)
        for data in packed:
            with pytest.raises(ValueError, match="packed"):
                writing.unpack(data[:-1])
            with pytest.raises(ValueError, match="packed"):
                writing.unpack(data + b"\0")
    connection.close()


@pytest.mark.parametrize(("given_shape", "made_shape"), SITES)
def test_all_that_the_shape_model_can_adapt_is_found(
    small: Path, given_shape: tuple[int, ...], made_shape: tuple[int, ...]
) -> None:
    store = open_store(small)
    found = {s.id for s in store.candidates(Demand((given_shape,), (made_shape,)))}
    for segment in list(store.with_boundary(1, 1))[::2]:
        adapted = adapt(segment.graph, [given_shape], [made_shape])
        assert isinstance(adapted, Infeasible) or segment.id in found, segment.graph


def test_what_is_worthwhile_is_found(small: Path) -> None:
    store = open_store(small)
    for given_shape, made_shape in SITES[:3]:
        (_, c, h, w), limit = made_shape, 0.9 * 9 * given_shape[1] * made_shape[1]
        limit *= h * w
        found = {s.id for s in store.candidates(Demand((given_shape,), (made_shape,), limit, 8))}
        for segment in store.with_boundary(1, 1):
            adapted = adapt(segment.graph, [given_shape], [made_shape])
            if not isinstance(adapted, Infeasible) and len(adapted.ops) <= 8:
                assert macs(adapted) > limit or segment.id in found, (c, segment.graph)


def test_what_cannot_stand_there_is_not_found(small: Path) -> None:
    store = open_store(small)
    same, wider = (1, 16, 32, 32), (1, 64, 32, 32)
    wide = list(store.candidates(Demand((same,), (wider,))))
    kept = list(store.candidates(Demand((same,), (same,))))
    assert {_kinds(s) for s in kept} - {_kinds(s) for s in wide} >= {("Relu",)}
    assert any("Conv" in _kinds(s) for s in wide)
    few = store.candidates(Demand((same,), (same,), most_ops=2, makers=("Add", "Conv")))
    assert {len(s.graph.ops) for s in few} == {1, 2}
    assert {s.graph.ops[-1].kind for s in few} <= {"Add", "Conv"}
    cheap = store.candidates(Demand((same,), (same,), most_macs=0.0))
    assert cheap
    assert all(macs(s.graph) == 0 or _is_depthwise(s.graph) for s in cheap)
    assert not store.candidates(Demand((same,), (same,), most_ops=0))
    assert not store.candidates(Demand((same,) * 7, (same,)))


def test_found_in_the_order_of_frequency_also_after_additions(small: Path, tmp_path: Path) -> None:
    path = write_small(tmp_path / "own.db")
    store = open_store(path, write=True)
    demand = Demand(((1, 8, 32, 32),), ((1, 16, 32, 32),))
    before = list(store.candidates(demand))
    assert add_own(store) > 0
    after = list(store.candidates(demand))
    assert any("Mish" in _kinds(s) for s in after)
    assert len(after) > len(before)
    assert [s.count for s in after] == sorted((s.count for s in after), reverse=True)
    everything = {s.id: s for s in store.with_boundary(1, 1)}
    assert all(everything[s.id] == s for s in after)


@st.composite
def _chains(draw: st.DrawFn) -> OpGraph:
    """Chains of operators that change sizes, on small maps."""
    net = Builder((1, 8, draw(st.integers(6, 12)), 8))
    x = 0
    for _ in range(draw(st.integers(1, 4))):
        _, channels, height, width = net.shape(x)
        match draw(st.sampled_from(["conv", "pool", "up", "transposed", "relu", "add", "global"])):
            case "conv":
                stride = draw(st.sampled_from([1, 2, 3]))
                x = net.conv(x, channels, kernel=draw(st.sampled_from([1, 3, 5])), stride=stride)
            case "pool":
                x = net.pool("MaxPool", x, kernel=3, stride=draw(st.sampled_from([1, 2])))
            case "up":
                x = net.op("Resize", (x,), (1, channels, 2 * height, 2 * width), mode="nearest")
            case "transposed":
                x = net.transposed(x, channels, kernel=2, stride=2, bias=False)
            case "relu":
                x = net.relu(x)
            case "add":
                x = net.add(x, net.conv(x, channels, kernel=3))
            case "global":
                x = net.global_pool(x)
    return net.graph(x)


@settings(max_examples=60, deadline=None)
@given(_chains(), st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 24]))
def test_facts_rule_nothing_out_that_fits(
    graph: OpGraph, given_length: int, made_length: int, channels: int
) -> None:
    given_shape = (1, 8, given_length, given_length)
    made_shape = (1, channels, made_length, made_length)
    if graph.n_inputs != 1 or graph.outputs == (0,):
        return
    adapted = adapt(graph, [given_shape], [made_shape])
    if not isinstance(adapted, Infeasible):
        assert _finds(graph, Demand((given_shape,), (made_shape,)))


def test_mined_shapes_are_always_found() -> None:
    for segment in small_mined().segments:
        graph = segment.graph
        demand = Demand(graph.input_shapes, graph.output_shapes, macs(graph), len(graph.ops))
        assert _finds(graph, demand), graph


def test_facts_of_a_strange_operator() -> None:
    graph = OpGraph(((1, 4),), (Op("Frobnicate", (0,)),), ((),), (1,))
    assert facts(graph).axes == axes_of(graph.input_shapes, graph.output_shapes) == "2>0"


def _finds(graph: OpGraph, demand: Demand) -> bool:
    connection = empty()
    writer = Writer(connection)
    source = writer.add_source("", 1)
    writer.add(Entry(canonical_hash(graph), graph, {(source, ""): 1}, {}))
    axes = axes_of(graph.input_shapes, graph.output_shapes)
    fill_shelves(connection, [axes])
    found = Shelf.read(connection, axes_of(demand.inputs, demand.outputs)).within(demand)
    connection.close()
    return len(found) == 1


def _kinds(segment: StoredSegment) -> tuple[str, ...]:
    return tuple(op.kind for op in segment.graph.ops)


def _is_depthwise(graph: OpGraph) -> bool:
    return all(op.get("group", 2) > 1 for op in graph.ops)
