"""The segments that could stand at a site, found by their facts.

*All candidates* of a site are the segments whose facts (see `facts.py`) rule nothing out: as many
axes at the boundary, lengths within reach, channels kept only where the site keeps them, no more
operators than are wanted, and multiply-accumulates that are estimated from below to be within the
limit. A *shelf* holds the facts of all segments that have as many axes at the boundary, the most
frequent first. Most of a segment's facts are shared with many others: such a *profile* is there
once. A look-up compares arrays of profiles and rates, reads no rows and decodes no graph. (An index
of SQLite over the same columns took ten times as long, most of it for handing over and sorting
thousands of rows.)
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.segment_db.facts import Demand, lengths, pairs_of_channels, pixels

# Most that the estimate of multiply-accumulates may exceed what the shape model makes of a segment:
# it rounds channels up and down, and a stride may come before everything else or after it.
SLACK = 2.0
_PROFILE = ("n_ops", "maker", "keeps_channels", "shrink", "border", "growth", "margin")
_PROFILE_TYPE = np.dtype([(name, "<i4") for name in _PROFILE])
# Columns of all segments, one after the other.
_COLUMNS = {"number": "<u4", "profile": "<u4", "macs_in": "<f4", "macs_out": "<f4"}
_Array = NDArray[Any]


@dataclass(frozen=True)
class Shelf:
    """Facts of segments that have as many axes at the boundary, the most frequent first.

    Attributes:
        makers: texts that `maker` of a profile numbers.
        profiles: an array of records, each there once.
        columns: `number`, `profile`, `macs_in` and `macs_out` of every segment.
    """

    makers: tuple[str, ...]
    profiles: _Array
    columns: Mapping[str, _Array]

    @classmethod
    def read(cls, connection: sqlite3.Connection, axes: str) -> Shelf:
        """The shelf of segments with so many axes; empty when there are none.

        Raises:
            ValueError: it is damaged.
        """
        row = connection.execute(
            "SELECT makers, profiles, segments FROM shelf WHERE axes = ?", (axes,)
        ).fetchone()
        makers, profiles, data = row or ("[]", b"", b"")
        width = sum(np.dtype(kind).itemsize for kind in _COLUMNS.values())
        if not (isinstance(profiles, bytes) and isinstance(data, bytes)) or len(data) % width:
            raise ValueError("the index of its segments is damaged")
        count, columns, start = len(data) // width, {}, 0
        for name, kind in _COLUMNS.items():
            columns[name] = np.frombuffer(data, kind, count, start)
            start += columns[name].nbytes
        records = np.frombuffer(profiles, _PROFILE_TYPE)
        if count and int(columns["profile"].max()) >= len(records):
            raise ValueError("the index of its segments is damaged")
        return cls(tuple(map(str, json.loads(makers))), records, columns)

    def within(self, demand: Demand) -> list[int]:
        """Numbers of all candidates for a site, the most frequent first."""
        fits = self._profiles_within(demand)[self.columns["profile"]]
        if demand.most_macs != float("inf"):
            limit = SLACK * demand.most_macs / pairs_of_channels(demand.inputs, demand.outputs)
            given, made = np.float32(pixels(demand.inputs)), np.float32(pixels(demand.outputs))
            with np.errstate(over="ignore", invalid="ignore"):  # a damaged file holds any number
                macs = np.minimum(self.columns["macs_in"] * given, self.columns["macs_out"] * made)
                fits &= macs <= limit
        found: list[int] = self.columns["number"][fits].tolist()
        return found

    def _profiles_within(self, demand: Demand) -> NDArray[np.bool_]:
        facts = self.profiles
        fits: NDArray[np.bool_] = facts["n_ops"] <= demand.most_ops
        if demand.makers:
            wanted = [maker in demand.makers for maker in self.makers]
            fits &= np.array([*wanted, False])[np.clip(facts["maker"], -1, len(wanted))]
        for given_length, made_length in lengths(demand):
            given, made = np.int64(given_length), np.int64(made_length)
            fits &= facts["shrink"] * made + facts["border"] >= given
            fits &= facts["growth"] * given + facts["margin"] >= made
        if len({shape[1:2] for shape in (*demand.inputs, *demand.outputs)}) > 1:
            fits &= facts["keeps_channels"] == 0
        return fits


def fill_shelves(connection: sqlite3.Connection, shelves: Iterable[str]) -> None:
    """Write some shelves anew from the rows of their segments."""
    for axes in sorted(shelves):
        rows = connection.execute(
            "SELECT n_ops, makers, keeps_channels, shrink, border, growth, margin, number, macs_in,"
            " macs_out FROM segment WHERE axes = ? ORDER BY count DESC, number",
            (axes,),
        ).fetchall()
        makers = sorted({row[1] for row in rows})
        place = {maker: number for number, maker in enumerate(makers)}
        profiles: dict[tuple[int, ...], int] = {}
        members = []
        for n_ops, maker, *rest, number, macs_in, macs_out in rows:
            profile = profiles.setdefault((n_ops, place[maker], *rest), len(profiles))
            members.append((number, profile, macs_in, macs_out))
        columns = zip(_COLUMNS.values(), zip(*members, strict=True), strict=True)
        data = b"".join(np.array(column, kind).tobytes() for kind, column in columns)
        packed = np.array(list(profiles), _PROFILE_TYPE).tobytes()
        connection.execute(
            "INSERT OR REPLACE INTO shelf VALUES (?, ?, ?, ?)",
            (axes, json.dumps(makers), packed, data),
        )
