"""Who answers a problem: nobody but arithmetic where that will do, else a solver, in its time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec

from autogo_onnx.errors import InputError
from autogo_onnx.shapes import direct
from autogo_onnx.shapes.problem import Infeasible, Problem, Solution


@dataclass(frozen=True)
class Solver:
    """The mixed-integer solver behind a call.

    Attributes:
        name: "CBC", which comes with python-mip, or "HIGHS" (`pip install autogo-onnx[highs]`).
            Both give the same answers.
        max_seconds: for all programs of one call together.

    Raises:
        InputError: another name, or HiGHS where python-mip does not find it.
    """

    name: str = "CBC"
    max_seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in ("CBC", "HIGHS"):
            raise InputError(f"no solver {self.name!r}: CBC or HIGHS")
        if self.name == "HIGHS" and not _has_highs():
            raise InputError(
                "HiGHS is not installed, or not as python-mip calls it: "
                "pip install autogo-onnx[highs]"
            )


def _has_highs() -> bool:
    if find_spec("highspy") is None:
        return False
    from mip import highs  # Whoever does not ask for it need not wait for it.

    return bool(highs.has_highs)


class Timed:
    """A solver whose seconds are shared by all problems that it is given."""

    def __init__(self, solver: Solver) -> None:
        self._name = solver.name
        self._left = solver.max_seconds

    def solve(self, problem: Problem) -> Solution | Infeasible:
        """Within the time that is left."""
        start = time.monotonic()
        solution = solve(problem, max(self._left, 0.0), self._name)
        self._left -= time.monotonic() - start
        return solution


def solve(problem: Problem, max_seconds: float, solver: str = "CBC") -> Solution | Infeasible:
    """Directly where the structure allows it, else with the solver (imported only then)."""
    solution = direct.solve(problem)
    if solution is not None:
        return solution
    from autogo_onnx.shapes import level_model

    return level_model.solve(problem, max_seconds, solver)
