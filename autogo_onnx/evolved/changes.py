"""What a list of edits changed in the end: parts of the base, and what stands there now.

Edits may overlap, and what they put in may be what was there before. So the parts are found anew
from base and result: an operator that does what one of the base did, on the same tensors, is that
one. The others, gone and new, fall into changes that touch each other nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from autogo_onnx.evolution import Edit
from autogo_onnx.operator_labels import COMMUTATIVE
from autogo_onnx.opgraph import Cut, OpGraph, cut


@dataclass(frozen=True)
class Change:
    """One part of the base, and what stands there now.

    Attributes:
        before: the part, cut from the base.
        after: what stands there; may have no operators.
        ops: its operators in the result.
        inputs: tensors of the base that it reads, in its order.
        outputs: tensors of the base that its outputs stand for, in its order.
        sources: where its operators come from, each name once.
    """

    before: Cut
    after: OpGraph
    ops: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    sources: tuple[str, ...]


def changes(base: OpGraph, edits: Sequence[Edit]) -> tuple[Change, ...]:
    """The changes that some edits make together, in the order of the operators that are gone.

    >>> from autogo_onnx.opgraph import Op
    >>> relu = OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,))
    >>> tanh = OpGraph(((1, 4),), (Op("Tanh", (0,)),), ((1, 4),), (1,))
    >>> [change.after.ops[0].kind for change in changes(relu, [Edit((0,), tanh, "variant:tanh")])]
    ['Tanh']
    >>> changes(relu, [Edit((0,), relu, "db:0123")])
    ()
    """
    trace = _Trace(base)
    for edit in edits:
        trace.apply(edit)
    trace.recognize()
    return tuple(trace.changes())


class _Trace:
    """A base on its way through edits.

    Attributes:
        graph: as it is now.
        origins: per operator, the one of the base that it is; None for new ones.
        sources: per operator, the source of the edit that brought it; empty for the base's.
        stands: the tensor that stands for one of the base, for those that still have one.
    """

    def __init__(self, base: OpGraph) -> None:
        self.base = base
        self.graph = base
        self.origins: list[int | None] = list(range(len(base.ops)))
        self.sources: list[str] = [""] * len(base.ops)
        self.stands: dict[int, int] = {tensor: tensor for tensor in range(base.n_tensors)}

    def apply(self, edit: Edit) -> None:
        """Make one edit."""
        part, splice = cut(self.graph, edit.ops), edit.applied(self.graph)
        number = {tensor: tensor for tensor in range(self.graph.n_inputs)}
        for place, old in enumerate(splice.origins, self.graph.n_inputs):
            if old is not None:
                number[self.graph.n_inputs + old] = place
        number.update(zip(part.outputs, splice.outputs, strict=True))
        self.stands = {of: number[now] for of, now in self.stands.items() if now in number}
        self.origins = [None if old is None else self.origins[old] for old in splice.origins]
        self.sources = [edit.source if old is None else self.sources[old] for old in splice.origins]
        self.graph = splice.graph

    def recognize(self) -> None:
        """Find new operators that do what one of the base did, on the same tensors."""
        present = {index for index in self.origins if index is not None}
        gone = [index for index in range(len(self.base.ops)) if index not in present]
        for index, op in enumerate(self.graph.ops):
            if self.origins[index] is not None:
                continue
            result = self.graph.n_inputs + index
            for other in gone:
                old, made = self.base.ops[other], self.base.n_inputs + other
                operands = _operands(old.kind, [self.stands.get(t, -1) for t in old.inputs])
                alike = (old.kind, old.attributes) == (op.kind, op.attributes)
                same_shape = self.base.op_shapes[other] == self.graph.op_shapes[index]
                free = self.stands.get(made, result) == result
                if alike and same_shape and free and operands == _operands(op.kind, op.inputs):
                    self.origins[index], self.stands[made] = other, result
                    gone.remove(other)
                    break

    def changes(self) -> Iterator[Change]:
        """What is gone and what is new, as parts that touch each other nowhere."""
        present = {index for index in self.origins if index is not None}
        gone = [index for index in range(len(self.base.ops)) if index not in present]
        new = [index for index, origin in enumerate(self.origins) if origin is None]
        groups = _Groups([*((False, i) for i in gone), *((True, i) for i in new)])
        for is_new, graph, ops in ((False, self.base, gone), (True, self.graph, new)):
            for index in ops:
                for maker in map(graph.producer, graph.ops[index].inputs):
                    groups.join((is_new, index), (is_new, maker))
        for index in gone:
            tensor = self.stands.get(self.base.n_inputs + index)
            maker = None if tensor is None else self.graph.producer(tensor)
            groups.join((False, index), (True, maker))
        for members in groups:
            yield self._change(
                [i for is_new, i in members if not is_new], [i for is_new, i in members if is_new]
            )

    def _change(self, gone: Sequence[int], new: Sequence[int]) -> Change:
        base, graph = self.base, self.graph
        before = cut(base, gone)
        ends = [self.stands[tensor] for tensor in before.outputs]
        made = {graph.n_inputs + index for index in new}
        reads = dict.fromkeys(t for i in new for t in graph.ops[i].inputs if t not in made)
        reads.update(dict.fromkeys(t for t in ends if t not in made))
        inputs = tuple(reads)
        number = {tensor: n for n, tensor in enumerate(inputs)}
        number.update({graph.n_inputs + i: len(inputs) + n for n, i in enumerate(new)})
        after = OpGraph(
            input_shapes=tuple(graph.shape(t) for t in inputs),
            ops=tuple(
                replace(graph.ops[i], inputs=tuple(number[t] for t in graph.ops[i].inputs))
                for i in new
            ),
            op_shapes=tuple(graph.op_shapes[i] for i in new),
            outputs=tuple(number[t] for t in ends),
        )
        sources = tuple(dict.fromkeys(self.sources[i] for i in new))
        read_in_base = tuple(self._in_base(tensor) for tensor in inputs)
        return Change(before, after, tuple(new), read_in_base, before.outputs, sources)

    def _in_base(self, tensor: int) -> int:
        """The tensor of the base that a tensor is: an input, or what an operator of it makes."""
        index = self.graph.producer(tensor)
        if index is None:
            return tensor
        origin = self.origins[index]
        assert origin is not None, "a change begins where the base is as it was"
        return self.base.n_inputs + origin


def _operands(kind: str, tensors: Sequence[int]) -> tuple[int, ...]:
    """In an order of their own where the operator does not mind theirs."""
    return tuple(sorted(tensors) if kind in COMMUTATIVE else tensors)


_Member = tuple[bool, int | None]


class _Groups:
    """Members that are joined, directly or not; groups come in the order of their first members."""

    def __init__(self, members: Iterable[_Member]) -> None:
        self._root: dict[_Member, _Member] = {member: member for member in members}

    def __iter__(self) -> Iterator[list[tuple[bool, int]]]:
        groups: dict[_Member, list[tuple[bool, int]]] = {}
        for is_new, index in self._root:
            assert index is not None
            groups.setdefault(self._find((is_new, index)), []).append((is_new, index))
        yield from groups.values()

    def join(self, one: _Member, other: _Member) -> None:
        """Join two; nothing happens where one of them is no member."""
        if one in self._root and other in self._root:
            self._root[self._find(other)] = self._find(one)

    def _find(self, member: _Member) -> _Member:
        while self._root[member] != member:
            member = self._root[member]
        return member
