"""The segment database as a file that is read, and added to when it is the user's own.

The format is described in `image.py`. A connection lives for one call, so that readers never block
each other and nothing needs to be closed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from autogo_onnx.errors import InputError
from autogo_onnx.files import write_bytes
from autogo_onnx.opgraph import OpGraph, Shape, from_json
from autogo_onnx.segment_db.image import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    insert,
    insert_sightings,
)
from autogo_onnx.segment_db.isomorphism import are_isomorphic
from autogo_onnx.segment_db.mining import find
from autogo_onnx.segment_db.segment import Boundary, Segment
from autogo_onnx.segment_db.vocabulary import Vocabulary

_COLUMNS = """SELECT id, graph, segment.count, (
    SELECT family FROM sighting WHERE segment = id ORDER BY sighting.count DESC, family LIMIT 1
) FROM segment"""


@dataclass(frozen=True)
class StoredSegment:
    """A segment of the database.

    Attributes:
        id: canonical hash.
        graph: its structure, with the shapes seen most often.
        family: where it was seen most often.
        count: how often it was seen in all families.
    """

    id: str
    graph: OpGraph
    family: str
    count: int


def shipped() -> Path:
    """The database that comes with the package; `autogo-onnx db build` makes it again."""
    return Path(str(files("autogo_onnx.segment_db") / "data" / "segments.db"))


def open_store(path: Path | None = None, *, write: bool = False) -> Store:
    """A database file, the shipped one by default.

    Args:
        path: the file; with `write` and where there is none yet, a copy of the shipped one is made.
        write: allow additions.

    Raises:
        InputError: no such file, another kind of file, another schema, or additions to the shipped
            database.
    """
    if path is None and write:
        raise InputError("the shipped segment database is read-only: name a file of your own")
    store = Store(path or shipped(), writable=write)
    if write and not store.path.exists():
        _copy_shipped(store.path)
    store.check()
    return store


@dataclass(frozen=True)
class Store:
    """A database file; see `open_store`."""

    path: Path
    writable: bool = False

    def check(self) -> None:
        """Raise InputError unless the file is a segment database of this version."""
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such segment database; `db build` makes one")
        with self._connection() as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise InputError(f"{self.path}: not a segment database")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.path}: segment database of schema {version}, this program reads"
                f" {SCHEMA_VERSION}; `db build` makes a new one"
            )

    def vocabulary(self) -> Vocabulary:
        """The vocabulary that segments networks as those in the database were."""
        with self._connection() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = 'vocabulary'").fetchone()
            if row is None:
                raise ValueError("it has no vocabulary")
            return Vocabulary.load(row[0])

    def candidates(self, n_inputs: int, n_outputs: int) -> tuple[StoredSegment, ...]:
        """All segments with so many boundary tensors, the most frequent first."""
        condition = "WHERE n_inputs = ? AND n_outputs = ? ORDER BY segment.count DESC, id"
        with self._connection() as connection:
            rows = connection.execute(f"{_COLUMNS} {condition}", (n_inputs, n_outputs))
            return tuple(_segment(row) for row in rows)

    def segment(self, identifier: str) -> StoredSegment:
        """The segment of this id, or of the only id that begins so.

        Raises:
            InputError: there is none, or several begin so.
        """
        condition = "WHERE id = ?1 OR substr(id, 1, length(?1)) = ?1 ORDER BY id != ?1, id LIMIT 2"
        with self._connection() as connection:
            rows = connection.execute(f"{_COLUMNS} {condition}", (identifier,)).fetchall()
            found = [_segment(row) for row in rows]
        if not found:
            raise InputError(f"{self.path}: no segment {identifier!r}")
        if len(found) > 1 and found[0].id != identifier:
            raise InputError(f"{self.path}: several segments begin with {identifier!r}")
        return found[0]

    def boundaries(self, identifier: str) -> tuple[tuple[Boundary, int], ...]:
        """Shapes of inputs and outputs with which a segment was seen, the most frequent first."""
        query = """SELECT inputs, outputs, count FROM boundary WHERE segment = ?
            ORDER BY count DESC, inputs, outputs"""
        with self._connection() as connection:
            rows = connection.execute(query, (identifier,))
            return tuple(((_shapes(i), _shapes(o)), count) for i, o, count in rows)

    def info(self) -> dict[str, object]:
        """What the database holds, as names and values for people."""
        vocabulary = self.vocabulary()
        with self._connection() as connection:
            networks = connection.execute("SELECT value FROM meta WHERE name = 'networks'")
            sizes = connection.execute("SELECT n_ops, count(*) FROM segment GROUP BY n_ops")
            families = connection.execute(
                "SELECT family, count(*) FROM sighting GROUP BY family ORDER BY family"
            )
            by_size = dict(sizes.fetchall())
            return {
                "file": str(self.path),
                "schema": SCHEMA_VERSION,
                "networks": networks.fetchone()[0],
                "segments": sum(by_size.values()),
                "by size": ", ".join(f"{n}: {by_size[n]}" for n in sorted(by_size)),
                "by family": ", ".join(f"{family}: {n}" for family, n in families),
                "tokens": len(vocabulary.alphabet),
                "pieces": len(vocabulary.pieces),
            }

    def add(self, graphs: Iterable[tuple[str, OpGraph]]) -> int:
        """Add the segments of networks, given with their family, and say how many are new.

        They are cut by the vocabulary the database has. Nothing is added when this fails.
        """
        if not self.writable:
            raise InputError(f"{self.path}: opened for reading only")
        networks = list(graphs)
        segments = find(networks, self.vocabulary())
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            new = sum(_add(connection, segment) for segment in segments)
            connection.execute(
                "UPDATE meta SET value = value + ? WHERE name = 'networks'", (len(networks),)
            )
        return new

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call; whatever is wrong with the file becomes one line."""
        mode = "rw" if self.writable else "ro"
        try:
            address = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
            with closing(sqlite3.connect(address, uri=True)) as connection:
                yield connection
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path}: broken or no segment database: {error}") from error


def _copy_shipped(path: Path) -> None:
    write_bytes(path, shipped().read_bytes())


def _add(connection: sqlite3.Connection, segment: Segment) -> bool:
    """Add a segment or what was seen of it; True when its structure is new."""
    same_hash = connection.execute(
        "SELECT id, graph FROM segment WHERE id = ?1 OR id LIKE ?1 || '.%'", (segment.hash,)
    ).fetchall()
    for identifier, text in same_hash:
        if are_isomorphic(segment.graph, from_json(text)):
            connection.execute(
                "UPDATE segment SET count = count + ? WHERE id = ?", (segment.count, identifier)
            )
            insert_sightings(connection, identifier, segment)
            return False
    insert(connection, segment.numbered(len(same_hash)))
    return True


def _segment(row: tuple[str, str, int, str | None]) -> StoredSegment:
    identifier, text, count, family = row
    return StoredSegment(identifier, from_json(text), family or "", count)


def _shapes(text: str) -> tuple[Shape, ...]:
    return tuple(tuple(shape) for shape in json.loads(text))
