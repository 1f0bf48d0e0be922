"""What a cell of four nodes computes, whichever way it is encoded.

Two encodings are one network when they compute the same function of the same weights: nodes and
edges without effect are gone, sums are flat and without order, identities vanish, and the average
of a sum is the sum of the averages. Weights tell apart what a formula does not: the sum of one
convolution with itself is another network than the sum of two convolutions of the same tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, permutations, product

from autogo_onnx.segment_db.families.four_nodes import EDGES

_OUTPUT = 3
_X = -1

_Term = tuple[int, int]  # the edge whose operation makes it or _X, and how often it is averaged
_Sum = tuple[_Term, ...]


@dataclass(frozen=True)
class Meaning:
    """What the operations of a family do.

    Attributes:
        zero, identity: the operations that give nothing, and what they read.
        average: an operation without weights that may be exchanged with a sum; "" for none.
        reduces: whether the identity of the cell's input has weights, as it changes the shape.
    """

    zero: str
    identity: str
    average: str = ""
    reduces: bool = False


def network_of(operations: Sequence[str], meaning: Meaning) -> str:
    """A text that is equal for cells that compute the same; "" when nothing reaches the output.

    Args:
        operations: of the six edges, in the order of `four_nodes.EDGES`.
        meaning: what they do.

    >>> meaning = Meaning(zero="0", identity="1")
    >>> network_of("311010", meaning), network_of("330010", meaning), network_of("100303", meaning)
    ('a=3(x);a', 'a=3(x);a', 'a=3(x);a')
    >>> network_of("301011", meaning), network_of("330011", meaning)
    ('a=3(x);a+a', 'a=3(x);b=3(x);a+b')
    """
    sums = _sums(operations, meaning)
    read_by = {edge: sums[begin] for edge, (begin, _) in enumerate(EDGES)}
    used: set[int] = set()
    open_sums = [sums[_OUTPUT]]
    while open_sums:
        new = {edge for edge, _ in open_sums.pop() if edge != _X} - used
        used |= new
        open_sums += [read_by[edge] for edge in new]
    if not sums[_OUTPUT]:
        return ""
    return min(
        _written(order, operations, read_by, sums[_OUTPUT])
        for order in _orders(sorted(used), operations, read_by)
    )


def _sums(operations: Sequence[str], meaning: Meaning) -> list[_Sum]:
    """What every node is the sum of."""
    sums: list[_Sum] = [((_X, 0),)]
    for node in range(1, _OUTPUT + 1):
        terms: list[_Term] = []
        for edge, (begin, end) in enumerate(EDGES):
            operation, read = operations[edge], sums[begin] if begin < node else ()
            if end != node or operation == meaning.zero or not read:
                continue
            if operation == meaning.identity and not (meaning.reduces and begin == 0):
                terms += read
            elif operation == meaning.average:
                terms += [(source, times + 1) for source, times in read]
            else:
                terms.append((edge, 0))
        sums.append(tuple(terms))
    return sums


def _orders(
    used: Sequence[int], operations: Sequence[str], read_by: Mapping[int, _Sum]
) -> Iterator[tuple[int, ...]]:
    """Orders of the operations with weights by what they compute, every order of equals."""

    def formula(edge: int) -> str:
        terms = sorted(
            f"{times}{'x' if source == _X else formula(source)}" for source, times in read_by[edge]
        )
        return f"{operations[edge]}({'+'.join(terms)})"

    formulas = {edge: formula(edge) for edge in used}
    ranked = sorted(used, key=formulas.__getitem__)
    equals = [tuple(group) for _, group in groupby(ranked, key=formulas.__getitem__)]
    for choice in product(*(permutations(group) for group in equals)):
        yield tuple(chain.from_iterable(choice))


def _written(
    order: Sequence[int], operations: Sequence[str], read_by: Mapping[int, _Sum], output: _Sum
) -> str:
    """The operations with weights, named in this order, and the cell's output."""
    name = {_X: "x"} | {edge: "abcdef"[number] for number, edge in enumerate(order)}

    def total(terms: _Sum) -> str:
        return "+".join(sorted(name[source] + "'" * times for source, times in terms))

    made = [f"{name[edge]}={operations[edge]}({total(read_by[edge])})" for edge in order]
    return ";".join([*made, total(output)])
