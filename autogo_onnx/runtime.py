"""The one door to ONNX Runtime: sessions set up alike everywhere, its exceptions as one line."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import EncodeError
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from autogo_onnx.errors import InputError
from autogo_onnx.messages import is_large, lightened, names_read, refers_to_files
from autogo_onnx.tensor_data import PLAIN_TYPES, Place, checked_place, header, refer, value

_FATAL = 4
_FOLDER_OF_WEIGHTS = "session.model_external_initializers_file_folder_path"

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
    model: onnx.ModelProto | bytes | Path,
    *,
    threads: int = 1,
    optimize: bool = True,
    frugal: bool = False,
    profile: Path | None = None,
) -> ort.InferenceSession:
    """A CPU session whose only differences from any other are the arguments.

    Args:
        model: one that refers to its weights has them mapped into memory, not read.
        threads: intra-op threads; with 1 the calling thread does all the work.
        optimize: False turns ONNX Runtime's own rewriting off, to run the graph as written.
        frugal: give the memory of a run back after it, which takes longer; always so where the
            weights are mapped.
        profile: how the file begins that the times of all operators are written to.

    Raises:
        InputError: ONNX Runtime refuses the model.
    """
    settings = _settings(threads, optimize)
    if profile is not None:
        settings.enable_profiling, settings.profile_file_prefix = True, str(profile)
    mapped = isinstance(model, onnx.ModelProto) and refers_to_files(model)
    settings.enable_cpu_mem_arena = not (frugal or mapped)
    if mapped:
        # Nodes in their own order: by default all that depend on weights alone come first.
        settings.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    source: str | bytes
    lent: list[ort.OrtValue] = []
    try:
        if isinstance(model, onnx.ModelProto):
            source, lent = _handed_over(model, settings)
        else:
            source = str(model) if isinstance(model, Path) else model
        session = ort.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    except _ERRORS as error:
        name = str(model) if isinstance(model, Path) else "the model"
        raise InputError(f"ONNX Runtime does not load {name}: {one_line(error)}") from error
    lent.clear()  # They had to live until now: the settings do not keep them.
    return session


class TookTooLong(InputError):
    """A run was broken off."""


def run(
    session: ort.InferenceSession,
    outputs: Sequence[str] | None,
    feed: Mapping[str, np.ndarray],
    *,
    limit_s: float | None = None,
) -> list[np.ndarray]:
    """One run; `outputs` None means all, in the model's order.

    Args:
        session: an open session.
        outputs: names.
        feed: values by input.
        limit_s: after so long it is broken off, between two nodes or two rounds of a loop.

    Raises:
        InputError: ONNX Runtime refuses the feed or fails on it.
        TookTooLong: it did.
    """
    options, watch = ort.RunOptions(), None
    if limit_s is not None:
        watch = threading.Timer(limit_s, setattr, (options, "terminate", True))
        watch.daemon = True
        watch.start()
    try:
        results: list[np.ndarray] = session.run(outputs, dict(feed), options)
    except _ERRORS as error:
        if options.terminate:
            raise TookTooLong(f"the model runs for more than {limit_s:g} seconds") from error
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(feed.items()))
        raise InputError(f"the model does not run on {shapes}: {one_line(error)}") from error
    finally:
        if watch is not None:
            watch.cancel()
    return results


def version() -> str:
    """Version of ONNX Runtime."""
    return str(ort.__version__)


def one_line(error: Exception) -> str:
    r"""An ONNX Runtime message without its code prefix and its line breaks.

    >>> one_line(ValueError("[ONNXRuntimeError] : 1 : FAIL : Load failed:\n no such op"))
    'Load failed: no such op'
    >>> one_line(ValueError("/onnxruntime_src/a.cc:7 void f(g(int), h&) [with T = int] x is bad"))
    'x is bad'
    """
    text = " ".join(str(error).split())
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    text = _without_source(text)
    return text if len(text) <= 300 else text[:297] + "..."


def _without_source(text: str) -> str:
    """The message without the place in ONNX Runtime's source and the function's signature."""
    before, place, rest = text.partition("/onnxruntime_src/")
    depth = 0
    for end, letter in enumerate(rest if place else ""):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:  # the arguments of the function, and what is in them
            message = rest[end + 1 :].strip().removeprefix("const ")
            if message.startswith("[with "):
                message = message.partition("] ")[2]
            return before + message if message else text
    return text


def _settings(threads: int, optimize: bool) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = _FATAL
    level = ort.GraphOptimizationLevel
    settings.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    # Planning which tensors share memory takes time quadratic in the nodes (6 s for 5,000) where
    # nothing was fused; each tensor is freed after its last use either way.
    settings.enable_mem_reuse = optimize
    return settings


def _handed_over(
    model: onnx.ModelProto, settings: ort.SessionOptions
) -> tuple[bytes, list[ort.OrtValue]]:
    """The model without its large weights, which ONNX Runtime gets as they are.

    They are not serialized, which would copy them three times and fail above 2 GB.

    Returns:
        The model, and the weights lent to the settings, which do not keep them alive.
    """
    if not any(map(is_large, model.graph.initializer)):
        return bytes(model.SerializeToString()), []
    listed = {info.name for info in model.graph.input}
    read = frozenset(names_read(model.graph))  # others are gone before they could be exchanged
    arrays: dict[str, ort.OrtValue] = {}

    def stand_in(tensor: onnx.TensorProto) -> onnx.TensorProto:
        where = checked_place(tensor)
        if where is None:
            lends = tensor.data_type in PLAIN_TYPES and tensor.name in read
            if not lends or tensor.name in listed:
                return tensor
            arrays[tensor.name] = ort.OrtValue.ortvalue_from_numpy(value(tensor))
            where = Place(Path("/", "in memory"), 0, 0)
        thin = header(tensor)
        refer(thin, where, location=str(where.path.relative_to("/")))
        return thin

    light = lightened(model, stand_in)
    if arrays:
        settings.add_external_initializers(list(arrays), list(arrays.values()))
    if refers_to_files(model):
        settings.add_session_config_entry(_FOLDER_OF_WEIGHTS, "/")
        if settings.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL:
            # Prepacked weights are copies.
            settings.add_session_config_entry("session.disable_prepacking", "1")
    return bytes(light.SerializeToString()), list(arrays.values())
