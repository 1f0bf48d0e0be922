"""What was seen of one structure, in all its shapes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TypeVar

from autogo_onnx.opgraph import OpGraph, Shape, from_json
from autogo_onnx.segment_db.isomorphism import are_isomorphic

_Key = TypeVar("_Key", str, "Boundary")
Boundary = tuple[tuple[Shape, ...], tuple[Shape, ...]]


@dataclass(frozen=True)
class Segment:
    """What was seen of one structure.

    Attributes:
        hash: canonical hash.
        number: tells apart structures that share a hash; nearly always 0.
        families: how often it occurs, by family.
        variants: how often it occurs with certain shapes throughout; graphs as JSON.
    """

    hash: str
    number: int = 0
    families: Counter[str] = field(default_factory=Counter)
    variants: Counter[str] = field(default_factory=Counter)

    @property
    def id(self) -> str:
        """Hash and, where it is needed, number."""
        return f"{self.hash}.{self.number}" if self.number else self.hash

    @property
    def count(self) -> int:
        """How often it occurs."""
        return self.families.total()

    def numbered(self, number: int) -> Segment:
        """The same under another number."""
        return replace(self, number=number)

    @property
    def graph(self) -> OpGraph:
        """The segment with the shapes it has most often."""
        return from_json(_by_frequency(self.variants)[0][0])

    def boundaries(self) -> list[tuple[Boundary, int]]:
        """Shapes of inputs and outputs, most frequent first."""
        counts: Counter[Boundary] = Counter()
        for text, count in self.variants.items():
            graph = from_json(text)
            counts[graph.input_shapes, graph.output_shapes] += count
        return _by_frequency(counts)


def classes(digest: str, variants: Counter[tuple[str, str]]) -> list[Segment]:
    """Segments of one hash, split should they not be isomorphic after all."""
    found: list[tuple[OpGraph, Segment]] = []
    for (family, text), count in sorted(variants.items()):
        graph = from_json(text)
        segment = next((s for other, s in found if are_isomorphic(graph, other)), None)
        if segment is None:
            segment = Segment(digest, len(found))
            found.append((graph, segment))
        segment.families[family] += count
        segment.variants[text] += count
    return [segment for _, segment in found]


def _by_frequency(counts: Counter[_Key]) -> list[tuple[_Key, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
