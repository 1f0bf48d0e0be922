"""A report as tables and as text for people; equal reports give equal text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from autogo_onnx.quantize_text import quantize_lines, quantize_table
from autogo_onnx.report import LatencyIs, Report, Size
from autogo_onnx.tables import Table, align, amount, closing, figure, percent, span

if TYPE_CHECKING:
    from autogo_onnx.verify import Fidelity

_SHOWN_PLAN = 12
_SHOWN_REASONS = 8
_RATIO: dict[LatencyIs, str] = {
    "measured": "latency ratio",
    "counted": "MACs ratio",
    "predicted": "predicted latency ratio",
}
_PARAMETERS = "params"
"""The other target that is counted."""
_MILLISECONDS: dict[LatencyIs, str] = {
    "measured": "latency ms",
    "counted": "latency ms",
    "predicted": "predicted ms",
}
_GATES = {
    "accuracy": "loss of top-1 accuracy",
    "expected_drop": "expected loss of top-1 accuracy (no labels)",
    "disagreement": "changed answers, each a loss of top-1 accuracy at most",
    "psnr": "PSNR against the original",
}


def to_text(report: Report, *, explain: bool = False) -> str:
    """The report for a terminal.

    Args:
        report: what to tell.
        explain: every replacement and everything that was left alone, not only their numbers.
    """
    parts = [headline(report), *(align(table) for table in tables(report, explain=explain))]
    parts.append("\n".join(remarks(report)))
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(report: Report) -> str:
    """What was done to which model."""
    samples = report.samples
    counts = f", {samples.fit} + {samples.held_out} samples" if samples.fit else ""
    name = report.source.path or "the model"
    return f"{name}: level {report.level}, target {report.target}, seed {report.seed}{counts}"


def tables(report: Report, *, explain: bool = True) -> tuple[Table, ...]:
    """Costs, rewrites, plan, Pareto set and what was left alone; empty ones are left out."""
    found = (
        cost_table(report.before, report.after, _MILLISECONDS[report.latency_is]),
        _rewrites(report),
        _plan(report, len(report.plan) if explain else _SHOWN_PLAN),
        _pareto(report),
        quantize_table(report.quantized),
        _skipped(report, explain),
    )
    return tuple(table for table in found if table.rows)


def cost_table(before: Size, after: Size, latency: str = "latency ms") -> Table:
    """What two models cost, and the change; latency, under that name, where both have one."""
    rows = [
        (name, amount(old), amount(new), _change(old, new))
        for name, old, new in (
            ("MACs", before.macs, after.macs),
            ("parameters", before.params, after.params),
            ("nodes", before.nodes, after.nodes),
        )
    ]
    old_ms, new_ms = before.latency_ms, after.latency_ms
    if old_ms is not None and new_ms is not None:
        rows.append((latency, f"{old_ms:.3f}", f"{new_ms:.3f}", _change(old_ms, new_ms)))
    return Table("", ("", "before", "after", "change"), tuple(rows))


def remarks(report: Report) -> list[str]:
    """Verdicts, warnings and notes, a line each."""
    lines = []
    if report.latency_ratio is not None and report.latency_is != "measured":
        lines.append(f"{_ratio_name(report)}: {report.latency_ratio:.3f}, nothing was measured")
    elif report.latency_ratio is not None and report.latency_noise is not None:
        lines.append(latency_line(report.latency_ratio, report.latency_noise))
    if report.fidelity is not None:
        lines += fidelity_lines(report.fidelity)
    if report.metric is not None:
        metric = report.metric
        change = metric.after - metric.before
        bound = "" if metric.drop_bound is None else f", 90 % bound {-metric.drop_bound:+.4f}"
        lines.append(
            f"{metric.name}: {metric.before:.4f} -> {metric.after:.4f} ({change:+.4f}{bound})"
        )
    lines += quantize_lines(report.quantized)
    if not report.changed:
        lines.append("nothing could be improved: the new model is the old one")
    return [*lines, *closing(report.warnings, report.notes, report.seconds)]


def _ratio_name(report: Report) -> str:
    return "parameters ratio" if report.target == _PARAMETERS else _RATIO[report.latency_is]


def latency_line(ratio: float, noise: float) -> str:
    """The paired ratio, and whether it means anything."""
    if abs(ratio - 1) <= noise:
        verdict = "no difference beyond the noise"
    else:
        verdict = "faster" if ratio < 1 else "slower"
    return f"latency ratio: {ratio:.3f}, noise bound {noise:.3f}: {verdict}"


def fidelity_lines(fidelity: Fidelity) -> list[str]:
    """The gating figure with its bound, and what is told beside it."""
    lines = []
    if fidelity.drop is not None and fidelity.drop_bound is not None:
        lines.append(
            f"{_GATES[fidelity.gate]}: {fidelity.drop:.4f}, 90 % bound {fidelity.drop_bound:.4f}"
        )
    if fidelity.psnr_db is not None and fidelity.psnr_bound_db is not None:
        bound = f"90 % bound {fidelity.psnr_bound_db:.1f} dB"
        lines.append(f"{_GATES['psnr']}: {fidelity.psnr_db:.1f} dB, {bound}")
    agreement = "" if fidelity.agreement is None else f"agreement {fidelity.agreement:.4f}, "
    lines.append(f"{agreement}NMSE {fidelity.nmse:.2e}, on {fidelity.samples} samples")
    return lines


def _change(old: float, new: float) -> str:
    return percent(new / old - 1, "+.1f") if old else ""


def _rewrites(report: Report) -> Table:
    rows = tuple(
        (
            entry.rule,
            str(entry.count),
            f"{-entry.nodes_saved:+d}",
            "" if entry.macs_delta is None else amount(entry.macs_delta),
            figure(entry.latency_ratio, ".3f"),
        )
        for entry in report.rewrites
    )
    return Table("exact rewrites", ("rule", "count", "nodes", "MACs", "latency ratio"), rows)


def _plan(report: Report, shown: int) -> Table:
    """The plan; with the parameters that it saves, where those are the target."""
    by_parameters = report.target == _PARAMETERS
    rows = tuple(
        (
            entry.segment,
            span(entry.site),
            amount(entry.macs_delta),
            amount(entry.params_delta) if by_parameters else figure(entry.latency_delta_ms, "+.4f"),
            figure(entry.nmse, ".4f"),
            figure(entry.score, ".5f"),
        )
        for entry in report.plan[:shown]
    )
    hidden = len(report.plan) - len(rows)
    more = f", {hidden} more with --explain" if hidden else ""
    title = f"replaced segments ({len(report.plan)}{more})"
    saved = "parameters" if by_parameters else _MILLISECONDS[report.latency_is]
    return Table(title, ("by", "nodes", "MACs", saved, "NMSE", "score"), rows)


def _pareto(report: Report) -> Table:
    dense = all(point.drop is None for point in report.pareto)
    rows = tuple(
        (
            point.file,
            figure(point.latency_ratio, ".3f"),
            amount(point.macs),
            *(
                (figure(point.psnr_db, ".1f"),)
                if dense
                else (figure(point.drop, ".4f"), figure(point.drop_bound, ".4f"))
            ),
        )
        for point in report.pareto
    )
    judged = ("PSNR dB",) if dense else ("drop", "bound")
    return Table("Pareto set", ("file", _ratio_name(report), "MACs", *judged), rows)


def _skipped(report: Report, explain: bool) -> Table:
    """Every entry with its nodes, or the commonest reasons with how often they were given."""
    if explain:
        every = tuple((entry.reason, entry.rule, span(entry.nodes)) for entry in report.skipped)
        return Table("left alone", ("reason", "rule", "nodes"), every)
    counts = Counter(entry.reason for entry in report.skipped)
    rows = tuple((reason, str(n)) for reason, n in counts.most_common(_SHOWN_REASONS))
    title = f"left alone ({len(report.skipped)}, all with --explain)"
    return Table(title, ("reason", "sites"), rows)
