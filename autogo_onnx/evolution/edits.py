"""A network as a list of edits on another: segments replaced one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.splice import Splice, splice


@dataclass(frozen=True)
class Edit:
    """A segment replaced by another.

    Attributes:
        ops: the segment's operators, numbered as in the graph that the edits before this one made.
        replacement: with the segment's boundary in the order of `opgraph.cut`; without operators
            it is an identity.
        source: where the replacement comes from: `db:` and the beginning of a segment's id,
            `variant:` and the name of an idea, `identity`.
    """

    ops: tuple[int, ...]
    replacement: OpGraph
    source: str

    def applied(self, graph: OpGraph) -> Splice:
        """What the edit makes of a graph."""
        return splice(graph, cut(graph, self.ops), self.replacement)


def edited(base: OpGraph, edits: Sequence[Edit]) -> OpGraph:
    """The graph after all edits.

    >>> from autogo_onnx.opgraph import Op
    >>> relu = OpGraph(((4,),), (Op("Relu", (0,)),), ((4,),), (1,))
    >>> tanh = OpGraph(((4,),), (Op("Tanh", (0,)),), ((4,),), (1,))
    >>> edited(relu, [Edit((0,), tanh, "")]) == tanh
    True
    """
    for edit in edits:
        base = edit.applied(base).graph
    return base


def origins(base: OpGraph, edits: Sequence[Edit]) -> tuple[int | None, ...]:
    """For every operator of the edited graph, its index in the base; None for new ones."""
    found: tuple[int | None, ...] = tuple(range(len(base.ops)))
    for edit in edits:
        step = edit.applied(base)
        found = tuple([None if was is None else found[was] for was in step.origins])
        base = step.graph
    return found
