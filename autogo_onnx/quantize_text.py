"""A quantize check as a table and as lines for people."""

from __future__ import annotations

from autogo_onnx.report import PrecisionFigures, QuantizeCheck
from autogo_onnx.tables import Table, figure


def quantize_table(check: QuantizeCheck | None) -> Table:
    """All models in both precisions, against the original in float; empty where none was made."""
    if check is None:
        return Table("", (), ())
    judged = _judged_by(check)
    rows = tuple(
        (
            f"{row.model} {row.precision}",
            figure(row.latency_ms, ".3f"),
            figure(row.latency_ratio, ".3f"),
            figure(row.latency_noise, ".3f"),
            *(figure(_value(row, name), digits) for name, (_, digits) in judged.items()),
        )
        for row in check.models
    )
    headings = (heading for heading, _ in judged.values())
    header = ("", "ms", "latency ratio", "noise bound", *headings)
    return Table(_title(check), header, rows)


def _title(check: QuantizeCheck) -> str:
    seen = f"static QDQ, calibrated on {check.samples} samples"
    counts = {row.fidelity.samples for row in check.models if row.fidelity is not None}
    judged = "".join(f", judged on {count} others" for count in sorted(counts))
    return f"in int8 by ONNX Runtime, measured here ({seen}{judged})"


def quantize_lines(check: QuantizeCheck | None) -> list[str]:
    """Whether the gain is kept, and what could not be done."""
    if check is None:
        return []
    lines = []
    if check.latency_ratio is not None and check.latency_noise is not None:
        ratio, noise = check.latency_ratio, check.latency_noise
        if check.keeps_gain:
            verdict = "the gain is kept"
        elif ratio > 1 + noise:
            verdict = "the optimized model is the slower one"
        else:
            verdict = "no gain beyond the noise"
        lines.append(f"both in int8: latency ratio {ratio:.3f}, noise bound {noise:.3f}: {verdict}")
    return lines + [f"quantize check: {problem}" for problem in check.problems]


_FIGURES = {
    "metric": ("metric", ".4f"),
    "accuracy_after": ("top-1", ".4f"),
    "drop": ("loss", ".4f"),
    "drop_bound": ("90 % bound", ".4f"),
    "psnr_db": ("PSNR dB", ".1f"),
    "psnr_bound_db": ("90 % bound dB", ".1f"),
}
"""Heading and format of what a model may be judged by."""


def _judged_by(check: QuantizeCheck) -> dict[str, tuple[str, str]]:
    """The figures that some model has."""
    return {
        name: shown
        for name, shown in _FIGURES.items()
        if any(_value(row, name) is not None for row in check.models)
    }


def _value(row: PrecisionFigures, name: str) -> float | None:
    """The figure of a model by its name; None where it has none."""
    source = row if name == "metric" else row.fidelity
    value: float | None = getattr(source, name, None)
    return value
