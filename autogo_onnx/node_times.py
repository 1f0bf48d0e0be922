"""What every operator of a model takes, as ONNX Runtime's own profiler tells.

A change of one layer drowns in the noise of the whole model's latency; the time of the operators
that changed does not: measured twice, prices of parts agree to about a thousandth of the latency,
even where other programs use the machine.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from autogo_onnx import runtime
from autogo_onnx.errors import InputError

_KERNEL = "_kernel_time"
_SETTLING = 3
"""Runs that do not count."""
_QUICK = (0.05, 0.4)
"""Of an operator's times, sorted, those that count: the others were disturbed. The profiler tells
whole microseconds, so their mean is finer than any one of them."""


@dataclass(frozen=True)
class NodeTime:
    """One operator of a model as ONNX Runtime runs it; what its subgraphs take is its own.

    Attributes:
        name: of the node; one that ONNX Runtime added may have only that of its operator.
        us: microseconds.
    """

    name: str
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

    def __init__(self, model: onnx.ModelProto, file: Path, *, threads: int = 1) -> None:
        """Open it.

        Args:
            model: whose nodes have names.
            file: how the name of the file begins that is written meanwhile; nobody removes it.
            threads: of ONNX Runtime.

        Raises:
            InputError: ONNX Runtime refuses the model.
        """
        self.session: ort.InferenceSession = runtime.open_session(
            model, threads=threads, profile=file
        )

    def times(self) -> list[NodeTime]:
        """What the operators took, in the order in which they run; the session is timed no more.

        Raises:
            InputError: they could not be written.
        """
        file = Path(self.session.end_profiling())
        try:
            return _read(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InputError(f"the times of operators cannot be read: {error}") from None


def _read(events: Iterable[dict[str, Any]]) -> list[NodeTime]:
    runs = [e for e in events if e["cat"] == "Node" and e["name"].endswith(_KERNEL)]
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    until = -math.inf
    for event in sorted(runs, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] < until:  # within a Loop, say
            continue
        until = event["ts"] + event["dur"]
        name = event["name"].removesuffix(_KERNEL)
        taken[name, event["args"].get("node_index", "")].append(event["dur"])
    return [NodeTime(name, _usual(times)) for (name, _), times in taken.items()]


def _usual(times: Sequence[float]) -> float:
    """The mean of the quick ones."""
    settled = np.sort(times[_SETTLING:] or times)
    first, last = (int(share * len(settled)) for share in _QUICK)
    return float(settled[first : max(first + 1, last)].mean())
