"""Colours of tensors: digests that are equal where refinement cannot tell two tensors apart.

A colour depends on the structure alone, never on numbering, and is the same in every graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

from autogo_onnx.operator_labels import COMMUTATIVE, structure_labels
from autogo_onnx.opgraph import OpGraph

_DIGEST_BYTES = 16
_NEARBY_HOPS = 4

_Uses = list[list[tuple[int, bytes]]]


def colours(graph: OpGraph) -> list[bytes]:
    """A digest per tensor of what it is made from and what it is used for, as far as that goes.

    Refined (Weisfeiler-Leman, along the edges and against them in turn) until nothing more is told
    apart: tensors of one colour have operands and readers of the same colours in the same places.
    Takes time in proportion to the operators, rarely more than twice over.
    """
    leaving = Counter(graph.outputs)
    labels = ["Input"] * graph.n_inputs + structure_labels(graph)
    result = [_label_digest(label, leaving[t]) for t, label in enumerate(labels)]
    uses = _uses(graph)
    classes = 0
    while True:
        result = _against(uses, _along(graph, result))
        before, classes = classes, len(set(result))
        if classes in (before, len(result)):
            return result


def nearby(graph: OpGraph) -> Callable[[int], bytes]:
    """A function of tensors: a digest of the operators a few edges upstream, and nothing else.

    The same part of a network has the same digests wherever it stands.
    """
    first = graph.n_inputs
    labels: list[bytes] = []
    known: dict[tuple[int, int], bytes] = {}

    def digest(tensor: int, hops: int) -> bytes:
        if tensor < first:
            return b""
        if not labels:
            labels.extend(_label_digest(label, 0) for label in structure_labels(graph))
        label = labels[tensor - first]
        if not hops:
            return label
        found = known.get((tensor, hops))
        if found is None:
            op = graph.ops[tensor - first]
            operands = [digest(operand, hops - 1) for operand in op.inputs]
            parts = sorted(operands) if op.kind in COMMUTATIVE else operands
            found = known[tensor, hops] = _digest([label, *parts])
        return found

    return lambda tensor: digest(tensor, _NEARBY_HOPS)


def _along(graph: OpGraph, colours: Sequence[bytes]) -> list[bytes]:
    """Colours that know everything upstream."""
    result = list(colours[: graph.n_inputs])
    for op, colour in zip(graph.ops, colours[graph.n_inputs :], strict=True):
        operands = [result[t] for t in op.inputs]
        if len(operands) > 1 and op.kind in COMMUTATIVE:
            operands.sort()
        result.append(_digest([colour, *operands]))
    return result


def _against(uses: _Uses, colours: Sequence[bytes]) -> list[bytes]:
    """Colours that know everything downstream."""
    result = list(colours)
    for tensor in reversed(range(len(colours))):
        readers = sorted([result[reader] + place for reader, place in uses[tensor]])
        result[tensor] = _digest([colours[tensor], *readers])
    return result


def _uses(graph: OpGraph) -> _Uses:
    """For every tensor, the tensors made from it and the operand's place (none if commuting)."""
    uses: _Uses = [[] for _ in range(graph.n_tensors)]
    for result, op in enumerate(graph.ops, graph.n_inputs):
        commutes = op.kind in COMMUTATIVE
        for place, tensor in enumerate(op.inputs, 1):
            uses[tensor].append((result, _place(0 if commutes else place)))
    return uses


@lru_cache(maxsize=1 << 10)
def _place(number: int) -> bytes:
    return number.to_bytes(4, "big")


@lru_cache(maxsize=1 << 14)
def _label_digest(label: str, leaving: int) -> bytes:
    return _digest([label.encode(), b"#%d" % leaving])


def _digest(parts: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(parts), digest_size=_DIGEST_BYTES).digest()
