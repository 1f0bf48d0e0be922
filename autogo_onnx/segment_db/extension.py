"""A vocabulary with more: what other networks repeat, or what another vocabulary knows.

New symbols and pieces stand behind the old ones. Pieces are learned from the new networks as the
old vocabulary cuts them, so that all the old merges still come first: a network that has none of
the new pieces is cut as before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from autogo_onnx.segment_db.byte_pairs import learn, merge
from autogo_onnx.segment_db.symbols import KINDS, LEVELS, character, form, number
from autogo_onnx.segment_db.vocabulary import LONGEST_PIECE, Vocabulary

MOST_PIECES = 1000
# What occurs once is no pattern.
LEAST_COUNT = 2


def extend(vocabulary: Vocabulary, sequences: Iterable[Sequence[str]]) -> Vocabulary:
    """The vocabulary with the kinds, tokens and runs that occur at least twice in the sequences.

    The order of the sequences has no influence. Equal ones do count, as repetitions. At most 1000
    pieces are added.
    """
    ordered = sorted(tuple(sequence) for sequence in sequences)
    larger = Vocabulary(vocabulary.alphabet + _new_symbols(vocabulary, ordered), vocabulary.pieces)
    forms = zip(*map(larger.forms, ordered), strict=True)
    lines = [[merge(line, larger.ranks) for line in form_] for form_ in forms]
    return Vocabulary(larger.alphabet, larger.pieces + tuple(_new_pieces(larger, lines)))


def union(one: Vocabulary, other: Vocabulary) -> Vocabulary:
    """The first vocabulary, and behind it what the second has and the first lacks.

    The second may be an extension of the first, or of what the first is an extension of: two
    extensions of one vocabulary are joined without loss.
    """
    known = set(one.alphabet)
    alphabet = (*one.alphabet, *(token for token in other.alphabet if token not in known))
    place = {token: character(n) for n, token in enumerate(alphabet)}
    renamed = {ord(character(n)): place[token] for n, token in enumerate(other.alphabet)}
    pieces = (piece.translate(renamed) for piece in other.pieces)
    return Vocabulary(alphabet, tuple(dict.fromkeys((*one.pieces, *pieces))))


def _new_symbols(vocabulary: Vocabulary, sequences: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Forms of tokens that the alphabet lacks; kinds always, finer forms when they repeat."""
    counts = Counter(token for tokens in sequences for token in tokens)
    found: Counter[str] = Counter()
    for token, count in counts.items():
        for level in LEVELS:
            found[form(token, level)] += count
    kinds = {form(token, KINDS) for token in counts}
    known = set(vocabulary.alphabet)
    repeated = (text for text, count in found.items() if count >= LEAST_COUNT or text in kinds)
    return tuple(sorted(text for text in repeated if text not in known))


def _new_pieces(vocabulary: Vocabulary, forms: Sequence[Sequence[tuple[str, ...]]]) -> list[str]:
    """Joined pieces that occur at least twice, in the order in which they are learned.

    Every part of a line becomes one character for sentencepiece, which cannot start from pieces.

    Args:
        vocabulary: what the lines are cut by.
        forms: for every form, the lines in parts.
    """
    parts = sorted({part for lines in forms for line in lines for part in line})
    place = {part: character(n) for n, part in enumerate(parts)}
    corpora = [["".join(place[part] for part in line) for line in lines] for lines in forms]
    corpus = sorted(line for lines in corpora for line in lines)
    found: dict[str, None] = {}
    for joined in learn(corpus, len(parts) + MOST_PIECES, LONGEST_PIECE):
        piece = "".join(parts[number(symbol)] for symbol in joined)
        # The same place may read alike in several forms.
        occurs = max(sum(line.count(joined) for line in lines) for lines in corpora)
        if occurs >= LEAST_COUNT and len(piece) <= LONGEST_PIECE and not vocabulary.has(piece):
            found[piece] = None
    return list(found)
