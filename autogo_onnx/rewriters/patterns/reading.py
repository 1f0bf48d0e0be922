"""What rules ask about nodes and tensors: operands (attributes in old opsets), makers, readers."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value


def operand(node: gs.Node, index: int) -> gs.Tensor | None:
    """Input number `index`, None when it is omitted."""
    if index >= len(node.inputs) or node.inputs[index].is_empty():
        return None
    return node.inputs[index]


def setting(node: gs.Node, name: str, index: int) -> np.ndarray | None:
    """A parameter that is an attribute in old opsets and an input in new ones, if constant."""
    if name in node.attrs:
        return np.asarray(node.attrs[name])
    tensor = operand(node, index)
    return None if tensor is None else constant_value(tensor)


def is_given(node: gs.Node, name: str, index: int) -> bool:
    """Whether the parameter is there at all, constant or not."""
    return name in node.attrs or operand(node, index) is not None


def producer(tensor: gs.Tensor) -> gs.Node | None:
    """The node that makes the tensor; None for inputs and initializers."""
    return tensor.inputs[0] if tensor.inputs else None


def another_reader(tensor: gs.Tensor, fixed: frozenset[str]) -> str | None:
    """Why a tensor cannot vanish into its only reader; None when it can."""
    if tensor.name in fixed:
        return "the tensor in between is a graph output or read by a subgraph"
    if len(tensor.outputs) > 1:
        return "the tensor in between has another reader"
    return None


def other_outputs_used(node: gs.Node, fixed: frozenset[str]) -> bool:
    """Whether anything but the first output of the node is read."""
    return any(t.outputs or t.name in fixed for t in node.outputs[1:] if not t.is_empty())


def redirect_readers(old: gs.Tensor, new: gs.Tensor) -> None:
    """Make every node that reads one tensor read another instead."""
    for reader in list(old.outputs):
        for index, tensor in enumerate(reader.inputs):
            if tensor is old:
                reader.inputs[index] = new
