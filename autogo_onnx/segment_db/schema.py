"""The tables of a database file, and what is in them.

Format, schema version 2 (`PRAGMA user_version`; `PRAGMA application_id` tells foreign files):

- `meta(name, value)`: `networks`, how many were mined; `vocabulary` (see `vocabulary.py`);
  `hashing`, which tells whether today's canonical hashes are those of the file.
- `operator(number, kind, arity, attributes)` and `shape(number, axes)`: every distinct operator and
  shape once, as JSON, for the packed graphs (see `packing.py`).
- `segment(number, hash, copy, count, ..., graph)`: one row per structure; `copy` tells apart
  structures that share a canonical hash, `graph` has the shapes seen most often, the other columns
  are the facts that look-up goes by (see `facts.py`).
- `shelf(axes, makers, profiles, segments)`: those facts once more, column by column, of all
  segments with so many axes at the boundary: the index of look-up (see `lookup.py`).
- `source(number, digest, networks)`: what was mined in one go and counts once however often it is
  added or merged: the families of a build, or one network of the user's.
- `sighting(segment, source, family, count)`: where a segment was seen and how often.
- `boundary(segment, inputs, outputs, count)`: its most frequent boundary shapes, as packed numbers.
- `experience(...)`: outcomes of fits (see `experience.py`).
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x41474F58  # "AGOX"
SCHEMA_VERSION = 2
_PAGE_BYTES = 4096
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE operator (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, arity INTEGER NOT NULL,
    attributes TEXT NOT NULL);
CREATE TABLE shape (number INTEGER PRIMARY KEY, axes TEXT NOT NULL);
CREATE TABLE segment (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, copy INTEGER NOT NULL,
    count INTEGER NOT NULL, n_inputs INTEGER NOT NULL, n_outputs INTEGER NOT NULL,
    n_ops INTEGER NOT NULL, axes TEXT NOT NULL, makers TEXT NOT NULL,
    keeps_channels INTEGER NOT NULL, shrink INTEGER NOT NULL, border INTEGER NOT NULL,
    growth INTEGER NOT NULL, margin INTEGER NOT NULL, macs INTEGER NOT NULL,
    macs_in REAL NOT NULL, macs_out REAL NOT NULL, graph BLOB NOT NULL);
CREATE TABLE shelf (axes TEXT PRIMARY KEY, makers TEXT NOT NULL, profiles BLOB NOT NULL,
    segments BLOB NOT NULL);
CREATE TABLE source (number INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE,
    networks INTEGER NOT NULL);
CREATE TABLE sighting (segment INTEGER NOT NULL, source INTEGER NOT NULL, family TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (segment, source, family)) WITHOUT ROWID;
CREATE TABLE boundary (segment INTEGER NOT NULL, inputs BLOB NOT NULL, outputs BLOB NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (segment, inputs, outputs)) WITHOUT ROWID;
CREATE TABLE experience (number INTEGER PRIMARY KEY, site BLOB NOT NULL, candidate BLOB NOT NULL,
    columns TEXT NOT NULL, features BLOB NOT NULL, nmse REAL NOT NULL, score REAL,
    macs_delta INTEGER NOT NULL, latency_delta_ms REAL, target TEXT NOT NULL,
    versions TEXT NOT NULL);
CREATE UNIQUE INDEX segment_by_hash ON segment (hash, copy);
CREATE INDEX segment_by_count ON segment (n_inputs, n_outputs, count DESC, number);
CREATE INDEX segment_by_axes ON segment (axes);
"""


def meta(connection: sqlite3.Connection, name: str) -> object:
    """A value of the table `meta`; None where there is none."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def create(connection: sqlite3.Connection) -> None:
    """Make the empty tables in a new file, or within a transaction that has emptied an old one."""
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    # Not `executescript`, which would end the transaction.
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            connection.execute(statement)
