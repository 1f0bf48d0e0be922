"""Reading a database: one connection that stays open, and what has been read through it.

Opening a file and reading its tables of operators takes longer than a look-up. The connection
belongs to its process and its file: after a fork, or when another file has taken the path, a new
one is opened. A file of an older schema is brought up to date in memory and stays as it is.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.connection import (
    check,
    connect,
    explained,
    recover,
    schema_version,
    stamp,
)
from autogo_onnx.segment_db.facts import Demand, axes_of
from autogo_onnx.segment_db.lookup import Shelf
from autogo_onnx.segment_db.migration import upgrade
from autogo_onnx.segment_db.packing import Lexicon
from autogo_onnx.segment_db.schema import SCHEMA_VERSION
from autogo_onnx.segment_db.segment import Boundary
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.segment_db.writer import read_vocabulary

_HASH_DIGITS = 32
_MOST_COPIES = 2**63 - 1
# Segments that are kept in memory, some 5 kB each.
_REMEMBERED = 1 << 13
_COLUMNS = """SELECT number, hash, copy, count, graph, (
    SELECT family FROM sighting WHERE segment = number
    GROUP BY family ORDER BY sum(sighting.count) DESC, family LIMIT 1) FROM segment"""


@dataclass(frozen=True)
class StoredSegment:
    """A segment of the database.

    Attributes:
        id: canonical hash, and behind a point a number where another structure has the same.
        graph: its structure, with the shapes seen most often.
        family: where it was seen most often.
        count: how often it was seen in all families.
    """

    id: str
    graph: OpGraph
    family: str
    count: int


class Reader:
    """An open database: queries, and the segments that were read last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp = stamp(path)
        self.connection = connect(path, "ro")
        # Python 3.13 warns of connections that nobody closed.
        self.close = weakref.finalize(self, self.connection.close)
        self.version = schema_version(self.connection, path)
        if self.version < SCHEMA_VERSION:
            self.connection = _upgraded(self.connection, self.version)
            self.close()
            self.close = weakref.finalize(self, self.connection.close)
        check(self.connection, path)
        self.lexicon = Lexicon(self.connection)
        self._remembered: dict[int, StoredSegment] = {}
        self._shelves: dict[str, Shelf] = {}
        self._data_version = -1

    def refresh(self) -> None:
        """Forget what another connection may have changed."""
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._data_version = version
            self._remembered.clear()
            self._shelves.clear()

    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the database."""
        return read_vocabulary(self.connection)

    def size(self) -> int:
        """Number of segments."""
        return int(self.connection.execute("SELECT count(*) FROM segment").fetchone()[0])

    def everything(self) -> list[int]:
        """Numbers of all segments, the most frequent first."""
        rows = self.connection.execute("SELECT number FROM segment ORDER BY count DESC, number")
        return [number for (number,) in rows.fetchall()]

    def within(self, demand: Demand) -> list[int]:
        """Numbers of all candidates for a site, the most frequent first."""
        axes = axes_of(demand.inputs, demand.outputs)
        if axes not in self._shelves:
            self._shelves[axes] = Shelf.read(self.connection, axes)
        return self._shelves[axes].within(demand)

    def with_boundary(self, n_inputs: int, n_outputs: int) -> list[int]:
        """Numbers of all segments with so many boundary tensors, the most frequent first."""
        rows = self.connection.execute(
            "SELECT number FROM segment WHERE n_inputs = ? AND n_outputs = ?"
            " ORDER BY count DESC, number",
            (n_inputs, n_outputs),
        ).fetchall()
        return [number for (number,) in rows]

    def segments(self, numbers: Sequence[int]) -> list[StoredSegment]:
        """Segments by number, in the order asked for."""
        known = self._remembered
        missing = [number for number in numbers if number not in known]
        if missing:
            marks = ", ".join("?" * len(missing))
            rows = self.connection.execute(f"{_COLUMNS} WHERE number IN ({marks})", missing)
            for row in rows.fetchall():
                known[row[0]] = self._segment(row)
        if any(number not in known for number in numbers):
            raise ValueError("a segment is gone since it was found")
        found = [known[number] for number in numbers]
        for number in numbers:  # the last used stand last
            known[number] = known.pop(number)
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]
        return found

    def number(self, identifier: str) -> int:
        """The number of the segment of this id, or of the only id that begins so.

        Raises:
            InputError: there is none, or several begin so.
        """
        digits, _, copy = identifier.partition(".")
        try:
            low = bytes.fromhex(digits.ljust(_HASH_DIGITS, "0"))
            high = bytes.fromhex(digits.ljust(_HASH_DIGITS, "f"))
            copies = (int(copy),) if copy else ()
            if max(copies, default=0) > _MOST_COPIES:
                raise ValueError("no such number in SQLite")
        except ValueError:
            raise InputError(f"{self.path}: no segment {identifier!r}") from None
        where = "hash BETWEEN ? AND ?" + " AND copy = ?" * len(copies)
        rows = self.connection.execute(
            f"SELECT number, copy FROM segment WHERE {where} ORDER BY hash, copy LIMIT 2",
            (low, high, *copies),
        ).fetchall()
        if not rows:
            raise InputError(f"{self.path}: no segment {identifier!r}")
        if len(rows) > 1 and not (len(digits) == _HASH_DIGITS and rows[0][1] == 0):
            raise InputError(f"{self.path}: several segments begin with {identifier!r}")
        return int(rows[0][0])

    def boundaries(self, number: int) -> dict[Boundary, int]:
        """Boundary shapes of a segment and how often they were seen, the most frequent first."""
        rows = self.connection.execute(
            "SELECT inputs, outputs, count FROM boundary WHERE segment = ?", (number,)
        ).fetchall()
        shapes = self.lexicon.unpack_shapes
        found = {(shapes(inputs), shapes(outputs)): int(count) for inputs, outputs, count in rows}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def families(self, number: int) -> dict[str, int]:
        """Families of a segment and how often it was seen there, the most frequent first."""
        rows = self.connection.execute(
            "SELECT family, sum(count) FROM sighting WHERE segment = ?"
            " GROUP BY family ORDER BY 2 DESC, family",
            (number,),
        ).fetchall()
        return {str(family): int(count) for family, count in rows}

    def _segment(self, row: tuple[int, bytes, int, int, bytes, str | None]) -> StoredSegment:
        _, digest, copy, count, packed, family = row
        if not (isinstance(digest, bytes) and isinstance(packed, bytes)):
            raise ValueError("a segment is damaged")
        identifier = f"{digest.hex()}.{copy}" if copy else digest.hex()
        return StoredSegment(identifier, self.lexicon.unpack(packed), family or "", int(count))


class SharedReader:
    """The reader of one file, opened when it is needed and shared by the threads of a process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = 0
        self._lock = threading.RLock()
        self._reader: Reader | None = None

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """The reader, for one thread at a time; all is to be fetched before the block ends.

        Raises:
            InputError: the file is missing, broken, of another kind or too new.
        """
        if self._process != os.getpid():  # never use, and never close, what a fork has copied
            self._process, self._lock, self._reader = os.getpid(), threading.RLock(), None
        with self._lock, explained(self._path):
            try:
                yield self._current()
            except BaseException:
                self._drop()
                raise

    def _current(self) -> Reader:
        there = stamp(self._path)
        recover(self._path)
        if self._reader is None or self._reader.stamp != there:
            self._drop()
            self._reader = Reader(self._path)
        self._reader.refresh()
        return self._reader

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _upgraded(connection: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """A copy in memory with today's tables."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        connection.backup(copy)
        copy.execute("BEGIN")
        upgrade(copy, version)
        copy.execute("COMMIT")
    except BaseException:
        copy.close()
        raise
    return copy
