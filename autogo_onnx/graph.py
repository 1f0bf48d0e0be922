"""Between an ONNX model and the graph-surgeon graph that rewriters edit, losing nothing.

graph-surgeon is the editing surface: linked nodes and tensors. What it cannot hold (documentation
strings, metadata, quantization annotations, functions, declared shapes, subgraph attributes) is
taken from the original model on the way back, so an unedited graph gives back the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter
from onnx_graphsurgeon.importers.onnx_importer import OnnxImporter
from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues
from onnx_graphsurgeon.logger import G_LOGGER
from onnx_graphsurgeon.util.exception import OnnxGraphSurgeonException

from autogo_onnx import tensor_data
from autogo_onnx.errors import InputError
from autogo_onnx.inference import IR_WITH_DEFAULTED_INPUTS
from autogo_onnx.liveness import captured, is_op
from autogo_onnx.messages import copy_fields, is_large, opset_of, refers_to_files
from autogo_onnx.scratch import put_aside
from autogo_onnx.tensor_data import LARGE_BYTES, PLAIN_TYPES, header

G_LOGGER.severity = G_LOGGER.CRITICAL  # its warnings go to stdout, which carries our result

_HELD_ATTRIBUTES = frozenset(
    {
        onnx.AttributeProto.FLOAT,
        onnx.AttributeProto.FLOATS,
        onnx.AttributeProto.INT,
        onnx.AttributeProto.INTS,
        onnx.AttributeProto.STRING,
        onnx.AttributeProto.STRINGS,
        onnx.AttributeProto.TENSOR,
    }
)


class Node(gs.Node):  # type: ignore[misc]  # graph-surgeon ships no types
    """A node that equals itself alone.

    graph-surgeon compares nodes by what they hold, whenever one is cut off from a tensor with other
    readers: that takes time quadratic in the readers, and one of two equal nodes for the other.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class DefaultedInput(gs.Variable):  # type: ignore[misc]  # graph-surgeon ships no types
    """A graph input with a default value: an initializer that the caller may override.

    Attributes:
        default: the initializer.
        listed_by_habit: the model lists *all* its initializers as inputs, as old exporters did.
    """

    def __init__(self, default: onnx.TensorProto, listed_by_habit: bool) -> None:
        lazy = LazyValues(default)
        super().__init__(default.name, dtype=lazy.dtype, shape=list(default.dims))
        self.default = default
        self.listed_by_habit = listed_by_habit


def from_model(model: onnx.ModelProto) -> gs.Graph:
    """The model's main graph for editing. Weights are shared with the model, not copied.

    Weights that the model only refers to stay in their files; new ones join them, see `settle`.

    An initializer that is also listed as an input becomes a `DefaultedInput` among
    `graph.inputs`, unless the model's IR version is so old that listing was compulsory.

    Raises:
        InputError: the model holds something that graph-surgeon cannot represent.
    """
    if model.graph.sparse_initializer:
        raise InputError("sparse initializers cannot be edited")
    try:
        return _imported(model)
    except (
        OnnxGraphSurgeonException,
        AttributeError,
        UnboundLocalError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
    ) as error:
        raise InputError(f"the graph cannot be edited: {error}") from error


def _imported(model: onnx.ModelProto) -> gs.Graph:
    opset = opset_of(model) or None
    domains = list(model.opset_import)
    overridable: set[str] = set()
    if model.ir_version >= IR_WITH_DEFAULTED_INPUTS:
        overridable = {info.name for info in model.graph.input}
    habit = overridable.issuperset(proto.name for proto in model.graph.initializer)
    tensors: dict[str, gs.Tensor] = {}
    for proto in model.graph.initializer:
        if proto.name in overridable:
            tensors[proto.name] = DefaultedInput(proto, habit)
        else:
            tensors[proto.name] = gs.Constant(proto.name, LazyValues(proto))
    for info in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if info.name not in tensors:
            tensors[info.name] = OnnxImporter.import_tensor(info)
    nodes = [OnnxImporter.import_node(n, {}, tensors, opset, domains) for n in model.graph.node]
    for node in nodes:
        node.__class__ = Node
    inputs = [tensors[info.name] for info in model.graph.input]
    graph = gs.Graph(
        nodes=nodes,
        inputs=[t for t in inputs if not isinstance(t, gs.Constant)],
        outputs=[tensors[info.name] for info in model.graph.output],
        name=model.graph.name,
        opset=opset,
        import_domains=domains,
        ir_version=model.ir_version,
    )
    graph.weights_in_files = refers_to_files(model)
    return graph


