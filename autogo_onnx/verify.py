"""Checks on a changed model: its face and its outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnxruntime as ort

from autogo_onnx import runtime
from autogo_onnx.errors import InputError, NotComparable
from autogo_onnx.fidelity import Fidelity as Fidelity
from autogo_onnx.fidelity import judge as judge
from autogo_onnx.samples import Samples
from autogo_onnx.signature import problems as signature_problems

__all__ = [
    "Fidelity",
    "judge",
    "not_finite",
    "run",
    "signature_problems",
]


def run(
    session: ort.InferenceSession,
    samples: Samples,
    outputs: Sequence[str] | None = None,
    batch: int = 32,
    sample_axes: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Run all samples; per output an array whose leading axis counts samples.

    Batches of `batch` are tried first. A model that refuses them, or whose outputs do not have
    the batch as leading axis, is run sample by sample; an output without a batch axis of
    length one is then stacked along a new one.

    Args:
        session: an open session.
        samples: what to feed.
        outputs: names; None means all graph outputs.
        batch: samples per run.
        sample_axes: outputs whose leading axis is known not to count samples, however long it is.

    Raises:
        InputError: the model does not run on a sample.
        NotComparable: an output changes its shape between them, or has no entry for each.
    """
    names = list(outputs) if outputs is not None else [o.name for o in session.get_outputs()]
    size = samples.batch_size(batch)
    if size > 1 and (samples.batch or not set(names).intersection(sample_axes)):
        batched = _run_batched(session, samples, names, size)
        if batched is not None:
            return batched
        if samples.batch:
            raise NotComparable(
                f"an output does not have the batch of {samples.batch} as its leading axis"
            )
    return _run_singly(session, samples, names)


def not_finite(session: ort.InferenceSession, samples: Samples) -> str | None:
    """Which output holds NaN or infinity, and in which sample first; None where none does.

    Raises:
        InputError: the model does not run on a sample.
    """
    names = [o.name for o in session.get_outputs()]
    for number, feed in enumerate(samples.batches(1)):
        for name, values in zip(names, runtime.run(session, names, feed), strict=True):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                first = number * samples.batch_size(1)
                return f"output {name!r} holds NaN or infinity, first in sample {first}"
    return None


def _run_batched(
    session: ort.InferenceSession, samples: Samples, names: list[str], size: int
) -> dict[str, np.ndarray] | None:
    """Joined outputs, or None if the model cannot be run in batches."""
    parts: list[list[np.ndarray]] = []
    for feed in samples.batches(size):
        length = len(next(iter(feed.values())))
        try:
            values = runtime.run(session, names, feed)
        except InputError:
            # What is wrong with a sample itself shows when it is run alone.
            return None
        if any(v.shape[:1] != (length,) for v in values):
            return None
        parts.append(values)
    joined = [np.concatenate(p)[: len(samples)] for p in zip(*parts, strict=True)]
    return dict(zip(names, joined, strict=True))


def _run_singly(
    session: ort.InferenceSession, samples: Samples, names: list[str]
) -> dict[str, np.ndarray]:
    rows = [runtime.run(session, names, feed) for feed in samples.batches(1)]
    return {name: _join(name, p) for name, p in zip(names, zip(*rows, strict=True), strict=True)}


def _join(name: str, parts: Sequence[np.ndarray]) -> np.ndarray:
    shapes = sorted({p.shape for p in parts})
    if len(shapes) > 1:
        raise NotComparable(
            f"output {name!r} changes its shape with the sample ({list(shapes[0])}, "
            f"{list(shapes[1])}): fidelity cannot be judged"
        )
    return np.concatenate(parts) if shapes[0][:1] == (1,) else np.stack(parts)
