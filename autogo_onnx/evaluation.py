"""What ONNX Runtime makes of one node, given the values that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import onnx

from autogo_onnx import runtime
from autogo_onnx.errors import InputError

if TYPE_CHECKING:
    import onnxruntime as ort


def evaluate(node: onnx.NodeProto, inputs: Sequence[np.ndarray], opset: int) -> np.ndarray | None:
    """The first output of a node; None where ONNX Runtime refuses it.

    Args:
        node: of the ONNX domain, without subgraphs.
        inputs: values of the inputs that it names, in order.
        opset: version of the ONNX operators.
    """
    alone = onnx.NodeProto(op_type=node.op_type, domain=node.domain, output=["y"])
    names = iter(f"x{i}" for i in range(len(inputs)))
    alone.input.extend(next(names) if name else "" for name in node.input)
    alone.attribute.extend(node.attribute)
    kinds = tuple(onnx.helper.np_dtype_to_tensor_dtype(value.dtype) for value in inputs)
    session = _session(alone.SerializeToString(deterministic=True), kinds, opset)
    if session is None:
        return None
    try:
        return runtime.run(session, None, {f"x{i}": v for i, v in enumerate(inputs)})[0]
    except InputError:
        return None


@lru_cache(maxsize=1024)
def _session(node: bytes, kinds: tuple[int, ...], opset: int) -> ort.InferenceSession | None:
    """A session for one node on inputs of any shape; None where ONNX Runtime has none.

    Models repeat the same few nodes on other values, and a session takes longer to open than to
    run.
    """
    value = onnx.helper.make_empty_tensor_value_info
    inputs = [
        onnx.helper.make_tensor_value_info(f"x{i}", kind, None) for i, kind in enumerate(kinds)
    ]
    graph = onnx.helper.make_graph([onnx.NodeProto.FromString(node)], "one", inputs, [value("y")])
    imports = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)
    try:
        return runtime.open_session(model, optimize=False, frugal=True)
    except InputError:
        return None
