"""The graph as a torch module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from autogo_onnx import tensor_data
from autogo_onnx.errors import InputError
from autogo_onnx.messages import opset_of
from autogo_onnx.tensor_data import PLAIN_TYPES
from autogo_onnx.torch_graph.node import Call, Node, read
from autogo_onnx.torch_graph.operators import OPERATORS
from autogo_onnx.torch_graph.parameters import Learnt, learnt, stored

_FAILURES = (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError)
_MOST_FOLDED = 2**20
"""A constant may be computed once and for all up to so many elements."""

_Plan = tuple[tuple[Node, tuple[str, ...]], ...]
"""What to compute for some outputs of some inputs: nodes, and what is not read after each."""


class TorchGraph(nn.Module):
    """Runs an ONNX graph in torch; weights are its parameters, see `parameters`.

    In evaluation mode it computes what ONNX Runtime does. In training mode a BatchNormalization
    normalizes by its batch and re-estimates its statistics, and a Dropout drops.

    Any part of the graph runs by itself: tensors inside it may be fed, and asked for.

    Attributes:
        inputs, outputs: names of what a caller feeds and gets.
        nodes: those that run, in order; constants are computed already.
        learnt: names of what training changes.
        freezes_statistics: whether BatchNormalization keeps its statistics in training mode too.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Read the model; its arrays are copied.

        Raises:
            InputError: an operator, or a form of one, that is not known here.
        """
        super().__init__()
        tensors = stored(model)
        nodes = tuple(_nodes(model))
        self.learnt: Learnt = learnt(nodes, tensors)
        self.inputs = tuple(i.name for i in model.graph.input if i.name not in tensors)
        self.outputs = tuple(o.name for o in model.graph.output)
        self.freezes_statistics = False
        self._slots: dict[str, str] = {}
        self._on_cpu: dict[str, torch.Tensor] = {}
        self._changing = frozenset((*self.learnt.weights, *self.learnt.statistics))
        self._plans: dict[tuple[frozenset[str], tuple[str, ...]], _Plan] = {}
        self._hold(tensors)
        self.nodes = tuple(node for node in nodes if not self._is_folded(node))
        self._makers = {name: i for i, n in enumerate(self.nodes) for name in n.outputs if name}

    def forward(
        self, feeds: Mapping[str, torch.Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute tensors by name.

        Args:
            feeds: values by name, of the graph's inputs or of any tensors inside it; nodes that
                only these depend on do not run.
            outputs: names of the graph's outputs or of any other tensors; None: all outputs.

        Raises:
            InputError: a tensor is missing, or a node does not run on these values.
        """
        wanted = self.outputs if outputs is None else tuple(outputs)
        values: dict[str, Any] = dict(feeds)
        for node, over in self._plan(frozenset(feeds), wanted):
            results = self._run(node, [self._value(name, values) for name in node.inputs])
            values.update(zip(node.outputs, results, strict=False))
            for name in over:
                values.pop(name, None)
        return {name: self._value(name, values) for name in wanted}

    def value(self, name: str) -> torch.Tensor:
        """The parameter, statistic or constant of some name."""
        if name in self._slots:
            return getattr(self, self._slots[name])
        return self._on_cpu[name]

    def arrays(self) -> dict[str, np.ndarray]:
        """What training changes, weights and statistics, by their names in the model."""
        names = (*self.learnt.weights, *self.learnt.statistics)
        return {name: self.value(name).detach().cpu().numpy() for name in names}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `arrays` gave.

        Raises:
            KeyError: an array is missing.
        """
        with torch.no_grad():
            for name in (*self.learnt.weights, *self.learnt.statistics):
                self.value(name).copy_(torch.from_numpy(np.array(arrays[name])))

    def tensors(self) -> tuple[str, ...]:
        """Names of all that the nodes make, in order; constants are not among them."""
        return tuple(name for node in self.nodes for name in node.outputs if name)

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor; None for inputs and constants."""
        index = self._makers.get(name)
        return None if index is None else self.nodes[index]

    def _hold(self, tensors: Mapping[str, onnx.TensorProto]) -> None:
        """Arrays as parameters and buffers; integers, which describe shapes, stay on the CPU."""
        weights = frozenset(self.learnt.weights)
        for name, tensor in tensors.items():
            if tensor.data_type not in PLAIN_TYPES:
                continue  # Nothing known here reads it, or the node says so.
            array = torch.from_numpy(np.array(tensor_data.value(tensor)))
            if name in weights:
                self._slots[name] = f"tensor_{len(self._slots)}"
                self.register_parameter(self._slots[name], nn.Parameter(array))
            else:
                self._keep(name, array)

    def _keep(self, name: str, value: torch.Tensor) -> None:
        """Hold a constant; torch's own names may not contain dots, so they are numbers."""
        if value.dtype.is_floating_point:
            self._slots[name] = f"tensor_{len(self._slots)}"
            self.register_buffer(self._slots[name], value)
        else:
            self._on_cpu[name] = value

    def _is_folded(self, node: Node) -> bool:
        """Whether a node's outputs are constants, which are then known."""
        if node.kind == "Constant":
            return self._is_held_constant(node)
        names = [name for name in node.inputs if name]
        if not names or any(n not in self._on_cpu and n not in self._slots for n in names):
            return False
        if not self._changing.isdisjoint(names):
            return False
        with torch.no_grad():
            results = self._run(node, [self.value(n) if n else None for n in node.inputs])
        if sum(r.numel() for r in results) > _MOST_FOLDED:
            return False
        for name, result in zip(node.outputs, results, strict=False):
            self._keep(name, result.detach())
        return True

    def _is_held_constant(self, node: Node) -> bool:
        """A Constant whose value is a tensor is held already; numbers are taken up here."""
        name = node.outputs[0]
        for key, kind in (("int", np.int64), ("float", np.float32)):
            for form in (f"value_{key}", f"value_{key}s"):
                if form in node.attributes:
                    self._keep(name, torch.from_numpy(np.array(node.get(form), kind)))
        if name not in self._on_cpu and name not in self._slots:
            raise InputError(f"node {node.name!r}: a Constant of this type cannot be trained")
        return True

    def _plan(self, given: frozenset[str], wanted: tuple[str, ...]) -> _Plan:
        if (given, wanted) not in self._plans:
            needed = self._needed(given, wanted)
            steps = [self.nodes[i] for i in sorted(needed)]
            last = {name: n for n, node in enumerate(steps) for name in node.inputs}
            over: list[list[str]] = [[] for _ in steps]
            for name, step in last.items():
                if name not in wanted and name in self._makers:
                    over[step].append(name)
            self._plans[given, wanted] = tuple(zip(steps, map(tuple, over), strict=True))
        return self._plans[given, wanted]

    def _needed(self, given: frozenset[str], wanted: Iterable[str]) -> set[int]:
        """Numbers of the nodes that must run.

        Raises:
            InputError: an input is missing.
        """
        waiting, needed = list(wanted), set[int]()
        while waiting:
            name = waiting.pop()
            if not name or name in given or name in self._slots or name in self._on_cpu:
                continue
            if name not in self._makers:
                raise InputError(f"tensor {name!r} must be fed, and nothing makes it")
            if self._makers[name] not in needed:
                needed.add(self._makers[name])
                waiting += self.nodes[self._makers[name]].inputs
        return needed

    def _value(self, name: str, values: Mapping[str, Any]) -> Any:
        if name in values:
            return values[name]
        return self.value(name) if name else None

    def _run(self, node: Node, inputs: Sequence[Any]) -> tuple[torch.Tensor, ...]:
        try:
            results = OPERATORS[node.kind](Call(node, inputs, self._is_training(node)))
        except _FAILURES as error:
            told = " ".join(str(error).split())
            raise InputError(
                f"node {node.name!r} ({node.kind}) does not run in torch: {told[:300]}"
            ) from error
        return results if isinstance(results, tuple) else (results,)

    def _is_training(self, node: Node) -> bool:
        if node.kind != "BatchNormalization" or not self.training:
            return bool(self.training)
        own = all(name in self.learnt.statistics for name in node.inputs[3:5])
        return own and not self.freezes_statistics


def _nodes(model: onnx.ModelProto) -> Iterable[Node]:
    """The nodes of the main graph.

    Raises:
        InputError: one that is not known here.
    """
    opset = opset_of(model)
    if model.graph.sparse_initializer:
        raise InputError("sparse initializers cannot be trained")
    for proto in model.graph.node:
        name = proto.name or next(filter(None, proto.output), "")
        if proto.domain not in ("", "ai.onnx"):
            raise InputError(
                f"node {name!r}: operator {proto.op_type} of domain {proto.domain} is not known "
                "to train"
            )
        if proto.op_type != "Constant" and proto.op_type not in OPERATORS:
            raise InputError(f"node {name!r}: operator {proto.op_type} is not known to train")
        yield read(proto, opset)
