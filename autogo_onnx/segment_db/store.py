"""The segment database as a file that is read, and added to when it is the user's own.

The format is described in `schema.py`. Readers never block each other, and a writer keeps them
waiting only while it writes its finished pages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path

from autogo_onnx.errors import InputError
from autogo_onnx.files import check_writable, write_bytes
from autogo_onnx.segment_db import experience
from autogo_onnx.segment_db.connection import check, transaction
from autogo_onnx.segment_db.experience import Experience
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.found import Found
from autogo_onnx.segment_db.information import information
from autogo_onnx.segment_db.migration import rehash
from autogo_onnx.segment_db.reader import SharedReader, StoredSegment
from autogo_onnx.segment_db.segment import Boundary
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.segment_db.writer import Writer

__all__ = ["Store", "StoredSegment", "open_store", "shipped"]

_PAGE = 256


def shipped() -> Path:
    """The database that comes with the package; `autogo-onnx db build` makes it again."""
    return Path(str(files("autogo_onnx.segment_db") / "data" / "segments.db"))


def open_store(path: Path | None = None, *, write: bool = False) -> Store:
    """A database file, the shipped one by default.

    Args:
        path: the file; with `write` and where there is none yet, a copy of the shipped one is made.
        write: allow additions.

    Raises:
        InputError: no such file, another kind of file, a schema that is too new (or too old to be
            written), or additions to the shipped database.
    """
    if path is None and write:
        raise InputError("the shipped segment database is read-only: name a file of your own")
    store = Store(path or shipped(), writable=write)
    if write and not store.path.exists():
        write_bytes(store.path, shipped().read_bytes())
    store.check()
    return store


class Store:
    """A segment database file; `open_store` makes one.

    A connection for reading stays open. It holds no lock between calls.

    Args:
        path: of the file.
        writable: allow additions.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        self.writable = writable
        self._reader = SharedReader(path)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the file for itself."""
        return partial(Store, writable=self.writable), (self.path,)

    def check(self) -> None:
        """Refuse a file that is not a segment database that can be read, and written if asked to.

        Raises:
            InputError: it is not.
        """
        with self._reader.open() as reader:
            reader.vocabulary()
        if self.writable:
            # A journal stands beside the file. SQLite itself would say so at the end only.
            check_writable(self.path.resolve())
            if not os.access(self.path, os.W_OK):
                raise InputError(f"{self.path}: cannot be written: no permission")
            with transaction(self.path) as connection:
                check(connection, self.path)

    def vocabulary(self) -> Vocabulary:
        """The vocabulary that segments networks as those in the database were."""
        with self._reader.open() as reader:
            return reader.vocabulary()

    def everything(self) -> Found[StoredSegment]:
        """All segments, the most frequent first."""
        with self._reader.open() as reader:
            return Found(reader.everything(), self._read)

    def with_boundary(self, n_inputs: int, n_outputs: int) -> Found[StoredSegment]:
        """All segments with so many boundary tensors, the most frequent first."""
        with self._reader.open() as reader:
            return Found(reader.with_boundary(n_inputs, n_outputs), self._read)

    def candidates(self, demand: Demand) -> Found[StoredSegment]:
        """All candidates for a site (see `lookup.py`), the most frequent first."""
        with self._reader.open() as reader:
            return Found(reader.within(demand), self._read)

    def segment(self, identifier: str) -> StoredSegment:
        """The segment of this id, or of the only id that begins so.

        Raises:
            InputError: there is none, or several begin so.
        """
        with self._reader.open() as reader:
            return reader.segments([reader.number(identifier)])[0]

    def boundaries(self, identifier: str) -> tuple[tuple[Boundary, int], ...]:
        """Shapes of inputs and outputs with which a segment was seen, the most frequent first."""
        with self._reader.open() as reader:
            return tuple(reader.boundaries(reader.number(identifier)).items())

    def sightings(self, identifier: str) -> tuple[tuple[str, int], ...]:
        """Families in which a segment was seen, and how often; the most frequent first."""
        with self._reader.open() as reader:
            return tuple(reader.families(reader.number(identifier)).items())

    def info(self) -> dict[str, object]:
        """What the database holds, as names and values for people."""
        with self._reader.open() as reader:
            return {"file": str(self.path), **information(reader)}

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Additions in one transaction: the block ends and all are made, or raises and none is.

        The file's write lock is held from the beginning, so that what the writer reads stays true.

        Raises:
            InputError: opened for reading, or the file cannot be written.
        """
        with self._transaction() as writer:
            rehash(writer.connection)
            yield writer

    def record(self, outcomes: Iterable[Experience]) -> int:
        """Append outcomes of fits, and say how many they were.

        Raises:
            InputError: opened for reading, or the file cannot be written.
        """
        with self._transaction() as writer:
            return experience.insert(writer.connection, writer.lexicon, outcomes)

    def experience(self) -> Iterator[Experience]:
        """All outcomes of fits, in the order in which they were recorded."""
        last = 0
        while True:
            with self._reader.open() as reader:
                page = experience.page(reader.connection, reader.lexicon, last, _PAGE)
            if not page:
                return
            yield from (outcome for _, outcome in page)
            last = page[-1][0]

    @contextmanager
    def _transaction(self) -> Iterator[Writer]:
        if not self.writable:
            raise InputError(f"{self.path}: opened for reading only")
        with transaction(self.path) as connection:
            check(connection, self.path)
            writer = Writer(connection)
            yield writer
            writer.finish()

    def _read(self, numbers: Sequence[int]) -> list[StoredSegment]:
        with self._reader.open() as reader:
            return reader.segments(numbers)
