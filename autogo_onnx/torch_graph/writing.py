"""Learnt weights back into the model they came from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.numpy_helper

from autogo_onnx.messages import copy_fields


def with_weights(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of the model with other values in some of its stored tensors.

    Args:
        model: it is not changed; names, types and shapes stay as they are.
        arrays: values by the name of an initializer, or of the output of a Constant node.
    """
    changed = onnx.ModelProto()
    copy_fields(model, changed, without=("graph",))
    copy_fields(model.graph, changed.graph, without=("initializer",))
    for tensor in model.graph.initializer:
        array = arrays.get(tensor.name)
        changed.graph.initializer.append(tensor if array is None else _tensor(tensor, array))
    for node in changed.graph.node:
        if node.op_type == "Constant" and node.output[0] in arrays:
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.CopyFrom(_tensor(attribute.t, arrays[node.output[0]]))
    return changed


def _tensor(like: onnx.TensorProto, array: np.ndarray) -> onnx.TensorProto:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(like.data_type)
    assert array.shape == tuple(like.dims), f"{like.name} keeps its shape"
    tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(array, dtype), like.name)
    if like.doc_string:
        tensor.doc_string = like.doc_string
    tensor.metadata_props.extend(like.metadata_props)
    return tensor
