"""An OpGraph and its weights as an ONNX model: the exact, weight-carrying twin.

Boundary inputs are named `x0, x1, ...`, boundary outputs `y0, y1, ...`, all float32 with a dynamic
batch axis `N`. What an older opset spells differently (Clip's bounds, HardSwish, Resize's scales)
is spelled as that opset has it; what it cannot say is an `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autogo_onnx.attribute_forms import INPUT_ATTRIBUTES
from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import Op, OpGraph, Shape, node_outputs
from autogo_onnx.weights import Array, random_weights

__all__ = ["random_weights", "to_onnx"]

# Operators whose ONNX node is just the operands, the weights (if any) and the attributes.
_PLAIN = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Celu", "Concat", "Conv", "ConvTranspose",
    "DepthToSpace", "Div", "Elu", "Erf", "Exp", "Flatten", "Gelu", "GlobalAveragePool",
    "GlobalMaxPool", "HardSigmoid", "Identity", "LRN", "LeakyRelu", "Log", "MatMul", "Max",
    "MaxPool", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus",
    "Softsign", "SpaceToDepth", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Transpose",
})  # fmt: skip
_OF_ONE_OPERAND = frozenset({"BatchNormalization", "Conv", "ConvTranspose"})
_NEEDED = {"Pad": {"pads"}, "Slice": {"starts", "ends"}}
# Attribute values that say the same as leaving the attribute out, at every opset.
_NEUTRAL: dict[str, Callable[[Any], bool]] = {
    "ceil_mode": lambda v: v == 0,
    "count_include_pad": lambda v: v == 0,
    "dilations": lambda v: all(d == 1 for d in v),
    "mode": lambda v: v == "DCR",
    "momentum": lambda v: True,
    "noop_with_empty_axes": lambda v: v == 0,
    "spatial": lambda v: v == 1,
    "storage_order": lambda v: True,
    "training_mode": lambda v: v == 0,
}
_MIN_IR_VERSION = 8


def to_onnx(
    graph: OpGraph, weights: Mapping[int, tuple[Array, ...]], *, opset: int = 17
) -> onnx.ModelProto:
    """The ONNX model of a graph.

    Args:
        graph: shapes with the batch axis first.
        weights: operator index -> its weights in the order of `weights.weight_shapes`; trailing
            ones (a bias) may be absent where ONNX lets them be.
        opset: 7 to 22.

    Raises:
        InputError: an operator kind that is not known here, or not sayable at this opset; a
            convolution without groups.
    """
    writer = _Writer(graph, opset)
    for index, op in enumerate(graph.ops):
        operands = tuple(writer.name(t) for t in op.inputs)
        out = writer.name(graph.n_inputs + index)
        site = _Site(index, op, operands, weights.get(index, ()), out)
        if op.kind not in _WRITERS:
            raise InputError(f"operator {index}: {op.kind} cannot be built from a segment")
        if op.get("group", 1) < 1:
            raise InputError(f"operator {index}: {op.kind} in {op.get('group')} groups")
        _WRITERS[op.kind](writer, site)
    outputs = writer.expose_outputs()
    body = helper.make_graph(
        writer.nodes,
        "segment",
        [_value(f"x{i}", shape) for i, shape in enumerate(graph.input_shapes)],
        [_value(name, graph.shape(t)) for name, t in zip(outputs, graph.outputs, strict=True)],
        writer.constants,
    )
    imports = [helper.make_opsetid("", opset)]
    ir_version = max(_MIN_IR_VERSION, helper.find_min_ir_version_for(imports))
    return helper.make_model(
        body, opset_imports=imports, ir_version=ir_version, producer_name="autogo-onnx"
    )


@dataclass(frozen=True)
class _Site:
    """One operator to be written: its operands, weights and the name of its output."""

    index: int
    op: Op
    operands: tuple[str, ...]
    weights: Sequence[Array]
    out: str


@dataclass
class _Writer:
    """Collects nodes and constants while operators are written in topological order."""

    graph: OpGraph
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def name(self, tensor: int) -> str:
        """Name of a tensor by number, before `expose_outputs`."""
        n_inputs = self.graph.n_inputs
        return f"x{tensor}" if tensor < n_inputs else f"t{tensor - n_inputs}"

    def constant(self, name: str, value: np.ndarray[Any, Any] | np.generic) -> str:
        """Add an initializer; returns its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def weights(self, site: _Site) -> list[str]:
        """Add an operator's weights; returns their names."""
        return [self.constant(f"{site.out}.w{n}", w) for n, w in enumerate(site.weights)]

    def node(
        self, kind: str, inputs: Sequence[str], out: str | Sequence[str], attributes: dict[str, Any]
    ) -> None:
        """Add a node, named after its first output, with the attributes that this opset knows.

        Raises:
            InputError: the opset lacks the operator, or an attribute that changes the result.
        """
        try:
            known = onnx.defs.get_schema(kind, self.opset).attributes
        except onnx.defs.SchemaError as error:
            raise InputError(f"opset {self.opset} has no {kind}; raise the opset") from error
        for name in sorted(attributes.keys() - known.keys()):
            if name not in _NEUTRAL or not _NEUTRAL[name](attributes[name]):
                raise InputError(f"opset {self.opset}: {kind} has no attribute {name!r}")
        said = {k: v for k, v in sorted(attributes.items()) if k in known}
        outputs = [out] if isinstance(out, str) else out
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **said))

    def expose_outputs(self) -> list[str]:
        """Names of the boundary outputs; each gets a tensor of its own, as ONNX wants it."""
        names = [f"y{n}" for n in range(len(self.graph.outputs))]
        renamed: dict[str, str] = {}
        for name, tensor in zip(names, self.graph.outputs, strict=True):
            if tensor >= self.graph.n_inputs:
                renamed.setdefault(self.name(tensor), name)
        for node in self.nodes:
            for ends in (node.input, node.output):
                ends[:] = [renamed.get(end, end) for end in ends]
        for name, tensor in zip(names, self.graph.outputs, strict=True):
            source = renamed.get(self.name(tensor), self.name(tensor))
            if source != name:  # a boundary input, or a tensor that is already an output
                self.node("Identity", [source], name, {})
        return names


