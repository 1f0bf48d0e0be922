"""Conv(x * a + b) -> Conv(x) with scaled weights, for constants a, b per channel; Gemm likewise.

Why: input normalizations, layer scales and normalizations in front of a layer are passes over the
whole tensor. All layers that read the result take them in: Conv, ConvTranspose, Gemm, MatMul.
Safety: exact in real arithmetic; computed in float64 and rounded once. A layer that pads with zeros
cannot take in the shift, for the zeros are not shifted: `x * a + b` becomes `x + b / a` before it
where that saves a node. Reshapes, squeezes and transposes that keep the channels in one axis may
lie in between.
Skips: results that leave the graph or that anything but layers with constant weights read; shifts
before padding; constants that vary within a channel; constants that belong to an activation or a
layer normalization spelled out, which ONNX Runtime has one kernel for (not worth a word each).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.affine import (
    ARITHMETIC,
    Affine,
    Chain,
    affine_source,
    chain_dtype,
    chains,
    ends_activation,
    read_chain,
)
from autogo_onnx.rewriters.patterns.layout import Channels, moved, moves
from autogo_onnx.rewriters.patterns.linear import (
    Weights,
    input_channels,
    is_linear,
    mapped_before,
    pads,
    refusal,
    set_weights,
)
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Path:
    """From the result of the affine nodes to one layer: nodes that only move elements."""

    moving: tuple[gs.Node, ...]
    layer: gs.Node


@dataclass(frozen=True)
class _Distribution(Match):
    """Affine nodes, the paths to all layers behind them, and the layers' new weights.

    Attributes:
        chain: the affine nodes.
        paths: one per layer.
        weights: one per layer.
        shift: what is left to add before the layers; None for nothing.
    """

    chain: Chain
    paths: tuple[_Path, ...]
    weights: tuple[Weights, ...]
    shift: np.ndarray | None


def find(view: View) -> Iterator[Match | Skip]:
    for chain in chains(view):
        result = chain.nodes[-1].outputs[0]
        paths = _paths(view, result)
        if not paths or ends_activation(chain.source):
            continue
        found = paths if isinstance(paths, str) else _distribution(view, chain, paths)
        if isinstance(found, str):
            yield Skip(chain.nodes, found)
        elif found is not None:
            yield found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Distribution)
    old, source = match.chain.nodes[-1].outputs[0], match.chain.source
    if match.shift is not None:
        shift = view.constant(f"{old.name}.shift", match.shift)
        source = view.insert("Add", [source, shift], f"{old.name}.shifted")
    renamed: dict[int, gs.Node] = {}
    for path, weights in zip(match.paths, match.weights, strict=True):
        for node in path.moving:
            renamed[id(node)] = node
        set_weights(view, path.layer, weights)
        if is_op(path.layer, "MatMul") and weights.bias is not None and weights.bias.any():
            _add_bias(view, path.layer, weights.bias)
    for node in match.chain.nodes:
        disconnect(node)
    for reader in list(old.outputs):
        reader.inputs[0] = source
    # Tensors on the way have other values now, so they get other names.
    for node in renamed.values():
        before = node.outputs[0]
        after = gs.Variable(view.new_name(f"{before.name}.folded"))
        for reader in list(before.outputs):
            reader.inputs[0] = after
        node.outputs = [after]


def _paths(view: View, result: gs.Tensor) -> tuple[_Path, ...] | str:
    """The ways to all layers that read the result; empty where no layer does."""
    paths: list[_Path] = []
    waiting: list[tuple[gs.Tensor, tuple[gs.Node, ...]]] = [(result, ())]
    others = ""
    while waiting:
        tensor, moving = waiting.pop()
        if tensor.name in view.fixed:
            others = "the result is a graph output or read by a subgraph"
        for reader in tensor.outputs:
            if moves(reader) and reader.inputs[0] is tensor:
                waiting.append((reader.outputs[0], (*moving, reader)))
            elif is_linear(reader) and reader.inputs[0] is tensor:
                paths.append(_Path(moving, reader))
            else:
                others = others or f"{reader.op} reads the result too"
    return others if paths and others else tuple(paths)


def _distribution(view: View, chain: Chain, paths: tuple[_Path, ...]) -> _Distribution | str | None:
    layers = [path.layer for path in paths]
    reason = next((r for r in map(refusal, layers) if r is not None), None)
    if reason is not None:
        return reason
    affine = read_chain(view, chain)
    if isinstance(affine, str):
        return affine
    left: np.ndarray | None = None
    if affine.shift.any() and any(pads(layer) for layer in layers):
        found = _without_shift(chain, affine)
        if isinstance(found, str):
            return found
        affine, left = found
    needed = sum(_needs_add(layer) for layer in layers) if affine.shift.any() else 0
    if needed + (left is not None) >= len(chain.nodes):
        return None
    weights = []
    for path in paths:
        found_weights = _weights(view, chain, path, affine)
        if isinstance(found_weights, str):
            return found_weights
        weights.append(found_weights)
    moving = {id(node): node for path in paths for node in path.moving}
    nodes = (*chain.nodes, *moving.values(), *layers)
    return _Distribution(nodes, chain, paths, tuple(weights), left)


def _without_shift(chain: Chain, affine: Affine) -> tuple[Affine, np.ndarray] | str:
    """`a * x + b` as `a * (x + b / a)`: the map that layers take in, and what stays."""
    if len(chain.nodes) < 2 or not all(is_op(node, *ARITHMETIC) for node in chain.nodes):
        return "the shift stays before a layer that pads with zeros, which are not shifted"
    if not affine.scale.all():
        return "a channel is scaled by zero before a layer that pads with zeros"
    dtype = chain_dtype(chain)
    shift = (affine.shift / affine.scale).astype(dtype)
    if not np.isfinite(shift).all():
        return f"the shift before the scale overflows {dtype}"
    return replace(affine, shift=np.zeros(())), shift


def _weights(view: View, chain: Chain, path: _Path, affine: Affine) -> Weights | str:
    place = _place(view, chain.nodes[-1].outputs[0], path)
    if place is None:
        return f"the channels that {path.layer.op} sums over are not one axis of the result"
    if affine.scale.ndim or affine.shift.ndim:
        shape = view.shape(chain.source)
        if shape is None or len(shape) <= place.after:
            return "the shape before the constants is not proven"
        if shape[-1 - place.after] != place.size or len(shape) != (place.rank or len(shape)):
            return "the constants may enlarge the tensor"
        place = replace(place, rank=len(shape))
    scale, shift = place.vector(affine.scale), place.vector(affine.shift)
    if scale is None or shift is None:
        return f"the constant varies along other axes than the one {path.layer.op} sums over"
    return mapped_before(path.layer, scale, shift)


def _place(view: View, result: gs.Tensor, path: _Path) -> Channels | None:
    """Where the channels that a layer sums over are in the result of the affine nodes."""
    wanted = input_channels(view, path.layer)
    if wanted is None or not path.moving:
        return wanted
    shape = view.shape(result) or ()
    for axis, size in enumerate(shape):
        place: Channels | None = Channels(wanted.size, len(shape) - 1 - axis, len(shape))
        for node in path.moving if size == wanted.size else ():
            place = None if place is None else moved(view, node, place)
        if size == wanted.size and place is not None and place.after == wanted.after:
            return Channels(wanted.size, len(shape) - 1 - axis, len(shape))
    return None


def _needs_add(layer: gs.Node) -> bool:
    """Whether a MatMul gets a node for a shift; one that has an Add already keeps that one."""
    if not is_op(layer, "MatMul"):
        return False
    readers = layer.outputs[0].outputs
    return len(readers) != 1 or affine_source(readers[0], ARITHMETIC) is None


def _add_bias(view: View, layer: gs.Node, bias: np.ndarray) -> None:
    result = layer.outputs[0]
    layer.outputs.clear()
    product = gs.Variable(view.new_name(f"{result.name}.product"))
    layer.outputs.append(product)
    view.insert("Add", [product, view.constant(f"{result.name}.bias", bias)], result)


RULE = Rule("fuse_affine_conv", Safety.EXACT, find, apply)
