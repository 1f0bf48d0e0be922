"""Nodes that compute the same of the same -> one of them.

Why: exporters spell the same sizes, masks and slices at every use.
Safety: exact. Two nodes are the same where operator, attributes and inputs are; the operands of
Add, Mul, ... may stand in either order. Random operators and Dropout never are, whatever their
seeds, nor are nodes with subgraphs or of other domains, which may have effects.
Skips: quantization operators, whose pairs other tools count on; two results that are both visible
outside.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_NEVER = frozenset(
    "Bernoulli Constant DequantizeLinear Dropout DynamicQuantizeLinear If Loop Multinomial Optional"
    " QuantizeLinear RandomNormal RandomNormalLike RandomUniform RandomUniformLike Scan"
    " SequenceMap".split()
)
_COMMUTATIVE = frozenset("Add And BitwiseAnd BitwiseOr BitwiseXor Equal Mul Or Xor".split())
# Larger initializers are equal where `eliminate_duplicate_initializers` has made them one.
_SMALL = 64


@dataclass(frozen=True)
class _Twins(Match):
    """All pairs (later, earlier) of equal nodes, in the order of the graph."""

    pairs: tuple[tuple[gs.Node, gs.Node], ...]


def find(view: View) -> Iterator[Match | Skip]:
    known: dict[Hashable, gs.Node] = {}
    same: dict[str, str] = {}  # tensors and the earlier ones that they are equal to
    pairs: list[tuple[gs.Node, gs.Node]] = []
    visible = set(view.fixed)
    for node in view.graph.nodes:
        key = _key(node, same)
        if key is None:
            continue
        earlier = known.setdefault(key, node)
        if earlier is node:
            continue
        for tensor, original in zip(node.outputs, earlier.outputs, strict=True):
            same[tensor.name] = same.get(original.name, original.name)
        both = [(t.name, o.name) for t, o in zip(node.outputs, earlier.outputs, strict=True)]
        if any(name in visible and original in visible for name, original in both):
            yield Skip((node, earlier), "both results are visible outside")
            continue
        # The earlier node takes the name that is visible, and cannot take another one.
        visible.update(original for name, original in both if name in visible)
        pairs.append((node, earlier))
    if pairs:
        nodes = {id(node): node for pair in pairs for node in pair}
        yield _Twins(tuple(nodes.values()), tuple(pairs))


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Twins)
    for later, earlier in match.pairs:
        results = list(later.outputs)
        disconnect(later)
        for index, (result, original) in enumerate(zip(results, earlier.outputs, strict=True)):
            if original is result or original.is_empty():
                continue
            if result.name in view.fixed:
                redirect_readers(original, result)
                earlier.outputs[index] = result
            else:
                redirect_readers(result, original)


def _key(node: gs.Node, same: dict[str, str]) -> Hashable | None:
    """What makes a node equal to another; None for one that is never equal."""
    if node.op in _NEVER or not is_op(node, node.op) or not node.outputs:
        return None
    attributes = [(name, _hashable(value)) for name, value in sorted(node.attrs.items())]
    if any(value is None for _, value in attributes):
        return None
    inputs = [_identity(tensor, same) for tensor in node.inputs]
    if node.op in _COMMUTATIVE:
        inputs.sort(key=repr)
    present = tuple(not tensor.is_empty() for tensor in node.outputs)
    return node.op, tuple(inputs), tuple(attributes), present


def _identity(tensor: gs.Tensor, same: dict[str, str]) -> Hashable:
    """What makes an input equal to another: the value of a small constant, else the name."""
    if isinstance(tensor, gs.Constant) and prod(tensor.shape) <= _SMALL:
        value = constant_value(tensor)
        if value is not None:
            return str(value.dtype), tuple(value.shape), value.tobytes()
    name: str = tensor.name
    return same.get(name, name)


def _hashable(value: object) -> Hashable | None:
    """An attribute's value; None for kinds that cannot be compared."""
    if isinstance(value, (int, float, str, bytes)):
        return type(value).__name__, value
    if isinstance(value, (list, tuple)):
        items = tuple(_hashable(item) for item in value)
        return None if None in items else items
    if isinstance(value, gs.Constant):
        value = constant_value(value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return None


RULE = Rule("eliminate_common_subexpressions", Safety.EXACT, find, apply)
