"""Programs of pyomo, solved by a command line solver as the reference does."""

from __future__ import annotations

import logging
from typing import Any

import pyomo.environ as pyo

SOLVERS = ("cbc", "glpk")
_TIME_LIMITS = {"cbc": "seconds", "glpk": "tmlim"}


class Refused(Exception):
    """Why something is no program that could be solved."""


def optimum(program: Any, solver: str, max_seconds: int = 10) -> float:
    """The least value of the objective.

    Raises:
        Refused: there is none, or none is proven in time.
    """
    logging.getLogger("pyomo").setLevel(logging.CRITICAL)
    logging.getLogger("pyomo.core").setLevel(logging.CRITICAL)
    options = {_TIME_LIMITS[solver]: max_seconds}
    result = pyo.SolverFactory(solver).solve(program, options=options, load_solutions=False)
    condition = result.solver.termination_condition
    if condition == pyo.TerminationCondition.maxTimeLimit:
        raise Refused("no answer in time")
    if condition != pyo.TerminationCondition.optimal:
        raise Refused("infeasible")
    program.solutions.load_from(result)
    return float(pyo.value(program.objective))
