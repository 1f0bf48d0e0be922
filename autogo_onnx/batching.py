"""Whether a model keeps the samples of a batch apart, so that activations can be fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.samples import Samples

LARGEST_DIFFERENCE = 5e-2
"""Of an output's largest value: other batch sizes round (and quantize) differently."""


def sample_axes(model: onnx.ModelProto, samples: Samples, *, threads: int = 1) -> dict[str, int]:
    """Outputs whose samples another axis than the leading one counts, and which.

    Recurrent networks put time first: float[T,N,C].

    Args:
        model: runs on one batch of the samples.
        samples: two of them are run together and apart, where the model takes other batches.
        threads: of ONNX Runtime.

    Raises:
        InputError: the outputs for a sample are not as if it were alone.
    """
    session = runtime.open_session(model, threads=threads)
    pairs = samples.take(range(min(2 * samples.batch_size(1), len(samples))))
    apart = [runtime.run(session, None, feed) for feed in pairs.batches(1)]
    try:
        together = runtime.run(session, None, next(pairs.batches(2)))
    except InputError as error:
        raise InputError(f"it does not take two samples at once ({error})") from error
    names = [o.name for o in session.get_outputs()]
    found = {}
    for name, values, *alone in zip(names, together, *apart, strict=True):
        if not isinstance(values, np.ndarray):
            raise InputError(f"output {name!r} is no tensor")
        if len(alone) > 1 and all(np.array_equal(values, a) for a in alone):
            continue  # It does not depend on the samples.
        axis = _counting(values.shape, [a.shape for a in alone], samples.batch)
        if axis is None:
            raise InputError(f"no axis of output {name!r} counts samples")
        if axis and samples.batch not in (None, 1):
            raise InputError(f"the leading axis of output {name!r} does not count samples")
        if samples.batch is None and not _is_alike(values, np.concatenate(alone, axis)):
            raise InputError(
                f"output {name!r} depends on the other samples of a batch, or on chance"
            )
        if axis:
            found[name] = axis
    return found


def _counting(
    together: tuple[int, ...], alone: Sequence[tuple[int, ...]], batch: int | None
) -> int | None:
    """The first axis that is as long as there are samples, all others being alike."""
    for axis, size in enumerate(together):
        rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in (together, *alone)}
        lengths = [shape[axis] for shape in alone] if len(rest) == 1 else []
        if lengths == [batch or 1] * len(alone) and size == (batch or len(alone)):
            return axis
    return None


def _is_alike(together: np.ndarray, joined: np.ndarray) -> bool:
    if joined.dtype.kind != "f" or not (np.isfinite(joined).all() and np.isfinite(together).all()):
        return True  # A near tie may be decided differently, and what is not finite says nothing.
    most = LARGEST_DIFFERENCE * float(np.abs(joined).max(initial=0.0))
    return bool(np.abs(joined - together).max(initial=0.0) <= most)
