"""Channels taken out of a graph wherever they travel, whether they are needed or not.

The layers behind lose the weights that read them, and nothing makes up for it here: what is done
about that is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from autogo_onnx.rewriters.channels.channels import Spaces
from autogo_onnx.rewriters.channels.drop import Drop, apply_drop, input_axis, losses, settle
from autogo_onnx.rewriters.channels.trace import trace
from autogo_onnx.rewriters.patterns.linear import Weights, weight_of
from autogo_onnx.rewriters.view import View

Kept = dict[str, NDArray[np.intp]]


def narrow(graph: gs.Graph, keep: Mapping[str, NDArray[np.intp]]) -> Kept:
    """Keep some channels only.

    Args:
        graph: edited in place; tensors keep their names.
        keep: the channels that stay, ascending, by the name of a tensor of each space.

    Returns:
        Of every tensor that lost channels, those it still has.
    """
    view = View(graph)
    spaces = trace(view)
    needed = _needed(spaces, keep)
    names = {id(t): t.name for node in graph.nodes for t in node.outputs}
    found: Kept = {}
    for loss in losses(spaces, needed):

        def sliced(_: str, node: gs.Node, kept: NDArray[np.intp]) -> Weights:
            return Weights(weight_of(node).take(kept, axis=input_axis(node)), None)

        match = loss.drop(spaces, sliced)
        assert isinstance(match, Drop), "slicing is never refused"
        found |= {n: match.keep[r] for n in spaces.places if (r := spaces.of(n)) in match.keep}
        apply_drop(view, match)
    for node in graph.nodes:
        for tensor in node.outputs:
            tensor.name = names[id(tensor)]
    return found


def _needed(spaces: Spaces, keep: Mapping[str, NDArray[np.intp]]) -> dict[str, NDArray[np.bool_]]:
    """bool[channels] per space; linked spaces agree."""
    needed = {spaces.of(n): np.ones(place.size, bool) for n, place in spaces.places.items()}
    for name, kept in keep.items():
        needed[spaces.of(name)][:] = False
        needed[spaces.of(name)][kept] = True
    waiting = [spaces.of(name) for name in keep]
    links = [link for found in spaces.links.values() for link in found]
    while waiting:
        small = waiting.pop()
        for link in links:
            if spaces.of(link.small) == small:
                stop = link.offset + needed[small].size * link.repeat
                needed[spaces.of(link.big)][link.offset : stop] = needed[small].repeat(link.repeat)
                waiting.append(spaces.of(link.big))
    settle(spaces, needed)
    return needed
