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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import pairwise

from autogo_onnx.operator_labels import KIN

OTHER = "OTHER"
LONGEST_PIECE = 16
_LEVELS = 3
_FIRST_PRIVATE, _PRIVATE, _FIRST_OF_PLANE_15 = 0xE000, 0x1900, 0xF0000


@dataclass(frozen=True)
class Vocabulary:
    """Symbols, and pieces of two to sixteen symbols by rank.

    Attributes:
        alphabet: tokens in all their forms, sorted, and OTHER first.
        pieces: strings of private-use characters; an earlier one is merged first.
    """

    alphabet: tuple[str, ...]
    pieces: tuple[str, ...]

    @classmethod
    def train(cls, sequences: Iterable[Sequence[str]], size: int) -> Vocabulary:
        """Learn an alphabet and pieces, about `size` of both together, from token sequences.

        The order of the sequences has no influence; equal ones count once per form.
        """
        distinct = sorted({tuple(sequence) for sequence in sequences})
        forms = {tuple(_cut(t, level) for t in s) for s in distinct for level in range(_LEVELS)}
        alphabet = (OTHER, *sorted({token for form in forms for token in form}))
        symbols = {token: _character(n) for n, token in enumerate(alphabet)}
        corpus = sorted("".join(symbols[token] for token in form) for form in forms)
        return cls(alphabet, _learn(corpus, max(size, len(alphabet) + 2)))

    @classmethod
    def load(cls, data: bytes) -> Vocabulary:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are not a vocabulary.
        """
        try:
            content = json.loads(data)
            alphabet = tuple(map(str, content["alphabet"]))
            pieces = tuple("".join(map(_character, piece)) for piece in content["pieces"])
        except (ValueError, KeyError, OverflowError, TypeError) as error:
            raise ValueError(f"not a vocabulary: {error}") from error
        if OTHER not in alphabet:
            raise ValueError(f"not a vocabulary: its alphabet lacks {OTHER}")
        return cls(alphabet, pieces)

    def to_bytes(self) -> bytes:
        """The vocabulary as JSON; equal vocabularies give equal bytes."""
        pieces = [[_number(symbol) for symbol in piece] for piece in self.pieces]
        content = {"alphabet": self.alphabet, "pieces": pieces}
        return json.dumps(content, separators=(",", ":")).encode()

    def forms(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """The sequence in its three forms, one character per token.

        A token that is unknown in a form is written in the next coarser one that is known.
        """
        return tuple(
            "".join(self._symbol(token, level) for token in tokens) for level in range(_LEVELS)
        )

    def has(self, symbols: str) -> bool:
        """Is this string of symbols one of the pieces?"""
        return symbols in self._ranks

    def encode(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """The pieces of a sequence, one character per token.

        The sequence is read in the finest form in which pieces of several tokens cover at least
        half of it; if there is none, in the one in which they cover most.
        """
        best: tuple[str, ...] = ()
        most = -1
        for form in self.forms(tokens):
            parts = self._merge(form)
            covered = sum(len(part) for part in parts if len(part) > 1)
            if 2 * covered >= len(form):
                return parts
            if covered > most:
                best, most = parts, covered
        return best

    def decode(self, pieces: Iterable[str]) -> tuple[str, ...]:
        """The tokens of some pieces, in the form in which they were encoded."""
        return tuple(self.alphabet[_number(symbol)] for piece in pieces for symbol in piece)

    def segment(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """Lengths of the consecutive pieces of a sequence; their sum is its length."""
        return tuple(map(len, self.encode(tokens)))

    def thinned(self, share: float, seed: int) -> Vocabulary:
        """The vocabulary without a random share of its pieces: another segmentation."""
        kept = round(len(self.pieces) * (1 - share))
        chosen = set(random.Random(seed).sample(range(len(self.pieces)), kept))
        return Vocabulary(self.alphabet, tuple(p for n, p in enumerate(self.pieces) if n in chosen))

    @cached_property
    def _ranks(self) -> dict[str, int]:
        return {piece: rank for rank, piece in enumerate(self.pieces)}

    @cached_property
    def _characters(self) -> dict[str, str]:
        return {token: _character(number) for number, token in enumerate(self.alphabet)}

    def _symbol(self, token: str, level: int) -> str:
        for coarser in range(level, _LEVELS):
            if symbol := self._characters.get(_cut(token, coarser)):
                return symbol
        return self._characters[OTHER]

    def _merge(self, symbols: str) -> tuple[str, ...]:
        """Byte-pair encoding: join the neighbours that make the earliest piece, over and over."""
        parts, none = list(symbols), len(self.pieces)
        while True:
            pairs = (a + b for a, b in pairwise(parts))
            best = min((self._ranks.get(pair, none) for pair in pairs), default=none)
            if best == none:
                return tuple(parts)
            parts = _joined(parts, self.pieces[best])


def _cut(token: str, level: int) -> str:
    """The form of a token: 0 whole, 1 without neighbours, 2 the kind of operator alone."""
    if level < 2:
        return token.split("|", 1)[0] if level else token
    kind = token.split(":", 1)[0]
    return KIN.get(kind, kind)


def _joined(parts: Sequence[str], piece: str) -> list[str]:
    """The parts with neighbours that make up `piece` joined, from the left."""
    result: list[str] = []
    for part in parts:
        if result and result[-1] + part == piece:
            result[-1] = piece
        else:
            result.append(part)
    return result


def _learn(corpus: Sequence[str], size: int) -> tuple[str, ...]:
    import sentencepiece

    model = BytesIO()
    # By default it normalizes, splits at scripts and drops long lines and rare symbols.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        hard_vocab_limit=False,
        max_sentencepiece_length=LONGEST_PIECE,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_whitespace=False,
        split_by_number=False,
        max_sentence_length=1 << 20,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    first = 1  # 0 is <unk>
    learned = (processor.id_to_piece(i) for i in range(first, processor.get_piece_size()))
    return tuple(piece for piece in learned if len(piece) > 1)


def _character(number: int) -> str:
    if number < _PRIVATE:
        return chr(_FIRST_PRIVATE + number)
    return chr(_FIRST_OF_PLANE_15 + number - _PRIVATE)


def _number(character: str) -> int:
    code = ord(character)
    if code < _FIRST_OF_PLANE_15:
        return code - _FIRST_PRIVATE
    return code - _FIRST_OF_PLANE_15 + _PRIVATE
