"""One node of an ONNX graph, read once: names, and attributes as Python values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from autogo_onnx.errors import InputError


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        kind: ONNX operator type.
        name: its own, or that of its first output.
        inputs, outputs: tensor names; empty for an optional one that is left out.
        attributes: numbers, strings, tuples of them, and arrays.
        opset: version of the ONNX operators.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(hash=False)
    opset: int = 17

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value, else `default`."""
        return self.attributes.get(name, default)


@dataclass(frozen=True)
class Call:
    """A node with the values it reads.

    Attributes:
        node: the node.
        inputs: a tensor per input; None for one that is left out.
        training: whether the module is in training mode.
    """

    node: Node
    inputs: Sequence[Any]
    training: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value, else `default`."""
        return self.node.get(name, default)

    def operands(self, count: int) -> list[Any]:
        """The first inputs, with None for those that are left out."""
        given = list(self.inputs[:count])
        return given + [None] * (count - len(given))

    def numbers(self, position: int, name: str) -> list[Any] | None:
        """What older opsets have as an attribute and newer ones as an input; None: not given."""
        if position < len(self.inputs):
            value = self.inputs[position]
            if value is not None:
                numbers: list[Any] = value.reshape(-1).tolist()
                return numbers
        held = self.get(name)
        return None if held is None else list(np.reshape(held, -1).tolist())

    def refuse(self, what: str) -> InputError:
        """The error that says what of this node is not known here."""
        return InputError(f"node {self.node.name!r}: {self.node.kind} {what} cannot be trained")


def read(proto: onnx.NodeProto, opset: int) -> Node:
    """A node of the ONNX domain.

    Raises:
        InputError: it holds a subgraph, or refers to a function's attribute.
    """
    name = proto.name or next(filter(None, proto.output), proto.op_type)
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.ref_attr_name or attribute.type in _SUBGRAPHS:
            raise InputError(f"node {name!r}: {proto.op_type} with a subgraph cannot be trained")
        attributes[attribute.name] = _value(attribute)
    return Node(proto.op_type, name, tuple(proto.input), tuple(proto.output), attributes, opset)


_SUBGRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.type == onnx.AttributeProto.STRINGS:
        return tuple(v.decode() for v in value)
    return tuple(value) if attribute.type in _LISTS else value


_LISTS = (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS)
