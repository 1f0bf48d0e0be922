"""The user's own metric: a function in a file of theirs, and what is lost by it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from numpy.typing import NDArray

from autogo_onnx.class_drop import Z_90
from autogo_onnx.errors import InputError
from autogo_onnx.saving import save


@dataclass(frozen=True)
class Figure:
    """What the metric says of a model; higher is better.

    Attributes:
        value: the figure; the mean where there is one per sample.
        samples: these figures, float64[N], N >= 2, if the metric tells them.
    """

    value: float
    samples: NDArray[np.float64] | None = None

    @property
    def count(self) -> int:
        """How many figures the metric gave."""
        return 1 if self.samples is None else len(self.samples)

    def lost(self, after: Figure) -> float:
        """What a changed model loses of it; negative where it gains.

        Where both tell their samples, the 90 % upper bound: of the mean of paired differences, by
        its normal approximation. Several plans are judged on the same samples, and the luckiest
        would pass otherwise.

        Raises:
            InputError: the metric gave other numbers of figures for the two.
        """
        if self.count != after.count:
            raise InputError(
                f"the metric gave {self.count} figures for the original and {after.count} for a "
                "changed model: they cannot be compared"
            )
        if self.samples is None or after.samples is None:
            return self.value - after.value
        losses = self.samples - after.samples
        return float(losses.mean() + Z_90 * losses.std(ddof=1) / np.sqrt(len(losses)))


Metric = Callable[[Path], Figure]


def load_metric(reference: str) -> Metric:
    """The user's metric `FILE.py:FUNCTION`.

    It takes the path of a model and returns a number, higher is better, or an array of such, one
    for each sample.

    The file is imported, so it is as trusted as the command line that names it; its folder is not
    put on the import path.

    Raises:
        InputError: no such file or function, the file fails on import, and later, from the metric
            itself, it fails or returns no finite numbers.
    """
    place, _, name = reference.rpartition(":")
    path = Path(place)
    if not place or not name.isidentifier():
        raise InputError(f"metric {reference!r} is not of the form FILE.py:FUNCTION")
    if not path.is_file():
        raise InputError(f"metric file {path} does not exist")
    function = getattr(_import(path), name, None)
    if not callable(function):
        raise InputError(f"{path} has no function {name!r}")

    def metric(model: Path) -> Figure:
        return _checked(function, model, reference)

    return metric


def evaluate(metric: Metric, model: onnx.ModelProto) -> Figure:
    """The user's metric of a model that has no file of its own.

    Raises:
        InputError: the metric fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save(model, path)
        return metric(path)


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"metric file {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # The user's code may raise anything.
        raise InputError(f"metric file {path} fails on import: {error!r}") from error
    return module


def _checked(function: Callable[[Path], object], model: Path, reference: str) -> Figure:
    try:
        values = np.asarray(function(model), dtype=np.float64)
    except Exception as error:  # As above.
        raise InputError(f"metric {reference} fails on {model}: {error!r}") from error
    if values.ndim > 1 or not values.size or not np.isfinite(values).all():
        told = values.item() if values.size == 1 else f"an array of shape {values.shape}"
        raise InputError(
            f"metric {reference} gives {told} for {model}: a finite number is needed, or one for "
            "each sample"
        )
    return Figure(float(values.mean()), values if values.size > 1 else None)
