"""What a run of `optimize` has to tell, as one frozen value, and its JSON form."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

from autogo_onnx import __version__

if TYPE_CHECKING:
    import onnx

    from autogo_onnx.latency_table import LatencyTable
    from autogo_onnx.options import Level, Target
    from autogo_onnx.verify import Fidelity

LatencyIs = Literal["measured", "counted", "predicted"]
SCHEMA = 1
_NOT_IN_JSON = {"json": False}


@dataclass(frozen=True)
class ModelInfo:
    """Which model was optimized: its file (empty for a model in memory) and its ONNX versions."""

    path: str
    ir_version: int
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Size:
    """What a model costs. `latency_ms` is None where nothing was measured."""

    macs: int
    params: int
    nodes: int
    latency_ms: float | None = None


@dataclass(frozen=True)
class Metric:
    """A figure with a name of its own: top-1 accuracy, or what the user's function returned.

    Attributes:
        name: its name.
        before, after: of the original and of the new model.
        drop_bound: 90 % upper bound on what is lost, where the function told of single samples.
    """

    name: str
    before: float
    after: float
    drop_bound: float | None = None


@dataclass(frozen=True)
class SampleCounts:
    """How many samples the fits saw, and how many only the gate."""

    fit: int
    held_out: int


@dataclass(frozen=True)
class Replacement:
    """One entry of the plan: the nodes replaced, by which segment, and what that changed.

    Attributes:
        site: names of the replaced nodes, in order.
        segment: what stands there now: a database identifier or the name of a variant.
        macs_delta: multiply-accumulates after minus before.
        latency_delta_ms: predicted from the signature's price; None where latency had no price.
        nmse: error of the fit on the samples it was fitted on, over the variance of the target.
        score: divergence of the model's outputs with this replacement alone.
        params_delta: parameters after minus before.
    """

    site: tuple[str, ...]
    segment: str
    macs_delta: int
    latency_delta_ms: float | None
    nmse: float
    score: float
    params_delta: int = 0


@dataclass(frozen=True)
class ParetoPoint:
    """One model of the Pareto set, as measured; `file` is its name in the `--pareto` folder.

    Class scores have a drop and its bound, dense outputs a PSNR against the original's.
    """

    file: str
    latency_ratio: float | None
    macs: int
    drop: float | None
    drop_bound: float | None
    model: onnx.ModelProto = field(repr=False, compare=False, metadata=_NOT_IN_JSON)
    psnr_db: float | None = None


@dataclass(frozen=True)
class Rewrite:
    """What one exact rule did to the model.

    Attributes:
        rule: its name.
        count: how often it was applied.
        nodes_saved: how many nodes fewer there are for it.
        macs_delta: multiply-accumulates after minus before, and
        latency_ratio: after / before, with
        latency_noise: its bound; for rules that a model keeps only if they pay, else None.
    """

    rule: str
    count: int
    nodes_saved: int = 0
    macs_delta: int | None = None
    latency_ratio: float | None = None
    latency_noise: float | None = None


@dataclass(frozen=True)
class Skipped:
    """Nodes that were left alone (none: the whole model), why, and by which exact rule."""

    nodes: tuple[str, ...]
    reason: str
    rule: str = ""


@dataclass(frozen=True)
class PrecisionFigures:
    """One of the models of a quantize check, all measured in turns with the others.

    Attributes:
        model: `original` or `optimized`.
        precision: `float`, the model as it is, or `int8`.
        latency_ms: 10th percentile.
        latency_ratio: over the original in float, with
        latency_noise: its A/A bound.
        fidelity: to the original in float, on samples that it was not calibrated on; None where
            outputs cannot be compared. The original itself has one only where there are labels.
        metric: the user's, where there is one.
    """

    model: Literal["original", "optimized"]
    precision: Literal["float", "int8"]
    latency_ms: float | None = None
    latency_ratio: float | None = None
    latency_noise: float | None = None
    fidelity: Fidelity | None = None
    metric: float | None = None


@dataclass(frozen=True)
class QuantizeCheck:
    """How the original and the optimized model fare when ONNX Runtime quantizes them.

    Attributes:
        samples: how many of those to fit on the ranges of tensors were taken from.
        models: in float, then in int8 those that could be made; none if no model could be.
        latency_ratio: optimized over original, both in int8; None unless both could be made.
        latency_noise: its A/A bound.
        keeps_gain: whether in int8 the optimized one is faster beyond that bound.
        problems: what could not be quantized or judged, a line each.
    """

    samples: int
    models: tuple[PrecisionFigures, ...] = ()
    latency_ratio: float | None = None
    latency_noise: float | None = None
    keeps_gain: bool | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The result of `optimize`.

    Attributes:
        model: the new model.
        source: the model that came in.
        before, after: costs of the two.
        latency_ratio: after / before, 10th percentile of paired measurements.
        latency_noise: how far from 1 the same measurement of equal models strayed (A/A bound).
        latency_is: `measured`; `counted`, where the ratio is that of multiply-accumulates or, for
            the target `params`, of parameters; or `predicted`, where it and all milliseconds are a
            device's that nobody measured here.
        fidelity: the gating figure on held-out samples, and what is reported beside it.
        metric: top-1 accuracy or the user's metric, where there is one.
        rewrites: exact rules that changed something, in order.
        plan: the fitted replacements.
        pareto: models along the trade-off, fastest first; `model` is one of them or exact.
        skipped: what was left alone.
        seconds: wall-clock time by stage.
        versions: of everything that can change the result.
        warnings: one line each; worth acting on.
        notes: one line each; worth knowing.
        quantized: how both models fare in int8, where that was asked for.
        latency_table: the prices measured or reused, to be given to the next run.
    """

    model: onnx.ModelProto = field(repr=False, compare=False, metadata=_NOT_IN_JSON)
    source: ModelInfo
    level: Level
    target: Target
    seed: int
    before: Size
    after: Size
    latency_ratio: float | None = None
    latency_noise: float | None = None
    latency_is: LatencyIs = "measured"
    fidelity: Fidelity | None = None
    metric: Metric | None = None
    samples: SampleCounts = SampleCounts(0, 0)
    rewrites: tuple[Rewrite, ...] = ()
    plan: tuple[Replacement, ...] = ()
    pareto: tuple[ParetoPoint, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    quantized: QuantizeCheck | None = None
    latency_table: LatencyTable | None = field(
        default=None, repr=False, compare=False, metadata=_NOT_IN_JSON
    )

    @property
    def changed(self) -> bool:
        """Whether the new model differs from the one that came in."""
        return bool(self.rewrites or self.plan)


def installed_versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it computes with."""
    from importlib.metadata import version

    ours = {"autogo-onnx": __version__, "python": platform.python_version()}
    names = ("mip", "numpy", "onnx", "onnx-graphsurgeon", "onnxruntime")
    return ours | {name: version(name) for name in names}


def to_json(report: Report) -> str:
    """The report as JSON, schema version 1; equal reports give equal text.

    Models and the latency table are files of their own and not in it; a figure without a finite
    value is null.
    """
    body = plain(report)
    head = {"schema": SCHEMA, "model": body.pop("source")}
    return json.dumps({**head, **body}, indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as JSON's own types."""
    if is_dataclass(value):
        kept = [f.name for f in fields(value) if f.metadata.get("json", True)]
        return {name: plain(getattr(value, name)) for name in kept}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
