"""Pad(Pad(x)) by the same constant -> one Pad.

Why: exporters pad for the layer and again for SAME convolution; each is a copy of the tensor.
Safety: exact; pads must not be negative, since cropping what was padded is not adding.
Skips: an inner Pad that is read elsewhere; other modes than constant; pads given by `axes`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import (
    another_reader,
    is_given,
    operand,
    producer,
    setting,
)
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for outer in view.graph.nodes:
        if not is_op(outer, "Pad"):
            continue
        inner = producer(outer.inputs[0])
        if inner is None or not is_op(inner, "Pad"):
            continue
        reason = another_reader(inner.outputs[0], view.fixed)
        if reason is not None:
            yield Skip((inner, outer), reason)
        elif _adds(inner) and _adds(outer) and _filling(inner) == _filling(outer):
            yield Match((inner, outer))


def apply(view: View, match: Match) -> None:
    inner, outer = match.nodes
    pads = _pads(inner) + _pads(outer)
    outer.inputs[0] = inner.inputs[0]
    disconnect(inner)
    if "pads" in outer.attrs:
        outer.attrs["pads"] = [int(p) for p in pads]
    else:
        outer.inputs[1] = view.constant(f"{outer.outputs[0].name}.pads", pads)


def _pads(node: gs.Node) -> np.ndarray:
    pads = setting(node, "pads", 1)
    assert pads is not None, "find() asked"
    return pads.astype(np.int64)


def _adds(node: gs.Node) -> bool:
    pads = setting(node, "pads", 1)
    is_plain = node.attrs.get("mode", "constant") == "constant" and operand(node, 3) is None
    return is_plain and pads is not None and bool((pads >= 0).all())


def _filling(node: gs.Node) -> object:
    """The number to pad with; an object equal to nothing where it is not constant."""
    if not is_given(node, "value", 2):
        return 0.0
    value = setting(node, "value", 2)
    return object() if value is None else float(value.reshape(-1)[0])


RULE = Rule("fuse_pads", Safety.EXACT, find, apply)
