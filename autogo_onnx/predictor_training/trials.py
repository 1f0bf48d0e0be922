"""Fits of every candidate at every site of some models: what the head for errors learns from.

A file of trials is gzipped JSON, a line each: the header, then per model its network, then its
places. Graphs are written as `opgraph.to_json` writes them, so that the rows of features can be
made anew whatever their columns become. Nothing of a model's weights or samples is in it.
`python -m benchmarks.experience` makes one.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph, from_json, to_json

FORMAT = "autogo-onnx trials"
FORMAT_VERSION = 1
_LARGEST_BYTES = 1 << 30


@dataclass(frozen=True)
class Trial:
    """One candidate that was fitted.

    Attributes:
        name: where it comes from, as `Candidate.name`.
        graph: the replacement.
        saving: share of the network's multiply-accumulates that it saves.
        nmse: error of the fit on the activations; infinite when there is none.
        score: divergence of the model's outputs when it alone is made; None when not scored.
        is_offered: whether `optimize` made it; the others are more segments of the database, drawn
            at random, so that what is learned does not hang on what was ranked first.
    """

    name: str
    graph: OpGraph
    saving: float
    nmse: float
    score: float | None
    is_offered: bool = True


@dataclass(frozen=True)
class Place:
    """The operators of a site, by their numbers in the network, and the trials there."""

    ops: tuple[int, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Trials:
    """One model: its name, its weight-free graph, and its sites."""

    model: str
    network: OpGraph
    places: tuple[Place, ...]


def write(path: Path, models: Sequence[Trials]) -> None:
    """Write a file; equal trials give equal bytes.

    Raises:
        InputError: the file cannot be written.
    """
    text = "\n".join(_lines(models)) + "\n"
    try:
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    except OSError as error:
        raise InputError(f"cannot write the trials {path}: {error}") from error


def read(path: Path) -> tuple[Trials, ...]:
    """The models of a file.

    Raises:
        InputError: the file cannot be read or is not one of trials.
    """
    try:
        with gzip.open(path) as file:
            text = file.read(_LARGEST_BYTES).decode()
        return _models([json.loads(line) for line in text.splitlines()])
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read the trials {path}: {error}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{path} is not a file of trials: {error}") from error


def _lines(models: Sequence[Trials]) -> Iterator[str]:
    yield _text({"format": FORMAT, "version": FORMAT_VERSION})
    for model in models:
        yield _text({"model": model.model, "network": json.loads(to_json(model.network))})
        for place in model.places:
            yield _text({"ops": place.ops, "trials": [_plain(trial) for trial in place.trials]})


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _plain(trial: Trial) -> list[object]:
    """JSON has no infinity: a fit that failed has no error."""
    return [
        trial.name,
        json.loads(to_json(trial.graph)),
        float(f"{trial.saving:.6g}"),
        float(f"{trial.nmse:.6g}") if math.isfinite(trial.nmse) else None,
        None if trial.score is None else float(f"{trial.score:.6g}"),
        int(trial.is_offered),
    ]


def _models(lines: Sequence[Any]) -> tuple[Trials, ...]:
    if not lines or lines[0] != {"format": FORMAT, "version": FORMAT_VERSION}:
        raise ValueError(f"it does not begin with {FORMAT!r} of version {FORMAT_VERSION}")
    found: list[Trials] = []
    for line in lines[1:]:
        if "model" in line:
            found.append(Trials(str(line["model"]), _graph(line["network"]), ()))
            continue
        model, place = found[-1], _place(line)
        if not place.ops or min(place.ops) < 0 or max(place.ops) >= len(model.network.ops):
            raise ValueError("a place lies outside its network")
        found[-1] = Trials(model.model, model.network, (*model.places, place))
    return tuple(found)


def _place(line: Any) -> Place:
    trials = tuple(
        Trial(
            str(name),
            _graph(graph),
            float(saving),
            math.inf if nmse is None else float(nmse),
            None if score is None else float(score),
            bool(offered),
        )
        for name, graph, saving, nmse, score, offered in line["trials"]
    )
    return Place(tuple(int(op) for op in line["ops"]), trials)


def _graph(value: Any) -> OpGraph:
    return from_json(json.dumps(value))
