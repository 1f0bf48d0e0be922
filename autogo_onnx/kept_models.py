"""Models as bytes, less the large weights that they share with a model that is always there."""

from __future__ import annotations

import onnx

from autogo_onnx.errors import InputError
from autogo_onnx.messages import lightened
from autogo_onnx.tensor_data import taken_in

_MOST_BYTES = 2**31 - 1
"""A protobuf message can be no larger."""


def packed(model: onnx.ModelProto, base: onnx.ModelProto) -> bytes:
    """The bytes of a model; of its large weights only those that the base does not have.

    Raises:
        InputError: they are too many.
    """
    given = {tensor.name: tensor for tensor in base.graph.initializer}

    def stand_in(tensor: onnx.TensorProto) -> onnx.TensorProto:
        if tensor == given.get(tensor.name):
            return onnx.TensorProto(name=tensor.name)
        return taken_in(tensor)

    light = lightened(model, stand_in)
    if light.ByteSize() > _MOST_BYTES:
        raise InputError("a model is too large to be kept for a run that goes on")
    return bytes(light.SerializeToString(deterministic=True))


def unpacked(data: bytes, base: onnx.ModelProto) -> onnx.ModelProto:
    """The model that was packed with this base."""
    given = {tensor.name: tensor for tensor in base.graph.initializer}
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.UNDEFINED:
            tensor.CopyFrom(given[tensor.name])
    return model
