"""Running rules over a graph until none finds anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_graphsurgeon as gs

from autogo_onnx.graph import settle
from autogo_onnx.liveness import cleanup
from autogo_onnx.rewriters.rule import Rule, Skip
from autogo_onnx.rewriters.view import View

# Rules only ever simplify, so a chain of n nodes takes at most n sweeps; this is a backstop.
_MOST_SWEEPS = 100


@dataclass(frozen=True)
class Swept:
    """What a run to the fixed point did.

    Attributes:
        counts: how often each rule was applied, and
        nodes_saved: how many nodes fewer there are for it, by name.
        skips: what the rules refused in the end.
        view: of the graph as it is now.
    """

    counts: Counter[str]
    nodes_saved: Counter[str]
    skips: tuple[Skip, ...]
    view: View


def to_fixed_point(graph: gs.Graph, rules: Sequence[Rule]) -> Swept:
    """Edit the graph until no rule matches."""
    counts: Counter[str] = Counter()
    saved: Counter[str] = Counter()
    skips: tuple[Skip, ...] = ()
    view = View(graph)
    for _ in range(_MOST_SWEEPS):
        applied, fewer, skips = _sweep(view, rules)
        if not applied:
            break
        counts.update(applied)
        saved.update(fewer)
        cleanup(graph)
        view = View(graph)
    return Swept(counts, saved, skips, view)


def _sweep(
    view: View, rules: Sequence[Rule]
) -> tuple[Counter[str], Counter[str], tuple[Skip, ...]]:
    """Every rule once, in order; the graph is neither sorted nor freed of dead nodes in between."""
    graph = view.graph
    counts: Counter[str] = Counter()
    saved: Counter[str] = Counter()
    skips: list[Skip] = []
    for rule in rules:
        edited: set[int] = set()
        before = len(graph.nodes)
        for found in list(rule.find(view)):
            if isinstance(found, Skip):
                skips.append(replace(found, rule=rule.name))
            elif edited.isdisjoint(map(id, found.nodes)):
                # Overlapping matches wait for the next sweep: the first may have undone them.
                rule.apply(view, found)
                edited.update(map(id, found.nodes))
                counts[rule.name] += 1
        if edited:
            graph.nodes = [node for node in graph.nodes if node.inputs or node.outputs]
            settle(graph)
            saved[rule.name] += before - len(graph.nodes)
    return counts, saved, tuple(skips)
