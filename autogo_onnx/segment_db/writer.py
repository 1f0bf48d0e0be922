"""Writing a database: how segments become rows, whoever brings them.

A structure is there once: what is known of it is added up. Each sighting belongs to a source, and a
source counts once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segment_db.facts import facts
from autogo_onnx.segment_db.isomorphism import are_isomorphic
from autogo_onnx.segment_db.lookup import fill_shelves
from autogo_onnx.segment_db.packing import Lexicon
from autogo_onnx.segment_db.schema import meta
from autogo_onnx.segment_db.segment import Boundary, Segment
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.serialize import canonical_hash

BOUNDARIES = 4  # kept per segment and source
_DIGEST_BYTES = 16
_SEGMENT_COLUMNS = """hash, copy, count, n_inputs, n_outputs, n_ops, axes, makers, keeps_channels,
    shrink, border, growth, margin, macs, macs_in, macs_out, graph"""
_INSERT_SEGMENT = f"""INSERT INTO segment ({_SEGMENT_COLUMNS})
    VALUES ({", ".join("?" * len(_SEGMENT_COLUMNS.split(",")))})"""


@dataclass(frozen=True)
class Entry:
    """A structure and what is to be added to what the database knows of it.

    Attributes:
        hash: canonical hash.
        graph: with the shapes seen most often.
        sightings: how often it was seen, by the number of the source and the family.
        boundaries: how often it was seen with certain boundary shapes.
    """

    hash: str
    graph: OpGraph
    sightings: Mapping[tuple[int, str], int]
    boundaries: Mapping[Boundary, int]


class Writer:
    """Adds to a database through a connection that has its write lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.lexicon = Lexicon(connection)
        self._shelves: set[str] = set()

    def finish(self) -> None:
        """Bring the index of look-up up to date; to be called before the transaction ends."""
        fill_shelves(self.connection, self._shelves)
        self._shelves.clear()

    def vocabulary(self) -> Vocabulary:
        """The vocabulary as it is now."""
        return read_vocabulary(self.connection)

    def replace_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Put another vocabulary in the place of the old one."""
        self.set_meta("vocabulary", vocabulary.to_bytes())

    def set_meta(self, name: str, value: int | str | bytes) -> None:
        """Set a value that is there once."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def known(self, digests: Iterable[str]) -> set[str]:
        """Those of some digests of networks that are in the database already."""
        return {digest for digest in digests if self.source(digest) is not None}

    def source(self, digest: str) -> int | None:
        """The number of a source; None when the database has not got it."""
        row = self.connection.execute(
            "SELECT number FROM source WHERE digest = ?", (digest,)
        ).fetchone()
        return None if row is None else int(row[0])

    def sources_of(self, digest: str, graph: OpGraph) -> set[int]:
        """The sources that have the structure of this graph, whose hash is given."""
        for number, _, packed in self._of_hash(digest):
            if are_isomorphic(graph, self.lexicon.unpack(packed)):
                query = "SELECT DISTINCT source FROM sighting WHERE segment = ?"
                return {int(source) for (source,) in self.connection.execute(query, (number,))}
        return set()

    def insert(self, segments: Iterable[Segment], networks: Mapping[str, str]) -> int:
        """Add what was found in some networks, and say how many structures are new.

        Args:
            segments: their `families` are digests of networks.
            networks: names by digest.

        Raises:
            InputError: the database has one of the networks already.
        """
        known = sorted(networks[digest] for digest in self.known(networks))
        if known:
            raise InputError(f"{known[0]}: is in the database already")
        sources = {digest: self.add_source(digest, 1) for digest in networks}
        return sum(self._insert(segment, sources, networks) for segment in segments)

    def add_source(self, digest: str, networks: int) -> int:
        """A new source of sightings; gives its number."""
        number = self.connection.execute(
            "INSERT INTO source (digest, networks) VALUES (?, ?)", (digest, networks)
        ).lastrowid
        self.connection.execute(
            "UPDATE meta SET value = value + ? WHERE name = 'networks'", (networks,)
        )
        assert number is not None, "SQLite numbers every row"
        return number

    def add(self, entry: Entry) -> bool:
        """Add a structure, or to what is known of it; True when it is new."""
        same_hash = self._of_hash(entry.hash)
        for number, axes, packed in same_hash:
            if are_isomorphic(entry.graph, self.lexicon.unpack(packed)):
                # Of the one that is there: another model may have the structure with other ranks.
                self._shelves.add(str(axes))
                self.connection.execute(
                    "UPDATE segment SET count = count + ? WHERE number = ?",
                    (sum(entry.sightings.values()), number),
                )
                self._add_sightings(number, entry)
                return False
        self._add_sightings(self._add_structure(entry, len(same_hash)), entry)
        return True

    def _of_hash(self, digest: str) -> list[tuple[int, str, bytes]]:
        return self.connection.execute(
            "SELECT number, axes, graph FROM segment WHERE hash = ?", (bytes.fromhex(digest),)
        ).fetchall()

    def _insert(
        self, segment: Segment, sources: Mapping[str, int], names: Mapping[str, str]
    ) -> bool:
        sightings = {(sources[d], names[d]): n for d, n in sorted(segment.families.items())}
        return self.add(
            Entry(segment.hash, segment.graph, sightings, most_frequent_boundaries(segment))
        )

    def _add_structure(self, entry: Entry, copy: int) -> int:
        graph, known = entry.graph, facts(entry.graph)
        self._shelves.add(known.axes)
        number = self.connection.execute(
            _INSERT_SEGMENT,
            (
                bytes.fromhex(entry.hash),
                copy,
                sum(entry.sightings.values()),
                graph.n_inputs,
                len(graph.outputs),
                len(graph.ops),
                known.axes,
                known.makers,
                int(known.keeps_channels),
                known.shrink,
                known.border,
                known.growth,
                known.margin,
                known.macs,
                known.macs_in,
                known.macs_out,
                self.lexicon.pack(graph),
            ),
        ).lastrowid
        assert number is not None, "SQLite numbers every row"
        return number

    def _add_sightings(self, number: int, entry: Entry) -> None:
        self.connection.executemany(
            "INSERT INTO sighting VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(number, source, family, n) for (source, family), n in entry.sightings.items()],
        )
        pack = self.lexicon.pack_shapes
        self.connection.executemany(
            "INSERT INTO boundary VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(number, pack(i), pack(o), n) for (i, o), n in entry.boundaries.items()],
        )


