"""Random networks of the kinds that exporters write, valid by construction.

Every decision comes from a `random.Random`, so hypothesis can shrink a failure and a seed can name
one. Sizes are followed for several probes at once (`Map.heights[i]` is the height when the input
has the i-th size), so that only what fits together in all of them is joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import onnx
from layer_map import Map
from net_writer import Writer
from onnx import helper
from random_layers import LAYERS, head

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22)
_IR_OF_OPSET = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8}


@dataclass(frozen=True)
class Network:
    """A random network, and shapes of its input that it takes."""

    model: onnx.ModelProto
    shapes: tuple[tuple[int, ...], ...]

    def feeds(self, seed: int = 0) -> list[dict[str, np.ndarray]]:
        """One feed per shape: normal, in [0, 1), large."""
        rng = np.random.default_rng(seed)
        values = [rng.standard_normal(self.shapes[0]), rng.random(self.shapes[1])]
        values.append(20 * rng.standard_normal(self.shapes[2]))
        return [{"x": value.astype(np.float32)} for value in values]


def network(choice: Random, layers: Sequence[str] | None = None) -> Network:
    """A random network.

    Args:
        choice: where every decision comes from.
        layers: names of `LAYERS`, to build those in this order; None for a random list.
    """
    builder = Builder(choice)
    names = layers
    if names is None:
        names = [choice.choice(list(LAYERS)) for _ in range(choice.randint(1, 9))]
    for name in names:
        builder.grow(LAYERS[name])
    return builder.finished()


class Builder:
    """A network on its way: `now` is what the next layer reads, `seen` what it may join."""

    def __init__(self, choice: Random) -> None:
        self.choice = choice
        self.write = Writer(choice.choice(OPSETS), choice)
        channels = choice.choice([1, 2, 3, 4, 6, 8])
        self.batch_is_open, self.size_is_open = choice.random() < 0.7, choice.random() < 0.4
        height, width = choice.randint(5, 13), choice.randint(5, 13)
        extra = [(0, 0), (2, 5), (3, 1)] if self.size_is_open else [(0, 0)] * 3
        batches = (1, 3, 2) if self.batch_is_open else (choice.choice([1, 2]),) * 3
        heights, widths = (tuple(n + e[i] for e in extra) for i, n in ((0, height), (1, width)))
        self.now = Map("x", channels, heights, widths)
        self.shapes = tuple(
            (n, channels, h, w) for n, h, w in zip(batches, heights, widths, strict=True)
        )
        self.seen = [self.now]

    def grow(self, layer: Callable[[Builder, Map], Map | None]) -> None:
        """Add a layer, where it fits."""
        made = layer(self, self.now)
        if made is None:
            return
        assert made.smallest > 0
        self.now = made
        self.seen.append(made)

    def finished(self) -> Network:
        """The network, with a head now and then, and other outputs beside the last one."""
        choice, write = self.choice, self.write
        outputs: list[tuple[str, int]] = []
        if choice.random() < 0.3:
            outputs.append((head(self, self.now), 2))
        if not outputs or choice.random() < 0.3:
            if self.now.name == "x":
                self.now = replace(self.now, name=write.node("Relu", "x"))
            outputs.append((self.now.name, 4))
        inner = [m for m in self.seen[1:] if m.name not in dict(outputs)]
        if inner and choice.random() < 0.2:
            outputs.append((choice.choice(inner).name, 4))
        if choice.random() < 0.1:
            write.node("Relu", "x")  # nobody reads it
        return Network(self._model(outputs), self.shapes)

    def _model(self, outputs: Sequence[tuple[str, int]]) -> onnx.ModelProto:
        batch = "N" if self.batch_is_open else self.shapes[0][0]
        sizes = ["H", "W"] if self.size_is_open else list(self.shapes[0][2:])
        info = helper.make_tensor_value_info
        inputs = [info("x", 1, [batch, self.shapes[0][1], *sizes])]
        ir_version = _IR_OF_OPSET.get(self.write.opset, self.choice.choice([9, 10]))
        if ir_version < 4:
            inputs += [info(t.name, t.data_type, t.dims) for t in self.write.initializers]
        graph = helper.make_graph(
            self.write.nodes,
            "random",
            inputs,
            [info(name, 1, [None] * rank) for name, rank in outputs],
            self.write.initializers,
        )
        opset = [helper.make_opsetid("", self.write.opset)]
        return helper.make_model(graph, opset_imports=opset, ir_version=ir_version)