def _write_plain(writer: _Writer, site: _Site) -> None:
    """Operands, weights and attributes as they are."""
    kind, schema = site.op.kind, onnx.defs.get_schema(site.op.kind)
    if kind in {"Sub", "Div"} and len(site.operands) == 1:
        raise InputError(f"operator {site.index}: {kind} of a constant has no known side")
    if kind in _OF_ONE_OPERAND and len(site.operands) != 1:
        raise InputError(f"operator {site.index}: {kind} with computed weights is not known")
    if len(site.operands) + len(site.weights) < schema.min_input:
        raise InputError(f"operator {site.index}: {kind} has no weights")
    if kind == "Concat" and not _is_whole(writer.graph, site):
        raise InputError(f"operator {site.index}: a Concat with a constant is not known")
    inputs = [*site.operands, *writer.weights(site)]
    writer.node(kind, inputs, site.out, dict(site.op.attributes))


def _is_whole(graph: OpGraph, site: _Site) -> bool:
    """Whether the operands of a Concat are all of it."""
    made = graph.op_shapes[site.index]
    axis = site.op.get("axis", 1) % len(made) if made else 0
    given = [graph.shape(t) for t in site.op.inputs]
    return not made or not all(given) or sum(s[axis] for s in given) == made[axis]


def _write_gemm(writer: _Writer, site: _Site) -> None:
    """W[out, in] is stored as such: transB = 1."""
    if len(site.operands) != 1 or not site.weights or site.op.get("transA", 0):
        raise InputError(f"operator {site.index}: only Gemm of one operand with weights is known")
    names = writer.weights(site)
    if writer.opset < 11 and len(names) == 1:  # C is optional from opset 11 on
        zeros = np.zeros(site.weights[0].shape[0], np.float32)
        names.append(writer.constant(f"{site.out}.w1", zeros))
    attributes = {**dict(site.op.attributes), "transB": 1}
    writer.node("Gemm", [*site.operands, *names], site.out, attributes)


def _write_hard_swish(writer: _Writer, site: _Site) -> None:
    """Before opset 14 its definition: x * HardSigmoid(x) with alpha 1/6, beta 1/2."""
    if writer.opset >= 14:
        writer.node("HardSwish", site.operands, site.out, {})
        return
    gate = f"{site.out}.gate"
    writer.node("HardSigmoid", site.operands, gate, {"alpha": 1 / 6, "beta": 0.5})
    writer.node("Mul", [*site.operands, gate], site.out, {})


def _write_softmax(writer: _Writer, site: _Site) -> None:
    """Before opset 13 the axis means "flatten from here": the same only for the last one."""
    rank = len(writer.graph.op_shapes[site.index])
    axis = site.op.get("axis", -1) % rank
    if writer.opset < 13 and axis != rank - 1:
        raise InputError(f"opset {writer.opset}: {site.op.kind} over axis {axis} of {rank}")
    writer.node(site.op.kind, site.operands, site.out, {"axis": axis})


def _write_reshape(writer: _Writer, site: _Site) -> None:
    """The batch axis is copied (0), the others are as the graph's shapes say."""
    shape = _shape_with_batch(writer.graph, site)
    target = writer.constant(f"{site.out}.shape", np.array([0, *shape[1:]], np.int64))
    writer.node("Reshape", [*site.operands, target], site.out, {})


def _write_split(writer: _Writer, site: _Site) -> None:
    """One node for all parts, where the first of them stands; their lengths are spelled out."""
    graph, parts = writer.graph, node_outputs(writer.graph, site.index)
    if site.index != min(parts.values()):
        return
    shape = _shape_with_batch(graph, site)
    axis = site.op.get("axis", 0) % max(1, len(shape))
    if axis == 0:
        raise InputError(f"operator {site.index}: Split does not keep the batch axis")
    lengths = tuple(graph.op_shapes[part][axis] for part in parts.values())
    whole = graph.shape(site.op.inputs[0])[axis]
    if tuple(parts) != tuple(range(len(parts))) or sum(lengths) != whole:
        raise InputError(f"operator {site.index}: Split, whose other parts are elsewhere")
    names = [writer.name(graph.n_inputs + part) for part in parts.values()]
    if writer.opset < 13:
        writer.node("Split", site.operands, names, {"axis": axis, "split": lengths})
        return
    constant = writer.constant(f"{site.out}.split", np.array(lengths, np.int64))
    writer.node("Split", [*site.operands, constant], names, {"axis": axis})


