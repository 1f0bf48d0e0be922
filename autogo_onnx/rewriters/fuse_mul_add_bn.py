"""x * a + b -> BatchNormalization(x), for constants a, b per channel.

Why: one pass over the tensor instead of two, and between convolutions ONNX Runtime keeps a
BatchNormalization in its blocked layout, where Mul and Add by channels leave it (measured: 0.52 of
the two nodes alone; 0.94 to 0.98 of convolutions with them in between).
Safety: exact. Mean 0, variance 1 and epsilon 0 make the normalization the same scale and shift.
Skips: constants that vary along other axes or add some; unproven shapes; types other than float32
and float64; products that are read elsewhere or leave the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.affine import Affine, Chain, chain_dtype, chains, read_chain
from autogo_onnx.rewriters.patterns.layout import Channels
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Norm(Match):
    """A Mul and an Add, in either order, and the map they are together."""

    chain: Chain
    affine: Affine


def find(view: View) -> Iterator[Match | Skip]:
    for chain in chains(view):
        if len(chain.nodes) != 2 or not all(is_op(n, "Mul", "Add", "Sub") for n in chain.nodes):
            continue
        shape, affine = view.shape(chain.source), read_chain(view, chain)
        if shape is None or len(shape) < 3 or shape[1] is None:
            continue
        if isinstance(affine, str):
            yield Skip(chain.nodes, affine)
            continue
        channels = Channels(shape[1], len(shape) - 2, len(shape))
        scale, shift = channels.vector(affine.scale), channels.vector(affine.shift)
        if scale is None or shift is None:
            yield Skip(chain.nodes, "the constants are not one value per channel")
        else:
            yield _Norm(chain.nodes, chain, Affine(scale, shift))


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Norm)
    source, result = match.chain.source, match.nodes[-1].outputs[0]
    dtype, size = chain_dtype(match.chain), match.affine.scale.size
    values = {
        "scale": match.affine.scale.astype(dtype),
        "shift": match.affine.shift.astype(dtype),
        "mean": np.zeros(size, dtype),
        "variance": np.ones(size, dtype),
    }
    for node in match.nodes:
        disconnect(node)
    constants = [view.constant(f"{result.name}.{role}", value) for role, value in values.items()]
    view.insert("BatchNormalization", [source, *constants], result, {"epsilon": 0.0})


RULE = Rule("fuse_mul_add_bn", Safety.EXACT, find, apply, on_trial=True)
