"""Finding the spaces of channels of a whole graph."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.channels.channels import Spaces
from autogo_onnx.rewriters.channels.steps import follow
from autogo_onnx.rewriters.patterns.linear import (
    channels,
    groups,
    input_channels,
    is_linear,
    output_channels,
    refusal,
    weight_of,
)
from autogo_onnx.rewriters.view import View


def is_depthwise(node: gs.Node) -> bool:
    """Whether a linear node without `refusal` maps each channel by itself."""
    return is_op(node, "Conv") and weight_of(node).shape[1] == 1 and groups(node) == channels(node)


def trace(view: View) -> Spaces:
    """Follow the channels of all layers through the graph."""
    spaces = Spaces()
    for node in view.graph.nodes:
        _visit(view, spaces, node)
    spaces.pin(
        (name for name in spaces.places if name in view.fixed),
        "the channels leave the graph",
    )
    for tensor in (t for node in view.graph.nodes for t in node.outputs if t.name in spaces.places):
        # Rules append nodes, so a reader may have come before the maker: not before it is sorted.
        if any((id(reader), tensor.name) not in spaces.reads for reader in tensor.outputs):
            spaces.pin([tensor.name], "the graph is not sorted yet")
    return spaces


def _visit(view: View, spaces: Spaces, node: gs.Node) -> None:
    followed = [t for t in node.inputs if t.name in spaces.places]
    spaces.reads.update((id(node), tensor.name) for tensor in followed)
    if is_linear(node) and refusal(node) is None:
        _layer(view, spaces, node)
        return
    if not followed:
        return
    reason = follow(view, spaces, node)
    if reason is None:
        spaces.steps.append(node)
    else:
        spaces.pin((t.name for t in followed), reason)


def _layer(view: View, spaces: Spaces, node: gs.Node) -> None:
    source, result = node.inputs[0].name, node.outputs[0].name
    place = spaces.places.get(source)
    depthwise = is_depthwise(node)
    if place is not None:
        wanted = input_channels(view, node)
        fits = wanted is not None and (wanted.size, wanted.after) == (place.size, place.after)
        if not fits or (groups(node) != 1 and not depthwise):
            spaces.pin([source], f"{node.op} reads the channels in groups or along another axis")
        elif not depthwise:
            spaces.sinks.append((source, node))
    after = output_channels(view, node)
    if after.size == 1 or (depthwise and place is None):
        return
    spaces.places[result] = after
    if depthwise:
        spaces.join([source, result])
        spaces.steps.append(node)
        return
    spaces.makers[result] = node
    if groups(node) != 1:
        spaces.pin([result], f"{node.op} makes the channels in groups")
