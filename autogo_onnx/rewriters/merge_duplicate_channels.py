"""Conv(Conv(x, w)) with equal filters in w -> the same with one of them each.

Why: networks widened by copying, and layers that were merged or quantized coarsely, compute the
same channel several times. The layers behind sum over channels: they add up the weights instead.
Safety: exact in real arithmetic; equal means equal bit for bit, bias included, and equal channels
are followed through activations, additions, pools and depthwise convolutions.
Skips: as in `remove_dead_channels`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.rewriters.channels.channels import Spaces
from autogo_onnx.rewriters.channels.drop import apply_drop, drops, input_axis, unneeded
from autogo_onnx.rewriters.channels.trace import trace
from autogo_onnx.rewriters.channels.values import equal_rows, groups_of_equal, known, rows
from autogo_onnx.rewriters.patterns.linear import (
    Weights,
    bias_of,
    groups,
    is_linear,
    refusal,
    rounded,
    weight_of,
)
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    if not any(_has_equal_filters(node) for node in view.graph.nodes):
        return
    spaces = trace(view)
    facts = known(view, spaces)
    needed = unneeded(spaces)
    equal = {root: np.where(pinned, np.arange(pinned.size), 0) for root, pinned in needed.items()}
    for name, _ in spaces.sinks:
        root = spaces.of(name)
        equal[root] = groups_of_equal(equal[root], facts[name].label)
    _settle(spaces, equal)
    for root, label in equal.items():
        needed[root][np.unique(label, return_index=True)[1]] = True

    def sum_up(name: str, node: gs.Node, kept: np.ndarray) -> Weights | str:
        weight, axis = weight_of(node), input_axis(node)
        label = equal[spaces.of(name)]
        first = np.unique(label, return_index=True)[1][np.unique(label, return_inverse=True)[1]]
        target = np.where(np.isin(np.arange(label.size), kept), np.arange(label.size), first)
        total = np.zeros(np.moveaxis(weight, axis, 0).shape)
        np.add.at(total, target, np.moveaxis(weight, axis, 0).astype(np.float64))
        summed = np.moveaxis(total[kept], 0, axis)
        return rounded(summed, bias_of(node), weight.dtype)

    yield from drops(spaces, needed, sum_up)


def _has_equal_filters(node: gs.Node) -> bool:
    if not is_linear(node) or refusal(node) is not None or groups(node) != 1:
        return False
    table = rows(node)
    labels = groups_of_equal(equal_rows(table), bias_of(node))
    return len(np.unique(labels)) < len(table)


def _settle(spaces: Spaces, equal: dict[str, np.ndarray]) -> None:
    """Make linked spaces hold the same channels to be equal."""
    before = -1
    while (count := sum(len(np.unique(label)) for label in equal.values())) != before:
        before = count
        for link in (link for links in spaces.links.values() for link in links):
            small, big = spaces.of(link.small), spaces.of(link.big)
            size = equal[small].size
            part = slice(link.offset, link.offset + size * link.repeat)
            block = equal[big][part].reshape(size, link.repeat)
            equal[small] = groups_of_equal(equal[small], *block.T)
            mine = np.full(equal[big].size, -1)
            mine[part] = equal[small].repeat(link.repeat) * link.repeat + np.tile(
                np.arange(link.repeat), size
            )
            equal[big] = groups_of_equal(equal[big], mine)


RULE = Rule("merge_duplicate_channels", Safety.EXACT, find, apply_drop, on_trial=True)
