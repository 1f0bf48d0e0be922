"""Slice(Slice(x)) -> one Slice.

Why: `x[..., ::2, ::2]` is exported as one Slice per axis, each a copy; the Focus layer of YOLO has
four of those.
Safety: exact for every size of the open dimensions. Slices of different axes do not see each other.
On the same axis bounds must count from the beginning and steps be positive; ONNX clamps the end of
either slice, and so of both.
Skips: a first slice that is read by anything but slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import is_given, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_SLICE_HAS_INPUTS = 10
_END = 2**31 - 1


class Cut(NamedTuple):
    """What is taken of one axis."""

    start: int
    end: int
    step: int


@dataclass(frozen=True)
class _Family(Match):
    """A slice, then all its readers, which are slices; what each of them takes of the source."""

    cuts: tuple[dict[int, Cut], ...]


def find(view: View) -> Iterator[Match | Skip]:
    for first in view.graph.nodes:
        if not is_op(first, "Slice") or first.outputs[0].name in view.fixed:
            continue
        readers = list(first.outputs[0].outputs)
        if not any(is_op(r, "Slice") and r.inputs[0] is first.outputs[0] for r in readers):
            continue
        shape = view.shape(first.inputs[0])
        own = cuts_of(first, shape)
        both = [_joint(own, r, view) if is_op(r, "Slice") else None for r in readers]
        found = tuple(cuts for cuts in both if cuts is not None)
        if len(found) == len(readers):
            yield _Family((first, *readers), found)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Family)
    first, *readers = match.nodes
    source = first.inputs[0]
    for reader, cuts in zip(readers, match.cuts, strict=True):
        result = reader.outputs[0]
        disconnect(reader)
        insert_slice(view, source, cuts, result)
    disconnect(first)


def cuts_of(node: gs.Node, shape: tuple[int | None, ...] | None) -> dict[int, Cut] | None:
    """What a Slice takes of each axis that it cuts; None where that is not constant."""
    starts, ends = setting(node, "starts", 1), setting(node, "ends", 2)
    axes, steps = setting(node, "axes", 3), setting(node, "steps", 4)
    if starts is None or ends is None:
        return None
    if (axes is None and is_given(node, "axes", 3)) or (
        steps is None and is_given(node, "steps", 4)
    ):
        return None
    numbers = [int(a) for a in axes.reshape(-1)] if axes is not None else list(range(starts.size))
    if any(a < 0 for a in numbers):
        if shape is None:
            return None
        numbers = [a % len(shape) for a in numbers]
    strides = steps.reshape(-1) if steps is not None else np.ones(starts.size, np.int64)
    bounds = zip(starts.reshape(-1), ends.reshape(-1), strides, strict=True)
    cuts = [Cut(int(start), int(end), int(step)) for start, end, step in bounds]
    return dict(zip(numbers, cuts, strict=True)) if len(set(numbers)) == len(cuts) else None


def insert_slice(view: View, source: gs.Tensor, cuts: dict[int, Cut], result: gs.Tensor) -> None:
    """Make `result` by a new Slice, spelled as the opset has it."""
    axes = sorted(cuts)
    bounds = {
        "starts": [cuts[a].start for a in axes],
        "ends": [cuts[a].end for a in axes],
        "axes": axes,
        "steps": [cuts[a].step for a in axes],
    }
    if all(cut.step == 1 for cut in cuts.values()):
        del bounds["steps"]
    if view.opset < _SLICE_HAS_INPUTS:
        view.insert("Slice", [source], result, dict(bounds))
        return
    inputs = [
        view.constant(f"{result.name}.{name}", np.array(value, np.int64))
        for name, value in bounds.items()
    ]
    view.insert("Slice", [source, *inputs], result)


def _joint(own: dict[int, Cut] | None, reader: gs.Node, view: View) -> dict[int, Cut] | None:
    shape = view.shape(reader.inputs[0])
    later = cuts_of(reader, shape)
    if own is None or later is None or any(t is reader.inputs[0] for t in reader.inputs[1:]):
        return None
    both = dict(own)
    for axis, cut in later.items():
        joint = _composed(both[axis], cut) if axis in both else cut
        if joint is None:
            return None
        both[axis] = joint
    return both


def _composed(first: Cut, then: Cut) -> Cut | None:
    if min(*first, *then) < 0 or first.step < 1 or then.step < 1:
        return None
    end = first.start + then.end * first.step if then.end < _END else _END
    start = first.start + then.start * first.step
    return Cut(start, min(first.end, end), first.step * then.step)


RULE = Rule("fuse_slices", Safety.EXACT, find, apply)
