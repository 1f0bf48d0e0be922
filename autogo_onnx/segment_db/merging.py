"""Several databases as one: every structure once, every source once.

What two databases have from the same source (the families that both were built from, a network that
was added to both) is counted once. The vocabulary is the first one's, and behind it what the others
know besides. The same files in the same order give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from autogo_onnx.files import write_bytes
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.segment_db import experience
from autogo_onnx.segment_db.extension import union
from autogo_onnx.segment_db.image import empty, file_bytes
from autogo_onnx.segment_db.reader import Reader, SharedReader
from autogo_onnx.segment_db.schema import meta
from autogo_onnx.segment_db.writer import Entry, Writer, hashing
from autogo_onnx.serialize import canonical_hash

_PAGE = 256


def merge(paths: Sequence[Path], out: Path, progress: Progress | None = None) -> None:
    """Write a database that holds all that some others hold.

    Raises:
        InputError: one of them cannot be read, or the result cannot be written.
    """
    progress = progress or Silent()
    with closing(empty()) as connection:
        writer = Writer(connection)
        recorded: set[bytes] = set()
        for path in paths:
            with SharedReader(path).open() as reader:
                progress.stage(f"merge {path.name}", reader.size())
                _merge_vocabulary(writer, reader, is_first=path is paths[0])
                for entry in _entries(writer, reader):
                    if entry.sightings:
                        writer.add(entry)
                    progress.advance()
                _merge_experience(writer, reader, recorded)
        writer.finish()
        write_bytes(out, file_bytes(connection))


def _merge_vocabulary(writer: Writer, reader: Reader, *, is_first: bool) -> None:
    other = reader.vocabulary()
    writer.replace_vocabulary(other if is_first else union(writer.vocabulary(), other))


def _sources(writer: Writer, reader: Reader) -> tuple[dict[int, int], dict[int, int]]:
    """Our numbers of the other database's sources by theirs: of those we had, and of new ones."""
    had, new = {}, {}
    rows = reader.connection.execute(
        "SELECT number, digest, networks FROM source ORDER BY number"
    ).fetchall()
    for number, digest, networks in rows:
        ours = writer.source(digest)
        if ours is None:
            new[number] = writer.add_source(digest, networks)
        else:
            had[number] = ours
    return had, new


def _entries(writer: Writer, reader: Reader) -> Iterator[Entry]:
    """All segments, with what is new of them.

    Another vocabulary may have found a structure in a network that we have without it.
    """
    had, new = _sources(writer, reader)
    is_current = meta(reader.connection, "hashing") == hashing()
    for number, digest, packed in _pages(reader):
        graph = reader.lexicon.unpack(packed)
        seen = reader.connection.execute(
            "SELECT source, family, count FROM sighting WHERE segment = ?", (number,)
        ).fetchall()
        hash_ = digest.hex() if is_current else canonical_hash(graph)
        counted = writer.sources_of(hash_, graph) if had else set()
        sources = {**new, **{theirs: ours for theirs, ours in had.items() if ours not in counted}}
        sightings = {(sources[s], str(f)): int(n) for s, f, n in seen if s in sources}
        # Boundary shapes are not counted by source: as large a share of them is new.
        share = sum(sightings.values()) / max(1, sum(n for _, _, n in seen))
        boundaries = {
            shapes: kept
            for shapes, count in reader.boundaries(number).items()
            if (kept := round(share * count)) > 0
        }
        yield Entry(hash_, graph, sightings, boundaries)


def _pages(reader: Reader) -> Iterator[tuple[int, bytes, bytes]]:
    last = -1
    while page := reader.connection.execute(
        "SELECT number, hash, graph FROM segment WHERE number > ? ORDER BY number LIMIT ?",
        (last, _PAGE),
    ).fetchall():
        yield from page
        last = page[-1][0]


def _merge_experience(writer: Writer, reader: Reader, recorded: set[bytes]) -> None:
    """Append the outcomes that no database before had."""
    last = 0
    while page := experience.page(reader.connection, reader.lexicon, last, _PAGE):
        last = page[-1][0]
        new = {experience.digest(outcome): outcome for _, outcome in page}
        fresh = [outcome for key, outcome in new.items() if key not in recorded]
        recorded.update(new)
        experience.insert(writer.connection, writer.lexicon, fresh)
