"""A report of `evolve` as tables and as text for people; equal reports give equal text."""

from __future__ import annotations

from autogo_onnx.evolved.report import ChangedSegment, EvolvedModel, EvolveReport
from autogo_onnx.report import LatencyIs
from autogo_onnx.tables import Table, align, amount, closing, figure, percent, span

_LATENCY: dict[LatencyIs, tuple[str, ...]] = {
    "measured": ("latency ms", "ratio"),
    "predicted": ("predicted ms", "ratio"),
    "counted": (),
}


def to_text(report: EvolveReport) -> str:
    """The report for a terminal."""
    parts = [headline(report), *(align(table) for table in tables(report))]
    parts.append("\n".join(remarks(report)))
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(report: EvolveReport) -> str:
    """What was evolved, and how."""
    unit = f"unit {report.search_unit}"
    return f"{report.source or 'the model'}: {unit}, target {report.target}, seed {report.seed}"


def tables(report: EvolveReport) -> tuple[Table, ...]:
    """The base with its models, and the iterations of the search."""
    return _models(report), _iterations(report)


def changes_table(model: EvolvedModel) -> Table:
    """What changed in one model, a line per segment."""
    rows = tuple(
        (
            span(change.nodes),
            ", ".join(change.sources) or "removed",
            amount(change.macs_delta),
            amount(change.params_delta),
            percent(change.inherited, ".0f"),
            percent(change.resized, ".0f"),
        )
        for change in model.changes
    )
    return Table("", ("segment", "by", "MACs", "parameters", "inherited", "resized"), rows)


def remarks(report: EvolveReport) -> list[str]:
    """Verdicts, warnings and notes, a line each."""
    lines = [
        f"{report.history} networks seen, {report.front} of them on the Pareto set",
        f"predicted: the change of {report.unit}, with one standard deviation",
    ]
    if not report.models:
        lines.append("no network was found that is better in anything: only the base is left")
    return [*lines, *closing(report.warnings, report.notes, report.seconds)]


def title_of(change: ChangedSegment) -> str:
    """One changed segment in a line."""
    by = ", ".join(change.sources)
    return f"{span(change.nodes)} by {by}" if by else f"{span(change.nodes)} removed"


def _models(report: EvolveReport) -> Table:
    """The base first, then the best predicted first."""
    base, latency = report.base, _LATENCY[report.latency_is]
    own = (figure(base.latency_ms, ".3f"), "") if latency else ()
    rows = [("base", "", "", amount(base.macs), "", amount(base.params), "", *own, "", "")]
    for model in report.models:
        times = (figure(model.size.latency_ms, ".3f"), _ratio(model)) if latency else ()
        rows.append((
            model.file,
            f"{model.predicted_change:+.3f}",
            f"{model.deviation:.3f}",
            amount(model.size.macs),
            percent(model.macs_change, "+.1f"),
            amount(model.size.params),
            percent(model.params_change, "+.1f"),
            *times,
            percent(model.inherited, ".0f"),
            str(len(model.changes)),
        ))  # fmt: skip
    header = (
        *("", "predicted", "+-", "MACs", "change", "parameters", "change"),
        *latency,
        *("inherited", "segments"),
    )
    return Table("", header, tuple(rows))


def _ratio(model: EvolvedModel) -> str:
    """The latency ratio with its noise bound, where it was measured."""
    latency = model.latency
    if latency is None:
        return ""
    noise = "" if latency.noise is None else f" +-{latency.noise:.3f}"
    return f"{latency.ratio:.3f}{noise}"


def _iterations(report: EvolveReport) -> Table:
    rows = tuple(
        (
            str(entry.iteration),
            str(entry.parents),
            str(entry.tried),
            str(entry.children),
            f"{entry.seconds:.1f}",
        )
        for entry in report.iterations
    )
    return Table("search", ("iteration", "parents", "tried", "new networks", "seconds"), rows)
