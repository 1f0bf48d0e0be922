"""What a run writes, and where: the model, its latency table, the Pareto set, the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from autogo_onnx import model as model_file
from autogo_onnx.errors import InputError
from autogo_onnx.files import check_writable, make_folder, write_text
from autogo_onnx.options import Options
from autogo_onnx.report import Report, to_json
from autogo_onnx.report_html import to_html
from autogo_onnx.report_text import to_text

_FORMATS: dict[str, Callable[[Report], str]] = {
    ".html": to_html,
    ".json": to_json,
    ".txt": lambda report: to_text(report, explain=True),
}


@dataclass(frozen=True)
class Places:
    """Paths of the results; None where one is not wanted.

    The latency table stands beside the model when it has no place of its own.
    """

    model: Path | None
    latency_table: Path | None = None
    pareto: Path | None = None
    report: Path | None = None

    @property
    def prices(self) -> Path | None:
        """Where the latency table goes."""
        if self.latency_table is None and self.model is not None:
            return self.model.with_suffix(".latency.json")
        return self.latency_table


def check(places: Places) -> None:
    """Refuse places that cannot be written, before minutes are spent; make the Pareto folder.

    Raises:
        InputError: a folder is missing or cannot be written, or a report's format is unknown.
    """
    if places.report is not None and places.report.suffix not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise InputError(f"{places.report}: unknown report format; give it one of {known}")
    for path in (places.model, places.prices, places.report):
        if path is not None:
            check_writable(path)
    if places.pareto is not None:
        make_folder(places.pareto)
        check_writable(places.pareto / "front.csv")


def reusing_prices(options: Options) -> Options:
    """The options without a latency table that does not exist yet: it is this run's to write."""
    table = options.latency_table
    return options if table is None or table.exists() else replace(options, latency_table=None)


def write(report: Report, places: Places, *, like: Path) -> None:
    """Write everything that has a place.

    The Pareto set comes before the model: the model may take the place of the original, and with it
    that of the weights to which models of the set still refer.

    Args:
        report: of the run.
        places: checked before the run.
        like: the original; a model that came with external data is written with external data.

    Raises:
        InputError: a file cannot be written.
    """
    external = model_file.has_external_data(like)
    if places.pareto is not None:
        for point in report.pareto:
            file = places.pareto / point.file
            model_file.save(point.model, file, external_data=external, source=like)
        write_text(places.pareto / "front.csv", front_csv(report))
    if places.model is not None:
        model_file.save(report.model, places.model, external_data=external, source=like)
    if places.prices is not None and report.latency_table is not None:
        report.latency_table.write(places.prices)
    if places.report is not None:
        write_text(places.report, _FORMATS[places.report.suffix](report))


def front_csv(report: Report) -> str:
    """The Pareto set as a table, one line per model; unknown figures stay empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("file", "latency_ratio", "macs", "drop", "drop_bound", "psnr_db")
    writer.writerow(columns)
    writer.writerows([getattr(point, name) for name in columns] for point in report.pareto)
    return text.getvalue()
