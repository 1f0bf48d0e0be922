"""Rules on trial: who judges whether what they did to a model pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Verdict:
    """Whether a rewrite pays on a model, and by which figures; None where one was not taken.

    Attributes:
        keep: whether it does.
        macs_delta: multiply-accumulates after minus before.
        latency_ratio: after / before, paired.
        latency_noise: the share below which a difference means nothing.
        params_delta: parameters after minus before, where they are what counts.
    """

    keep: bool
    macs_delta: int | None = None
    latency_ratio: float | None = None
    latency_noise: float | None = None
    params_delta: int | None = None

    def __str__(self) -> str:
        if self.latency_ratio is not None:
            return f"latency ratio {self.latency_ratio:.3f}, noise bound {self.latency_noise:.3f}"
        deltas = {"parameters": self.params_delta, "multiply-accumulates": self.macs_delta}
        return ", ".join(
            f"{delta:+,} {what}" for what, delta in deltas.items() if delta is not None
        )


Judge = Callable[[str, onnx.ModelProto, onnx.ModelProto], Verdict]
"""Takes the rule's name, the model before it and the model after it."""


def always(rule: str, before: onnx.ModelProto, after: onnx.ModelProto) -> Verdict:
    """Keeps everything: for those who want to see what a rule does."""
    return Verdict(True)
