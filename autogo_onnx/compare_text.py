"""A comparison of two models as text for people."""

from __future__ import annotations

from autogo_onnx.compare import Comparison
from autogo_onnx.report_text import fidelity_lines, latency_line


def to_text(comparison: Comparison) -> str:
    """The verdicts, a line each."""
    pair = comparison.latency
    clock = "CPU time" if pair.threads == 1 else "wall time"
    lines = [
        f"latency: {pair.ms_a:.3f} ms -> {pair.ms_b:.3f} ms ({clock}, {pair.rounds} rounds)",
        latency_line(pair.ratio_p10, pair.noise),
    ]
    if comparison.fidelity is not None:
        lines += fidelity_lines(comparison.fidelity)
    if comparison.unjudged is not None:
        lines.append(f"warning: the outputs were not compared: {comparison.unjudged}")
    if comparison.metric is not None:
        before, after = comparison.metric
        lines.append(f"metric: {before:.4f} -> {after:.4f} ({after - before:+.4f})")
    if comparison.data == "noise":
        lines.append("warning: compared on noise; give samples with --calibration")
    lines += [f"warning: {line}" for line in comparison.signature]
    return "\n".join(lines)
