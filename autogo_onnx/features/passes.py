"""The ways to and from every tensor of a network: one pass ahead, one pass back.

After an edit the ways to what stands before it and the ways from what stands behind it are those
that were found before; the others too where the edit leaves the ways through its place as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from autogo_onnx.features import operators, ways
from autogo_onnx.features.operators import OpFacts
from autogo_onnx.features.ways import State, Step
from autogo_onnx.opgraph import Cut, OpGraph
from autogo_onnx.splice import Splice

Tensors = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Passes:
    """What both passes over a graph found.

    Attributes:
        facts: of every operator.
        readers: of every tensor, see `OpGraph.readers`.
        ahead: the ways from the graph's inputs to every tensor.
        back: the ways from every tensor to the graph's outputs.
    """

    graph: OpGraph
    facts: Sequence[OpFacts]
    readers: Sequence[Tensors]
    ahead: Sequence[State]
    back: list[State]

    def ways_from(self, tensor: int, without: Collection[int] = ()) -> State:
        """The ways from a tensor to the graph's outputs, not through some of its readers."""
        graph = self.graph
        states = [ways.NOWHERE] * graph.outputs.count(tensor)
        for reader in self.readers[tensor]:
            if reader not in without:
                state = self.facts[reader].step.added(self.back[graph.n_inputs + reader])
                states += [state] * graph.ops[reader].inputs.count(tensor)
        return ways.meet(states)


def facts_of(graph: OpGraph) -> list[OpFacts]:
    """Facts of all operators in order."""
    shapes = (*graph.input_shapes, *graph.op_shapes)
    return [
        operators.facts(op.kind, op.attributes, tuple([shapes[t] for t in op.inputs]), out)
        for op, out in zip(graph.ops, graph.op_shapes, strict=True)
    ]


def ahead(n_inputs: int, operands: Sequence[Tensors], steps: Sequence[Step]) -> list[State]:
    """The ways from a graph's inputs to every tensor.

    Args:
        operands, steps: of every operator.
    """
    states = [ways.NOWHERE] * n_inputs
    for tensors, step in zip(operands, steps, strict=True):
        states.append(step.added(ways.meet([states[t] for t in tensors])))
    return states


def passes(graph: OpGraph) -> Passes:
    """Both passes over a graph."""
    facts = facts_of(graph)
    operands, steps = [op.inputs for op in graph.ops], [fact.step for fact in facts]
    back = [ways.NO_WAY_AT_ALL] * graph.n_tensors
    found = Passes(graph, facts, graph.readers(), ahead(graph.n_inputs, operands, steps), back)
    for tensor in range(graph.n_tensors - 1, -1, -1):
        back[tensor] = found.ways_from(tensor)
    return found


def passes_after(before: Passes, part: Cut, edit: Splice) -> Passes:
    """Both passes over a graph in which a part was replaced; equal to those of `passes`.

    Args:
        before: over the graph as it was.
        part: what was replaced.
        edit: what became of it.
    """
    graph, old = edit.graph, before.graph
    head, tail = _kept(edit, len(old.ops))
    changed = [_fact(graph, index) for index in range(head, len(graph.ops) - tail)]
    facts = [*before.facts[:head], *changed, *before.facts[len(old.ops) - tail :]]
    back = [ways.NO_WAY_AT_ALL] * graph.n_tensors
    states = list(before.ahead[: graph.n_inputs + head])
    found = Passes(graph, facts, graph.readers(), states, back)
    for tensor in range(len(states), graph.n_tensors):
        if tensor == graph.n_tensors - tail and all(
            _are_equal(states[new], before.ahead[was])
            for new, was in zip(edit.outputs, part.outputs, strict=True)
        ):
            states += before.ahead[old.n_tensors - tail :]
            break
        operands = [states[t] for t in graph.ops[tensor - graph.n_inputs].inputs]
        states.append(facts[tensor - graph.n_inputs].step.added(ways.meet(operands)))
    back[graph.n_tensors - tail :] = before.back[old.n_tensors - tail :]
    _pass_back(before, found, (head, tail))
    return found


def _pass_back(before: Passes, after: Passes, kept: tuple[int, int]) -> None:
    """Fill in the ways from the tensors ahead of the tail, as far as an edit changes them."""
    head, tail = kept
    read = {
        tensor
        for graph in (before.graph, after.graph)
        for op in graph.ops[head : len(graph.ops) - tail]
        for tensor in op.inputs
        if tensor < graph.n_inputs + head
    }
    first = min(read, default=0)
    for tensor in range(after.graph.n_tensors - tail - 1, -1, -1):
        after.back[tensor] = after.ways_from(tensor)
        if tensor == first and all(_are_equal(after.back[t], before.back[t]) for t in read):
            after.back[:first] = before.back[:first]
            break


def _kept(edit: Splice, n_before: int) -> tuple[int, int]:
    """How many operators at the head and at the tail of a graph are what they were."""
    origins, n_after = edit.origins, len(edit.origins)
    head = next((n for n, origin in enumerate(origins) if origin != n), n_after)
    moved = (n for n in range(n_after) if origins[n_after - 1 - n] != n_before - 1 - n)
    return head, next(moved, n_after)


def _are_equal(one: State, other: State) -> bool:
    return one[1] == other[1] and np.array_equal(one[0], other[0])


def _fact(graph: OpGraph, index: int) -> OpFacts:
    op, out = graph.ops[index], graph.op_shapes[index]
    return operators.facts(op.kind, op.attributes, tuple([graph.shape(t) for t in op.inputs]), out)
