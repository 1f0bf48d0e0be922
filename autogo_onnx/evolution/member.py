"""Networks of a search: those that are kept, and those to be judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from autogo_onnx import cost
from autogo_onnx.evolution.edits import Edit
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.serialize import canonical_form, structure

KEY_BYTES = 16


def key_of(form: OpGraph) -> str:
    """32 hex digits that tell networks apart, shapes included, by their canonical forms.

    What `serialize.structure` ignores, as how a default is spelled, makes no other network.
    """
    text = repr((structure(form), form.input_shapes, form.op_shapes))
    return blake2b(text.encode(), digest_size=KEY_BYTES).hexdigest()


@dataclass(frozen=True, eq=False)
class Member:
    """A network that was judged.

    Attributes:
        edits: that make it of the base.
        graph: the network.
        key: see `key_of`.
        macs, parameters: counted.
        latency_ms: where it is judged.
        change: predicted of its accuracy against the base, in the unit of what predicts.
        deviation: how uncertain that is, in the same unit.
        parent: key of the member that it was made of; None for the base.
        iteration: in which it was made; 0 for the base.
    """

    edits: tuple[Edit, ...]
    graph: OpGraph
    key: str
    macs: int
    parameters: int
    latency_ms: float | None = None
    change: float = 0.0
    deviation: float = 0.0
    parent: str | None = None
    iteration: int = 0


@dataclass(frozen=True, eq=False)
class Child:
    """A network that is to be judged: a member with one more edit.

    Attributes:
        parent: the member.
        edit: on its graph.
        macs, parameters: counted.
        latency_ms: where it is judged.
    """

    parent: Member
    edit: Edit
    macs: int
    parameters: int
    latency_ms: float | None = None

    @cached_property
    def graph(self) -> OpGraph:
        """The network."""
        return self.edit.applied(self.parent.graph).graph

    @cached_property
    def form(self) -> OpGraph:
        """The network's canonical form: the same for every way that leads to it."""
        return canonical_form(self.graph)

    @cached_property
    def key(self) -> str:
        """See `key_of`."""
        return key_of(self.form)


@dataclass(frozen=True)
class Judged:
    """What is known of a child once it was judged; small, since there are many.

    Attributes:
        slot: of the parent, in its iteration.
        others: as in `Member`.
    """

    slot: int
    edit: Edit
    key: str
    macs: int
    parameters: int
    latency_ms: float | None
    change: float
    deviation: float

    def member(self, parent: Member, iteration: int) -> Member:
        """The network, kept."""
        return Member(
            (*parent.edits, self.edit),
            self.edit.applied(parent.graph).graph,
            self.key,
            self.macs,
            self.parameters,
            self.latency_ms,
            self.change,
            self.deviation,
            parent.key,
            iteration,
        )


def base_member(graph: OpGraph) -> Member:
    """The network that a search starts from."""
    key = key_of(canonical_form(graph))
    return Member((), graph, key, cost.macs(graph), cost.parameters(graph))
