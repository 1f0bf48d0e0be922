"""Split or Slice of Concat(a, b) at the seams -> a, b; Slice inside of b -> Slice(b).

Why: boxes and scores are joined for the output and taken apart by the post-processing that was
exported with them; channel shuffles do the same.
Safety: exact. The sizes of the parts before the cut, and of the cut part itself, are proven numbers
on that axis; only the other axes may be open.
Skips: none; cuts across a seam stay. The Concat stays where it has other readers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.fuse_slices import Cut, cuts_of, insert_slice
from autogo_onnx.rewriters.patterns.reading import producer, redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Parts(Match):
    """A reader of a Concat; for each of its outputs the part it is, or is cut from."""

    indices: tuple[int, ...]
    cut: dict[int, Cut] | None


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Slice", "Split") or any(t.name in view.fixed for t in node.outputs):
            continue
        concat = producer(node.inputs[0])
        if concat is None or not is_op(concat, "Concat"):
            continue
        seams = _seams(view, concat)
        if seams is None:
            continue
        found = _split(view, node, concat, seams) if node.op == "Split" else None
        if node.op == "Slice":
            found = _slice(view, node, concat, seams)
        if found is not None:
            yield found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Parts)
    node = match.nodes[0]
    concat = producer(node.inputs[0])
    assert concat is not None, "find() saw it"
    parts = [concat.inputs[index] for index in match.indices]
    results = list(node.outputs)
    disconnect(node)
    for part, result in zip(parts, results, strict=True):
        if match.cut:
            insert_slice(view, part, match.cut, result)
        else:
            redirect_readers(result, part)


def _axis(view: View, concat: gs.Node) -> int | None:
    axis = int(concat.attrs["axis"])
    if axis >= 0:
        return axis
    shape = view.shape(concat.outputs[0])
    return None if shape is None else axis % len(shape)


def _seams(view: View, concat: gs.Node) -> list[int | None] | None:
    """Where the parts begin, and where the last one ends; None after a part of open size."""
    axis = _axis(view, concat)
    if axis is None:
        return None
    shapes = [view.shape(part) for part in concat.inputs]
    sizes = [None if shape is None else shape[axis] for shape in shapes]

    seams: list[int | None] = [0]
    for size in sizes:
        before = seams[-1]
        seams.append(None if before is None or size is None else before + size)
    return seams


def _split(view: View, node: gs.Node, concat: gs.Node, seams: list[int | None]) -> _Parts | None:
    shape = view.shape(node.inputs[0])
    if shape is None or None in seams or len(node.outputs) != len(concat.inputs):
        return None
    axis = node.attrs.get("axis", 0) % len(shape)
    shapes = [view.shape(result) for result in node.outputs]
    sizes = [None if s is None else s[axis] for s in shapes]
    own = [b - a for a, b in pairwise(seams) if a is not None and b is not None]
    if axis != _axis(view, concat) or sizes != own:
        return None
    return _Parts((node,), tuple(range(len(sizes))), None)


def _slice(view: View, node: gs.Node, concat: gs.Node, seams: list[int | None]) -> _Parts | None:
    axis = _axis(view, concat)
    cuts = cuts_of(node, view.shape(node.inputs[0]))
    if axis is None or cuts is None or axis not in cuts:
        return None
    start, end, step = cuts[axis]
    total = seams[-1]
    if total is not None:
        start, end = (bound + total if bound < 0 else bound for bound in (start, end))
        end = min(end, total)
    if start < 0 or end <= start or step < 1:
        return None
    for index, (begin, stop) in enumerate(pairwise(seams)):
        if begin is None or stop is None:
            return None
        if begin <= start and end <= stop:
            rest = {a: cut for a, cut in cuts.items() if a != axis}
            if (start, end, step) != (begin, stop, 1):
                rest[axis] = Cut(start - begin, end - begin, step)
            return _Parts((node,), (index,), rest)
    return None


RULE = Rule("eliminate_concat_split", Safety.EXACT, find, apply)
