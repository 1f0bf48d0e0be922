"""Which open dimensions are provably the same, and what shape computations make of them.

`View.shape` says that a dimension is open; here it also has a name: the tensor and axis where it
first appears. Relu(x) has the very dimensions of x; `Shape`, `Gather`, `Concat`, ... carry them as
values, and `Reshape` makes dimensions of values again.

Nothing here trusts a declared `dim_param`: ONNX Runtime does not enforce that two of one name are
equal.
"""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.facts import Facts
from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.open_dims.open_sizes import (
    Atom,
    Product,
    Size,
    Sizes,
    atoms,
    divided,
    times,
)
from autogo_onnx.rewriters.open_dims.propagation import COMPUTE, FOLLOW
from autogo_onnx.rewriters.patterns.reading import producer

_LONGEST_VALUE = 64
_INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


class Dimensions:
    """Sizes and integer values of the tensors of one graph, found on demand.

    What was found stays true while rules edit the graph, since a tensor that keeps its name keeps
    its value.

    Attributes:
        opset: version of the ONNX operators.
    """

    def __init__(self, facts: Facts, opset: int) -> None:
        self._facts = facts
        self.opset = opset
        self._sizes: dict[str, Sizes | None] = {}
        self._values: dict[str, Sizes | None] = {}

    def of(self, tensor: gs.Tensor) -> Sizes | None:
        """The sizes of a tensor's axes; None when not even their number is known."""
        if tensor.name not in self._sizes:
            self._explore(tensor)
        return self._sizes[tensor.name]

    def value(self, tensor: gs.Tensor) -> Sizes | None:
        """The elements of an integer scalar or vector, where each has a name at least."""
        if tensor.name not in self._sizes:
            self._explore(tensor)
        return self._values.get(tensor.name)

    def _explore(self, tensor: gs.Tensor) -> None:
        """Depth first without recursion: graphs are deeper than Python's stack."""
        waiting, begun = [tensor], set()
        while waiting:
            current = waiting[-1]
            if current.name in self._sizes:
                waiting.pop()
                continue
            if current.name not in begun:
                begun.add(current.name)
                node = producer(current)
                if node is not None and not self._is_plain(current):
                    unknown = [t for t in node.inputs if t.name and t.name not in self._sizes]
                    waiting += [t for t in unknown if t.name not in begun]
                    continue
            waiting.pop()
            self._sizes[current.name] = self._sizes_of(current)
            value = self._value_of(current)
            if value is not None:
                self._values[current.name] = value

    def _is_plain(self, tensor: gs.Tensor) -> bool:
        """Whether its makers tell nothing more: no shape value, and all its axes are known."""
        name = tensor.name
        shape = self._facts.static_shape(name)
        return shape is not None and (
            name in self._facts.values
            or len(shape) > 1
            or self._facts.element_type(name) not in _INTEGERS
        )

    def _sizes_of(self, tensor: gs.Tensor) -> Sizes | None:
        proven = self._facts.shape(tensor.name)
        if isinstance(tensor, gs.Constant):
            return tuple(int(d) for d in tensor.shape)
        if proven is not None and None not in proven:
            return tuple(d for d in proven if d is not None)
        node = producer(tensor)
        derived = None if node is None else self._derived(node, tensor)
        if proven is None:
            if derived is None:
                return None
            proven = (None,) * len(derived)
        if derived is None or len(derived) != len(proven):
            derived = (None,) * len(proven)
        return tuple(
            known if known is not None else (better if better is not None else _axis(tensor, k))
            for k, (known, better) in enumerate(zip(proven, derived, strict=True))
        )

    def _derived(self, node: gs.Node, tensor: gs.Tensor) -> tuple[Size | None, ...] | None:
        """Sizes by the node's own rule; None for an axis that it says nothing about."""
        if not is_op(node, node.op) or (tensor is not node.outputs[0] and node.op != "Split"):
            return None
        if node.op == "Reshape":
            return self._reshaped(node)
        follow = FOLLOW.get(node.op)
        if follow is None:
            return None
        sizes = [self._sizes.get(t.name) for t in node.inputs]
        return follow(node, sizes, self) if sizes else None

    def _reshaped(self, node: gs.Node) -> tuple[Size | None, ...] | None:
        target = self._values.get(node.inputs[1].name) if len(node.inputs) > 1 else None
        data = self._sizes.get(node.inputs[0].name)
        if target is None:
            return None
        result: list[Size | None] = []
        for k, size in enumerate(target):
            source = data[k] if data is not None and k < len(data) else None
            if isinstance(size, int):
                copied = size == 0 and not node.attrs.get("allowzero", 0)
                result.append(source if copied else (size if size >= 0 else None))
            elif not size.is_dimension:
                result.append(None)
            elif node.attrs.get("allowzero", 0) or (data is not None and k >= len(data)):
                # Where there is no source's size to take, ONNX Runtime refuses 0.
                result.append(size)
            else:
                # Where it is 0 the source's size is taken, so that must be 0 as well.
                vanishes = source is not None and atoms(size) <= atoms(source)
                result.append(size if vanishes else None)
        if data is not None and result.count(None) == 1:
            others = [size for size in result if size is not None]
            # An axis that was not -1 in the target is right all the same: the total is fixed,
            # provided that the others are never 0 in a successful run.
            is_rest = target[result.index(None)] == -1 or all(isinstance(s, int) for s in others)
            if is_rest:
                result[result.index(None)] = divided(times(data), times(others))
        return tuple(result)

    def _value_of(self, tensor: gs.Tensor) -> Sizes | None:
        known = self._facts.values.get(tensor.name)
        if known is None:
            known = constant_value(tensor)
        if known is not None:
            if known.dtype.kind != "i" or known.ndim > 1 or known.size > _LONGEST_VALUE:
                return None
            return tuple(int(v) for v in known.reshape(-1))
        node = producer(tensor)
        if node is None or not is_op(node, node.op) or tensor is not node.outputs[0]:
            return None
        sizes = self._sizes[tensor.name]
        if (
            sizes is None
            or len(sizes) > 1
            or self._facts.element_type(tensor.name) not in _INTEGERS
        ):
            return None
        value = self._computed(node)
        if value is not None:
            return value
        length = sizes[0] if sizes else 1
        if not isinstance(length, int) or length > _LONGEST_VALUE:
            return None
        return tuple(Product(1, (Atom(tensor.name, k, False),)) for k in range(length))

    def _computed(self, node: gs.Node) -> Sizes | None:
        if node.op == "Shape":
            sizes = self._sizes.get(node.inputs[0].name)
            if sizes is None:
                return None
            return sizes[node.attrs.get("start", 0) : node.attrs.get("end", len(sizes))]
        if node.op == "Size":
            sizes = self._sizes.get(node.inputs[0].name)
            return None if sizes is None else (times(sizes),)
        inputs = [self._values.get(t.name) for t in node.inputs]
        compute = COMPUTE.get(node.op)
        if compute is None or not inputs or inputs[0] is None:
            return None
        if node.op in ("Mul", "Div", "Concat", "Gather") and None in inputs:
            return None
        return compute(node, [value for value in inputs if value is not None])


def _axis(tensor: gs.Tensor, axis: int) -> Product:
    return Product(1, (Atom(tensor.name, axis, True),))
