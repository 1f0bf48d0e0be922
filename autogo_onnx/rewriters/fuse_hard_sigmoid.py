"""Clip(x + 3, 0, 6) / 6 -> HardSigmoid(x), and every other scaled and shifted clamp onto [0, 1].

Why: exporters of models made before the operator spell it out, one pass over the tensor per node;
one pass takes 0.65 of the time of three.
Safety: exact in real arithmetic. The clamp may be Clip, Relu, Min and Max in any order; the numbers
round it are multiplied out in float64, and alpha and beta rounded once. NaN and infinity give what
they gave; a value that only overflowed in between no longer does.
Skips: nodes whose result has another reader; float64, which alpha and beta do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.clamping import CLAMPS, clamp_ending_in
from autogo_onnx.rewriters.patterns.gating import only_reader
from autogo_onnx.rewriters.patterns.reading import producer
from autogo_onnx.rewriters.patterns.scalars import is_double, scaled
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_ROUNDING = 2.0**-21
_LOWEST_HIGH = 1e-30


@dataclass(frozen=True)
class _HardSigmoid(Match):
    """The nodes, the last one last, and what they compute: `HardSigmoid(x)`."""

    x: gs.Tensor
    alpha: float
    beta: float


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, *CLAMPS):
            continue
        found = _ending_after(view, node)
        if found is not None and is_double(view, found.x, found.nodes[-1].outputs[0]):
            yield Skip(found.nodes, "alpha and beta are float32, the tensor is float64")
        elif found is not None:
            yield found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _HardSigmoid)
    result = match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    view.insert("HardSigmoid", [match.x], result, {"alpha": match.alpha, "beta": match.beta})


def _ending_after(view: View, node: gs.Node) -> _HardSigmoid | None:
    """The clamp that ends in the node, with the scalings round it that make it one onto [0, 1]."""
    clamp = clamp_ending_in(view, node)
    if clamp is None or not _LOWEST_HIGH < clamp.high - clamp.low < float("inf"):
        return None
    scale, shift, after = 1.0, 0.0, list[gs.Node]()
    while not _is_onto_unit(scale * clamp.low + shift, scale * clamp.high + shift):
        follower = only_reader(view, after[-1] if after else node)
        step = None if follower is None else scaled(view, follower)
        if follower is None or step is None:
            return None
        scale, shift = scale * step.scale, shift * step.scale + step.shift
        after.append(follower)
    x, before = clamp.source, list[gs.Node]()
    slope, offset = scale, shift
    while (maker := producer(x)) is not None and only_reader(view, maker) is not None:
        step = scaled(view, maker)
        if step is None or not step.scale:
            break
        slope, offset = slope * step.scale, offset + slope * step.shift
        x, before = step.source, [maker, *before]
    if not before and not after:
        return None
    return _HardSigmoid((*before, *clamp.nodes, *after), x, slope, offset)


def _is_onto_unit(one: float, other: float) -> bool:
    low, high = sorted((one, other))
    return abs(low) <= _ROUNDING and abs(high - 1) <= _ROUNDING


RULE = Rule("fuse_hard_sigmoid", Safety.EXACT, find, apply, on_trial=True)
