"""The arbiter between two roundings: what a model computes in float64, by ONNX's own reference.

The onnx reference evaluator runs the model with its float32 weights and inputs widened to float64.
That is another implementation than ONNX Runtime's, and next to float32 it is exact: it tells how
much of a difference is rounding. It is slow, so work is priced beforehand, node by node, and a
model that costs too much is not run to its end.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from autogo_onnx import tensor_data
from autogo_onnx.messages import copy_fields

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, Any]

MOST_WEIGHTS = 4_000_000
"""More are not widened: twice their bytes would be needed again."""

MOST_NANOSECONDS = 100_000_000
"""What one run may cost, by the prices below (measured on one core of a server; order of size)."""

_PER_ELEMENT = 4.0
_PER_NODE = 20_000.0
_PER_MAC = 0.4
_PER_COLUMN = 15.0
# Written as Python loops in the reference evaluator: so much per output element.
_LOOPED = {"AveragePool": 8000.0, "MaxPool": 8000.0, "LpPool": 8000.0, "Resize": 20000.0}
_LOOPED |= {"Upsample": 200.0, "RoiAlign": 20000.0, "GridSample": 20000.0, "LSTM": 2000.0}
_LOOPED |= {"GRU": 2000.0, "RNN": 2000.0, "NonMaxSuppression": 2000.0, "ConvTranspose": 500.0}


_TYPE_ATTRIBUTES = frozenset({("Cast", "to"), ("EyeLike", "dtype")})


class NotFeasible(Exception):
    """The reference evaluator cannot run the model, or not at a bearable price."""


@dataclass(frozen=True)
class Arbiter:
    """A model in float64.

    Attributes:
        model: with all its float32 constants widened.
    """

    model: onnx.ModelProto

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Arbiter:
        """Widen a model.

        Raises:
            NotFeasible: it is too large, or holds what is not widened.
        """
        reason = _unfit(model)
        if reason:
            raise NotFeasible(reason)
        return cls(_widened(model))

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """The outputs; those that the model gives in float32 are float64.

        Raises:
            NotFeasible: an operator is not implemented, fails, or would take too long.
        """
        values: dict[str, Any] = {"": None, **self._evaluator.rt_inits_}
        values.update({name: _wide(value) for name, value in feed.items()})
        paid = 0.0
        last_use = self._last_use
        for index, node in enumerate(self._evaluator.rt_nodes_):
            proto = node.onnx_node
            inputs = [values[name] for name in node.input]
            try:
                paid += _price(proto, inputs)
            except (ArithmeticError, IndexError) as error:
                raise NotFeasible(f"{proto.op_type} has odd operands or attributes") from error
            if paid > MOST_NANOSECONDS:
                raise NotFeasible("it would take the reference evaluator too long")
            outputs = _run_node(node, inputs)
            values.update(zip(node.output, outputs, strict=False))
            for name in last_use.get(index, ()):
                values.pop(name, None)
        return [values[output.name] for output in self.model.graph.output]

    @cached_property
    def _evaluator(self) -> ReferenceEvaluator:
        from onnx.reference import ReferenceEvaluator

        try:
            return ReferenceEvaluator(self.model)
        except Exception as error:  # It raises whatever its parts raise.
            raise NotFeasible(f"the reference evaluator does not load it: {error!r}") from error

    @cached_property
    def _last_use(self) -> dict[int, list[str]]:
        """Names of tensors by the node after which nobody reads them."""
        last = {name: i for i, node in enumerate(self.model.graph.node) for name in node.input}
        for kept in ("", *(output.name for output in self.model.graph.output)):
            last.pop(kept, None)
        by_node: dict[int, list[str]] = {}
        for name, index in last.items():
            by_node.setdefault(index, []).append(name)
        return by_node


def _run_node(node: Any, inputs: list[Any]) -> tuple[Any, ...]:
    proto = node.onnx_node
    ours = _OURS.get(proto.op_type) if len(proto.output) == 1 else None  # more: BN in training
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of means of nothing and the like
            if ours is not None:
                return (ours(proto, *inputs),)
            return tuple(node.run(*inputs))
    except Exception as error:  # As above.
        raise NotFeasible(f"the reference evaluator fails on {proto.op_type}: {error!r}") from error


def _batch_normalization(
    node: onnx.NodeProto, x: Array, scale: Array, bias: Array, mean: Array, variance: Array
) -> Array:
    """At inference; onnx 1.23 takes any BatchNormalization before opset 14 for one in training."""
    given = {a.name: a for a in node.attribute}
    if "training_mode" in given and given["training_mode"].i:
        raise NotFeasible("it trains")
    epsilon = given["epsilon"].f if "epsilon" in given else 1e-5
    shape = (-1, *(1,) * (x.ndim - 2))
    factor = scale / np.sqrt(variance + np.float64(np.float32(epsilon)))
    return np.asarray((x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape))


def _erf(node: onnx.NodeProto, x: Array) -> Array:
    """Onnx 1.23 rounds the result to float32."""
    from scipy.special import erf  # SciPy takes as long to import as most models to verify

    return np.asarray(erf(x), x.dtype)


_OURS: Mapping[str, Callable[..., Array]] = {
    "BatchNormalization": _batch_normalization,
    "Erf": _erf,
}


def _price(node: onnx.NodeProto, inputs: list[Any]) -> float:
    """Nanoseconds that a node takes at most, told by the shapes of its operands."""
    sizes = [float(value.size) for value in inputs if isinstance(value, np.ndarray)]
    shapes: list[tuple[int, ...]] = [v.shape for v in inputs if isinstance(v, np.ndarray)]
    price = _PER_NODE + _PER_ELEMENT * sum(sizes)
    if not sizes:
        return price
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    shrink = float(math.prod(given.get("strides", ())))
    kind = node.op_type
    if kind == "Conv":
        columns = sizes[0] * math.prod(shapes[1][2:]) / shrink
        per_group = float(shapes[1][0] / given.get("group", 1))
        return price + columns * (_PER_COLUMN + _PER_MAC * per_group)
    if kind == "ConvTranspose":
        macs = sizes[0] * math.prod(shapes[1][1:])
        return price + macs * (_PER_COLUMN + _PER_MAC)
    if kind in ("MatMul", "Gemm") and len(shapes) > 1 and shapes[1]:
        return price + _PER_MAC * sizes[0] * shapes[1][-1]
    if kind in ("Resize", "Upsample"):
        scales = next((v for v in inputs[1:] if _is_scales(v, inputs[0])), None)
        factor = 4.0 if scales is None else max(1.0, float(np.prod(scales)))
        return price + _LOOPED[kind] * sizes[0] * factor
    return price + _LOOPED.get(kind, 0.0) * sizes[0] / (shrink or 1)


def _is_scales(value: object, x: Array) -> bool:
    return isinstance(value, np.ndarray) and value.size == x.ndim and value.dtype.kind == "f"


def _unfit(model: onnx.ModelProto) -> str | None:
    """Why a model is not widened."""
    graph = model.graph
    if model.functions or graph.sparse_initializer:
        return "it has functions or sparse tensors"
    if any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute):
        return "it has control flow"
    if any(node.domain not in ("", "ai.onnx") for node in graph.node):
        return "it has operators of other domains"
    if sum(math.prod(tensor.dims) for tensor in graph.initializer) > MOST_WEIGHTS:
        return "it has too many weights"
    return None


def _wide(value: Any) -> Any:
    is_single = isinstance(value, np.ndarray) and value.dtype == np.float32
    return value.astype(np.float64) if is_single else value


def _widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with float64 where float32 was."""
    wide = onnx.ModelProto()
    copy_fields(model, wide, without=("graph",))
    copy_fields(model.graph, wide.graph, without=("initializer", "node", "value_info"))
    for tensor in model.graph.initializer:
        wide.graph.initializer.append(_widened_tensor(tensor))
    for node in model.graph.node:
        copy = wide.graph.node.add()
        copy.CopyFrom(node)
        _widen_attributes(copy)
    return wide


def _widened_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(tensor_data.value(tensor).astype(np.float64), tensor.name)


def _widen_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            attribute.t.CopyFrom(_widened_tensor(attribute.t))
        elif (node.op_type, attribute.name) in _TYPE_ATTRIBUTES:
            if attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE
        elif attribute.name in ("value_float", "value_floats"):
            value = onnx.helper.get_attribute_value(attribute)
            tensor = numpy_helper.from_array(np.asarray(value, np.float64))
            attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = numpy_helper.from_array(np.zeros(1))
        node.attribute.append(onnx.helper.make_attribute("value", zero))
