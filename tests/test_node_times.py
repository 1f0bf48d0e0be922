from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from net_cases import pictures, residual_net

from autogo_onnx import scratch
from autogo_onnx.attribution import Timed
from autogo_onnx.node_times import NodeTime, TimedSession, _read, name_nodes


def test_every_layer_of_a_network_is_timed_under_the_name_of_what_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "folder", lambda: str(tmp_path))
    model = onnx.ModelProto()
    model.CopyFrom(residual_net(width=16, blocks=2))
    name_nodes(model)
    timed = TimedSession(model)
    for _ in range(12):
        timed.session.run(None, {"x": pictures(0, 1, 3, 12, 12)})
    times = timed.times()
    assert list(tmp_path.iterdir()) == []
    assert all(time.us >= 0 for time in times)
    layers = {node.output[0]: node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    owned = Timed.of(model, times, layers).by_change(Timed.of(model, [], {}), 0.0)
    assert owned.keys() == set(layers.values())


def test_runs_that_were_disturbed_do_not_count() -> None:
    def event(us: int, name: str = "a_kernel_time", cat: str = "Node") -> dict[str, object]:
        return {"cat": cat, "name": name, "dur": us, "args": {"node_index": "3"}}

    runs = [event(us) for us in (90, 80, 70, 5, 6, 500, 5, 6, 900, 6, 5, 40, 7)]
    others = [event(1, "a_fence_before"), event(1, "model_run", "Session")]
    assert _read([*runs, *others]) == [NodeTime("a", "[null, null]", 5.25)]
    assert _read([event(9)]) == [NodeTime("a", "[null, null]", 9.0)]


def test_nodes_are_called_what_they_make() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) {'
        " a = Relu(x) y, m = Dropout(a) }"
    )
    name_nodes(model)
    assert [node.name for node in model.graph.node] == ["a", "y"]
