"""Conv(Relu(Conv(x))) -> the same without the channels that are constant or that nobody reads.

Why: training leaves filters of zeros behind, and pruning makes them on purpose. What such a filter
makes is its bias, in every pixel; what activations, additions, pools and depthwise convolutions
make of that is constant too, and the bias of the layers behind takes it in. A channel that all
layers behind multiply by zero goes as well, whatever it is. A layer that pads with zeros cannot
take a constant in its bias, nor a MatMul, but of several such channels one can stand for all.
Safety: exact for finite activations: zero times infinity is no number, and such a product vanishes.
Skips: channels that leave the graph, or that something reads in another way than the layers behind
(attention, shuffles, normalizations over channels); a single constant other than zero before such
a layer; channels of grouped convolutions other than depthwise ones. Where the number of
channels was a multiple of 16, 8 or 4 it stays one, and one channel always stays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.channels.channels import Spaces
from autogo_onnx.rewriters.channels.drop import apply_drop, drops, input_axis, unneeded
from autogo_onnx.rewriters.channels.trace import is_depthwise, trace
from autogo_onnx.rewriters.channels.values import Known, known, rows
from autogo_onnx.rewriters.patterns.linear import (
    Weights,
    bias_of,
    groups,
    is_linear,
    pads,
    refusal,
    rounded,
    weight_of,
)
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    if not any(_has_zeros(node) for node in view.graph.nodes):
        return
    spaces = trace(view)
    facts = known(view, spaces)
    yield from _refused(spaces, facts)
    needed = unneeded(spaces)
    carriers = _carriers(spaces, facts)
    for root, carrier in carriers.items():
        needed[root][carrier] = True
    for name, node in spaces.sinks:
        root = spaces.of(name)
        needed[root] |= ~_vanishes(node, facts[name].value, root in carriers)

    def sum_up(name: str, node: gs.Node, kept: np.ndarray) -> Weights | str:
        return _without(node, facts[name].value, kept, carriers.get(spaces.of(name)))

    yield from drops(spaces, needed, sum_up)


def _carriers(spaces: Spaces, facts: dict[str, Known]) -> dict[str, int]:
    """Per space the constant channel that can stand for all others, where no bias can."""
    strength: dict[str, np.ndarray] = {}
    for name, node in spaces.sinks:
        if _adds_nothing(node):
            root, value = spaces.of(name), np.abs(np.nan_to_num(facts[name].value))
            strength[root] = np.minimum(strength.get(root, np.inf), value)
    return {root: int(values.argmax()) for root, values in strength.items() if values.any()}


def _without(
    node: gs.Node, value: np.ndarray, kept: np.ndarray, carrier: int | None
) -> Weights | str:
    """The weights of a layer for the channels that are kept, still doing the work of the others."""
    dropped = np.nan_to_num(value)
    dropped[kept] = 0
    weight, axis, bias = weight_of(node), input_axis(node), bias_of(node)
    if not dropped.any():
        return Weights(weight.take(kept, axis=axis), None)
    exact = np.moveaxis(weight.astype(np.float64), axis, 0)
    total = np.tensordot(dropped, exact, axes=1)
    if _adds_nothing(node):
        assert carrier is not None, "_vanishes() refused"
        exact[carrier] += total / value[carrier]
    else:
        sums = rows(node).astype(np.float64).sum(axis=2) @ dropped
        bias = bias + sums * node.attrs.get("alpha", 1.0)
    return rounded(np.moveaxis(exact[kept], 0, axis), bias, weight.dtype)


def _has_zeros(node: gs.Node) -> bool:
    """Whether some filter, or all that is multiplied with some channel, is zero."""
    if not is_linear(node) or refusal(node) is not None:
        return False
    if groups(node) != 1:
        weight = weight_of(node)
        return is_depthwise(node) and not weight.reshape(len(weight), -1).any(axis=1).all()
    nonzero = np.any(rows(node), axis=2)
    return not (np.any(nonzero, axis=0).all() and np.any(nonzero, axis=1).all())


def _adds_nothing(node: gs.Node) -> bool:
    """Whether a constant cannot go into the bias: it is not everywhere, or there is no bias."""
    return pads(node) or is_op(node, "MatMul")


def _vanishes(node: gs.Node, value: np.ndarray, is_carried: bool) -> np.ndarray:
    """bool[input channels] that the layer can do without."""
    unread = np.logical_not(np.any(rows(node), axis=(0, 2)))
    absorbed = value == 0 if _adds_nothing(node) and not is_carried else ~np.isnan(value)
    either: np.ndarray = np.logical_or(absorbed, unread)
    return either


def _refused(spaces: Spaces, facts: dict[str, Known]) -> Iterator[Skip]:
    reasons = {spaces.of(n): why for n, why in spaces.pinned.items() if n in spaces.places}
    for name, node in spaces.makers.items():
        count = int((~np.isnan(facts[name].value)).sum())
        if count and spaces.of(name) in reasons:
            reason = reasons[spaces.of(name)]
            yield Skip((node,), f"some channels are constant, but {reason}")


RULE = Rule("remove_dead_channels", Safety.EXACT, find, apply_drop, on_trial=True)
