"""Attributes of operators in one form, whatever opset and exporter wrote them.

Newer opsets have as inputs what older ones have as attributes, and the same may be said in several
ways: axes from the front or the back, all axes or only those that change, defaults or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autogo_onnx.opgraph import Shape

Plain = Mapping[str, Any]

TO_THE_END = 2**63 - 1
"""A bound of `Slice` that ONNX cuts off at the end, wherever that is."""

INPUT_ATTRIBUTES: dict[str, tuple[int, tuple[str, ...]]] = {
    "Clip": (11, ("min", "max")),
    "Pad": (11, ("pads", "value")),
    "ReduceMax": (18, ("axes",)),
    "ReduceMean": (18, ("axes",)),
    "ReduceSum": (13, ("axes",)),
    "Slice": (10, ("starts", "ends", "axes", "steps")),
    "Squeeze": (13, ("axes",)),
    "Unsqueeze": (13, ("axes",)),
}
"""Attributes that are inputs from some opset on, in their order there: kind -> (opset, names)."""

# Inputs that never were attributes; a padding of some axes is written as one of all axes.
_NEW_INPUTS = {"Pad": ("axes",)}
_UNUSED_IN_MODE = {
    "nearest": {"cubic_coeff_a", "exclude_outside"},
    "linear": {"cubic_coeff_a", "nearest_mode"},
    "cubic": {"nearest_mode"},
}


def input_names(kind: str) -> tuple[str, ...]:
    """What the inputs of an operator after its first are called as attributes.

    >>> input_names("Pad"), input_names("Relu")
    (('pads', 'value', 'axes'), ())
    """
    return INPUT_ATTRIBUTES.get(kind, (0, ()))[1] + _NEW_INPUTS.get(kind, ())


def one_form(kind: str, attributes: Plain, given: Shape, made: Shape) -> dict[str, Any]:
    """The attributes of an operator of `INPUT_ATTRIBUTES`, of `Concat` or `Resize`, in one form.

    Axes count from the front, where the rank is known. `Slice` names the bounds of its axes from
    the nearer end, so that "all but the last channel" is the same for any width; `Pad` names its
    mode and pads all axes.

    Args:
        kind: ONNX's type.
        attributes: with those that the file has as inputs; an unknown one is missing.
        given: shape of the first operand; `()` when it is not known.
        made: shape of the result; `()` when it is not known.

    >>> one_form("Slice", {"axes": (-3,), "starts": (0,), "ends": (31,)}, (1, 32, 8, 8), ())
    {'axes': (1,), 'starts': (0,), 'ends': (-1,)}
    """
    match kind:
        case "Clip":
            return {name: float(attributes[name]) for name in ("min", "max") if name in attributes}
        case "Concat":
            return {"axis": attributes["axis"] % len(made) if made else attributes["axis"]}
        case "Pad":
            return _padding(attributes, len(given))
        case "Resize":
            unused = _UNUSED_IN_MODE.get(attributes.get("mode", "nearest"), set())
            return {name: value for name, value in attributes.items() if name not in unused}
        case "Slice":
            return _slicing(attributes, given)
        case "Unsqueeze":
            return _with_axes(attributes, len(made))
    return _with_axes(attributes, len(given))


def _with_axes(attributes: Plain, rank: int) -> dict[str, Any]:
    if not rank or "axes" not in attributes:
        return dict(attributes)
    return {**attributes, "axes": tuple(sorted(axis % rank for axis in attributes["axes"]))}


def _padding(attributes: Plain, rank: int) -> dict[str, Any]:
    found = {"mode": "constant", **attributes}
    if not found.get("value"):
        found.pop("value", None)
    if rank and "axes" in found and len(found.get("pads", ())) == 2 * len(found["axes"]):
        axes, pads = found.pop("axes"), found["pads"]
        full = [0] * (2 * rank)
        for place, axis in enumerate(axes):
            full[axis % rank] = pads[place]
            full[axis % rank + rank] = pads[place + len(axes)]
        found["pads"] = tuple(full)
    return found


def _slicing(attributes: Plain, given: Shape) -> dict[str, Any]:
    if not given or not {"starts", "ends"} <= attributes.keys():
        return dict(attributes)
    starts, ends = attributes["starts"], attributes["ends"]
    axes = attributes.get("axes", range(len(starts)))
    steps = attributes.get("steps", (1,) * len(starts))
    if not len(starts) == len(ends) == len(axes) == len(steps):
        return dict(attributes)  # the file is broken; the checker says so
    rows = sorted(
        (axis % len(given), *_bounds(start, end, step, given[axis % len(given)]), step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    )
    names = ("axes", "starts", "ends", "steps")
    found = dict(zip(names, zip(*rows, strict=True), strict=True))
    if set(found["steps"]) == {1}:
        del found["steps"]
    return found


def _bounds(start: int, end: int, step: int, size: int) -> tuple[int, int]:
    """From the nearer end; a slice that goes backwards stays as it is."""
    if step < 0:
        return start, end
    first, last = (max(0, min(n + size if n < 0 else n, size)) for n in (start, end))
    return (
        first if 2 * first <= size else first - size,
        TO_THE_END if last == size else last if 2 * last <= size else last - size,
    )
