"""A model without some of its channels."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from autogo_onnx.graph import from_model, to_model
from autogo_onnx.rewriters.channels.narrow import Kept, narrow
from autogo_onnx.widths.spaces import Indices, Space


def sliced(model: onnx.ModelProto, keep: Mapping[Space, Indices]) -> tuple[onnx.ModelProto, Kept]:
    """The model with these channels of some spaces only, and what every tensor has kept.

    Nothing makes up for what the layers behind lose.
    """
    graph = from_model(model)
    kept = narrow(graph, {space.name: channels for space, channels in keep.items()})
    result = to_model(graph, model)
    # Tensors keep their names but not their shapes, which the file may have told.
    del result.graph.value_info[:]
    return result, kept
