"""Prices measured in one run and reused by the next, which then decides alike, byte for byte.

The file is JSON: `{"format": "autogo-onnx latency table", "version": 2, "onnxruntime": "1.31.1",
"threads": 1, "entries": {"key": number, ...}}`. The keys are the caller's; every number is a
figure of one measurement (a ratio, a share of the latency or milliseconds), written with all its
digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autogo_onnx.checkpoints import Checkpoints
from autogo_onnx.errors import InputError
from autogo_onnx.files import write_text

_FORMAT = "autogo-onnx latency table"
_VERSION = 2
_KIND = "price"


@dataclass
class LatencyTable:
    """Prices by key, and what they were measured with.

    Attributes:
        onnxruntime: version of ONNX Runtime.
        threads: intra-op threads.
        entries: price by key; grows as prices are asked for.
        checkpoints: know what an interrupted run measured.
    """

    onnxruntime: str
    threads: int
    entries: dict[str, float] = field(default_factory=dict)
    checkpoints: Checkpoints = field(default_factory=Checkpoints, compare=False, repr=False)

    def price(self, key: str, measure: Callable[[], float]) -> float:
        """The known price, else the measured one, which is known from then on."""
        return self.figures([key], lambda: [measure()])[0]

    def figures(
        self, keys: Sequence[str], measure: Callable[[], Sequence[float]]
    ) -> tuple[float, ...]:
        """The figures of one measurement, known or measured, and known from then on.

        Args:
            keys: of the figures.
            measure: gives them in the order of the keys.
        """
        if not all(self.knows(key) for key in keys):
            self.enter(dict(zip(keys, measure(), strict=True)))
        return tuple(self.entries[key] for key in keys)

    def knows(self, key: str) -> bool:
        """Whether a price is here, or was found before an interruption and now is."""
        if key not in self.entries:
            kept = self.checkpoints.get(_KIND, key)
            if kept is None:
                return False
            self.entries[key] = float(kept)
        return True

    def enter(self, prices: Mapping[str, float]) -> None:
        """New prices by key."""
        for key, value in prices.items():
            self.entries[key] = float(value)
            self.checkpoints.put(_KIND, key, repr(float(value)).encode())

    def differences(self, *, onnxruntime: str, threads: int) -> list[str]:
        """One line per condition of this table that is not the current one; empty if all agree."""
        found = []
        if self.onnxruntime != onnxruntime:
            found.append(f"latency table is of ONNX Runtime {self.onnxruntime}, not {onnxruntime}")
        if self.threads != threads:
            found.append(f"latency table is of {self.threads} threads, not {threads}")
        return found

    def to_json(self) -> str:
        """The table as text, keys sorted: equal tables give equal bytes."""
        body = {
            "format": _FORMAT,
            "version": _VERSION,
            "onnxruntime": self.onnxruntime,
            "threads": self.threads,
            "entries": dict(sorted(self.entries.items())),
        }
        return json.dumps(body, indent=1, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the file in one step.

        Raises:
            InputError: the folder does not exist or cannot be written.
        """
        write_text(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """The table written by `write`.

        Raises:
            InputError: missing, unreadable, or no such table.
        """
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        except (ValueError, RecursionError):
            raise InputError(f"{path}: no latency table (not JSON, or truncated)") from None
        if not isinstance(body, dict) or body.get("format") != _FORMAT:
            raise InputError(f"{path}: no latency table; give the file that an earlier run wrote")
        if body.get("version") != _VERSION:
            raise InputError(
                f"{path}: latency table of version {body.get('version')}, {_VERSION} is read"
            )
        return cls(*_checked(body, path))


def _checked(body: dict[str, object], path: Path) -> tuple[str, int, dict[str, float]]:
    version, threads, entries = (body.get(k) for k in ("onnxruntime", "threads", "entries"))
    if not (isinstance(version, str) and type(threads) is int and isinstance(entries, dict)):
        raise InputError(f"{path}: broken latency table (onnxruntime, threads or entries)")
    for key, value in entries.items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise InputError(f"{path}: broken latency table, entry {key!r} is {value!r}")
    return version, threads, {key: float(value) for key, value in entries.items()}
