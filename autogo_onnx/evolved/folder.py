"""The folder of an evolution: its models, the base, `front.csv` and the report."""

from __future__ import annotations

import csv
from pathlib import Path

import onnx

from autogo_onnx import model as model_file
from autogo_onnx.errors import InputError
from autogo_onnx.evolved.page import to_html
from autogo_onnx.evolved.report import EvolveReport, to_csv, to_json
from autogo_onnx.files import check_writable, make_folder, write_text

BASE = "base.onnx"
FRONT = "front.csv"
_RANK = "rank_"


def check(folder: Path, source: str) -> None:
    """Make the folder, and refuse one that cannot be written, before minutes are spent.

    Args:
        folder: to be written.
        source: what is evolved, a file or a name.

    Raises:
        InputError: it cannot be made or written, or a model that is written, or removed as one of
            an earlier run, may be the source.
    """
    there = Path(source).resolve()
    if there.parent == folder.resolve() and (there.name == BASE or there.name.startswith(_RANK)):
        raise InputError(f"{source}: would be written over: choose another folder than its own")
    make_folder(folder)
    check_writable(folder / FRONT)


def write(report: EvolveReport, folder: Path) -> None:
    """Write everything; models of an earlier run that this one does not replace are removed.

    The base is written as it can be trained, to compare with.

    Raises:
        InputError: a file cannot be written.
    """
    source = Path(report.source) if Path(report.source).is_file() else None
    earlier = _written_before(folder / FRONT)
    _save(report.base_model, folder / BASE, source)
    for one in report.models:
        _save(one.model, folder / one.file, source)
    for name in earlier - {one.file for one in report.models}:
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}.data").unlink(missing_ok=True)
    write_text(folder / FRONT, to_csv(report))
    write_text(folder / "report.json", to_json(report))
    write_text(folder / "report.html", to_html(report))


def _save(model: onnx.ModelProto, path: Path, source: Path | None) -> None:
    external = source is not None and model_file.has_external_data(source)
    model_file.save(model, path, external_data=external, source=source)


def _written_before(front: Path) -> set[str]:
    """Models that an earlier run wrote here, by its table."""
    try:
        rows = list(csv.DictReader(front.read_text().splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()
    names = {row.get("file") or "" for row in rows}
    return {name for name in names if Path(name).name == name and name.startswith(_RANK)}
