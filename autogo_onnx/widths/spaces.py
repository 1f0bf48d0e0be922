"""Which layers of a model share their channels, so that they can only get narrower together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from autogo_onnx.liveness import is_op
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.refit import refit
from autogo_onnx.rewriters.channels.channels import Spaces
from autogo_onnx.rewriters.channels.drop import unneeded
from autogo_onnx.rewriters.channels.trace import is_depthwise, trace
from autogo_onnx.rewriters.view import View
from autogo_onnx.segments import Reading

Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer that sums over the channels of a space.

    Attributes:
        op: its number in the reading.
        channels: int[C, R], which of its input channels hold each channel of the space: one, or
            several behind a Flatten.
    """

    op: int
    channels: Indices


@dataclass(frozen=True, eq=False)
class Space:
    """Channels that travel together from the layers that make them to those that sum over them.

    Attributes:
        name: of a tensor that has them.
        size: how many they are.
        makers: numbers of the layers whose outputs they are.
        readers: the layers behind.
        between: numbers of depthwise convolutions in between.
    """

    name: str
    size: int
    makers: tuple[int, ...]
    readers: tuple[Reader, ...]
    between: tuple[int, ...]

    def outputs(self) -> frozenset[int]:
        """Layers that make fewer channels when the space loses some."""
        return frozenset((*self.makers, *self.between))

    def inputs(self, graph: OpGraph) -> dict[int, float]:
        """The share of its input channels that every reader has from the space.

        It is less than 1 behind a Concat.
        """
        sizes = {r.op: graph.shape(graph.ops[r.op].inputs[0])[1] for r in self.readers}
        return {r.op: r.channels.size / sizes[r.op] for r in self.readers}


def find_spaces(graph: gs.Graph, reading: Reading) -> tuple[Space, ...]:
    """Every space that can get narrower, in the order of its first maker.

    Those are left out that leave the graph, that something reads in another way than a layer whose
    weights can be fitted again, or whose makers work in groups.

    Args:
        graph: the exactly rewritten model, and
        reading: its reading.
    """
    spaces = trace(View(graph))
    number = {name: t - reading.opgraph.n_inputs for t, name in enumerate(reading.tensors)}
    needed = unneeded(spaces)
    found = []
    for root in dict.fromkeys(spaces.of(name) for name in spaces.makers):
        reached = dict(_reached(spaces, root))
        if any(needed[to][places.reshape(-1)].any() for to, places in reached.items()):
            continue
        makers = tuple(number[n] for n in spaces.makers if spaces.of(n) == root)
        readers = tuple(_readers(spaces, reached, number))
        if readers and all(refit(reading, r.op) is not None for r in readers):
            between = tuple(_between(spaces, set(reached), number))
            found.append(Space(root, spaces.places[root].size, makers, readers, between))
    return tuple(sorted(found, key=lambda space: space.makers))


def _reached(spaces: Spaces, root: str) -> Iterator[tuple[str, Indices]]:
    """The space and all that it is linked into, each with the places int[C, R] of its channels."""
    waiting = [(root, np.arange(spaces.places[root].size)[:, None])]
    links = [link for found in spaces.links.values() for link in found]
    while waiting:
        here, places = waiting.pop()
        yield here, places
        for link in links:
            if spaces.of(link.small) == here:
                inner = places[:, :, None] * link.repeat + np.arange(link.repeat)
                waiting.append((spaces.of(link.big), link.offset + inner.reshape(len(places), -1)))


def _readers(
    spaces: Spaces, reached: dict[str, Indices], number: dict[str, int]
) -> Iterator[Reader]:
    for name, node in spaces.sinks:
        if spaces.of(name) in reached:
            yield Reader(number[node.outputs[0].name], reached[spaces.of(name)])


def _between(spaces: Spaces, roots: set[str], number: dict[str, int]) -> Iterator[int]:
    for node in spaces.steps:
        name = node.outputs[0].name
        if is_op(node, "Conv") and is_depthwise(node) and spaces.of(name) in roots:
            yield number[name]
