"""What can be proven about a model's tensors before anything runs: types, shapes and values.

ONNX's own shape inference stops at shapes that a chain of Shape, Gather, Slice, Concat, ... nodes
computes. Here such values are followed, element by element: of `Shape(x)` with a dynamic batch all
elements but the first are known, and moving operators (Gather, Concat, ...) carry that knowledge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.shape_inference

from autogo_onnx import tensor_data
from autogo_onnx.evaluation import evaluate
from autogo_onnx.inference import IR_WITH_DEFAULTED_INPUTS, SHAPE_LIKE_BYTES, infer
from autogo_onnx.messages import opset_of
from autogo_onnx.tensor_data import PLAIN_TYPES
from autogo_onnx.values import Values

# A computed value may be larger than all its inputs together only below this size.
_SMALL_BYTES = 4096
_LARGEST_ITEM_BYTES = 8

# Another value each run, or (quantization) small on purpose.
_NEVER_COMPUTED = frozenset(
    {
        "Bernoulli",
        "DequantizeLinear",
        "Dropout",
        "DynamicQuantizeLinear",
        "Multinomial",
        "QuantizeLinear",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# Operators whose output elements are input elements, unchanged but for their integer type.
_MOVING = frozenset(
    {"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass
class Facts:
    """Proven facts by tensor name.

    Attributes:
        types: element type and as much of the shape as is proven.
        values: values that are the same in every run; weights are read when they are asked for.
        too_large: outputs that are constant, but larger than what they are computed from.
    """

    types: dict[str, onnx.TypeProto] = field(default_factory=dict)
    values: Values = field(default_factory=Values)
    too_large: set[str] = field(default_factory=set)

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Proven dimensions, None for one that is open; None when even the rank is."""
        kind = self.types.get(name)
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        return tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None
            for d in kind.tensor_type.shape.dim
        )

    def static_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape when every dimension is proven, else None."""
        shape = self.shape(name)
        if shape is None or None in shape:
            return None
        return tuple(d for d in shape if d is not None)

    def element_type(self, name: str) -> int:
        """ONNX element type; 0 when unknown."""
        kind = self.types.get(name)
        return kind.tensor_type.elem_type if kind is not None else 0


def prove(
    model: onnx.ModelProto,
    weights: Mapping[str, Callable[[], np.ndarray]] | None = None,
    *,
    largest_bytes: int = SHAPE_LIKE_BYTES,
) -> Facts:
    """Facts about the tensors of the main graph.

    Input shapes are taken as declared, since ONNX Runtime enforces them. Declared shapes of outputs
    and of inner tensors are not: shipped models declare wrong ones.

    Args:
        model: nodes in topological order.
        weights: makers of the values of initializers that are left out of the model.
        largest_bytes: larger values are not computed.
    """
    prover = _Prover(model, weights or {}, largest_bytes)
    for node in model.graph.node:
        prover.visit(node)
    return prover.facts


class _Prover:
    """Walks the nodes in order.

    Meanwhile it knows partial values (value, mask of open elements), and of which tensors it has
    learnt more than ONNX's own inference told.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        weights: Mapping[str, Callable[[], np.ndarray]],
        largest_bytes: int,
    ) -> None:
        self.facts = Facts()
        self.partial: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.learnt: set[str] = set()
        self.opsets = list(model.opset_import)
        self.opset = opset_of(model) or 1
        self.largest_bytes = largest_bytes
        overridable: set[str] = set()
        if model.ir_version >= IR_WITH_DEFAULTED_INPUTS:
            overridable = {info.name for info in model.graph.input}
        for info in infer(model):
            self.facts.types[info.name] = info.type
        for tensor in model.graph.initializer:
            if tensor.data_type in PLAIN_TYPES and tensor.name not in overridable:
                make = weights.get(tensor.name, partial(tensor_data.value, tensor))
                self.facts.values.later(tensor.name, make)
            self.facts.types[tensor.name] = onnx.helper.make_tensor_type_proto(
                tensor.data_type, tensor.dims
            )

    def visit(self, node: onnx.NodeProto) -> None:
        if node.domain not in ("", "ai.onnx") or any(a.HasField("g") for a in node.attribute):
            return
        if node.op_type == "Constant":
            self._constant(node)
            return
        if self._may_learn_shapes(node):
            self._infer(node)
        self._evaluate(node)

    def _evaluate(self, node: onnx.NodeProto) -> None:
        """The node's value, or what of it is the same in every run."""
        if node.op_type == "Shape":
            self._shape(node)
        elif node.op_type == "Size":
            shape = self.facts.static_shape(node.input[0])
            if shape is not None:
                self._know(node.output[0], np.array(math.prod(shape), np.int64))
        elif node.op_type == "CastLike":
            self._cast_like(node)
        elif node.op_type not in _NEVER_COMPUTED and node.input:
            if all(name in self.facts.values for name in node.input if name):
                self._compute(node)
            elif node.op_type in _MOVING or node.op_type == "Cast":
                self._move(node)

    def _constant(self, node: onnx.NodeProto) -> None:
        name, attribute = node.output[0], node.attribute[0]
        value: Any = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            kind = onnx.helper.make_tensor_type_proto(value.data_type, value.dims)
            self.facts.types[name] = kind
            if value.data_type in PLAIN_TYPES:
                self.facts.values[name] = onnx.numpy_helper.to_array(value)
        elif attribute.name in ("value_int", "value_ints"):
            self._know(name, np.asarray(value, np.int64))
        elif attribute.name in ("value_float", "value_floats"):
            self._know(name, np.asarray(value, np.float32))

    def _know(self, name: str, value: np.ndarray) -> None:
        self.learnt.add(name)
        self.facts.values[name] = value
        self.facts.types[name] = onnx.helper.make_tensor_type_proto(
            onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )

    def _shape(self, node: onnx.NodeProto) -> None:
        dims = self.facts.shape(node.input[0])
        if dims is None:
            return
        bounds = {a.name: a.i for a in node.attribute}
        dims = dims[bounds.get("start", 0) : bounds.get("end", len(dims))]
        value = np.array([-1 if d is None else d for d in dims], np.int64)
        self._learn(node.output[0], value, np.array([d is None for d in dims], np.int64))

    def _learn(self, name: str, value: np.ndarray, is_open: np.ndarray) -> None:
        if is_open.any():
            if value.nbytes <= SHAPE_LIKE_BYTES:  # no shape is larger, and a file may double it
                self.partial[name] = (value, is_open)
        else:
            self._know(name, value)

    def _move(self, node: onnx.NodeProto) -> None:
        """Send the known elements and the mask of the open ones through a moving operator."""
        if not any(name in self.partial for name in node.input):
            return
        known: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        for position, name in enumerate(node.input):
            if not name:
                return
            is_data = position == 0 or node.op_type == "Concat"
            value = self.facts.values.get(name)
            if name in self.partial and is_data:
                value, is_open = self.partial[name]
            elif value is not None:
                is_open = np.zeros_like(value) if is_data else value
            else:
                return
            known.append(value)
            masks.append(is_open)
        if node.op_type == "Cast":
            if next(a.i for a in node.attribute if a.name == "to") == onnx.TensorProto.INT64:
                self._learn(node.output[0], known[0], masks[0])
            return
        moved, moved_masks = (evaluate(node, part, self.opset) for part in (known, masks))
        if moved is not None and moved_masks is not None:
            self._learn(node.output[0], moved, moved_masks)

    def _cast_like(self, node: onnx.NodeProto) -> None:
        """Of the second operand only the type matters; it need not be known."""
        kind = self.facts.element_type(node.input[1])
        if node.input[0] in self.facts.values and kind in PLAIN_TYPES:
            cast = onnx.helper.make_node("Cast", node.input[:1], node.output, to=kind)
            self._compute(cast)

    def _compute(self, node: onnx.NodeProto) -> None:
        """Values of a node with constant inputs, unless the result is large."""
        shapes = [self.facts.static_shape(name) for name in node.output]
        if len(shapes) != 1 or shapes[0] is None:
            return
        inputs = [self.facts.values[name] for name in node.input if name]
        element = self.facts.element_type(node.output[0])
        if element not in PLAIN_TYPES:
            return
        size = math.prod(shapes[0]) * onnx.helper.tensor_dtype_to_np_dtype(element).itemsize
        if size > max(_SMALL_BYTES, sum(value.nbytes for value in inputs)):
            self.facts.too_large.add(node.output[0])
        elif size <= self.largest_bytes:
            value = evaluate(node, inputs, self.opset)
            if value is not None:
                self._know(node.output[0], value)

    def _is_small(self, name: str) -> bool:
        """Whether a tensor of known value is no larger than shapes are; it is not looked at."""
        shape = self.facts.static_shape(name)
        return shape is not None and math.prod(shape) * _LARGEST_ITEM_BYTES <= SHAPE_LIKE_BYTES

    def _may_learn_shapes(self, node: onnx.NodeProto) -> bool:
        """Whether an input is known better than ONNX's own inference knew it, or a rank is open."""
        if all(self.facts.static_shape(name) is not None for name in node.output if name):
            return False
        return any(name in self.learnt for name in node.input) or any(
            self.facts.shape(name) is None for name in node.output if name
        )

    def _infer(self, node: onnx.NodeProto) -> None:
        """Shape inference for one node, with all values known by now."""
        names = [name for name in node.input if name]
        if any(name not in self.facts.types for name in names):
            return
        data = {
            name: onnx.numpy_helper.from_array(self.facts.values[name])
            for name in names
            if name in self.facts.values and self._is_small(name)
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset)
            types = onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                {name: self.facts.types[name] for name in names},
                data,
                opset_imports=self.opsets,
            )
        except (
            onnx.defs.SchemaError,
            onnx.shape_inference.InferenceError,
            onnx.checker.ValidationError,
            KeyError,
            RuntimeError,
        ):
            return
        for name, kind in types.items():
            if _is_more_specific(kind, self.facts.types.get(name)):
                self.facts.types[name] = kind
                self.learnt.add(name)


def _is_more_specific(kind: onnx.TypeProto, than: onnx.TypeProto | None) -> bool:
    if than is None or not than.tensor_type.HasField("shape"):
        return True

    def known(t: onnx.TypeProto) -> int:
        return sum(d.HasField("dim_value") for d in t.tensor_type.shape.dim)

    return kind.tensor_type.HasField("shape") and known(kind) > known(than)
