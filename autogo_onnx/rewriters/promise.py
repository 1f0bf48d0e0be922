"""The promise of an exact rewrite, and how it is kept: same outputs on inputs chosen to hurt.

Both models run in ONNX Runtime with its own optimizations off, or two wrong graphs could be
optimized into the same right one. The inputs are normal noise, pictures-like noise in [0, 1) and
large values, for several batch sizes and, where other dimensions are open, several of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.inference import IR_WITH_DEFAULTED_INPUTS

if TYPE_CHECKING:
    import onnxruntime as ort

Feed = Mapping[str, np.ndarray]

_TOLERANCE = 1e-4
# ONNX Runtime computes chains of float16 nodes in float32 and rounds where it likes.
_HALF_TOLERANCE = 4 * 2**-11
# Outputs that amplify the rounding of their inputs (argmax, saturation) are compared more loosely,
# by what noise in the last bits of the inputs does to them, but never more loosely than this.
_LOOSEST = 1e-2
_ROUNDING = 1e-6
_SIZES = (32, 64, 48, 224, 16, 7, 1, 100, 512)
_BATCHES = (1, 3, 2)
_KINDS = ("normal", "picture", "large")


@dataclass(frozen=True)
class Witness:
    """What a model computes, remembered: feeds and the outputs for each."""

    session: ort.InferenceSession
    runs: tuple[tuple[Feed, list[np.ndarray]], ...]

    @classmethod
    def of(cls, model: onnx.ModelProto, samples: Sequence[Feed] = (), *, seed: int = 0) -> Witness:
        """Run the model on random feeds and on the given samples.

        Raises:
            InputError: ONNX Runtime cannot run it, or not on any feed tried, or its outputs are
                random.
        """
        session = runtime.open_session(model, optimize=False)
        runs = [(sample, runtime.run(session, None, sample)) for sample in samples]
        runs += _random_runs(session, model, np.random.default_rng(seed))
        if not runs:
            raise InputError("the model runs on no shapes that were tried")
        feed, outputs = runs[0]
        again = runtime.run(session, None, feed)
        if any(_difference(a, b, 0.0) for a, b in zip(outputs, again, strict=True)):
            raise InputError("the outputs are random, so rewrites cannot be verified")
        return cls(session, tuple(runs))

    def objection(self, changed: onnx.ModelProto) -> str | None:
        """Why `changed` does not compute the same; None if it does."""
        try:
            onnx.checker.check_model(changed)
            session = runtime.open_session(changed, optimize=False)
            known = {
                i.name for i in (*session.get_inputs(), *session.get_overridable_initializers())
            }
            for feed, expected in self.runs:
                if not known.issuperset(feed):
                    continue  # it overrides an initializer that is frozen now
                got = runtime.run(session, None, feed)
                names = [output.name for output in session.get_outputs()]
                for index, name in enumerate(names):
                    worst = self._worst(feed, index, expected[index], got[index])
                    if worst:
                        return f"output {name!r} {worst}"
        except (InputError, onnx.checker.ValidationError) as error:
            return str(error).splitlines()[0]
        return None

    def _worst(self, feed: Feed, index: int, expected: np.ndarray, got: np.ndarray) -> str | None:
        tolerance = _TOLERANCE
        if _is_numeric(expected) and expected.dtype == np.float16:
            tolerance = _HALF_TOLERANCE
        found = _difference(expected, got, tolerance)
        if not found or not _is_numeric(expected) or np.shape(expected) != np.shape(got):
            return found
        slack = 0.0
        for seed in range(3):
            noisy = runtime.run(self.session, None, _jittered(feed, seed))[index]
            if np.shape(noisy) == np.shape(expected):
                slack = max(slack, 2 * _relative(expected, noisy))
        return _difference(expected, got, max(tolerance, min(slack, _LOOSEST)))


def _random_runs(
    session: ort.InferenceSession, model: onnx.ModelProto, rng: np.random.Generator
) -> list[tuple[Feed, list[np.ndarray]]]:
    """Feeds that the model runs on and what it makes of them; empty if none was found."""
    weights = {t.name for t in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in weights]
    strange = [i.name for i in inputs if not i.type.tensor_type.elem_type]
    if strange:
        raise InputError(f"input {strange[0]!r} is no tensor, so rewrites cannot be verified")
    runs: list[tuple[Feed, list[np.ndarray]]] = []

    def attempt(feed: Feed) -> bool:
        try:
            runs.append((feed, runtime.run(session, None, feed)))
        except InputError:
            return False
        return True

    def feed(batch: int, size: int, kind: str) -> dict[str, np.ndarray]:
        return {info.name: _value(info, batch, size, kind, rng) for info in inputs}

    is_open = any(d.dim_value <= 0 for i in inputs for d in i.type.tensor_type.shape.dim)
    sizes = _SIZES if is_open else _SIZES[:1]
    size = next((s for s in sizes if attempt(feed(_BATCHES[0], s, _KINDS[0]))), None)
    if size is None:
        return []
    overrides = _overrides(model, rng)
    if overrides:
        attempt({**runs[0][0], **overrides})
    for batch, kind in zip(_BATCHES[1:], _KINDS[1:], strict=True):
        if not attempt(feed(batch, size, kind)):
            attempt(feed(1, size, kind))
    if is_open:
        attempt(feed(_BATCHES[0], 2 * size, _KINDS[0]))
    return runs


def _overrides(model: onnx.ModelProto, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Other values for the float initializers that the caller may override."""
    if model.ir_version < IR_WITH_DEFAULTED_INPUTS:
        return {}
    listed = {info.name for info in model.graph.input}
    values = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in model.graph.initializer
        if t.name in listed and t.data_type == onnx.TensorProto.FLOAT
    }
    return {n: v * rng.uniform(0.5, 1.5, v.shape).astype(v.dtype) for n, v in values.items()}


