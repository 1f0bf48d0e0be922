"""The one door to ONNX Runtime: sessions set up alike everywhere, its exceptions as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import EncodeError
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from autogo_onnx.errors import InputError

_FATAL = 4

# ONNX Runtime's exceptions share no base class of their own; RuntimeError is a failed allocation,
# EncodeError a model above 2 GB.
_ERRORS: tuple[type[Exception], ...] = (
    _state.EPFail,
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NoModel,
    _state.NoSuchFile,
    _state.NotImplemented,
    _state.RuntimeException,
    EncodeError,
    RuntimeError,
    ValueError,
)


def open_session(
    model: onnx.ModelProto | bytes | Path, *, threads: int = 1, optimize: bool = True
) -> ort.InferenceSession:
    """A CPU session whose only differences from any other are the arguments.

    Args:
        model: a path is cheapest, and the only form for models above 2 GB.
        threads: intra-op threads; with 1 the calling thread does all the work.
        optimize: False turns ONNX Runtime's own rewriting off, to run the graph as written.

    Raises:
        InputError: ONNX Runtime refuses the model.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = _FATAL
    level = ort.GraphOptimizationLevel
    settings.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(_loadable(model), settings, providers=["CPUExecutionProvider"])
    except _ERRORS as error:
        raise InputError(f"ONNX Runtime does not load {_name(model)}: {one_line(error)}") from error


def run(
    session: ort.InferenceSession, outputs: Sequence[str] | None, feed: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """One run; `outputs` None means all, in the model's order.

    Raises:
        InputError: ONNX Runtime refuses the feed or fails on it.
    """
    try:
        results: list[np.ndarray] = session.run(outputs, dict(feed))
    except _ERRORS as error:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(feed.items()))
        raise InputError(f"the model does not run on {shapes}: {one_line(error)}") from error
    return results


def version() -> str:
    """Version of ONNX Runtime."""
    return str(ort.__version__)


def one_line(error: Exception) -> str:
    r"""An ONNX Runtime message without its code prefix and its line breaks.

    >>> one_line(ValueError("[ONNXRuntimeError] : 1 : FAIL : Load failed:\n no such op"))
    'Load failed: no such op'
    """
    text = " ".join(str(error).split())
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return text if len(text) <= 300 else text[:297] + "..."


def _loadable(model: onnx.ModelProto | bytes | Path) -> str | bytes:
    if isinstance(model, onnx.ModelProto):
        return bytes(model.SerializeToString())
    return str(model) if isinstance(model, Path) else model


def _name(model: onnx.ModelProto | bytes | Path) -> str:
    return str(model) if isinstance(model, Path) else "the model"
