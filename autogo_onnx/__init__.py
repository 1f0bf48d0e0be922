"""A trained ONNX model and a few unlabelled samples in, a faster, verified model out.

`import autogo_onnx` costs next to nothing; its functions load what they need when they are called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    from autogo_onnx.evolved.report import EvolveReport
    from autogo_onnx.progress import Progress
    from autogo_onnx.report import Report

__version__ = "0.1.0"
__all__ = ["__version__", "evolve", "optimize", "save"]

_PATHS = (
    "calibration",
    "labels",
    "latency_table",
    "segment_db",
    "predictor",
    "work_dir",
    "distill",
    "distill_labels",
)


def optimize(
    model: onnx.ModelProto | Path | str,
    calibration: Path | str | None = None,
    *,
    progress: Progress | None = None,
    **fields: Any,
) -> Report:
    """Make a trained model faster; the command line's `optimize` as a function.

    No model is written: `report.model` is the new one, `report.latency_table` the prices measured.
    Outcomes of fits are appended to `segment_db` where it is a file of your own.

    Args:
        model: the trained model, or the path of its file.
        calibration: unlabelled samples; without them only exact rewrites are applied.
        progress: told what happens while it runs.
        **fields: any other field of `autogo_onnx.options.Options`; paths may be strings.

    Raises:
        InputError: a model, sample or option that cannot be used.
        PromiseError: a rewrite did not keep its promise.
        TypeError: a field that `Options` does not have.
    """
    from autogo_onnx.optimization import optimize as run
    from autogo_onnx.options import Options
    from autogo_onnx.progress import Silent

    given = {"calibration": calibration, **fields}
    paths = {name: Path(given[name]) for name in _PATHS if given.get(name) is not None}
    return run(model, options=Options(**{**given, **paths}), progress=progress or Silent())


def evolve(
    model: onnx.ModelProto | Path | str, *, progress: Progress | None = None, **fields: Any
) -> EvolveReport:
    """Evolve an architecture into a Pareto set; the command line's `evolve` as a function.

    No model is written: `report.models[0].model` is the best predicted one, built when it is asked
    for.

    Args:
        model: a model, the path of its file, or the name of a published network, as `resnet50`.
        progress: told what happens while it runs.
        **fields: any field of `autogo_onnx.evolved.EvolveOptions`; paths may be strings.

    Raises:
        InputError: a model or option that cannot be used.
        TypeError: a field that `EvolveOptions` does not have.
    """
    from autogo_onnx.evolved import EvolveOptions
    from autogo_onnx.evolved.workflow import evolve as run

    paths = {name: Path(fields[name]) for name in _PATHS if fields.get(name) is not None}
    return run(model, options=EvolveOptions(**{**fields, **paths}), progress=progress)


def save(model: onnx.ModelProto, path: Path | str) -> None:
    """Write a report's model to a file, in one step.

    The weights of large models lie beside it in `<path>.data`. `onnx.save` is no substitute: a
    model whose weights were never read into memory refers to the file that they came from.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    from autogo_onnx import model as model_file

    model_file.save(model, Path(path))
