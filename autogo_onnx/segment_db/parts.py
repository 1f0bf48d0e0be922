"""What the steps of mining hand on, as bytes, so that they can go to other processes and to disk.

- *Networks*: the number of networks (4 bytes, big-endian), a digest of each (16 bytes; networks of
  a family are equal when their digests are), and zlib-packed JSON: `operators`, `tokens` and
  `places` as in `runs.Table`, and `networks`, each a family and numbers of places.
- *Counts*: gzip-packed lines `hash TAB form TAB family TAB count`, sorted. The hash is canonical,
  the form JSON of `opgraph.to_json`, the family JSON too.
"""

from __future__ import annotations

import gzip
import heapq
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from typing import Any, BinaryIO

from autogo_onnx.segment_db.runs import Numbered, Operator, Place, Places, Table

DIGEST_BYTES = 16
_LENGTH_BYTES = 4
_FASTEST = 1
_GZIP = 31  # zlib's word for this container, with the largest window

Members = list[tuple[str, Places]]


def pack_networks(table: Table, members: Members) -> bytes:
    """Networks of a table, each with its family."""
    operators = [_listed(operator) for operator in table.operators.values]
    tokens = table.tokens.values
    content = {
        "operators": operators,
        "tokens": tokens,
        "places": table.places.values,
        "networks": members,
    }
    parts = [
        _digest([json.dumps([operators[p.operator], tokens[p.token], p.reach]).encode()])
        for p in table.places.values
    ]
    digests = [
        _digest([json.dumps(family).encode(), *(parts[number] for number in network)])
        for family, network in members
    ]
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), _FASTEST)
    return b"".join((len(members).to_bytes(_LENGTH_BYTES, "big"), *digests, packed))


def network_digests(part: bytes) -> bytes:
    """The digests of the networks, one after another."""
    return part[_LENGTH_BYTES : _end_of_digests(part)]


def unpack_networks(part: bytes) -> tuple[Table, Members]:
    """What `pack_networks` packed."""
    content = json.loads(zlib.decompress(part[_end_of_digests(part) :]))
    table = Table()
    table.operators = Numbered(map(_operator, content["operators"]))
    table.tokens = Numbered(content["tokens"])
    table.places = Numbered(Place(*place) for place in content["places"])
    return table, [(family, tuple(network)) for family, network in content["networks"]]


def pack_counts(counts: Mapping[tuple[str, str, str], int]) -> bytes:
    """How often each (hash, form, family) occurs."""
    lines = (
        f"{digest}\t{form}\t{json.dumps(family)}\t{count}\n".encode()
        for (digest, form, family), count in counts.items()
    )
    return b"".join(packed(sorted(lines)))


def packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines as the bytes of a gzip file, piece by piece."""
    packer = zlib.compressobj(_FASTEST, wbits=_GZIP)
    for line in lines:
        if piece := packer.compress(line):
            yield piece
    yield packer.flush()


def unpacked(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a gzip file, read as they are asked for."""
    with gzip.GzipFile(fileobj=file) as unpacker:
        yield from unpacker


def summed(parts: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """The lines of several unpacked counts as those of one: sorted, equal forms added up."""
    for key, lines in groupby(heapq.merge(*parts), key=lambda line: line.rpartition(b"\t")[0]):
        yield b"%s\t%d\n" % (key, sum(int(line.rpartition(b"\t")[2]) for line in lines))


def by_hash(lines: Iterable[bytes]) -> Iterator[tuple[str, Counter[tuple[str, str]]]]:
    """For every hash, ascending, how often each (family, form) occurs."""
    split = (line.decode().split("\t") for line in lines)
    for digest, group in groupby(split, key=itemgetter(0)):
        counts = {(json.loads(family), form): int(count) for _, form, family, count in group}
        yield digest, Counter(counts)


def _listed(operator: Operator) -> list[Any]:
    return [operator.kind, dict(operator.attributes), *operator[2:]]


def _operator(listed: Sequence[Any]) -> Operator:
    kind, attributes, distances, operands, shape = listed
    values = ((k, tuple(v) if isinstance(v, list) else v) for k, v in attributes.items())
    shapes = tuple(map(tuple, operands))
    return Operator(kind, tuple(values), tuple(distances), shapes, tuple(shape))


def _end_of_digests(part: bytes) -> int:
    return _LENGTH_BYTES + DIGEST_BYTES * int.from_bytes(part[:_LENGTH_BYTES], "big")


def _digest(pieces: Iterable[bytes]) -> bytes:
    digest = blake2b(digest_size=DIGEST_BYTES)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
