"""Dropping channels: from their makers, from all nodes in between, and from the layers behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.channels.channels import ELEMENTWISE, Spaces
from autogo_onnx.rewriters.patterns.layout import Channels
from autogo_onnx.rewriters.patterns.linear import Weights, set_constant, set_weights, weight_of
from autogo_onnx.rewriters.patterns.reading import operand
from autogo_onnx.rewriters.rule import Match, Skip
from autogo_onnx.rewriters.view import View

# Kernels work on blocks of so many channels: part of a block costs as much as a whole one, and
# numbers that are no multiple of four leave ONNX Runtime's blocked layout (measured: 1.4 times the
# latency of EfficientNet-Lite0 for five channels less).
_BLOCKS = (16, 8, 4)


@dataclass(frozen=True)
class Drop(Match):
    """Spaces that lose channels.

    Attributes:
        spaces: all that was traced.
        keep: the channels that stay, of each space that loses some.
        makers: layers that make these spaces.
        steps: nodes in between.
        weights: of the layers that sum over these spaces, still with all their output channels.
    """

    spaces: Spaces
    keep: Mapping[str, np.ndarray]
    makers: tuple[tuple[str, gs.Node], ...]
    steps: tuple[gs.Node, ...]
    weights: tuple[tuple[gs.Node, Weights], ...]


Sum = Callable[[str, gs.Node, np.ndarray], Weights | str]
"""New weights of a layer that reads the named tensor, whose channels `keep` stay."""


def drops(spaces: Spaces, needed: dict[str, np.ndarray], sum_up: Sum) -> Iterator[Match | Skip]:
    """Matches, one for each set of linked spaces, that drop what is not needed.

    Args:
        spaces: as traced.
        needed: bool[channels] per space; it is edited.
        sum_up: gives the new weights of the layers behind.
    """
    settle(spaces, needed)
    _fill_blocks(spaces, needed)
    for loss in losses(spaces, needed):
        yield loss.drop(spaces, sum_up)


@dataclass
class Loss:
    """What linked spaces lose, and the nodes that have to do with it; see `Drop`."""

    keep: dict[str, np.ndarray] = field(default_factory=dict)
    makers: list[tuple[str, gs.Node]] = field(default_factory=list)
    steps: list[gs.Node] = field(default_factory=list)
    sinks: list[tuple[str, gs.Node]] = field(default_factory=list)

    def drop(self, spaces: Spaces, sum_up: Sum) -> Drop | Skip:
        """The match, or why a layer behind cannot do without the channels."""
        weights: list[tuple[gs.Node, Weights]] = []
        for name, node in self.sinks:
            found = sum_up(name, node, self.keep[spaces.of(name)])
            if isinstance(found, str):
                return Skip((node,), found)
            weights.append((node, found))
        layers = [*(node for _, node in self.makers), *(node for node, _ in weights)]
        nodes = {id(node): node for node in (*layers, *self.steps)}
        return Drop(
            tuple(nodes.values()),
            spaces,
            self.keep,
            tuple(self.makers),
            tuple(self.steps),
            tuple(weights),
        )


def losses(spaces: Spaces, needed: dict[str, np.ndarray]) -> list[Loss]:
    """What goes when only `needed` stays (bool[channels] per space), linked spaces together."""
    component = _components(spaces)
    found: dict[str, Loss] = {}
    of: dict[str, Loss] = {}
    for root, channels in needed.items():
        if not channels.all():
            of[root] = found.setdefault(component[root], Loss())
            of[root].keep[root] = np.flatnonzero(channels)
    for name, node in spaces.makers.items():
        if spaces.of(name) in of:
            of[spaces.of(name)].makers.append((name, node))
    for name, node in spaces.sinks:
        if spaces.of(name) in of:
            of[spaces.of(name)].sinks.append((name, node))
    for node in spaces.steps:
        names = [t.name for t in (*node.inputs, *node.outputs) if t.name in spaces.places]
        # All spaces round one node are linked, so any that loses something tells the component.
        known = [root for root in map(spaces.of, names) if root in of]
        if known:
            of[known[0]].steps.append(node)
    return list(found.values())


def unneeded(spaces: Spaces) -> dict[str, np.ndarray]:
    """bool[channels] per space: nothing is needed but what is pinned."""
    needed: dict[str, np.ndarray] = {}
    for name, place in spaces.places.items():
        needed.setdefault(spaces.of(name), np.zeros(place.size, bool))
    for name in spaces.pinned:
        if name in spaces.places:
            needed[spaces.of(name)][:] = True
    for name, begin, end in spaces.foreign:
        needed[spaces.of(name)][begin:end] = True
    return needed


def settle(spaces: Spaces, needed: dict[str, np.ndarray]) -> None:
    """Make linked spaces need the same channels, and every space at least one."""
    _agree(spaces, needed)
    for channels in needed.values():
        if not channels.any():
            channels[0] = True
    _agree(spaces, needed)


def _agree(spaces: Spaces, needed: dict[str, np.ndarray]) -> None:
    changed = True
    while changed:
        changed = False
        for link in (link for links in spaces.links.values() for link in links):
            small, big = needed[spaces.of(link.small)], needed[spaces.of(link.big)]
            block = big[link.offset : link.offset + small.size * link.repeat]
            both = small | block.reshape(small.size, link.repeat).any(axis=1)
            changed |= bool((small != both).any() or (block != both.repeat(link.repeat)).any())
            small[:], block[:] = both, both.repeat(link.repeat)


def apply_drop(view: View, match: Match) -> None:
    """Apply a match of `drops`."""
    assert isinstance(match, Drop)
    spaces, keep = match.spaces, match.keep
    for node, weights in match.weights:
        set_weights(view, node, weights)
    for name, node in match.makers:
        _keep_outputs(view, node, keep[spaces.of(name)])
    for node in match.steps:
        _keep_in_step(view, spaces, node, keep)
    # The tensors have other values now, so they get other names.
    for node in (*(maker for _, maker in match.makers), *match.steps):
        for tensor in node.outputs:
            if tensor.name in spaces.places and spaces.of(tensor.name) in keep:
                tensor.name = view.new_name(f"{tensor.name.removesuffix('.kept')}.kept")
                tensor.shape = None


def _components(spaces: Spaces) -> dict[str, str]:
    """A name for the set of linked spaces that each space belongs to."""
    parents = {spaces.of(name): spaces.of(name) for name in spaces.places}

    def root(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    for link in (link for links in spaces.links.values() for link in links):
        parents[root(spaces.of(link.small))] = root(spaces.of(link.big))
    return {name: root(name) for name in parents}


def _fill_blocks(spaces: Spaces, needed: dict[str, np.ndarray]) -> None:
    """Keep so many channels that whole blocks are full, where they were full before."""
    for channels in needed.values():
        block = next((block for block in _BLOCKS if channels.size % block == 0), 1)
        missing = -int(channels.sum()) % block
        channels[np.flatnonzero(~channels)[:missing]] = True
    settle(spaces, needed)


def input_axis(node: gs.Node) -> int:
    """The axis of a layer's weight that runs over its input channels."""
    if is_op(node, "Conv"):
        return 1
    return 1 if node.attrs.get("transB", 0) else 0


