"""`optimize` without its segment database, without its predictor, or without both."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from autogo_onnx.choices import Choice
from autogo_onnx.options import Options
from autogo_onnx.planning import Scored
from autogo_onnx.plans import Point
from autogo_onnx.predictor import ACCURACY
from autogo_onnx.predictor.heads import Head, write
from autogo_onnx.segment_db.store import shipped
from autogo_onnx.widths.narrowing import Narrowing

DATABASE, PREDICTOR = "database", "predictor"
_OF_SEGMENTS = ("boundary", "segment", "shelf", "sighting")
MINED = "db:"
"""How the names of segments of the database begin."""


def without(options: Options, parts: frozenset[str], folder: Path) -> Options:
    """The options with nothing in the place of some parts, whose files are put into a folder."""
    if DATABASE in parts:
        options = replace(options, segment_db=no_segments(folder / "no_segments.db"))
    if PREDICTOR in parts:
        options = replace(options, predictor=no_prediction(folder / "no_prediction.onnx"))
    return options


def no_segments(path: Path) -> Path:
    """The shipped database without a segment; its vocabulary cuts networks as before."""
    shutil.copyfile(shipped(), path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in _OF_SEGMENTS:
            connection.execute(f"DELETE FROM {table}")
    return path


def no_prediction(path: Path) -> Path:
    """A predictor to which all segments are alike, and that knows nothing of fits' errors."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = np.arange(100.0)[:, None]
    alike = HistGradientBoostingRegressor(max_iter=1).fit(rows, np.zeros(len(rows)))
    write(path, [Head(ACCURACY, "always the same", [alike], [0])], {})
    return path


def mined_share(point: Point) -> float:
    """The share of what a plan is to save that segments of the database save."""
    return _share(point, lambda item: isinstance(item, Scored) and _is_mined(item))


def narrowed_share(point: Point) -> float:
    """The share of what a plan is to save that narrower layers save."""
    return _share(point, lambda item: isinstance(item, Narrowing))


def _is_mined(item: Scored) -> bool:
    return item.candidate.name.startswith(MINED)


def _share(point: Point, counts: Callable[[Choice], bool]) -> float:
    total = sum(item.saving for item in point.plan)
    return sum(item.saving for item in point.plan if counts(item)) / total if total else 0.0
