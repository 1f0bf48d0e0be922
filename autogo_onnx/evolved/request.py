"""What the search is asked for, by the user's options and the network that is evolved."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import onnx

from autogo_onnx.errors import InputError
from autogo_onnx.evolution import MAPS, Limits, Objective, Settings, Unit
from autogo_onnx.evolved.base import Base
from autogo_onnx.evolved.options import EvolveOptions
from autogo_onnx.messages import opset_of
from autogo_onnx.options import DEVICE

_NAMES_OF_OURS = frozenset({"DepthwiseConv", "GroupedConv"})
# Written by what they are defined by, where the opset is older.
_SPELLED_OUT = frozenset({"HardSwish", "Resize"})


def settings_of(options: EvolveOptions) -> Settings:
    """What the search is asked for.

    Raises:
        InputError: an option is out of its range.
    """
    objectives = [Objective.MACS]
    if options.target == "params":
        objectives.append(Objective.PARAMETERS)
    if options.target.startswith(DEVICE):
        objectives.append(Objective.LATENCY)
    return Settings(
        iterations=options.iterations,
        parents=options.parents,
        children=options.children,
        unit=Unit(options.unit),
        consecutive=options.consecutive,
        objectives=tuple(objectives),
        seed=options.seed,
    )


def limits_of(options: EvolveOptions) -> Limits:
    """What every network must keep.

    Raises:
        InputError: an option is out of its range, or names an unknown operator.
    """
    named = {*options.allow_ops, *options.forbid_ops}
    unknown = sorted(named - MAPS)
    if unknown:
        raise InputError(
            f"operator {unknown[0]!r} is none that replacements hold: {', '.join(sorted(MAPS))}"
        )
    if options.max_latency_change is not None and options.target in ("macs", "params"):
        raise InputError(
            f"latency is not told with the target {options.target}: a limit on it needs the target "
            "cpu or device:NAME"
        )
    params, latency = options.max_params_change, options.max_latency_change
    is_predicted = options.target.startswith(DEVICE)
    return Limits(
        macs_change=options.max_macs_change,
        most_parameters_change=inf if params is None else params,
        most_latency_change=latency if is_predicted and latency is not None else inf,
        allowed=frozenset(options.allow_ops) or None,
        forbidden=frozenset(options.forbid_ops),
    )


def suiting(base: Base, limits: Limits) -> Limits:
    """The limits, with what cannot be replaced in the base or said in its opset."""
    opset = opset_of(base.model)
    unknown = {kind for kind in MAPS - _NAMES_OF_OURS if not _is_sayable(kind, opset)}
    return replace(limits, fixed=base.untouchable, forbidden=limits.forbidden | unknown)


def _is_sayable(kind: str, opset: int) -> bool:
    return kind in _SPELLED_OUT or onnx.defs.has(kind, opset, "")
