"""Initializers of equal type, shape and bytes -> one of them.

Why: exporters write every use of a number as an initializer of its own, and shared weights once per
use; the file holds them all, and nodes that use them look different.
Safety: exact: the bytes are compared, so that 0.0 and -0.0 stay apart.
Skips: none. One that is a graph output or read by a subgraph keeps its name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.ir.tensor import LazyValues

from autogo_onnx.graph import constant_value
from autogo_onnx.rewriters.patterns.reading import redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

# Weights that differ at all mostly differ in a few of their elements.
_PEEKED = 16


@dataclass(frozen=True)
class _Copies(Match):
    """Pairs (copy, original)."""

    pairs: tuple[tuple[gs.Constant, gs.Constant], ...]


def find(view: View) -> Iterator[Match | Skip]:
    constants: dict[int, gs.Constant] = {}
    for node in view.graph.nodes:
        for tensor in node.inputs:
            if isinstance(tensor, gs.Constant):
                constants.setdefault(id(tensor), tensor)
    alike = list(constants.values())
    pairs: list[tuple[gs.Constant, gs.Constant]] = []
    for group in (g for like in _alike(alike, _kind) for g in _alike(like, _peek)):
        for original, *copies in _alike(group, _digest):
            pairs += [(copy, original) for copy in copies]
    if pairs:
        readers = {id(node): node for copy, _ in pairs for node in copy.outputs}
        yield _Copies(tuple(readers.values()), tuple(pairs))


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Copies)
    for copy, original in match.pairs:
        redirect_readers(copy, original)


def _alike(
    constants: list[gs.Constant], key: Callable[[gs.Constant], Hashable | None]
) -> list[list[gs.Constant]]:
    """The constants that have a key in common with another one, by key."""
    groups: dict[Hashable, list[gs.Constant]] = {}
    for constant in constants:
        value = key(constant)
        if value is not None:
            groups.setdefault(value, []).append(constant)
    return [group for group in groups.values() if len(group) > 1]


def _kind(constant: gs.Constant) -> Hashable:
    return str(constant.dtype), tuple(constant.shape)


def _peek(constant: gs.Constant) -> bytes | None:
    """The bytes of the first, some and the last elements; None for a type that is not looked at."""
    flat = _flat(constant)
    if flat is None:
        return None
    return flat[np.linspace(0, max(flat.size - 1, 0), min(_PEEKED, flat.size), dtype=int)].tobytes()


def _digest(constant: gs.Constant) -> bytes:
    """A fingerprint of all bytes."""
    flat = _flat(constant)
    assert flat is not None, "_peek() was asked first"
    return blake2b(flat.view(np.uint8).data, digest_size=16).digest()


def _flat(constant: gs.Constant) -> np.ndarray | None:
    """The elements, or the bytes of a type that NumPy does not have; None where there are none."""
    value, values = constant_value(constant), constant._values
    if value is not None:
        return np.ascontiguousarray(value).reshape(-1)
    if isinstance(values, LazyValues) and values.tensor.raw_data:
        return np.frombuffer(values.tensor.raw_data, np.uint8)
    return None


RULE = Rule("eliminate_duplicate_initializers", Safety.EXACT, find, apply)