def _keep_outputs(view: View, node: gs.Node, kept: np.ndarray) -> None:
    weight = weight_of(node)
    size = weight.shape[1 - input_axis(node)]
    set_constant(view, node, 1, weight.take(kept, axis=1 - input_axis(node)), "weight")
    bias = operand(node, 2)
    value = None if bias is None else constant_value(bias)
    if value is not None and value.ndim and value.shape[-1] == size:
        set_constant(view, node, 2, value.take(kept, axis=-1), "bias")


def _keep_in_step(
    view: View, spaces: Spaces, node: gs.Node, keep: Mapping[str, np.ndarray]
) -> None:
    result = node.outputs[0].name
    kept = keep.get(spaces.of(result)) if result in spaces.places else None
    if is_op(node, "Split"):
        _keep_in_split(view, spaces, node, keep)
    elif kept is None:
        return
    elif is_op(node, "Reshape"):
        _keep_in_reshape(view, node, spaces.places[result], kept)
    elif is_op(node, "Conv"):
        node.attrs["group"] = int(kept.size)
        _keep_outputs(view, node, kept)
    elif is_op(node, "BatchNormalization"):
        for index, role in enumerate(("scale", "shift", "mean", "variance"), 1):
            values = np.asarray(constant_value(node.inputs[index]))
            set_constant(view, node, index, values.reshape(-1)[kept], role)
    elif is_op(node, *ELEMENTWISE):
        _keep_in_constants(view, node, spaces.places[result], kept)


def _keep_in_reshape(view: View, node: gs.Node, place: Channels, kept: np.ndarray) -> None:
    target = np.array(constant_value(node.inputs[1]))
    axis = target.size - 1 - place.after
    if target[axis] > 0:
        target[axis] = kept.size
        set_constant(view, node, 1, target, "shape")


def _keep_in_constants(view: View, node: gs.Node, place: Channels, kept: np.ndarray) -> None:
    for index, tensor in enumerate(node.inputs):
        value = constant_value(tensor)
        axis = -1 if value is None else value.ndim - 1 - place.after
        if value is not None and axis >= 0 and value.shape[axis] == place.size:
            set_constant(view, node, index, value.take(kept, axis=axis), f"operand_{index}")


def _keep_in_split(
    view: View, spaces: Spaces, node: gs.Node, keep: Mapping[str, np.ndarray]
) -> None:
    made = {t.name for t in node.outputs}
    if all(link.small not in made for link in spaces.links.get(node.inputs[0].name, ())):
        return  # it splits another axis
    if not any(spaces.of(t.name) in keep for t in node.outputs):
        return
    sizes = [
        keep[spaces.of(t.name)].size if spaces.of(t.name) in keep else spaces.places[t.name].size
        for t in node.outputs
    ]
    if view.opset < 13:
        node.attrs["split"] = sizes
        return
    node.attrs.pop("num_outputs", None)
    set_constant(view, node, 1, np.array(sizes, np.int64), "split")
