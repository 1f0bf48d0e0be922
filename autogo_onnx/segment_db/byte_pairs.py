"""Byte-pair encoding of strings: pieces are learned from a corpus, and strings cut into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from io import BytesIO


def merge(symbols: str, ranks: Mapping[str, int]) -> tuple[str, ...]:
    """Join the two neighbours that make the piece of the lowest rank, leftmost first, to the end.

    Takes n log n steps for n symbols.

    >>> merge("abcab", {"ab": 0, "abc": 1, "ca": 2})
    ('abc', 'ab')
    """
    parts, size = list(symbols), len(symbols)
    before, after = list(range(-1, size - 1)), list(range(1, size + 1))
    pairs = ((ranks.get(symbols[start : start + 2]), start) for start in range(size - 1))
    waiting = [(rank, start) for rank, start in pairs if rank is not None]
    heapify(waiting)
    while waiting:
        rank, left = heappop(waiting)
        right = after[left]
        # What was joined meanwhile makes another piece, or none.
        if not parts[left] or right == size or ranks.get(parts[left] + parts[right]) != rank:
            continue
        parts[left] += parts[right]
        parts[right] = ""
        after[left] = after[right]
        if after[left] < size:
            before[after[left]] = left
        for start in (before[left], left):
            if start >= 0 and after[start] < size:
                joined = ranks.get(parts[start] + parts[after[start]])
                if joined is not None:
                    heappush(waiting, (joined, start))
    return tuple(part for part in parts if part)


def learn(corpus: Sequence[str], size: int, longest: int) -> tuple[str, ...]:
    """Pieces of 2 to `longest` characters in the order in which byte-pair encoding finds them.

    Args:
        corpus: strings of private-use characters; their order matters to sentencepiece.
        size: how many pieces and different characters together; fewer where no more are found.
        longest: largest number of characters in a piece.
    """
    if not any(len(line) > 1 for line in corpus):
        return ()
    import sentencepiece

    model = BytesIO()
    # By default it normalizes, splits at scripts and drops long lines and rare symbols.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        model_type="bpe",
        vocab_size=max(size, len(set().union(*corpus)) + 2),
        hard_vocab_limit=False,
        max_sentencepiece_length=longest,
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
