"""The closed alphabet of tokens and the byte-pair pieces that occur often in networks.

A token is known in three forms, each coarser than the one before: with its neighbours, with its own
properties, and by its kind alone, where all activations are one kind. What no form covers is OTHER.
One symbol is one private-use character, and sentencepiece learns the pieces from every network in
all three forms, so that a network unlike the mined ones still falls into pieces, only by coarser
likeness.

A vocabulary is stored as UTF-8 JSON: `alphabet` lists the symbols, `pieces` the multi-symbol pieces
in the order in which they were learned, as lists of positions in the alphabet.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from autogo_onnx.segment_db.byte_pairs import learn, merge
from autogo_onnx.segment_db.symbols import KINDS, LEVELS, character, form, number

OTHER = "OTHER"
LONGEST_PIECE = 16
# Tokens of many families would take all the room, and pieces are what cuts networks. With a half
# less of the real networks falls into known segments; with an eighth it is the same.
_ALPHABET_SHARE = 4


@dataclass(frozen=True)
class Vocabulary:
    """Symbols, and pieces of two to sixteen symbols by rank.

    Attributes:
        alphabet: tokens in all their forms, and OTHER. Those of one training are sorted; what
            was appended later stands behind.
        pieces: strings of private-use characters; an earlier one is merged first.
    """

    alphabet: tuple[str, ...]
    pieces: tuple[str, ...]

    @classmethod
    def train(cls, sequences: Iterable[Sequence[str]], size: int) -> Vocabulary:
        """Learn an alphabet and pieces, about `size` of both together, from token sequences.

        The alphabet takes at most a quarter: every kind, then the most frequent tokens. Rarer ones
        are written in their next coarser form. The order of the sequences has no influence; equal
        ones count once per form. Two to four bytes are held per token of a distinct sequence.
        """
        seen: dict[str, str] = {}
        distinct = {"".join(_characters_of(sequence, seen)) for sequence in sequences}
        counts: Counter[str] = Counter()
        for line in distinct:
            counts.update(line)
        alphabet = _alphabet(
            {token: counts[symbol] for token, symbol in seen.items()}, size // _ALPHABET_SHARE
        )
        found = cls(alphabet, ())
        tables = (
            {ord(symbol): found.symbols(token)[level] for token, symbol in seen.items()}
            for level in LEVELS
        )
        corpus = sorted({line.translate(table) for table in tables for line in distinct})
        return cls(alphabet, learn(corpus, max(size, len(alphabet) + 2), LONGEST_PIECE))

    @classmethod
    def load(cls, data: bytes) -> Vocabulary:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are not a vocabulary.
        """
        try:
            content = json.loads(data)
            alphabet = tuple(map(str, content["alphabet"]))
            characters = {n: character(n) for n in range(len(alphabet))}
            pieces = tuple("".join(characters[n] for n in piece) for piece in content["pieces"])
        except (ValueError, LookupError, OverflowError, TypeError) as error:
            raise ValueError(f"not a vocabulary: {error}") from error
        if OTHER not in alphabet:
            raise ValueError(f"not a vocabulary: its alphabet lacks {OTHER}")
        return cls(alphabet, pieces)

    def to_bytes(self) -> bytes:
        """The vocabulary as JSON; equal vocabularies give equal bytes."""
        pieces = [[number(symbol) for symbol in piece] for piece in self.pieces]
        content = {"alphabet": self.alphabet, "pieces": pieces}
        return json.dumps(content, separators=(",", ":")).encode()

    def forms(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """The sequence in its three forms, one character per token.

        A token that is unknown in a form is written in the next coarser one that is known.
        """
        written = [self.symbols(token) for token in tokens]
        return tuple("".join(symbols[level] for symbols in written) for level in LEVELS)

    def symbols(self, token: str) -> tuple[str, ...]:
        """The characters of one token, by form."""
        known = self._written.get(token)
        if known is None:
            known = self._written[token] = tuple(self._symbol(token, level) for level in LEVELS)
        return known

    def has(self, symbols: str) -> bool:
        """Is this string of symbols one of the pieces?"""
        return symbols in self.ranks

    def encode(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """The pieces of a sequence, one character per token, all of one form.

        The sequence is read in the finest form in which pieces of several tokens cover at least
        half of it; if there is none, in the one in which they cover most.
        """
        return self._encode(self.forms(tokens))

    def decode(self, pieces: Iterable[str]) -> tuple[str, ...]:
        """The tokens of some pieces, in the form in which they were encoded."""
        return tuple(self.alphabet[number(symbol)] for piece in pieces for symbol in piece)

    def segment(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """Lengths of the consecutive pieces of a sequence; their sum is its length.

        Where `encode` leaves tokens alone, these are read once more in every form, the finest
        first: a network is seldom like the mined ones in all its parts to the same degree.
        """
        forms = self.forms(tokens)
        lengths = [len(piece) for piece in self._encode(forms)]
        for written in forms:
            lengths = self._joined(written, lengths)
        return tuple(lengths)

    def thinned(self, share: float, seed: int) -> Vocabulary:
        """The vocabulary without a random share of its pieces: another segmentation."""
        kept = round(len(self.pieces) * (1 - share))
        chosen = set(random.Random(seed).sample(range(len(self.pieces)), kept))
        return Vocabulary(self.alphabet, tuple(p for n, p in enumerate(self.pieces) if n in chosen))

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Every piece with its place in the order of learning."""
        return {piece: rank for rank, piece in enumerate(self.pieces)}

    @cached_property
    def _characters(self) -> dict[str, str]:
        return {token: character(n) for n, token in enumerate(self.alphabet)}

    @cached_property
    def _written(self) -> dict[str, tuple[str, ...]]:
        """What `symbols` found before; networks repeat their tokens."""
        return {}

    def _symbol(self, token: str, level: int) -> str:
        for coarser in LEVELS[level:]:
            if symbol := self._characters.get(form(token, coarser)):
                return symbol
        return self._characters[OTHER]

    def _encode(self, forms: Iterable[str]) -> tuple[str, ...]:
        best: tuple[str, ...] = ()
        most = -1
        for written in forms:
            parts = merge(written, self.ranks)
            covered = sum(len(part) for part in parts if len(part) > 1)
            if 2 * covered >= len(written):
                return parts
            if covered > most:
                best, most = parts, covered
        return best

    def _joined(self, written: str, lengths: Sequence[int]) -> list[int]:
        """The lengths with tokens that stood alone, side by side, merged in another form."""
        result: list[int] = []
        start = alone = 0
        for length in (*lengths, 0):
            if length == 1:
                alone += 1
                continue
            rest = written[start : start + alone]
            pieces = merge(rest, self.ranks) if alone > 1 else rest
            result += (len(piece) for piece in pieces)
            result += [length] * (length > 0)
            start, alone = start + alone + length, 0
        return result


def _characters_of(tokens: Iterable[str], seen: dict[str, str]) -> Iterable[str]:
    """The characters of tokens, numbered in the order in which they are first seen."""
    for token in tokens:
        symbol = seen.get(token)
        if symbol is None:
            symbol = seen[token] = character(len(seen))
        yield symbol


def _alphabet(counts: dict[str, int], size: int) -> tuple[str, ...]:
    """OTHER, all kinds and the most frequent finer forms, about `size` together; sorted."""
    kinds = {form(token, KINDS) for token in counts}
    finer: Counter[str] = Counter()
    for token, count in counts.items():
        for text in {form(token, level) for level in LEVELS[:KINDS]}:
            finer[text] += count
    ranked = sorted(finer, key=lambda text: (-finer[text], text))
    room = max(0, size - 1 - len(kinds))
    return (OTHER, *sorted({*kinds, *ranked[:room]}))
