"""From networks to frequent segments: serialize, learn pieces, cut, count.

A segment is a run of operators in canonical order (see `runs.py`). Such a run is convex; only
connected ones are kept, with the boundary tensors they have where they stand.

The steps work on bytes (see `parts.py`), each on a part of the networks at a time, so that `build`
can spread them over processes and machines; `mine` and `find` do them all here, in memory. How the
networks are divided has no influence on what is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import pairwise

import numpy as np

from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.segment_db import parts
from autogo_onnx.segment_db.runs import Cutter, Places, Table
from autogo_onnx.segment_db.segment import Segment, classes
from autogo_onnx.segment_db.segmentation import is_connected
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.serialize import canonical_form, canonical_hash

# Networks that a vocabulary is learned from: more change it little and fill the memory.
LEARNED_FROM = 50_000

Graphs = Iterable[tuple[str, OpGraph]]
# For every part, the numbers of some of its networks.
Chosen = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Mined:
    """The vocabulary of a collection of networks, and the segments it finds there, by id."""

    networks: int
    vocabulary: Vocabulary
    segments: tuple[Segment, ...]


def mine(graphs: Graphs, vocabulary_size: int, *, progress: Progress | None = None) -> Mined:
    """Learn a vocabulary from networks, given with their family, and find its segments in them.

    The order of the networks has no influence. Equal networks of one family count once.
    """
    progress = progress or Silent()
    progress.stage("serialize networks")
    part = serialized(_counted(graphs, progress))
    different, learned_from = choose([part])
    progress.stage("learn vocabulary")
    vocabulary = learn((part,).__getitem__, learned_from, vocabulary_size)
    progress.stage("cut segments")
    segments = _found(part, different[0], vocabulary)
    return Mined(len(different[0]), vocabulary, segments)


def find(
    graphs: Graphs, vocabulary: Vocabulary, *, progress: Progress | None = None
) -> tuple[Segment, ...]:
    """The segments of a vocabulary that was learned before, in other networks."""
    progress = progress or Silent()
    progress.stage("serialize networks")
    part = serialized(_counted(graphs, progress))
    progress.stage("cut segments")
    return _found(part, choose([part])[0][0], vocabulary)


def serialized(graphs: Graphs) -> bytes:
    """The networks in canonical order: a part for the next steps."""
    table = Table()
    members = [(family, table.read(canonical_form(graph))) for family, graph in graphs]
    return parts.pack_networks(table, members)


def choose(networks: Iterable[bytes], limit: int = LEARNED_FROM) -> tuple[Chosen, Chosen]:
    """Of some parts, the networks that no earlier one equals, and those to learn from.

    The latter are at most `limit` and chosen by their digests, so that neither the order nor the
    division into parts has an influence.
    """
    digests = [parts.network_digests(part) for part in networks]
    starts = np.cumsum([0, *(len(d) // parts.DIGEST_BYTES for d in digests)])
    every = np.frombuffer(b"".join(digests), f"S{parts.DIGEST_BYTES}")
    _, first = np.unique(every, return_index=True)  # in the order of digests

    def divided(chosen: np.ndarray) -> Chosen:
        bounds = np.searchsorted(chosen, starts)
        return tuple(
            tuple((chosen[low:high] - start).tolist())
            for (low, high), start in zip(pairwise(bounds), starts, strict=False)
        )

    return divided(np.sort(first)), divided(np.sort(first[:limit]))


def learn(load: Callable[[int], bytes], chosen: Chosen, size: int) -> Vocabulary:
    """A vocabulary of about `size` tokens and pieces from chosen networks; `load` gives a part."""
    return Vocabulary.train(_texts(load, chosen), size)


def cut(part: bytes, chosen: Sequence[int], vocabulary: Vocabulary) -> bytes:
    """How often each segment occurs in chosen networks of a part, by form and family."""
    table, members = parts.unpack_networks(part)
    by_family: dict[str, list[Places]] = {}
    for number in chosen:
        family, network = members[number]
        by_family.setdefault(family, []).append(network)
    cutter = Cutter(table, vocabulary)
    counts: Counter[tuple[str, str, str]] = Counter()
    for family, networks in by_family.items():
        for run, count in cutter.runs(networks).items():
            if form := _hash_and_form(table.graph(run)):
                counts[(*form, family)] += count
    return parts.pack_counts(counts)


def segments(lines: Iterable[bytes], least: Mapping[str, float] | None = None) -> Iterator[Segment]:
    """The segments of sorted counts, by id; structures that share a hash are told apart.

    Args:
        lines: see `parts.py`.
        least: a segment is left out unless it occurs so often in one of these families; all are
            kept when there is none.
    """
    for digest, variants in parts.by_hash(lines):
        families: Counter[str] = Counter()
        for (family, _), count in variants.items():
            families[family] += count
        if _is_frequent(families, least):
            yield from (s for s in classes(digest, variants) if _is_frequent(s.families, least))


def _is_frequent(families: Mapping[str, int], least: Mapping[str, float] | None) -> bool:
    return least is None or any(n >= least[family] for family, n in families.items())


def _found(part: bytes, chosen: Sequence[int], vocabulary: Vocabulary) -> tuple[Segment, ...]:
    return tuple(segments(parts.unpacked(BytesIO(cut(part, chosen, vocabulary)))))


def _texts(load: Callable[[int], bytes], chosen: Chosen) -> Iterator[tuple[str, ...]]:
    for index, numbers in enumerate(chosen):
        if numbers:
            table, members = parts.unpack_networks(load(index))
            yield from (table.text(members[number][1]) for number in numbers)


def _counted(graphs: Graphs, progress: Progress) -> Iterator[tuple[str, OpGraph]]:
    for named in graphs:
        yield named
        progress.advance()


@lru_cache(maxsize=1 << 15)
def _hash_and_form(graph: OpGraph) -> tuple[str, str] | None:
    """Canonical hash and canonical JSON; None when the run is not connected or leads nowhere.

    Parts of one family hold much the same runs, and a process cuts one part after another.
    """
    if not graph.outputs or not graph.n_inputs or not is_connected(graph):
        return None
    form = canonical_form(graph)
    return canonical_hash(form, is_form=True), to_json(form)
