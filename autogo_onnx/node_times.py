"""What every operator of a model takes, as ONNX Runtime's own profiler tells.

A change of one layer drowns in the noise of the whole model's latency; the time of the operators
that changed does not: measured twice, prices of parts agree to about a thousandth of the latency,
even where other programs use the machine.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from autogo_onnx import runtime, scratch

_KERNEL = "_kernel_time"
_SHAPES = ("input_type_shape", "output_type_shape")
_SETTLING = 3
"""Runs that do not count."""
_QUICK = (0.05, 0.4)
"""Of an operator's times, sorted, those that count: the others were disturbed. The profiler tells
whole microseconds, so their mean is finer than any one of them."""


@dataclass(frozen=True)
class NodeTime:
    """One operator of a model as ONNX Runtime runs it.

    Attributes:
        name: of the node; one that ONNX Runtime added may have only that of its operator.
        shapes: of what it reads and makes, as text.
        us: microseconds.
    """

    name: str
    shapes: str
    us: float


def name_nodes(model: onnx.ModelProto) -> None:
    """Call every node what it makes first, which tells nodes apart in all models."""
    for node in model.graph.node:
        node.name = next((name for name in node.output if name), node.op_type)


class TimedSession:
    """A session whose operators are timed from its first run on.

    Attributes:
        session: to be run.
    """

    def __init__(self, model: onnx.ModelProto, *, threads: int = 1) -> None:
        """Open it.

        Raises:
            InputError: ONNX Runtime refuses the model.
        """
        self._folder = tempfile.TemporaryDirectory(dir=scratch.folder())
        self.session: ort.InferenceSession = runtime.open_session(
            model, threads=threads, profile=Path(self._folder.name) / "profile"
        )

    def times(self) -> list[NodeTime]:
        """What the operators took, in the order in which they run; the session is timed no more."""
        with self._folder:
            text = Path(self.session.end_profiling()).read_text(encoding="utf-8")
        return _read(json.loads(text))


def _read(events: Iterable[dict[str, Any]]) -> list[NodeTime]:
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    shapes: dict[tuple[str, str], str] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_KERNEL):
            told = event["args"]
            node = event["name"].removesuffix(_KERNEL), told.get("node_index", "")
            if node not in taken:
                shapes[node] = json.dumps([told.get(key) for key in _SHAPES])
            taken[node].append(event["dur"])
    return [NodeTime(node[0], shapes[node], _usual(times)) for node, times in taken.items()]


def _usual(times: Sequence[float]) -> float:
    """The mean of the quick ones."""
    settled = np.sort(times[_SETTLING:] or times)
    first, last = (int(share * len(settled)) for share in _QUICK)
    return float(settled[first : max(first + 1, last)].mean())