def most_frequent_boundaries(segment: Segment) -> dict[Boundary, int]:
    """The few boundary shapes that are kept of a segment."""
    return dict(segment.boundaries()[:BOUNDARIES])


def read_vocabulary(connection: sqlite3.Connection) -> Vocabulary:
    """The vocabulary of a database.

    Raises:
        ValueError: it has none.
    """
    data = meta(connection, "vocabulary")
    if not isinstance(data, bytes):
        raise ValueError("it has no vocabulary")
    return Vocabulary.load(data)


@cache
def hashing() -> str:
    """Tells today's canonical hashes from those of another version of the program.

    It is made of the hashes of a few graphs in which everything occurs that a hash depends on.
    """
    conv = Op.make("Conv", (0,), kernel_shape=(3, 3), group=8, pads=(1, 1, 1, 1))
    pool = Op.make("MaxPool", (0,), kernel_shape=(2, 2), strides=(2, 2))
    map_, half = (1, 8, 4, 4), (1, 8, 2, 2)
    rings = [Op("Sum", (i, (i + 1) % 6)) for i in range(6)]
    graphs = (
        OpGraph((map_,), (conv, Op("Relu", (1,)), Op("Add", (2, 0))), (map_,) * 3, (3, 1)),
        OpGraph((map_, half), (pool, Op("Sub", (2, 1)), Op("Sub", (1, 2))), (half,) * 3, (4, 3)),
        OpGraph((map_,) * 6, tuple(rings), (map_,) * 6, tuple(range(6, 12))),
    )
    text = "".join(canonical_hash(graph) for graph in graphs)
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
