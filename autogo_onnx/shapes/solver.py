"""Which solver answers, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from autogo_onnx.errors import InputError


@dataclass(frozen=True)
class Solver:
    """The mixed-integer solver behind a call.

    Attributes:
        name: "CBC", which comes with python-mip, or "HIGHS" (`pip install autogo-onnx[highs]`).
            Both give the same answers.
        max_seconds: for all programs of one call together.

    Raises:
        InputError: another name, or HiGHS where it is not installed.
    """

    name: str = "CBC"
    max_seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in ("CBC", "HIGHS"):
            raise InputError(f"no solver {self.name!r}: CBC or HIGHS")
        if self.name == "HIGHS" and find_spec("highspy") is None:
            raise InputError("HiGHS is not installed: pip install autogo-onnx[highs]")
