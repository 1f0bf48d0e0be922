"""The bytes of a new database file: the same segments give the same bytes.

Format, schema version 1 (`PRAGMA user_version`; `PRAGMA application_id` tells foreign files):

- `meta(name, value)`: `vocabulary` (see `vocabulary.py`) and `networks`, how many were mined.
- `segment(id, n_inputs, n_outputs, n_ops, count, graph)`: one row per structure; `id` is the
  canonical hash, `graph` the JSON of `opgraph.to_json` with the shapes seen most often.
- `sighting(segment, family, count)`: where it was seen and how often.
- `boundary(segment, inputs, outputs, count)`: its most frequent boundary shapes, as JSON lists.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from autogo_onnx.opgraph import Shape, to_json
from autogo_onnx.segment_db.mining import Mined
from autogo_onnx.segment_db.segment import Segment

APPLICATION_ID = 0x41474F58  # "AGOX"
SCHEMA_VERSION = 1
BOUNDARIES = 4  # kept per segment
_PAGE_BYTES = 4096
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE segment (id TEXT PRIMARY KEY, n_inputs INTEGER NOT NULL, n_outputs INTEGER NOT NULL,
    n_ops INTEGER NOT NULL, count INTEGER NOT NULL, graph TEXT NOT NULL);
CREATE TABLE sighting (segment TEXT NOT NULL, family TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (segment, family)) WITHOUT ROWID;
CREATE TABLE boundary (segment TEXT NOT NULL, inputs TEXT NOT NULL, outputs TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (segment, inputs, outputs)) WITHOUT ROWID;
CREATE INDEX segment_by_boundary ON segment (n_inputs, n_outputs, count DESC, id);
"""
# Parts of the header that count writes or name the library's version.
_CHANGE_COUNTER, _VALID_FOR, _LIBRARY_VERSION = slice(24, 28), slice(92, 96), slice(96, 100)


def image(mined: Mined) -> bytes:
    """A database of everything mined."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.executescript(_SCHEMA)
        meta = {"networks": mined.networks, "vocabulary": mined.vocabulary.to_bytes()}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))
        for segment in sorted(mined.segments, key=lambda s: s.id):
            insert(connection, segment)
        connection.execute("VACUUM")
        data = bytearray(connection.serialize())
    data[_CHANGE_COUNTER] = data[_VALID_FOR] = (1).to_bytes(4, "big")
    data[_LIBRARY_VERSION] = bytes(4)
    return bytes(data)


def insert(connection: sqlite3.Connection, segment: Segment) -> None:
    """Add the rows of a segment that the database does not have."""
    graph = segment.graph
    row = (segment.id, graph.n_inputs, len(graph.outputs), len(graph.ops), segment.count)
    connection.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)", (*row, to_json(graph)))
    insert_sightings(connection, segment.id, segment)


def insert_sightings(connection: sqlite3.Connection, identifier: str, segment: Segment) -> None:
    """Add where a segment was seen to what the database knows of the segment `identifier`."""
    connection.executemany(
        "INSERT INTO sighting VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(identifier, family, count) for family, count in sorted(segment.families.items())],
    )
    connection.executemany(
        "INSERT INTO boundary VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [
            (identifier, _compact(inputs), _compact(outputs), count)
            for (inputs, outputs), count in segment.boundaries()[:BOUNDARIES]
        ],
    )


def _compact(shapes: tuple[Shape, ...]) -> str:
    return json.dumps(shapes, separators=(",", ":"))
