"""How a layer takes in the affine nodes that follow it, through nodes that only move elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.affine import (
    Affine,
    affine_source,
    begins_activation,
    read_affine,
)
from autogo_onnx.rewriters.patterns.layout import Channels, moved, moves
from autogo_onnx.rewriters.patterns.linear import (
    Weights,
    is_linear,
    mapped_after,
    output_channels,
    refusal,
    set_weights,
)
from autogo_onnx.rewriters.patterns.reading import another_reader
from autogo_onnx.rewriters.rule import Match, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Chain:
    """A layer's successors, each the only reader of the one before; the last one is affine."""

    nodes: tuple[gs.Node, ...]
    affine: Affine


@dataclass(frozen=True)
class _Absorption(Match):
    """A layer and its chain, with its new weights; `moves` are the nodes of the chain that stay."""

    weights: Weights
    moving: tuple[gs.Node, ...]


def absorptions(view: View, kinds: tuple[str, ...]) -> Iterator[Match | Skip]:
    """Layers that can take in the nodes of these kinds that follow them, and those that cannot."""
    for layer in view.graph.nodes:
        if is_linear(layer) and any(_may_follow(r, kinds) for r in layer.outputs[0].outputs):
            yield from _at(view, layer, kinds)


def absorb(view: View, match: Match) -> None:
    """Apply a match of `absorptions`: the layer gets new weights and the affine nodes go."""
    assert isinstance(match, _Absorption)
    layer, *chain = match.nodes
    set_weights(view, layer, match.weights)
    source, result = layer.outputs[0], chain[-1].outputs[0]
    chain[-1].outputs.clear()
    for node in chain:
        if node not in match.moving:
            disconnect(node)
    steps = [*match.moving]
    if is_op(layer, "MatMul") and match.weights.bias is not None and match.weights.bias.any():
        shift = view.constant(f"{source.name}.folded_bias", match.weights.bias)
        view.insert("Add", [source, shift], result)
        steps.insert(0, result.inputs[0])
    # Tensors on the way have other values now, so they get other names.
    value = layer
    for step in steps:
        between = gs.Variable(view.new_name(f"{source.name}.folded"))
        value.outputs = [between]
        step.inputs[0] = between
        value = step
    value.outputs = [result]


def _may_follow(reader: gs.Node, kinds: tuple[str, ...]) -> bool:
    return moves(reader) or affine_source(reader, kinds) is not None


def _at(view: View, layer: gs.Node, kinds: tuple[str, ...]) -> Iterator[Match | Skip]:
    reason = refusal(layer)
    if reason is not None:
        following = [r for r in layer.outputs[0].outputs if affine_source(r, kinds) is not None]
        if following:
            yield Skip((layer, following[0]), reason)
        return
    found = _chain(view, layer, kinds)
    if isinstance(found, Skip):
        yield found
    elif found is not None and not _is_bias(layer, found):
        weights = mapped_after(layer, found.affine.scale, found.affine.shift)
        if isinstance(weights, str):
            yield Skip((layer, *found.nodes), weights)
            return
        if is_op(layer, "MatMul"):
            weights = replace(weights, bias=found.affine.shift.astype(weights.weight.dtype))
        moving = tuple(node for node in found.nodes if moves(node))
        yield _Absorption((layer, *found.nodes), weights, moving)


def _is_bias(layer: gs.Node, chain: _Chain) -> bool:
    """Whether there is nothing but what a MatMul without bias needs anyway."""
    affine_nodes = [node for node in chain.nodes if not moves(node)]
    alone = len(affine_nodes) == 1 and is_op(affine_nodes[0], "Add", "Sub")
    return is_op(layer, "MatMul") and alone


def _chain(view: View, layer: gs.Node, kinds: tuple[str, ...]) -> _Chain | Skip | None:
    """The longest chain that the layer can take in; a skip where there is none, but a reason."""
    size = output_channels(view, layer)
    best = _Chain((), Affine(np.ones(size.size), np.zeros(size.size)))
    nodes: tuple[gs.Node, ...] = ()
    tensor, place = layer.outputs[0], size
    reason: str | None = None
    while tensor.outputs:
        node = next((r for r in tensor.outputs if _may_follow(r, kinds)), None)
        if node is None:
            break
        nodes = (*nodes, node)
        reason = another_reader(tensor, view.fixed)
        if reason is not None:
            if begins_activation(tensor):
                reason = None  # of course the gated tensor is read by the gate, too
            break
        if moves(node):
            after = moved(view, node, place)
            if after is None:
                break
            place = after
        else:
            step = _per_channel(view, node, place)
            if isinstance(step, str):
                reason = step
                break
            best = _Chain(nodes, best.affine.then(step))
        tensor = node.outputs[0]
    if best.nodes:
        return best
    touched = any(affine_source(node, kinds) is not None for node in nodes)
    return Skip((layer, *nodes), reason) if reason is not None and touched else None


def _per_channel(view: View, node: gs.Node, place: Channels) -> Affine | str:
    affine = read_affine(view, node, place.rank)
    if isinstance(affine, str):
        return affine
    scale, shift = place.vector(affine.scale), place.vector(affine.shift)
    if scale is None or shift is None:
        return "the constant is not one finite value per channel"
    return Affine(scale, shift)
