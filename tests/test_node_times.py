from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from net_cases import pictures, residual_net

from autogo_onnx.attribution import Timed
from autogo_onnx.errors import InputError
from autogo_onnx.node_times import NodeTime, TimedSession, _read, name_nodes


def events(*runs: tuple[int, int, str]) -> list[dict[str, object]]:
    """What the profiler tells of runs, each its beginning, its microseconds and its node."""
    return [
        {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": us, "args": {}}
        for ts, us, name in runs
    ]


def test_every_layer_of_a_network_is_timed_under_the_name_of_what_it_makes(tmp_path: Path) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(residual_net(width=16, blocks=2))
    name_nodes(model)
    timed = TimedSession(model, tmp_path / "profile")
    for _ in range(12):
        timed.session.run(None, {"x": pictures(0, 1, 3, 12, 12)})
    times = timed.times()
    assert all(time.us >= 0 for time in times)
    layers = {node.output[0]: node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    owned = Timed.of(model, times, layers).by_change(Timed.of(model, [], {}), 0.0)
    assert owned.keys() == set(layers.values())
    with pytest.raises(InputError, match="cannot be read"):
        timed.times()


def test_runs_that_were_disturbed_do_not_count() -> None:
    taken = (90, 80, 70, 5, 6, 500, 5, 6, 900, 6, 5, 40, 7)
    runs = events(*((1000 * k, us, "a") for k, us in enumerate(taken)))
    others = [{"cat": "Session", "name": "model_run", "ts": 0, "dur": 1, "args": {}}]
    assert _read([*runs, *others]) == [NodeTime("a", 5.25)]
    assert _read(events((0, 9, "a"))) == [NodeTime("a", 9.0)]


def test_what_a_loop_does_within_counts_for_the_loop_alone() -> None:
    runs = events((2, 3, "inner"), (6, 3, "inner"), (0, 10, "loop"), (10, 4, "next"))
    assert _read(runs) == [NodeTime("loop", 10.0), NodeTime("next", 4.0)]


def test_nodes_are_called_what_they_make() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) {'
        " a = Relu(x) y, m = Dropout(a) }"
    )
    name_nodes(model)
    assert [node.name for node in model.graph.node] == ["a", "y"]
