"""Devices as JSON, a value of a predictor's metadata: `{"devices": {NAME: {...}}}`.

| key of a device | what |
| --- | --- |
| `prices` | by class of operator, milliseconds per operator, MAC, activation byte, weight byte |
| `overhead_ms` | of a network, whatever it is made of |
| `range_ms` | the least and the largest latency that was measured |
| `classes` | of operators that were measured in different amounts |
| `held_out` | by family: `networks`, `spearman`, `error` |
| `tables` | files of the measurements |
| `timed` | what the milliseconds are of, where it is not one sample alone |

A class that is missing has no price. A file from elsewhere is checked here before it is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from autogo_onnx.devices.amounts import AMOUNTS, Amounts
from autogo_onnx.devices.device import Device, HeldOut
from autogo_onnx.errors import InputError
from autogo_onnx.features.operators import CLASSES

KEY = "devices"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FAMILY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TIMED = re.compile(r"[A-Za-z0-9 ]{0,63}")
_DIGITS = 5
_MOST_DEVICES, _MOST_FAMILIES = 1024, 16
_LARGEST = 1e12


def to_json(devices: Iterable[Device]) -> dict[str, Any]:
    """The value of `KEY`: devices by name, in order of their names."""
    return {
        device.name: {
            "prices": {
                name: [_short(price) for price in prices]
                for name, prices in zip(CLASSES, device.prices, strict=True)
                if prices.any()
            },
            "overhead_ms": _short(device.overhead_ms),
            "range_ms": [_short(bound) for bound in device.range_ms],
            "classes": sorted(device.classes),
            "held_out": {
                family: {
                    "networks": one.networks,
                    "spearman": round(one.spearman, 4),
                    "error": round(one.error, 4),
                }
                for family, one in device.held_out.items()
            },
            "tables": list(device.tables),
            "timed": device.timed,
        }
        for device in sorted(devices, key=lambda device: device.name)
    }


def read(info: Mapping[str, str]) -> dict[str, Device]:
    """The devices in a predictor's metadata, by name; none where it has none.

    Raises:
        InputError: they do not read as `to_json` writes them.
    """
    try:
        value = json.loads(info.get(KEY, "{}"))
    except (ValueError, RecursionError):
        raise InputError(f"the predictor's metadata `{KEY}` is not JSON") from None
    if not isinstance(value, dict) or len(value) > _MOST_DEVICES:
        raise InputError(f"the predictor's metadata `{KEY}` does not list devices")
    return {name: _device(name, value[name]) for name in sorted(value)}


def describe(devices: Mapping[str, Device]) -> Iterator[str]:
    """A heading, and a line per device: how well held-out networks of each family are predicted."""
    yield f"{'devices':<24} rank correlation and median error on networks held out"
    for name, device in devices.items():
        figures = "; ".join(
            f"{family} {one.spearman:.3f}, {one.error:.1%} of {one.networks}"
            for family, one in device.held_out.items()
        )
        yield f"  {name:<22} {figures}".rstrip()


def _device(name: str, value: Any) -> Device:
    _expect(_NAME.fullmatch(name) and isinstance(value, dict), name, "its name or its form")
    tables, classes = value.get("tables", []), value.get("classes")
    timed = value.get("timed", "")
    _expect(_are_texts(tables), name, "tables")
    _expect(_are_texts(classes) and set(classes) <= set(CLASSES), name, "classes")
    _expect(isinstance(timed, str) and _TIMED.fullmatch(timed), name, "timed")
    return Device(
        name,
        _prices(name, value.get("prices")),
        overhead_ms=_number(name, value.get("overhead_ms")),
        range_ms=_range(name, value.get("range_ms")),
        classes=frozenset(classes),
        held_out=_held_out(name, value.get("held_out", {})),
        tables=tuple(tables),
        timed=timed,
    )


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _prices(device: str, value: Any) -> Amounts:
    """float64[C,4] of lists by class."""
    _expect(isinstance(value, dict) and value.keys() <= set(CLASSES), device, "prices")
    prices = np.zeros((len(CLASSES), len(AMOUNTS)))
    for name, row in value.items():
        _expect(isinstance(row, list) and len(row) == len(AMOUNTS), device, f"prices of {name}")
        prices[CLASSES.index(name)] = [_number(device, price) for price in row]
    _expect(prices.any(), device, "prices")
    return prices


def _range(device: str, value: Any) -> tuple[float, float]:
    _expect(isinstance(value, list) and len(value) == 2, device, "range_ms")
    least, largest = (_number(device, bound) for bound in value)
    _expect(least <= largest, device, "range_ms")
    return least, largest


def _held_out(device: str, value: Any) -> dict[str, HeldOut]:
    _expect(isinstance(value, dict) and len(value) <= _MOST_FAMILIES, device, "held_out")
    _expect(all(map(_FAMILY.fullmatch, value)), device, "held_out")
    return {family: _figures(device, figures) for family, figures in value.items()}


def _figures(device: str, value: Any) -> HeldOut:
    is_whole = isinstance(value, dict) and value.keys() == {"networks", "spearman", "error"}
    _expect(is_whole, device, "held_out")
    spearman = value["spearman"]
    _expect(type(spearman) in (int, float) and abs(spearman) <= 1, device, "spearman")
    networks = _number(device, value["networks"])
    return HeldOut(int(networks), float(spearman), _number(device, value["error"]))


def _number(device: str, value: Any) -> float:
    """A finite number that is not negative; not so large that sums would overflow."""
    _expect(type(value) in (int, float), device, f"{str(value)[:40]!r} as a number")
    _expect(0 <= value < _LARGEST, device, f"the number {str(value)[:40]}")
    return float(value)


def _expect(holds: object, device: str, what: str) -> None:
    if not holds:
        raise InputError(f"the predictor's device {device[:64]!r} is broken: {what}")
