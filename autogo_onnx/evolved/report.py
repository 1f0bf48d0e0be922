"""What a run of `evolve` has to tell, as one frozen value; its JSON and CSV forms."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx

from autogo_onnx.drawing.rails import rails
from autogo_onnx.evolved.options import UnitName
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.report import LatencyIs, Size, plain

SCHEMA = 1
_NOT_IN_JSON = {"json": False}
COLUMNS = (
    *("file", "predicted_change", "deviation", "macs", "macs_change", "params", "params_change"),
    *("nodes", "latency_ms", "latency_ratio", "latency_noise", "inherited", "changes", "key"),
)


@dataclass(frozen=True)
class ChangedSegment:
    """One part of the base that another took the place of.

    Attributes:
        nodes: names of those that are gone.
        sources: where the new part comes from: `db:<id>` as in `db show`, `variant:<idea>`.
        macs_delta, params_delta: after minus before.
        inherited: share of its parameters that are the base's byte by byte, and
        resized: share of those whose kernels are the base's, cropped or padded.
        before, after: the two parts.
    """

    nodes: tuple[str, ...]
    sources: tuple[str, ...]
    macs_delta: int
    params_delta: int
    inherited: float
    resized: float
    before: OpGraph = field(repr=False, metadata=_NOT_IN_JSON)
    after: OpGraph = field(repr=False, metadata=_NOT_IN_JSON)


@dataclass(frozen=True)
class Latency:
    """Of an evolved model against the base.

    Attributes:
        ratio: evolved over base.
        noise: its A/A bound; None where nothing was measured.
        ms: milliseconds of the evolved one, and
        ms_base: of the base in the same measurement.
    """

    ratio: float
    noise: float | None
    ms: float
    ms_base: float


@dataclass(frozen=True)
class EvolvedModel:
    """One network of the front.

    Attributes:
        file: its name in the folder.
        key: digest of the network; equal networks have equal ones.
        size: MACs, parameters, nodes, latency where there is one.
        macs_change, params_change: shares of the base's.
        latency: against the base; None where nothing was measured or predicted.
        predicted_change: of accuracy against the base, with
        deviation: its uncertainty, one standard deviation; `EvolveReport.unit` is their unit.
        inherited: share of its parameters that are the base's byte by byte.
        iteration: in which it was found.
        changes: against the base, in the base's order.
        make: builds the model; the same every time.
    """

    file: str
    key: str
    size: Size
    macs_change: float
    params_change: float
    latency: Latency | None
    predicted_change: float
    deviation: float
    inherited: float
    iteration: int
    changes: tuple[ChangedSegment, ...]
    make: Callable[[], onnx.ModelProto] = field(repr=False, compare=False, metadata=_NOT_IN_JSON)

    @property
    def model(self) -> onnx.ModelProto:
        """The network as a model, ready to be trained; built anew whenever it is asked for."""
        return self.make()


@dataclass(frozen=True)
class IterationCounts:
    """What one iteration of the search did.

    Attributes:
        iteration: its number, from 1 on.
        parents: networks whose segments were replaced.
        tried: replacements looked at.
        children: distinct new networks within the limits.
        refused: why the others were none, and how many.
        seconds: it took.
    """

    iteration: int
    parents: int
    tried: int
    children: int
    refused: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class EvolveReport:
    """The result of `evolve`.

    Attributes:
        source: the file or published name that it started from.
        base: what that costs, its latency where there is one.
        base_model: the base as it can be trained, normalizations folded.
        models: of the front, the best predicted one first.
        unit: of predicted changes.
        latency_is: `measured` here, `predicted` for a device, or `counted`: there is none.
        target, search_unit, seed: as chosen.
        front: networks on the whole front, the base among them if none beats it; `models` may be
            fewer.
        history: distinct networks seen.
        iterations: of the search, one after the other.
        seconds: wall-clock time by stage.
        versions: of everything that can change the result.
        warnings: one line each; worth acting on.
        notes: one line each; worth knowing.
    """

    source: str
    base: Size
    base_model: onnx.ModelProto = field(repr=False, compare=False, metadata=_NOT_IN_JSON)
    models: tuple[EvolvedModel, ...]
    unit: str
    latency_is: LatencyIs
    target: str
    search_unit: UnitName
    seed: int
    front: int
    history: int
    iterations: tuple[IterationCounts, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def to_json(report: EvolveReport) -> str:
    """The report as JSON, schema version 1; what changed is drawn in lines of text.

    Models are files of their own and not in it; a figure without a finite value is null.
    """
    body = plain(report)
    for written, model in zip(body["models"], report.models, strict=True):
        for entry, change in zip(written["changes"], model.changes, strict=True):
            entry["before"] = rails(change.before).splitlines()
            entry["after"] = rails(change.after).splitlines()
    return (
        json.dumps({"schema": SCHEMA, **body}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    )


def to_csv(report: EvolveReport) -> str:
    """The models as a table, one line each; unknown figures stay empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cells(model)[name] for name in COLUMNS] for model in report.models)
    return text.getvalue()


def _cells(model: EvolvedModel) -> dict[str, object]:
    latency, size = model.latency, model.size
    return {
        "file": model.file,
        "predicted_change": model.predicted_change,
        "deviation": model.deviation,
        "macs": size.macs,
        "macs_change": model.macs_change,
        "params": size.params,
        "params_change": model.params_change,
        "nodes": size.nodes,
        "latency_ms": size.latency_ms,
        "latency_ratio": None if latency is None else latency.ratio,
        "latency_noise": None if latency is None else latency.noise,
        "inherited": model.inherited,
        "changes": len(model.changes),
        "key": model.key,
    }
