"""The state of a run after an epoch, as bytes: arrays in an `.npz`, nothing pickled."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

import numpy as np
import onnx

from autogo_onnx import sizes
from autogo_onnx.training.data import TrainingData
from autogo_onnx.training.options import TrainOptions

PART = "checkpoint"
"""Name of the file in the work folder, without suffix."""
_PATHS = ("work_dir", "data", "labels", "targets", "teacher")


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name as the bytes of an `.npz` file.

    >>> sorted(unpack(pack({"a/b": np.arange(3)}))["a/b"].tolist())
    [0, 1, 2]
    """
    buffer = io.BytesIO()
    numbered: dict[str, Any] = {str(i): array for i, array in enumerate(arrays.values())}
    np.savez(buffer, names=_names(arrays), **numbered)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """What `pack` was given. The names are an array of their own: a zip's cannot be any text."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        names = stored["names"].tolist()
        return {name: np.asarray(stored[str(i)]) for i, name in enumerate(names)}


def key(
    model: onnx.ModelProto,
    teacher: onnx.ModelProto | None,
    data: TrainingData,
    options: TrainOptions,
) -> bytes:
    """Different whenever another run would give other weights: the contents of files count."""
    chosen = {n: v for n, v in asdict(options).items() if n not in _PATHS}
    digests = [sizes.digest(m) for m in (model, teacher) if m is not None]
    whole = blake2b(repr((sorted(chosen.items()), digests)).encode(), digest_size=32)
    arrays = [*data.inputs.values(), *([] if data.truth is None else [data.truth])]
    for array in arrays:
        whole.update(repr((array.shape, array.dtype.str)).encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.digest()


def _names(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.array(list(arrays), dtype=np.str_)
