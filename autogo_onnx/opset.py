"""Another opset for a model, when the user asks: converted by onnx, verified, its face kept.

onnx's converter drops functions and some documentation, and declares inner shapes and outputs anew;
all that is restored here. It needs no weights, so they do not go through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx.version_converter

from autogo_onnx.errors import InputError
from autogo_onnx.messages import copy_fields, lightened, opset_of
from autogo_onnx.rewriters.verification.feeds import Feed
from autogo_onnx.rewriters.verification.promise import Witness
from autogo_onnx.tensor_data import header

OLDEST, NEWEST = 7, 26
"""What is understood here; ONNX Runtime may run less."""


def convert(
    model: onnx.ModelProto, opset: int, samples: Sequence[Feed] = (), *, seed: int = 0
) -> onnx.ModelProto:
    """The same network in other operators.

    Args:
        model: checked; it is not changed.
        opset: wanted version; lower ones work as far as onnx's converter goes.
        samples: feeds to verify on, besides random ones.
        seed: of the random feeds.

    Returns:
        A new model; the very one that was given where it has that opset.

    Raises:
        InputError: it cannot be converted, or the result cannot be verified, or computes something
            else.
    """
    before = opset_of(model)
    if opset == before:
        return model
    converted = _restored(model, _converted(model, before, opset), opset)
    objection = _objection(model, converted, samples, seed)
    if objection is not None:
        raise InputError(f"opset {before} to {opset}: {objection}")
    return converted


def _converted(model: onnx.ModelProto, before: int, opset: int) -> onnx.ModelProto:
    """The model as onnx's converter leaves it, without large weights."""
    step = f"opset {before} to {opset}"
    if not OLDEST <= opset <= NEWEST:
        raise InputError(f"{step}: the wanted one must be from {OLDEST} to {NEWEST}")
    if model.functions:
        raise InputError(f"{step}: the model has local functions, which are not converted")
    if model.graph.sparse_initializer:
        raise InputError(f"{step}: the model has sparse initializers, which are not converted")
    try:
        light = lightened(model, header)
        return onnx.version_converter.convert_version(light, opset)
    except (onnx.version_converter.ConvertError, RuntimeError, ValueError) as error:
        # An assertion of the converter: its place in the source, then what it says.
        reason = str(error).splitlines()[0].rpartition("` failed: ")[2]
        raise InputError(f"{step}: onnx does not convert the model: {reason}") from error


def _restored(model: onnx.ModelProto, converted: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The converted nodes in the original's frame: all that is not a node as it was."""
    result = onnx.ModelProto()
    copy_fields(model, result, without=("graph",))
    for imported in result.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = opset
    parts = ("node", "initializer", "value_info")
    copy_fields(model.graph, result.graph, without=parts)
    result.graph.node.extend(converted.graph.node)
    _redocument(model, result)
    weights = {tensor.name for tensor in model.graph.initializer}
    result.graph.initializer.extend(model.graph.initializer)
    result.graph.initializer.extend(
        tensor for tensor in converted.graph.initializer if tensor.name not in weights
    )
    made = {name for node in result.graph.node for name in node.output} | weights
    result.graph.value_info.extend(v for v in model.graph.value_info if v.name in made)
    return result


def _redocument(model: onnx.ModelProto, result: onnx.ModelProto) -> None:
    """Give nodes that are still there their documentation and metadata back."""
    originals = {tuple(node.output): node for node in model.graph.node}
    for node in result.graph.node:
        original = originals.get(tuple(node.output))
        if original is not None and original.op_type == node.op_type:
            node.doc_string = original.doc_string
            node.metadata_props.extend(original.metadata_props)


def _objection(
    model: onnx.ModelProto, converted: onnx.ModelProto, samples: Sequence[Feed], seed: int
) -> str | None:
    """Why the converted model is not to be used; None where it may be."""
    try:
        witness = Witness.of(model, samples, seed=seed)
    except InputError as error:
        return f"the result cannot be verified: {error}"
    found = witness.objection(converted)
    return None if found is None else f"the converted model is not the same: {found}"
