"""The bytes of a new database file: the same segments give the same bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from hashlib import blake2b

from autogo_onnx.segment_db.mining import Mined
from autogo_onnx.segment_db.schema import create
from autogo_onnx.segment_db.segment import Segment
from autogo_onnx.segment_db.writer import Entry, Writer, hashing, most_frequent_boundaries

_DIGEST_BYTES = 16
# Parts of the header that count writes or name the library's version.
_CHANGE_COUNTER, _VALID_FOR, _LIBRARY_VERSION = slice(24, 28), slice(92, 96), slice(96, 100)


def image(mined: Mined) -> bytes:
    """A database of everything mined; it is one source."""
    with closing(empty()) as connection:
        writer = Writer(connection)
        segments = sorted(mined.segments, key=lambda s: s.id)
        writer.replace_vocabulary(mined.vocabulary)
        source = writer.add_source(_digest(segments), mined.networks)
        for segment in segments:
            sightings = {(source, f): n for f, n in sorted(segment.families.items())}
            boundaries = most_frequent_boundaries(segment)
            writer.add(Entry(segment.hash, segment.graph, sightings, boundaries))
        writer.finish()
        return file_bytes(connection)


def empty() -> sqlite3.Connection:
    """A database in memory without segments."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    create(connection)
    connection.execute("BEGIN")
    writer = Writer(connection)
    writer.set_meta("hashing", hashing())
    writer.set_meta("networks", 0)
    return connection


def file_bytes(connection: sqlite3.Connection) -> bytes:
    """Commit, and give the file that holds the same; equal contents give equal bytes."""
    connection.execute("COMMIT")
    connection.execute("VACUUM")
    data = bytearray(connection.serialize())
    data[_CHANGE_COUNTER] = data[_VALID_FOR] = (1).to_bytes(4, "big")
    data[_LIBRARY_VERSION] = bytes(4)
    return bytes(data)


def _digest(segments: Iterable[Segment]) -> str:
    """Tells one collection of segments, and how often each was seen, from another."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for segment in segments:
        digest.update(f"{segment.id}{sorted(segment.families.items())}".encode())
    return digest.hexdigest()
