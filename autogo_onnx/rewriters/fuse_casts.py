"""Cast(x) to its own type -> x; Cast(Cast(x)) through a type that holds every value -> one Cast.

Why: exporters of shape arithmetic and of masks cast back and forth; mixed precision converters cast
float16 to float and back between neighbours that both want float16.
Safety: exact. The type in the middle must hold every value of the first exactly (float16 to float,
int32 to double, bool to anything), so casting there changes nothing. Any other pair rounds or wraps
and stays, and so does one whose result is text.
Skips: none.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.bypass import Bypass, bypass, bypassing
from autogo_onnx.rewriters.patterns.reading import producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_T = onnx.TensorProto
# Bits of the largest integers that are held exactly, and whether below zero as well.
_INTEGERS: dict[int, tuple[int, bool]] = {
    _T.BOOL: (1, False),
    _T.UINT8: (8, False),
    _T.UINT16: (16, False),
    _T.UINT32: (32, False),
    _T.UINT64: (64, False),
    _T.INT8: (7, True),
    _T.INT16: (15, True),
    _T.INT32: (31, True),
    _T.INT64: (63, True),
}
_FLOATS: dict[int, tuple[int, bool]] = {
    _T.FLOAT16: (11, True),
    _T.FLOAT: (24, True),
    _T.DOUBLE: (53, True),
}
_FLOAT_ORDER = (_T.FLOAT16, _T.FLOAT, _T.DOUBLE)


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Cast"):
            continue
        source, target = view.element_type(node.inputs[0]), node.attrs["to"]
        if source == target and source != 0:
            yield bypassing(view, node)
            continue
        inner = producer(node.inputs[0])
        if inner is None or not is_op(inner, "Cast") or target == _T.STRING:
            continue  # how a number is spelled depends on its type
        if _holds(source, view.element_type(inner.inputs[0])):
            yield Match((node, inner))


def apply(view: View, match: Match) -> None:
    if isinstance(match, Bypass):
        bypass(view, match)
        return
    outer, inner = match.nodes
    outer.inputs[0] = inner.inputs[0]
    if not inner.outputs[0].outputs and inner.outputs[0].name not in view.fixed:
        disconnect(inner)


def _holds(middle: int, first: int) -> bool:
    """Whether every value of the first type is one of the second's, too."""
    if first in _FLOATS:
        return middle in _FLOATS and _FLOAT_ORDER.index(middle) >= _FLOAT_ORDER.index(first)
    if first not in _INTEGERS:
        return False
    bits, is_signed = _INTEGERS[first]
    held = {**_INTEGERS, **_FLOATS}.get(middle)
    return middle == first or (
        held is not None and middle != _T.BOOL and held[0] >= bits and held[1] >= is_signed
    )


RULE = Rule("fuse_casts", Safety.EXACT, find, apply)
