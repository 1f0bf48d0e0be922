"""Brings a file up to date: the tables of an older schema, the hashes of an older program.

Schema version 1 held a segment as `segment(id, n_inputs, n_outputs, n_ops, count, graph)`: `id` the
hash, or hash and number with a point between, `graph` as JSON. It knew no sources and no
experience; what it holds becomes one source.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

from autogo_onnx.opgraph import Shape, from_json
from autogo_onnx.segment_db.connection import (
    check,
    connect,
    explained,
    schema_version,
    stamp,
    transaction,
)
from autogo_onnx.segment_db.isomorphism import are_isomorphic
from autogo_onnx.segment_db.lookup import fill_shelves
from autogo_onnx.segment_db.packing import Lexicon
from autogo_onnx.segment_db.schema import SCHEMA_VERSION, create, meta
from autogo_onnx.segment_db.segment import Boundary
from autogo_onnx.segment_db.writer import Entry, Writer, hashing
from autogo_onnx.serialize import canonical_hash

_DIGEST_BYTES = 16


def migrate(path: Path) -> tuple[int, int]:
    """Bring a file up to date, or change nothing; gives its schema before, and now.

    Raises:
        InputError: it is no segment database, is broken, newer, or cannot be written.
    """
    stamp(path)
    with transaction(path) as connection:
        version = schema_version(connection, path)
        if version > SCHEMA_VERSION:
            check(connection, path)
        upgrade(connection, version)
        rehash(connection)
    if version != SCHEMA_VERSION:
        with explained(path), closing(connect(path, "rw")) as connection:
            connection.execute("VACUUM")
    return version, SCHEMA_VERSION


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Turn the tables of a version into today's, one version after the other."""
    for step in range(version, SCHEMA_VERSION):
        _STEPS[step](connection)


def rehash(connection: sqlite3.Connection) -> None:
    """Give every structure today's canonical hash, where the file has those of another program.

    Structures that today's hash and the arbiter find to be one become one.
    """
    if meta(connection, "hashing") == hashing():
        return
    lexicon = Lexicon(connection)
    rows = connection.execute("SELECT number, graph FROM segment ORDER BY number").fetchall()
    # No old hash may be in the way of a new one.
    connection.execute("UPDATE segment SET hash = x'', copy = number")
    kept: dict[str, list[tuple[int, bytes]]] = {}
    for number, packed in rows:
        graph = lexicon.unpack(packed)
        digest = canonical_hash(graph)
        alike = kept.setdefault(digest, [])
        twin = next((n for n, p in alike if are_isomorphic(graph, lexicon.unpack(p))), None)
        if twin is not None:
            _join(connection, number, twin)
            continue
        connection.execute(
            "UPDATE segment SET hash = ?, copy = ? WHERE number = ?",
            (bytes.fromhex(digest), len(alike), number),
        )
        alike.append((number, packed))
    shelves = connection.execute("SELECT DISTINCT axes FROM segment").fetchall()
    fill_shelves(connection, {str(axes) for (axes,) in shelves})
    Writer(connection).set_meta("hashing", hashing())


def _join(connection: sqlite3.Connection, number: int, twin: int) -> None:
    """Add what is known of one structure to another, and drop the one."""
    connection.execute(
        "UPDATE segment SET count = count + (SELECT count FROM segment WHERE number = ?)"
        " WHERE number = ?",
        (number, twin),
    )
    for table, columns in (("sighting", "source, family"), ("boundary", "inputs, outputs")):
        connection.execute(
            f"INSERT INTO {table} SELECT ?, {columns}, count FROM {table} WHERE segment = ?"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (twin, number),
        )
        connection.execute(f"DELETE FROM {table} WHERE segment = ?", (number,))
    connection.execute("DELETE FROM segment WHERE number = ?", (number,))


def _from_1(connection: sqlite3.Connection) -> None:
    """Schema 1 to 2. Hashes stay as they are: `rehash` comes after."""
    values = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    segments = connection.execute("SELECT id, graph FROM segment ORDER BY id").fetchall()
    sightings = connection.execute("SELECT * FROM sighting ORDER BY 1, 2").fetchall()
    boundaries = connection.execute(
        "SELECT * FROM boundary ORDER BY segment, count DESC, inputs, outputs"
    ).fetchall()
    for table in ("meta", "segment", "sighting", "boundary"):
        connection.execute(f"DROP TABLE {table}")
    create(connection)
    writer = Writer(connection)
    writer.set_meta("vocabulary", values["vocabulary"])
    writer.set_meta("networks", 0)
    digest = blake2b(repr(sightings).encode(), digest_size=_DIGEST_BYTES).hexdigest()
    source = writer.add_source(digest, int(values["networks"]))
    seen: dict[str, dict[tuple[int, str], int]] = {}
    for identifier, family, count in sightings:
        seen.setdefault(identifier, {})[source, str(family)] = int(count)
    shapes: dict[str, dict[Boundary, int]] = {}
    for identifier, inputs, outputs, count in boundaries:
        shapes.setdefault(identifier, {})[_shapes(inputs), _shapes(outputs)] = int(count)
    for identifier, text in segments:
        digest = identifier.partition(".")[0]
        entry = Entry(digest, from_json(text), seen[identifier], shapes.get(identifier, {}))
        writer.add(entry)
    writer.finish()


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1}


def _shapes(text: str) -> tuple[Shape, ...]:
    return tuple(tuple(map(int, shape)) for shape in json.loads(text))