def to_model(graph: gs.Graph, like: onnx.ModelProto) -> onnx.ModelProto:
    """The edited graph as a model; all that was not edited is as in `like`.

    Args:
        graph: made by `from_model(like)` and edited since; its nodes are in topological order.
        like: the model the graph was made from.
    """
    settle(graph)
    model = onnx.ModelProto()
    copy_fields(like, model, without=("graph",))
    copy_fields(
        like.graph,
        model.graph,
        without=("node", "initializer", "value_info", "input", "output"),
    )
    originals = {tuple(node.output): node for node in like.graph.node}
    model.graph.node.extend(
        _node(node, originals.get(tuple(t.name for t in node.outputs))) for node in graph.nodes
    )
    model.graph.initializer.extend(_initializers(graph, like))
    _declare(graph, like, model)
    return model


def is_constant(tensor: gs.Tensor) -> bool:
    """Whether the value is fixed in the file: an initializer or the output of a Constant node."""
    if isinstance(tensor, gs.Constant):
        return isinstance(tensor._values, np.ndarray) or _is_plain(tensor._values)
    return constant_value(tensor) is not None


def constant_value(tensor: gs.Tensor) -> np.ndarray | None:
    """The value of an initializer or Constant node, to be read only; else None.

    Values of types that NumPy does not have (bfloat16, float8, four bits) are not looked at.
    """
    if isinstance(tensor, gs.Constant):
        return _array(tensor)
    if len(tensor.inputs) != 1 or not is_op(tensor.inputs[0], "Constant"):
        return None
    attributes = tensor.inputs[0].attrs
    if "value" in attributes:
        return _array(attributes["value"])
    for name, dtype in (("int", np.int64), ("float", np.float32)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in attributes:
                return np.asarray(attributes[key], dtype)
    return None


def draft(graph: gs.Graph) -> tuple[onnx.ModelProto, dict[str, Callable[[], np.ndarray]]]:
    """The graph as a bare model, fit for proving facts about it but not for keeping.

    Nodes with subgraphs are left out, so that their outputs are simply unknown.

    Returns:
        The model, and makers of the values of its large initializers, which it only names.
    """
    settle(graph)
    model = onnx.ModelProto(ir_version=graph.ir_version, opset_import=graph.import_domains)
    for node in graph.nodes:
        if not any(True for _ in node.subgraphs()):
            model.graph.node.append(_node(node, None))
    for tensor in graph.inputs:
        if isinstance(tensor, gs.Variable) and tensor.type == "tensor_type":
            model.graph.input.append(OnnxExporter.export_value_info_proto(tensor, False))
    weights: dict[str, Callable[[], np.ndarray]] = {}
    for constant in _constants(graph).values():
        proto = _outline(constant)
        model.graph.initializer.append(proto)
        if is_constant(constant):
            weights[constant.name] = partial(_plain_array, constant)
    model.graph.output.extend(onnx.ValueInfoProto(name=t.name) for t in graph.outputs)
    return model, weights


def settle(graph: gs.Graph) -> None:
    """Move new weights out of memory, where those of the model stay in their files too.

    Raises:
        InputError: there is no room for them.
    """
    if not getattr(graph, "weights_in_files", False):
        return
    for constant in _constants(graph).values():
        values = constant._values
        if isinstance(values, np.ndarray) and values.nbytes >= LARGE_BYTES:
            constant._values = LazyValues(put_aside(constant.name, values))


def to_text(model: onnx.ModelProto) -> str:
    """The model in ONNX's textual syntax."""
    return onnx.printer.to_text(model)


def from_text(text: str) -> onnx.ModelProto:
    """A model from ONNX's textual syntax; a graph alone gets the newest opset in common use.

    >>> from_text("g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }").graph.node[0].op_type
    'Relu'
    """
    if not text.lstrip().startswith("<"):
        text = '<ir_version: 8, opset_import: ["" : 17]>\n' + text
    return onnx.parser.parse_model(text)


def _array(constant: gs.Constant) -> np.ndarray | None:
    values = constant._values
    if isinstance(values, np.ndarray):
        return values
    if not _is_plain(values):
        return None
    array: np.ndarray | None = getattr(values, "array", None)
    if array is None:
        array = tensor_data.value(values.tensor)
        if not isinstance(array, np.memmap):
            values.array = array  # each look into the message would copy
    return array


def _plain_array(constant: gs.Constant) -> np.ndarray:
    array = _array(constant)
    assert array is not None, f"{constant.name} is of no type that NumPy has"
    return array


def _is_plain(values: LazyValues) -> bool:
    """Whether NumPy can hold the values; touching others would convert them."""
    if isinstance(values, SparseValues) or not isinstance(values.dtype, np.dtype):
        return False
    return values.dtype.kind in "biuf" and values.tensor.data_type in PLAIN_TYPES


def _constants(graph: gs.Graph) -> dict[str, gs.Constant]:
    """The constants that nodes read, by name."""
    return {t.name: t for node in graph.nodes for t in node.inputs if isinstance(t, gs.Constant)}


def _outline(constant: gs.Constant) -> onnx.TensorProto:
    """The constant as a message, a large one without its values."""
    values = constant._values
    if isinstance(values, LazyValues):
        tensor: onnx.TensorProto = values.tensor
        return header(tensor) if is_large(tensor) else tensor
    if values.nbytes < LARGE_BYTES:
        return _tensor(constant)
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return onnx.TensorProto(name=constant.name, data_type=kind, dims=values.shape)


def _node(node: gs.Node, original: onnx.NodeProto | None) -> onnx.NodeProto:
    """The node as a message; what graph-surgeon does not hold comes from the original."""
    proto = onnx.NodeProto(op_type=node.op)
    held: dict[str, onnx.AttributeProto] = {}
    if original is not None and (original.op_type, original.name) == (node.op, node.name):
        copy_fields(original, proto, without=("input", "output", "attribute"))
        held = {a.name: a for a in original.attribute}
    else:
        if node.name:
            proto.name = node.name
        if node.domain:
            proto.domain = node.domain
    proto.input.extend(t.name for t in node.inputs)
    proto.output.extend(t.name for t in node.outputs)
    for name, value in node.attrs.items():
        before = held.get(name)
        if before is None or (before.type in _HELD_ATTRIBUTES and not before.ref_attr_name):
            proto.attribute.append(_attribute(name, value, before))
    proto.attribute.extend(a for a in held.values() if a.type not in _HELD_ATTRIBUTES)
    return proto


def _attribute(name: str, value: object, before: onnx.AttributeProto | None) -> onnx.AttributeProto:
    if isinstance(value, gs.Constant):
        value = _tensor(value)
    elif isinstance(value, gs.Graph):
        value = OnnxExporter.export_graph(value, do_type_check=False)
    kind = before.type if before is not None else None
    proto = onnx.helper.make_attribute(name, value, attr_type=kind)
    if before is not None and before.HasField("doc_string"):
        proto.doc_string = before.doc_string
    return proto


def _initializers(graph: gs.Graph, like: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Constants that something reads and defaults of inputs: those of `like` first, in order."""
    used = _constants(graph)
    used.update({t.name: t for t in graph.outputs if isinstance(t, gs.Constant)})
    kept = {t.name for t in graph.inputs} | captured(graph)
    kept.update(
        pair.value
        for annotation in like.graph.quantization_annotation
        for pair in annotation.quant_parameter_tensor_names
    )
    for proto in like.graph.initializer:
        constant = used.pop(proto.name, None)
        if constant is not None:
            yield _tensor(constant)
        elif proto.name in kept:
            yield proto
    for constant in used.values():
        yield _tensor(constant)


def _tensor(constant: gs.Constant) -> onnx.TensorProto:
    if isinstance(constant._values, LazyValues):
        untouched: onnx.TensorProto = constant._values.tensor
        return untouched
    return onnx.numpy_helper.from_array(constant.values, constant.name)


def _declare(graph: gs.Graph, like: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Inputs, outputs and the declared types of tensors that are still there."""
    initializers = {t.name: t for t in model.graph.initializer}
    open_inputs = {t.name for t in graph.inputs}
    listed = set()
    for info in like.graph.input:
        if info.name in open_inputs or (
            info.name in initializers
            and like.ir_version < IR_WITH_DEFAULTED_INPUTS
            and _declares(info, initializers[info.name])
        ):
            model.graph.input.append(info)
            listed.add(info.name)
    if like.ir_version < IR_WITH_DEFAULTED_INPUTS:
        model.graph.input.extend(
            onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
            for t in initializers.values()
            if t.name not in listed
        )
    model.graph.output.extend(like.graph.output)
    made = {t.name for node in graph.nodes for t in node.outputs} | set(initializers)
    model.graph.value_info.extend(info for info in like.graph.value_info if info.name in made)


def _declares(info: onnx.ValueInfoProto, tensor: onnx.TensorProto) -> bool:
    """Whether a declaration is that of an initializer, which a rewrite may have reshaped."""
    kind = info.type.tensor_type
    dims = [dim.dim_value for dim in kind.shape.dim]
    return kind.elem_type == tensor.data_type and dims == list(tensor.dims)
