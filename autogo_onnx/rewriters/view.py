"""A graph as rules see it: nodes to edit, what is visible outside, and what is proven about it.

Facts are proven once per sweep. A tensor that a rule has made since is unknown until the next
sweep; one that kept its name kept its value, so what was proven of it still holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.facts import Facts, prove
from autogo_onnx.graph import Node, draft
from autogo_onnx.liveness import all_names, fixed_names
from autogo_onnx.rewriters.open_dims.dimensions import Dimensions

_NO_LIMIT = 2**40


class View:
    """The graph of one sweep.

    Attributes:
        graph: to be edited by `Rule.apply` alone.
        fixed: names that are visible outside the main graph: its outputs, and what subgraphs read.
        facts: proven types, shapes and values, by tensor name.
    """

    def __init__(self, graph: gs.Graph) -> None:
        self.graph = graph
        self.fixed = fixed_names(graph)
        self.facts: Facts = prove(*draft(graph), largest_bytes=_NO_LIMIT)
        self._numbers: dict[str, Iterator[int]] = {}

    @property
    def opset(self) -> int:
        """Version of the ONNX operators."""
        return int(self.graph.opset)

    def shape(self, tensor: gs.Tensor) -> tuple[int | None, ...] | None:
        """Proven dimensions, None for one that is open; None when even the rank is."""
        return self.facts.shape(tensor.name)

    def element_type(self, tensor: gs.Tensor) -> int:
        """`onnx.TensorProto` element type; 0 when unknown."""
        return self.facts.element_type(tensor.name)

    @cached_property
    def dimensions(self) -> Dimensions:
        """Which open dimensions are the same, and what shape computations make of them."""
        return Dimensions(self.facts, self.opset)

    def constant(self, stem: str, value: np.ndarray[Any, Any]) -> gs.Constant:
        """A new initializer, named `stem` or, where that is taken, `stem_2`, `stem_3`, ..."""
        return gs.Constant(self.new_name(stem), np.asarray(value, order="C"))

    def insert(
        self,
        op: str,
        inputs: Sequence[gs.Tensor],
        result: gs.Tensor | str,
        attributes: dict[str, Any] | None = None,
    ) -> gs.Tensor:
        """Add a node that makes `result`: a tensor without maker, or the stem of a new one's name.

        Returns:
            The tensor that the node makes; the node bears its name.
        """
        if isinstance(result, str):
            result = gs.Variable(self.new_name(result))
        name = result.name if result.name not in self._node_names else self.new_name(result.name)
        self._node_names.add(name)
        self.graph.nodes.append(Node(op, name, attributes or {}, list(inputs), [result]))
        return result

    def new_name(self, stem: str) -> str:
        """`stem`, or `stem_2`, `stem_3`, ... where that is taken; taken from now on."""
        numbers = self._numbers.setdefault(stem, count(1))
        names = (stem if n == 1 else f"{stem}_{n}" for n in numbers)
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return name

    @cached_property
    def _taken(self) -> set[str]:
        return set(all_names(self.graph))

    @cached_property
    def _node_names(self) -> set[str]:
        return {node.name for node in self.graph.nodes}
