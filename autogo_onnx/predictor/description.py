"""What a predictor says of itself, as text: heads, what they were trained on, where from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from autogo_onnx.predictor.predictor import Predictor

# Told above, or, as `devices`, by who can read them.
_NOT_LISTED = ("heads", "columns", "devices", "format", "format_version", "features_version")
_WIDTH = 24
_DEEPEST, _MOST_ENTRIES, _LONGEST_LIST, _LONGEST_TEXT = 5, 100, 8, 400


def describe(predictor: Predictor) -> str:
    """Lines of names and values: the file's format, each head, then the rest of the metadata.

    Devices are told by `devices.describe`. What is long or deep is cut.
    """
    info = predictor.info
    lines = [
        _line("format", f"{info['format']}, version {info['format_version']}"),
        _line("columns", f"{len(json.loads(info['columns']))}, version {info['features_version']}"),
    ]
    for head in predictor.heads():
        facts = dict(predictor.facts(head))
        lines.append(_line(f"head {head}", _short(facts.pop("predicts", ""))))
        lines += _entries({**predictor.sizes(head), **facts}, 1)
    others = sorted(info.keys() - set(_NOT_LISTED))
    lines += _entries({name: _parsed(info[name]) for name in others}, 0)
    return "\n".join(lines)


def _line(name: str, value: str, depth: int = 0) -> str:
    line = f"{'  ' * depth + name:<{_WIDTH}} {value}".rstrip()
    return " ".join(line.splitlines())


def _parsed(text: str) -> Any:
    """A metadata value: an object or a list where it is JSON of one, else the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text


def _entries(values: dict[str, Any], depth: int) -> Iterator[str]:
    for number, (name, value) in enumerate(values.items()):
        if number == _MOST_ENTRIES:
            yield _line("...", f"{len(values) - number} more", depth)
            return
        yield from _entry(name, value, depth)


def _entry(name: str, value: Any, depth: int) -> Iterator[str]:
    """A value in one line, what is in an object in a line each below."""
    if isinstance(value, dict) and depth < _DEEPEST:
        yield _line(name, "", depth)
        yield from _entries(value, depth + 1)
    else:
        yield _line(name, _short(value), depth)


def _short(value: Any) -> str:
    """A value in one line.

    >>> _short(12345), _short(0.25), _short([1, 2]), _short([0] * 99)
    ('12,345', '0.25', '1, 2', '99 entries')
    """
    if isinstance(value, list | dict):
        plain = not any(isinstance(v, list | dict) for v in value)
        is_short = isinstance(value, list) and plain and len(value) <= _LONGEST_LIST
        return ", ".join(map(_short, value)) if is_short else f"{len(value)} entries"
    text = f"{value:,}" if type(value) is int else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
