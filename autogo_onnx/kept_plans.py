"""Realized plans, remembered over an interruption: the model and what the gate said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import onnx

from autogo_onnx.errors import InputError
from autogo_onnx.fidelity import Fidelity
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.gate import Verdict
from autogo_onnx.ground import Ground
from autogo_onnx.kept_models import packed, unpacked

_KIND = "plan"

Judged = tuple[onnx.ModelProto, Verdict]


def remembered(
    ground: Ground, key: str, realize: Callable[[], Judged | Refused]
) -> Judged | Refused:
    """What came of a plan before an interruption; else it is realized now.

    Args:
        ground: the model.
        key: all that the plan is, and everything else that its result depends on.
        realize: gives the model and the verdict, or why there is none.
    """
    checkpoints = ground.job.checkpoints
    name = _name(ground, key)
    known = checkpoints.get(_KIND, name)
    if known is not None:
        told, _, model = known.partition(b"\n")
        found = json.loads(told)
        return (
            Refused(found) if isinstance(found, str) else (_model(ground, model), _verdict(found))
        )
    made = realize()
    try:
        checkpoints.put(_KIND, name, *_pieces(ground, made))
    except InputError as error:
        checkpoints.give_up(str(error))
    return made


def is_remembered(ground: Ground, key: str) -> bool:
    """Whether a plan needs not be realized."""
    return ground.job.checkpoints.knows(_KIND, _name(ground, key))


def _name(ground: Ground, key: str) -> str:
    return json.dumps([ground.digest, len(ground.fit), len(ground.held_out), key])


def _pieces(ground: Ground, made: Judged | Refused) -> tuple[bytes, bytes]:
    if isinstance(made, Refused):
        return json.dumps(made.reason).encode() + b"\n", b""
    model, verdict = made
    told: dict[str, Any] = asdict(verdict)
    return json.dumps(told).encode() + b"\n", packed(model, ground.model)


def _model(ground: Ground, data: bytes) -> onnx.ModelProto:
    return unpacked(data, ground.model)


def _verdict(found: dict[str, Any]) -> Verdict:
    return Verdict(**{**found, "fidelity": Fidelity(**found["fidelity"])})
