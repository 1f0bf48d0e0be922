"""The graph of a predictor, or of one of its heads: nodes side by side, each from the rows."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from autogo_onnx import features
from autogo_onnx.predictor.trees import DOMAIN, OPSET

ROWS = "rows"
# The first versions that know version 5 of the operators for machine learning.
_IR_VERSION, _OPSET = 10, 21


def model_of(nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """The nodes of heads as a model without metadata: one input, an output per head."""
    members = [helper.get_node_attr_value(node, "n_targets") for node in nodes]
    graph = helper.make_graph(
        nodes,
        "predictor",
        [helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["N", len(features.COLUMNS)])],
        [
            helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, ["N", count])
            for node, count in zip(nodes, members, strict=True)
        ],
    )
    return helper.make_model(
        graph,
        ir_version=_IR_VERSION,
        opset_imports=[
            helper.make_opsetid("", _OPSET),
            helper.make_opsetid(DOMAIN, OPSET),
        ],
        producer_name="autogo-onnx",
    )
