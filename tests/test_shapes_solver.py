"""The solver behind the shape model: quiet, frugal, the same in every process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import joblib
import pytest
from segment_cases import Segment, hard_case, random_demand, random_segment
from shape_checks import adapted, posed, reason, widths
from shape_demands import meetable_demand

from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes import Infeasible, Solver, adapt, direct, level_model
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import alternatives
from autogo_onnx.shapes.problem import Problem, Solution, cost, width_slopes
from autogo_onnx.shapes.structure import Freedom, Structure

needs_highs = pytest.mark.skipif(find_spec("highspy") is None, reason="highspy is not installed")


def test_the_hard_case_needs_the_solver_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    segment, inputs, outputs = hard_case()
    assert direct.solve(posed(segment, inputs, outputs, 8)) is None
    graph = adapted(segment, inputs, outputs)
    assert widths(graph) == [8, 32, 56, 24, 120]
    segment, inputs, outputs = hard_case()
    assert reason(segment, inputs, [(1, 3, 4, 4)]) == (
        "Concat (operator 4) needs 3 channels, its branches can give 4 channels or more "
        "(output 0 of Concat (operator 4) has 3 channels)"
    )
    assert capfd.readouterr() == ("", "")


PRINT_ANSWERS = """
import sys
sys.path.insert(0, {tests!r})
from segment_cases import hard_case, random_demand, random_segment
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.shapes import adapt
cases = [(g, *random_demand(g, s)) for s in range(20) for g in [random_segment(s)]]
for case in [hard_case(), *cases]:
    answer = adapt(*case)
    print(to_json(answer) if isinstance(answer, OpGraph) else answer.reason)
"""


def test_the_answer_is_the_same_in_every_process() -> None:
    root = Path(__file__).parents[1]
    script = PRINT_ANSWERS.format(tests=str(root / "tests"))
    answers = set()
    for hash_seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
        answers.add(done.stdout)
    assert len(answers) == 1
    assert answers.pop().count("\n") == 21


# --- one answer


def equal_branches(count: int = 5) -> tuple[OpGraph, list[Shape], list[Shape]]:
    """Branches that nothing tells apart, and a total that they cannot share equally."""
    s = Segment((1, 32, 8, 8))
    graph = s.graph(s.concat(*(s.conv(0, 16) for _ in range(count))))
    return graph, [(1, 32, 8, 8)], [(1, 16 * count + 16, 8, 8)]


def solved(problem: Problem, solver: str = "CBC") -> Solution:
    solution = level_model.solve(problem, 20.0, solver)
    assert isinstance(solution, Solution)
    return solution


def test_equal_branches_have_one_cheapest_answer() -> None:
    """Whatever any one width is changed to, the rest cannot make up for it."""
    problem = posed(*equal_branches(4), 8)
    best = solved(problem)
    price = cost(problem, best)
    for number, chosen in enumerate(problem.widths.chosen):
        for width in {8, 16, 24, 32} - {best.widths[number]} if chosen else ():
            fixed = {**problem.widths.fixed, number: width}
            other = replace(problem, widths=replace(problem.widths, fixed=fixed))
            assert cost(problem, solved(other)) > price


def test_slopes_rise_for_any_number_of_branches() -> None:
    part = replace(posed(*hard_case(), 8).widths, chosen=(True,) * 120)
    slopes = width_slopes(part)
    assert all(a < b for a, b in pairwise(slopes))
    assert slopes[-1] < 1000


@needs_highs
@pytest.mark.parametrize("case", [hard_case, equal_branches])
def test_highs_gives_the_same_answer(
    case: Callable[[], tuple[OpGraph, list[Shape], list[Shape]]],
) -> None:
    problem = posed(*case(), 8)
    assert solved(problem, "HIGHS") == solved(problem, "CBC")
    assert adapt(*case(), solver=Solver("HIGHS")) == adapt(*case())


def awkward_cases(seeds: range) -> Iterator[Problem]:
    """Problems of random segments, off the lattice too, whether or not they need a solver."""
    for seed in seeds:
        segment = random_segment(seed, rich=bool(seed % 2))
        inputs, outputs = random_demand(segment, seed)
        outputs = [(n, width + seed % 7, *size) for n, width, *size in outputs]
        found = read(segment, Freedom())
        assert isinstance(found, Structure)
        for leaves in (False, True):
            problems = alternatives(found, inputs, outputs, may_leave_lattice=leaves)
            yield from [] if isinstance(problems, Infeasible) else problems


@needs_highs
@pytest.mark.parametrize(
    "seeds", [range(25), pytest.param(range(25, 1500), marks=pytest.mark.slow)]
)
def test_cbc_highs_and_no_solver_agree(seeds: range) -> None:
    for problem in awkward_cases(seeds):
        answers = [level_model.solve(problem, 20.0, name) for name in ("CBC", "HIGHS")]
        alone = direct.solve(problem)
        assert answers[0] == answers[1]
        assert alone is None or isinstance(alone, type(answers[0]))
        if isinstance(alone, Solution):
            assert alone == answers[0]


@needs_highs
def test_highs_is_not_trusted_when_it_says_there_is_no_solution() -> None:
    """A case that presolve of HiGHS 1.15.1 takes for infeasible."""
    segment = random_segment(65, rich=True)
    demand = meetable_demand(segment, 65)
    assert demand is not None
    problem = posed(segment, *demand, 8)
    assert solved(problem, "HIGHS") == solved(problem, "CBC")


# --- manners


def test_solvers_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no solver 'GLPK': CBC or HIGHS"):
        Solver("GLPK")
    with monkeypatch.context() as without:
        without.setattr("autogo_onnx.shapes.solver.find_spec", lambda name: None)
        with pytest.raises(InputError, match="pip install"):
            Solver("HIGHS")
    monkeypatch.setattr("mip.highs.has_highs", False)
    with pytest.raises(InputError, match="pip install"):
        Solver("HIGHS")


def test_no_time_is_no_answer() -> None:
    result = adapt(*hard_case(), solver=Solver(max_seconds=0.0))
    assert isinstance(result, Infeasible)
    assert result.reason == "no proven answer within 0 s"


def test_answers_and_refusals_travel_between_processes() -> None:
    segment, inputs, _ = hard_case()
    for outputs in ([(1, 120, 4, 4)], [(1, 3, 4, 4)], [(1, 120, 1, 7)]):
        result = adapt(segment, inputs, outputs)
        again = pickle.loads(pickle.dumps(result))
        assert again == result
        if isinstance(result, Infeasible):
            assert again.reason == result.reason


@pytest.mark.slow
def test_worker_processes_give_the_same_answers() -> None:
    cases = [hard_case(), equal_branches()] * 4
    results = joblib.Parallel(n_jobs=2)(joblib.delayed(adapt)(*case) for case in cases)
    assert results == [adapt(*case) for case in cases]


MEMORY = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from segment_cases import hard_case
from shape_checks import posed
from test_shapes_solver import awkward_cases, equal_branches
from autogo_onnx.shapes import level_model
problems = [posed(*hard_case(), 8), posed(*equal_branches(), 8), *awkward_cases(range(20))]
for call in range(1, 5001):
    level_model.solve(problems[call % len(problems)], 10.0)
    if call in (1000, 5000):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(pages * 4096 / 1e6, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_five_thousand_programs_leave_nothing_behind() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", MEMORY.format(tests=str(root / "tests"))]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    early, late = map(float, done.stderr.split())
    assert late < early + 5, "megabytes of resident memory"
    assert not done.stdout