def _value(
    info: onnx.ValueInfoProto, batch: int, size: int, kind: str, rng: np.random.Generator
) -> np.ndarray:
    tensor = info.type.tensor_type
    shape = [
        dim.dim_value if dim.dim_value > 0 else (batch if axis == 0 else size)
        for axis, dim in enumerate(tensor.shape.dim)
    ]
    if tensor.elem_type == onnx.TensorProto.STRING:
        return rng.choice(np.array(["a", "b"], object), shape)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return rng.integers(0, 4, shape).astype(dtype)
    value = rng.random(shape) if kind == "picture" else rng.standard_normal(shape)
    return np.asarray(value * (30 if kind == "large" else 1)).astype(dtype)


def _jittered(feed: Feed, seed: int) -> Feed:
    rng = np.random.default_rng(seed)
    return {
        name: (value * (1 + _ROUNDING * rng.standard_normal(value.shape))).astype(value.dtype)
        if value.dtype.kind == "f"
        else value
        for name, value in feed.items()
    }


def _is_numeric(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _difference(expected: object, got: object, tolerance: float) -> str | None:
    """In words, how two outputs differ; None when they do not."""
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        found = (_difference(e, g, tolerance) for e, g in zip(expected, got, strict=True))
        return next((text for text in found if text), None)
    if not isinstance(expected, np.ndarray) or not isinstance(got, np.ndarray):
        return None if expected == got else "differs"
    if (expected.dtype, expected.shape) != (got.dtype, got.shape):
        return f"is {got.dtype}{list(got.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if not _is_numeric(expected):
        return None if np.array_equal(expected, got) else "differs"
    error = _relative(expected, got)
    return None if error <= tolerance else f"differs by {error:.2g} of its largest value"


def _relative(expected: np.ndarray, got: np.ndarray) -> float:
    """Largest difference over largest finite value; infinite where NaN or infinity differ."""
    a, b = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if (
        not np.array_equal(a[~finite], b[~finite], equal_nan=True)
        or not np.isfinite(b[finite]).all()
    ):
        return np.inf
    if not finite.any():
        return 0.0
    difference = np.abs(a[finite] - b[finite]).max()
    return float(difference / max(np.abs(a[finite]).max(), np.finfo(np.float32).tiny))
