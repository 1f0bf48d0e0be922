"""Conv_a(x) + Conv_b(x) + BatchNormalization(x) + x -> Conv(x), for any signs; MatMul, Gemm too.

Why: RepVGG, MobileOne, FastViT, RepViT, ACNet and DBB train with parallel branches and run without;
exports that skipped the fusing step pay for all of them. Low-rank adapters are such branches, too.
Safety: exact for finite inputs; computed in float64 and rounded once. A branch is x itself or
a chain of layers, AveragePool that counts its padding, inference BatchNormalization and arithmetic
by constants per channel. Only branches that read no more than one of the layers does are merged
into that one, so work is only ever removed. Other summands stay, in another order.
Skips: branches of which an inner tensor is read elsewhere; weights that are not constant or not
float32 or float64; other strides, output sizes, or padding by `auto_pad` that depends on the shape;
chains whose border is that of no single layer, or that take a second or more to compose; a bias for
MatMul, which has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.branches import (
    LAYERS,
    Chain,
    chains,
    layer_weights,
    objection,
    read_chain,
    read_layer,
)
from autogo_onnx.rewriters.patterns.linear import set_weights
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.patterns.stencil import Row, Stencil
from autogo_onnx.rewriters.patterns.sums import Sum, Term, sums, write_sum
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Merge(Match):
    """The layer that stays, what it computes, the branches it takes in, the sum, and its rest."""

    layer: gs.Node
    host: Stencil
    branches: tuple[tuple[int, Row], ...]
    sum: Sum
    rest: tuple[Term, ...]


@dataclass(frozen=True)
class _Branch:
    """A term of a sum, and the chain by which it comes from the tensor that all branches read."""

    term: Term
    chain: Chain


def find(view: View) -> Iterator[Match | Skip]:
    for added in sums(view):
        found: Match | Skip | None = None
        for group in _groups(view, added):
            found = _merge(view, added, group) or found
            if isinstance(found, Match):
                break
        if found is not None:
            yield found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Merge)
    layer, host = match.layer, match.host
    weight, bias = np.zeros(host.weight.shape), np.zeros(host.channels_out)
    for sign, row in match.branches:
        stencil = row.whole()
        weight += sign * host.weight_of(stencil)
        bias += sign * stencil.bias
    set_weights(view, layer, layer_weights(layer, weight, bias))
    layer.attrs.pop("alpha", None)
    for node in match.nodes:
        if node is not layer:
            disconnect(node)
    layer.outputs.clear()
    write_sum(view, match.sum, layer, match.rest)


def _groups(view: View, added: Sum) -> Iterator[list[_Branch]]:
    """Branches by the tensor they read: two or more each, one of them a single layer."""
    sources = [
        node.inputs[0]
        for node in (producer(term.tensor) for term in added.terms)
        if node is not None and is_op(node, *LAYERS)
    ]
    groups: dict[int, list[_Branch]] = {id(source): [] for source in sources}
    if not groups:
        return
    for term in added.terms:
        for source, chain in chains(view, term.tensor):
            if id(source) in groups:
                groups[id(source)].append(_Branch(term, chain))
    yield from (group for group in groups.values() if len(group) > 1)


def _merge(view: View, added: Sum, group: Sequence[_Branch]) -> Match | Skip | None:
    """The match of the widest layer of a group that holds another branch of it."""
    reason = None
    hosts: list[tuple[_Branch, Stencil]] = []
    for branch in group:
        if len(branch.chain) == 1 and is_op(branch.chain[0], *LAYERS):
            read = another_reader(branch.term.tensor, view.fixed) or read_layer(
                view, branch.chain[0]
            )
            if isinstance(read, Stencil):
                hosts.append((branch, read))
            else:
                reason = reason or read
    for host, stencil in sorted(hosts, key=lambda pair: -pair[1].macs):
        guests: list[tuple[_Branch, Row]] = []
        for branch in group:
            if branch is not host:
                row = _guest(view, host, stencil, branch)
                if isinstance(row, Row):
                    guests.append((branch, row))
                else:
                    reason = reason or row
        if guests:
            return _merged(added, (host, stencil), guests)
    return None if reason is None else Skip(added.nodes, reason)


def _guest(view: View, host: _Branch, stencil: Stencil, branch: _Branch) -> Row | str:
    """A branch that the host holds, as stencils in a row; or why it does not."""
    if branch.chain:
        reason = another_reader(branch.term.tensor, view.fixed)
        if reason is not None:
            return reason
    read = read_chain(view, branch.chain, stencil.channels_in, len(stencil.axes))
    if isinstance(read, str):
        return read
    if not stencil.holds(read):
        return "no branch reads all that the others read, at the same stride"
    if not _same_size(view, (host, stencil), (branch, read)):
        return "the branches are not proven to be of one size"
    return read


def _same_size(view: View, host: tuple[_Branch, Stencil], guest: tuple[_Branch, Row]) -> bool:
    """Whether two branches give as many outputs on every spatial axis."""
    if [axis.reach for axis in host[1].axes] == [axis.reach for axis in guest[1].axes]:
        return True
    shapes = [view.shape(branch.term.tensor) for branch, _ in (host, guest)]
    sizes = [shape[2:] if shape is not None else (None,) for shape in shapes]
    return sizes[0] == sizes[1] and None not in sizes[0]


def _merged(
    added: Sum, host: tuple[_Branch, Stencil], guests: Sequence[tuple[_Branch, Row]]
) -> Match | Skip:
    rows = (Row.of(host[1]), *(row for _, row in guests))
    branches = (host[0], *(branch for branch, _ in guests))
    nodes = tuple(node for branch in branches for node in branch.chain) + added.nodes
    layer = host[0].chain[0]
    refused = objection(layer, any(r.adds for r in rows), sum(r.magnitude for r in rows))
    if refused is not None:
        return Skip(nodes, refused)
    merged = {id(branch.term) for branch in branches}
    rest = tuple(term for term in added.terms if id(term) not in merged)
    signs = (-1 if branch.term.negative else 1 for branch in branches)
    return _Merge(nodes, layer, host[1], tuple(zip(signs, rows, strict=True)), added, rest)


RULE = Rule("merge_parallel_layers", Safety.EXACT, find, apply)
