"""(x * a + b) * c + d -> x * (a * c) + (b * c + d); one BatchNormalization where there was one.

Why: normalizations of the input, scaled residuals and exporters' BN1d leave chains of Mul, Add,
Sub, Div, Neg and BatchNormalization with constants, each of them a pass over the tensor.
Safety: exact in real arithmetic; the constants are computed in float64 and rounded once. Shapes
stay, for broadcasting is associative.
Skips: chains that would not get shorter; tensors in between that are read elsewhere or leave the
graph; constants that would overflow or vanish, would be larger together than each alone, or are
so large that adding them rounds; types other than float32 and float64. A layer before the chain
takes it in altogether: see `fuse_mul_add` and `fuse_conv_bn`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.affine import (
    NORM,
    Affine,
    Chain,
    chain_dtype,
    chains,
    epsilon,
    read_chain,
)
from autogo_onnx.rewriters.patterns.layout import Channels
from autogo_onnx.rewriters.patterns.linear import set_constant
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Merge(Match):
    """Affine nodes in a row and the constants of the one or two nodes in their place.

    Attributes:
        source: what the first node maps.
        scale, shift: constants, None where the map needs none.
        norm: the BatchNormalization that is to do it all, if there is one.
    """

    source: gs.Tensor
    scale: np.ndarray | None
    shift: np.ndarray | None
    norm: gs.Node | None


def find(view: View) -> Iterator[Match | Skip]:
    for chain in chains(view):
        if len(chain.nodes) < 2:
            if chain.blocked is not None:
                yield Skip(chain.nodes, chain.blocked)
            continue
        if not _may_shorten(chain):
            continue
        affine = read_chain(view, chain)
        found = affine if isinstance(affine, str) else _merge(view, chain, affine)
        if isinstance(found, str):
            yield Skip(chain.nodes, found)
        elif found is not None:
            yield found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Merge)
    result = match.nodes[-1].outputs[0]
    result.inputs.clear()
    for node in match.nodes:
        if node is not match.norm:
            disconnect(node)
    source = match.source
    if match.norm is not None:
        assert match.scale is not None
        assert match.shift is not None
        match.norm.inputs[0] = source
        match.norm.outputs = [result]
        set_constant(view, match.norm, 1, match.scale, "scale")
        set_constant(view, match.norm, 2, match.shift, "shift")
        return
    if match.scale is not None:
        target: gs.Tensor | str = result if match.shift is None else f"{result.name}.scaled"
        factor = view.constant(f"{result.name}.scale", match.scale)
        source = view.insert("Mul", [source, factor], target)
    if match.shift is not None:
        view.insert("Add", [source, view.constant(f"{result.name}.shift", match.shift)], result)


def _may_shorten(chain: Chain) -> bool:
    """Whether there are several nodes of one sort: a scale and a shift are two nodes anyway."""
    adding = sum(is_op(node, "Add", "Sub") for node in chain.nodes)
    scaling = sum(is_op(node, "Mul", "Div", "Neg") for node in chain.nodes)
    return max(adding, scaling) > 1 or adding + scaling < len(chain.nodes)


def _merge(view: View, chain: Chain, affine: Affine) -> _Merge | str | None:
    norm = next((node for node in chain.nodes if is_op(node, NORM)), None)
    if norm is not None:
        return _into_norm(view, chain, affine, norm)
    dtype = chain_dtype(chain)
    if dtype is None:
        return None
    scale, shift = affine.scale.astype(dtype), affine.shift.astype(dtype)
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return f"the constants together overflow {dtype}"
    if (np.abs(scale[affine.scale != 0]) < np.finfo(dtype).tiny).any():
        return f"the constants together vanish in {dtype}"
    scales, shifts = bool((scale != 1).any()), bool(shift.any())
    if scales + shifts >= len(chain.nodes):
        return None
    # The one constant that is left must add the axes that both together would.
    full = np.broadcast_shapes(scale.shape, shift.shape)
    if not (scales and shifts):
        scale, shift = np.broadcast_to(scale, full), np.broadcast_to(shift, full)
    one = scale if scales or not shifts else None
    return _Merge(chain.nodes, chain.source, one, shift if shifts else None, None)


def _into_norm(view: View, chain: Chain, affine: Affine, norm: gs.Node) -> _Merge | str:
    mean, variance = (np.asarray(constant_value(t), np.float64) for t in norm.inputs[3:5])
    shape = view.shape(chain.source)
    assert shape is not None, "read_chain() refused"
    if chain.nodes[0] is not norm and shape[1] != mean.size:
        return "the constants before the BatchNormalization may enlarge the tensor"
    channels = Channels(mean.size, len(shape) - 2, len(shape))
    scale, shift = channels.vector(affine.scale), channels.vector(affine.shift)
    if scale is None or shift is None:
        return "the constant is not one value per channel of the BatchNormalization"
    dtype = np.asarray(constant_value(norm.inputs[1])).dtype
    with np.errstate(over="ignore"):
        new_scale = (scale * np.sqrt(variance + epsilon(norm))).astype(dtype)
        new_shift = (shift + mean * scale).astype(dtype)
    if not (np.isfinite(new_scale).all() and np.isfinite(new_shift).all()):
        return f"the constants together overflow {dtype}"
    return _Merge(chain.nodes, chain.source, new_scale, new_shift, norm)


RULE = Rule("fuse_affine_chain", Safety.EXACT, find, apply)
