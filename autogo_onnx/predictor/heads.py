"""Writes a predictor: fitted regressors of one or more heads into one ONNX file.

A head predicts one quantity from rows of `features.COLUMNS`. Its members are a small ensemble: they
predict the same, and where they disagree the prediction is uncertain. Every head is a node of the
file, `rows` float32[N,F] -> float32[N,K], and its output bears its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from autogo_onnx import features, model
from autogo_onnx.errors import InputError
from autogo_onnx.predictor import validation
from autogo_onnx.predictor.graph import ROWS, model_of
from autogo_onnx.predictor.tree_ensemble import tree_ensemble
from autogo_onnx.predictor.validation import FORMAT, FORMAT_VERSION


@dataclass(frozen=True)
class Head:
    """What predicts one quantity.

    Attributes:
        name: `accuracy`, `error`, ...
        predicts: the quantity and its unit, for users.
        members: fitted `HistGradientBoostingRegressor`s (numerical columns, squared error), all on
            the same columns; the mean of what they predict is the prediction, their standard
            deviation its uncertainty.
        columns: the number in `features.COLUMNS` of each column that they were fitted on.
        facts: anything else that JSON can hold: what it was trained on, how well it did.
    """

    name: str
    predicts: str
    members: Sequence[Any]
    columns: Sequence[int]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write(path: Path, heads: Sequence[Head], metadata: Mapping[str, Any]) -> None:
    """Write a predictor; the same heads and metadata give the same bytes.

    Args:
        metadata: of the file as a whole, by key; what is no text is written as JSON.

    Raises:
        InputError: the file cannot be written, or the heads are not such as can be read again.
    """
    model.save(to_onnx(heads, metadata), path)


def to_onnx(heads: Sequence[Head], metadata: Mapping[str, Any]) -> onnx.ModelProto:
    """The predictor as a model: one input, and per head one node and one output.

    Raises:
        InputError: there are none, or their names, members, columns or facts cannot be written.
    """
    for head in heads:
        _check(head)
    whole = model_of([tree_ensemble(h.members, h.columns, ROWS, h.name) for h in heads])
    described = _described(heads)
    if len(described["heads"]) != len(heads):
        raise InputError("two heads of the predictor have the same name")
    texts = {key: _text(key, value) for key, value in {**metadata, **described}.items()}
    helper.set_model_props(whole, dict(sorted(texts.items())))
    try:
        _, facts = validation.metadata(whole)
        validation.head_nodes(whole, facts)
    except validation.Refused as refused:
        raise InputError(f"the predictor could not be read again: {refused}") from refused
    return whole


def _described(heads: Sequence[Head]) -> dict[str, Any]:
    """The metadata that a file must have to be opened."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "features_version": str(features.VERSION),
        "columns": list(features.COLUMNS),
        "heads": {
            head.name: {**head.facts, "predicts": head.predicts, "columns": len(head.columns)}
            for head in heads
        },
    }


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"`{key}` of the predictor is not JSON: {error}") from error


def _check(head: Head) -> None:
    """Refuse regressors that mean something else than their trees' sums on the head's columns."""
    if not head.members:
        raise InputError(f"head {head.name} has no members")
    for member in head.members:
        if member.n_features_in_ != len(head.columns):
            raise InputError(f"a member of head {head.name} was not fitted on its columns")
        if type(member._loss.link).__name__ != "IdentityLink":
            raise InputError(f"a member of head {head.name} has a link other than the identity")
        if member.is_categorical_ is not None:
            raise InputError(f"a member of head {head.name} has columns that are not numerical")