def _write_with_inputs(writer: _Writer, site: _Site) -> None:
    """What is an attribute at one opset and an input from another on; see `INPUT_ATTRIBUTES`."""
    inputs, attributes = list(site.operands), dict(site.op.attributes)
    if site.op.kind != "Clip":
        _keep_batch(writer.graph, site)
    for name in sorted(_NEEDED.get(site.op.kind, set()) - attributes.keys()):
        raise InputError(f"operator {site.index}: {site.op.kind} has no constant {name!r}")
    since, names = INPUT_ATTRIBUTES[site.op.kind]
    if writer.opset >= since:
        inputs += [_constant_input(writer, site, name) for name in names]
        attributes = {k: v for k, v in attributes.items() if k not in names}
    while not inputs[-1]:
        inputs.pop()
    writer.node(site.op.kind, inputs, site.out, attributes)


def _write_resize(writer: _Writer, site: _Site) -> None:
    """Scales, not sizes, so that the batch axis stays dynamic; Upsample before opset 10."""
    shape = _shape_with_batch(writer.graph, site)
    given, attributes = writer.graph.shape(site.op.inputs[0]), dict(site.op.attributes)
    factors = [_resize_scale(a, b) for a, b in zip(given, shape, strict=True)]
    scales = writer.constant(f"{site.out}.scales", np.array(factors, np.float32))
    asymmetric = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if site.op.kind == "Upsample":
        attributes |= asymmetric
    if writer.opset >= 11:
        # The region of interest is unused, but no optional input before opset 13.
        nowhere = np.zeros(0, np.float32)
        region = "" if writer.opset >= 13 else writer.constant(f"{site.out}.roi", nowhere)
        writer.node("Resize", [*site.operands, region, scales], site.out, attributes)
        return
    spoken = {name: attributes.pop(name, value) for name, value in asymmetric.items()}
    if writer.opset < 9 or spoken != asymmetric:
        raise InputError(
            f"opset {writer.opset} cannot write {site.op.kind} (operator {site.index})"
        )
    kind = "Upsample" if writer.opset < 10 else "Resize"
    writer.node(kind, [*site.operands, scales], site.out, attributes)


_WRITERS: dict[str, Callable[[_Writer, _Site], None]] = {
    **dict.fromkeys(_PLAIN, _write_plain),
    **dict.fromkeys(INPUT_ATTRIBUTES, _write_with_inputs),
    "Gemm": _write_gemm,
    "HardSwish": _write_hard_swish,
    "LogSoftmax": _write_softmax,
    "Reshape": _write_reshape,
    "Resize": _write_resize,
    "Softmax": _write_softmax,
    "Split": _write_split,
    "Upsample": _write_resize,
}


def _constant_input(writer: _Writer, site: _Site, name: str) -> str:
    """A constant in the place of an attribute; "" for one that is not set."""
    value = site.op.get(name)
    if value is None:
        return ""
    dtype = np.int64 if isinstance(value, tuple) else np.float32
    return writer.constant(f"{site.out}.{name}", np.array(value, dtype))


def _keep_batch(graph: OpGraph, site: _Site) -> None:
    """Refuse an operator along the batch axis, also where a batch of 1 does not show it.

    Raises:
        InputError: it works along the first axis.
    """
    shape = _shape_with_batch(graph, site)
    rank = max(len(shape), len(graph.shape(site.op.inputs[0])))
    axes = site.op.get("axes", () if site.op.kind == "Pad" else (0,))
    if any(axis % rank == 0 for axis in axes):
        raise InputError(f"operator {site.index}: {site.op.kind} does not keep the batch axis")


def _shape_with_batch(graph: OpGraph, site: _Site) -> Shape:
    """The output shape of an operator that must leave the batch axis alone.

    Raises:
        InputError: it does not.
    """
    shape = graph.op_shapes[site.index]
    if len(site.operands) != 1 or shape[:1] != graph.shape(site.op.inputs[0])[:1]:
        raise InputError(f"operator {site.index}: {site.op.kind} does not keep the batch axis")
    return shape


def _value(name: str, shape: Shape) -> onnx.ValueInfoProto:
    """A float tensor whose first axis is the dynamic batch."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape[1:]])


def _resize_scale(given: int, wanted: int) -> float:
    """The smallest float32 scale whose product with `given`, rounded down, is `wanted`.

    The product is taken in float64: what reaches `wanted` there reaches it in float32 as well.
    """
    scale = np.float32(wanted / given)
    while given * float(scale) < wanted:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)
