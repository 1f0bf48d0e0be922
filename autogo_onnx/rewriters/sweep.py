"""Running rules over a graph until none finds anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import cleanup
from autogo_onnx.rewriters.rule import Rule, Skip

# Rules only ever remove or merge nodes, so a chain of n takes at most n sweeps; this is a backstop.
_MOST_SWEEPS = 100


def to_fixed_point(graph: gs.Graph, rules: Sequence[Rule]) -> tuple[Counter[str], tuple[Skip, ...]]:
    """Edit the graph until no rule matches.

    Returns:
        How often each rule was applied, and what the rules refused in the end.
    """
    counts: Counter[str] = Counter()
    for _ in range(_MOST_SWEEPS):
        applied, skips = _sweep(graph, rules)
        if not applied:
            break
        counts += applied
    return counts, skips


def _sweep(graph: gs.Graph, rules: Sequence[Rule]) -> tuple[Counter[str], tuple[Skip, ...]]:
    """Every rule once, in order; the graph is cleaned and sorted once, at the end."""
    counts: Counter[str] = Counter()
    skips: list[Skip] = []
    for rule in rules:
        edited: set[int] = set()
        for found in list(rule.find(graph)):
            if isinstance(found, Skip):
                skips.append(found)
            elif edited.isdisjoint(map(id, found.nodes)):
                # Overlapping matches wait for the next sweep: the first may have undone them.
                rule.apply(graph, found)
                edited.update(map(id, found.nodes))
                counts[rule.name] += 1
        if edited:
            graph.nodes = [node for node in graph.nodes if node.outputs]
    if counts:
        cleanup(graph)
    return counts, tuple(skips)
