"""Whether a model keeps the samples of a batch apart, so that activations can be fitted on."""

from __future__ import annotations

import numpy as np
import onnx

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.samples import Samples

LARGEST_DIFFERENCE = 5e-2
"""Of an output's largest value: other batch sizes round (and quantize) differently."""


def mixing(model: onnx.ModelProto, samples: Samples, *, threads: int = 1) -> str | None:
    """How a model mixes samples; None if its outputs for each are as if it were alone.

    Args:
        model: runs on one batch of the samples.
        samples: two of them are run together and apart, where the model takes other batches.
        threads: of ONNX Runtime.
    """
    session = runtime.open_session(model, threads=threads)
    pairs = samples.take(range(min(2 * samples.batch_size(1), len(samples))))
    apart = [runtime.run(session, None, feed) for feed in pairs.batches(1)]
    try:
        together = runtime.run(session, None, next(pairs.batches(2)))
    except InputError as error:
        return f"it does not take two samples at once ({error})"
    names = [o.name for o in session.get_outputs()]
    for name, values, *alone in zip(names, together, *apart, strict=True):
        if not isinstance(values, np.ndarray):
            return f"output {name!r} is no tensor"
        if len(alone) > 1 and all(np.array_equal(values, a) for a in alone):
            continue  # It does not depend on the samples.
        if np.shape(values)[:1] != (samples.batch_size(2),):
            return f"the leading axis of output {name!r} does not count samples"
        if samples.batch is None and not _is_alike(values, alone):
            return f"output {name!r} depends on the other samples of a batch, or on chance"
    return None


def _is_alike(together: np.ndarray, alone: list[np.ndarray]) -> bool:
    if any(a.shape[:1] != (1,) for a in alone):
        return False
    joined = np.concatenate(alone)
    if joined.shape != together.shape:
        return False
    if joined.dtype.kind != "f" or not (np.isfinite(joined).all() and np.isfinite(together).all()):
        return True  # A near tie may be decided differently, and what is not finite says nothing.
    most = LARGEST_DIFFERENCE * float(np.abs(joined).max(initial=0.0))
    return bool(np.abs(joined - together).max(initial=0.0) <= most)
