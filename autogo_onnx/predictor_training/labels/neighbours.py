"""Which networks of a family differ at one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

Neighbours = tuple[tuple[int, ...], ...]
"""Per network of a list, the others that differ from it at one place, ascending."""


def neighbours_by_edits(
    codes: Sequence[str],
    network: Callable[[str], str],
    edits: Callable[[str], Iterable[str]],
) -> Neighbours:
    """The neighbours where all edits of a code can be listed.

    Two networks are neighbours when an edit of one's code makes the other, either way round.

    Args:
        codes: one per network.
        network: a text that is the same for codes of the same network.
        edits: the codes that another choice at one place makes of a code.

    >>> digits = lambda code: [code[:-1] + last for last in "01"]
    >>> neighbours_by_edits(["00", "01", "10"], str, digits)
    ((1,), (0,), ())
    """
    number = {network(code): index for index, code in enumerate(codes)}
    found: list[set[int]] = [set() for _ in codes]
    for index, code in enumerate(codes):
        for edited in edits(code):
            if (other := number.get(network(edited), index)) != index:
                found[index].add(other)
                found[other].add(index)
    return tuple(tuple(sorted(near)) for near in found)


def differences(one: Sequence[object], other: Sequence[object]) -> list[int]:
    """Where two sequences differ, as far as both go.

    >>> differences("11201", "11012")
    [2, 3, 4]
    """
    pairs = zip(one, other, strict=False)
    return [number for number, (a, b) in enumerate(pairs) if a != b]
