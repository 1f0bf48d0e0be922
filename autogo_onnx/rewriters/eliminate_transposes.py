"""Transpose -> Relu, Add, Concat, Pad, ... -> inverse Transpose  ->  the same without either.

Why: TensorFlow's tensors have their channels last and ONNX's convolutions want them second, so
converters wrap every convolution in a pair of Transposes, with the operators that do not care about
the order in between.
Safety: exact: elementwise operators, joins, cuts, pads and reductions do the same in any order of
axes, with their own axes renamed and their constants permuted.
Skips: none. All operators around a Transpose that do not care are taken together; they change to
the other order only where that leaves fewer Transposes, of no more elements, than there were. So
the number of Transposes falls with every application, and nothing is undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.permuting import (
    data_inputs,
    ends_permuted,
    inverse,
    is_permutable,
    permute,
)
from autogo_onnx.rewriters.patterns.reading import producer, redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass
class _Region:
    """Operators that do not care about the order of axes, between Transposes and others.

    Attributes:
        perm: every tensor in the region is `Transpose(x, perm)` of what it is to become.
        nodes: the operators.
        tensors: what they read and make, constants apart.
    """

    perm: list[int]
    nodes: dict[int, gs.Node] = field(default_factory=dict)
    tensors: dict[str, gs.Tensor] = field(default_factory=dict)

    def is_inside(self, tensor: gs.Tensor) -> bool:
        """Whether the region makes the tensor."""
        maker = producer(tensor)
        return maker is not None and id(maker) in self.nodes


@dataclass(frozen=True)
class _Permuted(Match):
    """The nodes of a region, its Transposes, and the operators that drop axes after it."""

    region: _Region


def find(view: View) -> Iterator[Match | Skip]:
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for seed in view.graph.nodes:
        perm = _perm(view, seed) if is_op(seed, "Transpose") else None
        if perm is None or (seed.outputs[0].name, tuple(perm)) in seen:
            continue
        region = _grown(view, seed.outputs[0], perm)
        seen.update((name, tuple(perm)) for name in region.tensors)
        if region.nodes and _pays(view, region):
            edges = [n for t in region.tensors.values() for n in _edges(view, region, t)]
            nodes = {id(node): node for node in (*region.nodes.values(), *edges)}
            yield _Permuted(tuple(nodes.values()), region)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Permuted)
    region = match.region
    made = {name: region.is_inside(tensor) for name, tensor in region.tensors.items()}
    new = {
        name: gs.Variable(view.new_name(f"{name}.permuted"))
        if made[name]
        else _before(view, region, t)
        for name, t in region.tensors.items()
    }
    outside: list[tuple[gs.Tensor, list[gs.Node]]] = []
    for name, tensor in region.tensors.items():
        readers = [n for n in _distinct(tensor.outputs) if id(n) not in region.nodes]
        if made[name]:
            outside.append((tensor, readers))
    for node in region.nodes.values():
        for index in data_inputs(node):
            node.inputs[index] = new[node.inputs[index].name]
        for index, tensor in enumerate(node.outputs):
            node.outputs[index] = new[tensor.name]
        permute(view, node, region.perm)
    for tensor, readers in outside:
        _leave(view, region, tensor, new[tensor.name], readers)
    for node in match.nodes:
        if is_op(node, "Transpose") and id(node) not in region.nodes and node.outputs:
            result = node.outputs[0]
            if not result.outputs and result.name not in view.fixed:
                disconnect(node)


def _perm(view: View, node: gs.Node) -> list[int] | None:
    if "perm" in node.attrs:
        return [int(axis) for axis in node.attrs["perm"]]
    shape = view.shape(node.inputs[0])
    return None if shape is None else list(range(len(shape)))[::-1]


def _grown(view: View, start: gs.Tensor, perm: list[int]) -> _Region:
    """Everything around a tensor that can change its order of axes."""
    region = _Region(perm, tensors={start.name: start})
    waiting = [start]
    while waiting:
        tensor = waiting.pop()
        for node in (*tensor.inputs, *tensor.outputs):
            if id(node) in region.nodes or not is_permutable(view, node, len(perm)):
                continue
            touched = [*(node.inputs[i] for i in data_inputs(node)), *node.outputs]
            if all(t.name != tensor.name for t in touched):
                continue  # it reads the tensor as something else
            region.nodes[id(node)] = node
            for other in touched:
                if other.name and other.name not in region.tensors:
                    region.tensors[other.name] = other
                    waiting.append(other)
    return region


def _pays(view: View, region: _Region) -> bool:
    removed = added = fewer = 0
    for tensor in region.tensors.values():
        size = prod(d or 1 for d in view.shape(tensor) or ())
        for count in _changes(view, region, tensor):
            fewer -= count
            added += size * max(count, 0)
            removed += size * max(-count, 0)
    return fewer > 0 and added <= removed


def _changes(view: View, region: _Region, tensor: gs.Tensor) -> Iterator[int]:
    """One number for each Transpose around a tensor that is added (1) or removed (-1)."""
    outside = [n for n in _distinct(tensor.outputs) if id(n) not in region.nodes]
    if not region.is_inside(tensor):
        before, is_shared = _joint_before(view, region, tensor), bool(outside)
        is_shared = is_shared or tensor.name in view.fixed
        if before is None:
            yield 1
        elif before == sorted(before):
            yield 0 if is_shared else -1
        else:
            yield 1 if is_shared else 0
        return
    needs_order = tensor.name in view.fixed
    for reader in outside:
        after = _joint_after(view, region, reader)
        if after is not None:
            yield -1 if after == sorted(after) else 0
        elif not ends_permuted(view, reader, region.perm):
            needs_order = True
    if needs_order:
        yield 1


def _joint_before(view: View, region: _Region, tensor: gs.Tensor) -> list[int] | None:
    """How the tensor to become is transposed from what the Transpose before reads."""
    maker = producer(tensor)
    perm = _perm(view, maker) if maker is not None and is_op(maker, "Transpose") else None
    return None if perm is None else [perm[axis] for axis in inverse(region.perm)]


def _joint_after(view: View, region: _Region, reader: gs.Node) -> list[int] | None:
    """How a Transpose after the region is to transpose what the tensor becomes."""
    perm = _perm(view, reader) if is_op(reader, "Transpose") else None
    return None if perm is None else [region.perm[axis] for axis in perm]


def _edges(view: View, region: _Region, tensor: gs.Tensor) -> list[gs.Node]:
    """The nodes outside that are edited, too."""
    outside = [n for n in tensor.outputs if id(n) not in region.nodes]
    if region.is_inside(tensor):
        return outside
    return [n for n in tensor.inputs if is_op(n, "Transpose")]


def _before(view: View, region: _Region, tensor: gs.Tensor) -> gs.Tensor:
    """What the region is to read instead of a tensor that it does not make."""
    joint = _joint_before(view, region, tensor)
    source, perm = tensor, inverse(region.perm)
    if joint is not None:
        maker = producer(tensor)
        assert maker is not None
        source, perm = maker.inputs[0], joint
    if perm == sorted(perm):
        return source
    return view.insert("Transpose", [source], f"{tensor.name}.permuted", {"perm": perm})


def _leave(
    view: View, region: _Region, old: gs.Tensor, new: gs.Tensor, readers: list[gs.Node]
) -> None:
    """Connect the readers outside of the region to what a tensor has become."""
    for reader in readers:
        after = _joint_after(view, region, reader)
        if after is not None:
            reader.attrs["perm"] = after
            if after == sorted(after) and reader.outputs[0].name not in view.fixed:
                result = reader.outputs[0]
                disconnect(reader)
                redirect_readers(result, new)
            else:
                reader.inputs[0] = new
        elif ends_permuted(view, reader, region.perm):
            reader.inputs[0] = new
            permute(view, reader, region.perm)
    if old.outputs or old.name in view.fixed:
        view.insert("Transpose", [new], old, {"perm": list(region.perm)})


def _distinct(nodes: list[gs.Node]) -> list[gs.Node]:
    return list({id(node): node for node in nodes}.values())


RULE = Rule("eliminate_transposes", Safety.EXACT, find, apply)
