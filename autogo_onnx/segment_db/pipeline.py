"""Mining part by part: each step is done by whichever workers there are and kept as files.

Codes are divided into parts; each part of them becomes networks, and each part of networks, with
the vocabulary learned from all, becomes counts. A part that is there is not made again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import TypeVar

from autogo_onnx.progress import Progress
from autogo_onnx.segment_db import mining
from autogo_onnx.segment_db.families import FAMILIES
from autogo_onnx.segment_db.parts import packed, summed, unpacked
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.segment_db.workers import Workers
from autogo_onnx.work_folder import WorkFolder

PART = 256  # networks in a part
FILES = 256  # open at once
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Settings:
    """What the bytes of a database depend on.

    Attributes:
        families: names, and how many networks of each, at most.
        seed: of the choice of networks, where a family has more.
        vocabulary_size: tokens and pieces, about.
        least_share: of some family, how often a segment occurs per network, at least. Rarer ones
            are accidents of how a few cells are wired, and would make the file many times as large.
    """

    families: tuple[tuple[str, int], ...]
    seed: int = 0
    vocabulary_size: int = 2000
    least_share: float = 0.05


@dataclass(frozen=True)
class Pipeline:
    """What the mining is done with, and its steps."""

    settings: Settings
    workers: Workers
    work: WorkFolder
    progress: Progress

    def run(self) -> mining.Mined:
        """Do what is not yet done.

        Raises:
            InputError: a part cannot be written, or the workers were lost.
        """
        listed = self._choose_codes()
        sizes = [size for _, size in listed]
        codes, networks = _names("codes", len(sizes)), _names("networks", len(sizes))
        self.progress.stage("serialize networks", sum(sizes))
        self._each(networks, sizes, _serialized, lambda n: self.work.load(codes[n]))
        self.progress.stage("learn vocabulary")
        different, learned_from = mining.choose(map(self.work.load, networks))
        vocabulary = self._learn(networks, learned_from)
        sizes = [len(chosen) for chosen in different]
        counts = _names("counts", len(sizes))
        self.progress.stage("cut segments", sum(sizes))
        cut = partial(_cut, vocabulary=vocabulary)
        self._each(counts, sizes, cut, lambda n: (self.work.load(networks[n]), different[n]))
        self.progress.stage("put segments together")
        families: Counter[str] = Counter()
        for (family, _), size in zip(listed, sizes, strict=True):
            families[family] += size
        least = {name: self.settings.least_share * size for name, size in families.items()}
        segments = tuple(mining.segments(self._summed(counts), least))
        return mining.Mined(sum(sizes), Vocabulary.load(vocabulary), segments)

    def _choose_codes(self) -> list[tuple[str, int]]:
        """Write the codes of all networks, a part at a time; family and size of the parts."""
        self.progress.stage("choose networks")
        if known := self.work.get("listed"):
            return [(family, size) for family, size in json.loads(known)]
        listed: list[tuple[str, int]] = []
        for family, codes in _in_parts(self.settings):
            text = json.dumps([family, codes])
            self.work.put(_name("codes", len(listed)), [text.encode()])
            listed.append((family, len(codes)))
            self.progress.advance(len(codes))
        self.work.put("listed", [json.dumps(listed).encode()])
        return listed

    def _each(
        self,
        names: Sequence[str],
        sizes: Sequence[int],
        function: Callable[[_Item], bytes],
        item: Callable[[int], _Item],
    ) -> None:
        """Make those parts that are missing, each from its item."""
        there = set(names).difference(self.work.missing(names))
        missing = [number for number, name in enumerate(names) if name not in there]
        self.progress.advance(sum(sizes) - sum(sizes[number] for number in missing))
        results = self.workers.map(function, map(item, missing))
        for number, result in zip(missing, results, strict=True):
            self.work.put(names[number], [result])
            self.progress.advance(sizes[number])

    def _learn(self, networks: Sequence[str], chosen: mining.Chosen) -> bytes:
        vocabulary = self.work.get("vocabulary")
        if vocabulary is None:
            size = self.settings.vocabulary_size
            learned = mining.learn(lambda n: self.work.load(networks[n]), chosen, size)
            vocabulary = learned.to_bytes()
            self.work.put("vocabulary", [vocabulary])
        return vocabulary

    def _summed(self, counts: Sequence[str]) -> Iterator[bytes]:
        """The lines of all parts as those of one, with a bounded number of open files."""
        while len(counts) > FILES:
            groups = [counts[n : n + FILES] for n in range(0, len(counts), FILES)]
            counts = [f"{group[0]}+" for group in groups]
            for name, group in zip(counts, groups, strict=True):
                self.work.put(name, packed(self._summed(group)))
        return summed(self._lines(name) for name in counts)

    def _lines(self, name: str) -> Iterator[bytes]:
        """The lines of a part, read as they are asked for."""
        with self.work.opened(name) as part:
            yield from unpacked(part)


def _serialized(codes: bytes) -> bytes:
    family, listed = json.loads(codes)
    generate = FAMILIES[family].build
    return mining.serialized((family, generate(code).folded()) for code in listed)


def _cut(item: tuple[bytes, tuple[int, ...]], vocabulary: bytes) -> bytes:
    return mining.cut(*item, _loaded(vocabulary))


@lru_cache(maxsize=1)
def _loaded(vocabulary: bytes) -> Vocabulary:
    return Vocabulary.load(vocabulary)


def _in_parts(settings: Settings) -> Iterator[tuple[str, list[str]]]:
    for family, count in settings.families:
        codes = FAMILIES[family].codes(count, settings.seed)
        while part := list(islice(codes, PART)):
            yield family, part


def _names(kind: str, count: int) -> list[str]:
    return [_name(kind, number) for number in range(count)]


def _name(kind: str, number: int) -> str:
    return f"{kind}-{number:06}"
