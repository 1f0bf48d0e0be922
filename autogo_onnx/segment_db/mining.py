"""From networks to frequent segments: serialize, learn pieces, cut, count.

A segment is a run of operators in canonical order (see `runs.py`). Such a run is convex; only
connected ones are kept, with the boundary tensors they have where they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.segment_db.runs import Network, Run, Table, runs
from autogo_onnx.segment_db.segment import Segment, classes
from autogo_onnx.segment_db.segmentation import is_connected
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.serialize import canonical_form, canonical_hash


@dataclass(frozen=True)
class Mined:
    """The vocabulary of a collection of networks, and the segments it finds there, by id."""

    networks: int
    vocabulary: Vocabulary
    segments: tuple[Segment, ...]


def mine(
    graphs: Iterable[tuple[str, OpGraph]], vocabulary_size: int, *, progress: Progress | None = None
) -> Mined:
    """Learn a vocabulary from networks, given with their family, and find its segments in them.

    The order of the networks has no influence. Equal networks of one family count once.
    """
    progress = progress or Silent()
    progress.stage("serialize networks")
    table = Table()
    networks: dict[Network, None] = {}
    for family, graph in graphs:
        networks[table.read(family, canonical_form(graph))] = None
        progress.advance()
    progress.stage("learn vocabulary")
    vocabulary = Vocabulary.train((network.tokens for network in networks), vocabulary_size)
    return Mined(len(networks), vocabulary, _find(networks, table, vocabulary, progress))


def find(
    graphs: Iterable[tuple[str, OpGraph]],
    vocabulary: Vocabulary,
    *,
    progress: Progress | None = None,
) -> tuple[Segment, ...]:
    """The segments of a vocabulary that was learned before, in other networks."""
    table = Table()
    networks = {table.read(family, canonical_form(graph)): None for family, graph in graphs}
    return _find(networks, table, vocabulary, progress or Silent())


def _find(
    networks: Iterable[Network], table: Table, vocabulary: Vocabulary, progress: Progress
) -> tuple[Segment, ...]:
    progress.stage("cut segments")
    counts: Counter[tuple[str, Run]] = Counter()
    for network in networks:
        counts.update((network.family, run) for run in runs(network, vocabulary))
        progress.advance()
    progress.stage("count segments", len(counts))
    return _reduce(counts, table, progress)


def _reduce(
    counts: Counter[tuple[str, Run]], table: Table, progress: Progress
) -> tuple[Segment, ...]:
    """Put together the runs that have one structure, whatever their shapes."""
    forms: dict[Run, tuple[str, str] | None] = {}
    by_hash: dict[str, Counter[tuple[str, str]]] = {}
    for (family, run), count in counts.items():
        if run not in forms:
            forms[run] = _hash_and_form(table.graph(run))
        if form := forms[run]:
            by_hash.setdefault(form[0], Counter())[family, form[1]] += count
        progress.advance()
    segments: list[Segment] = []
    for digest, variants in sorted(by_hash.items()):
        segments += classes(digest, variants)
    return tuple(segments)


def _hash_and_form(graph: OpGraph) -> tuple[str, str] | None:
    """Canonical hash and canonical JSON; None when the run is not connected or leads nowhere."""
    if not graph.outputs or not graph.n_inputs or not is_connected(graph):
        return None
    form = canonical_form(graph)
    return canonical_hash(form), to_json(form)
