"""float32 to float16 and back by ONNX Runtime, which is ten times as fast at it as NumPy."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from autogo_onnx.runtime import open_session, run


def from_float(array: NDArray[np.float32]) -> NDArray[np.float16]:
    """Rounded to nearest, ties to even; what is too large becomes infinite.

    >>> from_float(np.array([1.0, 1e6], np.float32))
    array([ 1., inf], dtype=float16)
    """
    return run(_cast(TensorProto.FLOAT, TensorProto.FLOAT16), None, {"x": array})[0]


def to_float(array: NDArray[np.float16]) -> NDArray[np.float32]:
    """Exact.

    >>> to_float(np.array([0.5, -2.0], np.float16))
    array([ 0.5, -2. ], dtype=float32)
    """
    return run(_cast(TensorProto.FLOAT16, TensorProto.FLOAT), None, {"x": array})[0]


@cache
def _cast(old: int, new: int) -> ort.InferenceSession:
    """A session that casts tensors of any shape, with one thread."""
    values: list[Any] = [
        helper.make_tensor_value_info(name, kind, None) for name, kind in (("x", old), ("y", new))
    ]
    node = helper.make_node("Cast", ["x"], ["y"], to=new)
    graph = helper.make_graph([node], "cast", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17)]
    # Without an arena: it would keep the largest tensor's memory for ever.
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return open_session(model, frugal=True)
