"""What became of fits, for learning: one row per candidate that was fitted at a site.

Table `experience(number, site, candidate, columns, features, nmse, score, macs_delta,
latency_delta_ms, target, versions)`: graphs packed as segments are, `features` as little-endian
float32. A row never changes.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.packing import Lexicon

_COLUMNS = (
    "site, candidate, columns, features, nmse, score, macs_delta, latency_delta_ms, target,"
    " versions"
)
_DIGEST_BYTES = 16


@dataclass(frozen=True, eq=False)
class Experience:
    """The outcome of one fit.

    Attributes:
        site: the segment that was to be replaced, in its shapes.
        candidate: the replacement, in the same boundary shapes.
        columns: which numbers `features` holds; see `column_digest`.
        features: float32[F], as the predictor saw them.
        nmse: error of the fit on the activations; infinite when there is none.
        score: divergence of the model's outputs; None when it was not scored.
        macs_delta: multiply-accumulates after, minus before.
        latency_delta_ms: likewise; None when it was not measured.
        target: what the run minimized, as `cpu`.
        versions: of whatever had an influence, by name.
    """

    site: OpGraph
    candidate: OpGraph
    columns: str
    features: NDArray[np.float32]
    nmse: float
    score: float | None
    macs_delta: int
    latency_delta_ms: float | None
    target: str
    versions: Mapping[str, str]


def column_digest(names: Sequence[str], version: int) -> str:
    """32 hex digits that tell one set of feature columns from another.

    >>> column_digest(("segment.ops",), 1) == column_digest(("segment.ops",), 2)
    False
    """
    text = json.dumps([version, *names])
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def insert(connection: sqlite3.Connection, lexicon: Lexicon, outcomes: Iterable[Experience]) -> int:
    """Append outcomes, and say how many they were."""
    rows = [_row(lexicon, outcome) for outcome in outcomes]
    connection.executemany(
        f"INSERT INTO experience ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
    )
    return len(rows)


def page(
    connection: sqlite3.Connection, lexicon: Lexicon, after: int, size: int
) -> list[tuple[int, Experience]]:
    """The next outcomes behind a number, with their own."""
    rows = connection.execute(
        f"SELECT number, {_COLUMNS} FROM experience WHERE number > ? ORDER BY number LIMIT ?",
        (after, size),
    ).fetchall()
    return [(row[0], _experience(lexicon, row[1:])) for row in rows]


def digest(outcome: Experience) -> bytes:
    """The same for equal outcomes, whichever database they are in."""
    parts = (outcome.site, outcome.candidate, outcome.columns, outcome.features.tolist())
    figures = (outcome.nmse, outcome.score, outcome.macs_delta, outcome.latency_delta_ms)
    text = repr((*parts, *figures, outcome.target, sorted(outcome.versions.items())))
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _row(lexicon: Lexicon, outcome: Experience) -> tuple[object, ...]:
    """A row of plain values; SQLite has no NaN."""
    score, delta = outcome.score, outcome.latency_delta_ms
    return (
        lexicon.pack(outcome.site),
        lexicon.pack(outcome.candidate),
        outcome.columns,
        np.ascontiguousarray(outcome.features, "<f4").tobytes(),
        math.inf if math.isnan(outcome.nmse) else float(outcome.nmse),
        None if score is None or math.isnan(score) else float(score),
        int(outcome.macs_delta),
        None if delta is None or math.isnan(delta) else float(delta),
        outcome.target,
        json.dumps(dict(sorted(outcome.versions.items()))),
    )


def _experience(lexicon: Lexicon, row: Sequence[object]) -> Experience:
    site, candidate, columns, features, nmse, score, macs, latency, target, versions = row
    named = json.loads(_text(versions))
    if not isinstance(named, dict) or not isinstance(macs, int):
        raise ValueError("a row of experience is damaged")
    return Experience(
        lexicon.unpack(_bytes(site)),
        lexicon.unpack(_bytes(candidate)),
        _text(columns),
        np.frombuffer(_bytes(features), "<f4").astype(np.float32),
        _number(nmse),
        None if score is None else _number(score),
        macs,
        None if latency is None else _number(latency),
        _text(target),
        {str(name): str(version) for name, version in named.items()},
    )


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a row of experience is damaged")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a row of experience is damaged")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ValueError("a row of experience is damaged")
    return float(value)
