"""The benchmark of evolution in tables, on small ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_tables import write_tables
from published_tables import TABLES, needs_tables

from autogo_onnx.evolution import Run
from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, cut
from autogo_onnx.predictor_training.ensemble import Recipe
from autogo_onnx.predictor_training.labels import nasbench201, read
from autogo_onnx.segment_db.families import nasbench_macro
from autogo_onnx.splice import splice
from benchmarks import evolve_searches as searches
from benchmarks import evolve_spaces as spaces
from benchmarks import evolve_tables as tables
from benchmarks import evolve_values as values
from benchmarks.evolve_spaces import MACRO, NASBENCH201, Space, cell_form, cell_of

SHAPE = (1, 16, 32, 32)
CONV3: dict[str, AttributeValue] = {
    "kernel_shape": (3, 3),
    "pads": (1, 1, 1, 1),
    "strides": (1, 1),
    "dilations": (1, 1),
    "group": 1,
}
POOL: dict[str, AttributeValue] = {
    "kernel_shape": (3, 3),
    "pads": (1, 1, 1, 1),
    "strides": (1, 1),
    "ceil_mode": 0,
}


def cell(*ops: Op) -> OpGraph:
    return OpGraph((SHAPE,), ops, (SHAPE,) * len(ops), (len(ops),))


def conv(x: int) -> Op:
    return Op.make("Conv", (x,), **CONV3)


def relu(x: int) -> Op:
    return Op.make("Relu", (x,))


def add(x: int, y: int) -> Op:
    return Op.make("Add", (x, y))


def pool(x: int) -> Op:
    return Op.make("AveragePool", (x,), **POOL)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "RECIPE", Recipe(members=2, trees=5, leaves=7, fewest_in_leaf=2))
    monkeypatch.setattr(values, "LABELLED", 6)
    monkeypatch.setattr(searches, "MOST_ITERATIONS", 2)
    monkeypatch.setattr(searches, "PARENTS", 1)
    monkeypatch.setattr(searches, "CHILDREN", 3)


def space(folder: Path, name: str) -> Space:
    write_tables(folder)
    return spaces.space(folder, name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (cell(relu(0), conv(1), add(2, 0)), cell(relu(0), conv(1), add(0, 2))),
        (cell(relu(0), conv(1)), cell(relu(0), relu(1), conv(2))),
        (cell(relu(0), conv(1)), cell(Op.make("Identity", (0,)), relu(1), conv(2))),
        (  # two rectifiers of one tensor are one
            cell(relu(0), conv(1), conv(1), add(2, 3)),
            cell(relu(0), conv(1), relu(0), conv(3), add(2, 4)),
        ),
        (  # sums of three terms
            cell(relu(0), conv(1), pool(0), add(0, 2), add(4, 3)),
            cell(relu(0), conv(1), pool(0), add(2, 3), add(0, 4)),
        ),
        (  # the average of a sum
            cell(relu(0), conv(1), add(0, 2), pool(3)),
            cell(relu(0), conv(1), pool(0), pool(2), add(3, 4)),
        ),
    ],
)
def test_ways_to_write_a_cell_have_one_form(one: OpGraph, other: OpGraph) -> None:
    assert cell_form(one) == cell_form(other) != ""


def test_cells_that_compute_something_else_have_other_forms() -> None:
    cells = [
        cell(relu(0), conv(1), add(2, 2)),  # a convolution read twice
        cell(relu(0), conv(1), conv(1), add(2, 3)),  # two of them
        cell(relu(0), conv(1), add(2, 0)),
        cell(pool(0), pool(1)),
        cell(pool(0), pool(1), add(1, 2)),
    ]
    assert len({cell_form(one) for one in cells}) == len(cells)


@pytest.mark.parametrize(
    "outside",
    [
        cell(conv(0)),  # without a rectifier
        cell(conv(0), relu(1)),
        cell(relu(0), add(1, 0)),
        cell(Op.make("Clip", (0,), min=0.0, max=6.0), conv(1)),
        cell(relu(0), Op.make("Conv", (1,), **{**CONV3, "group": 16})),
        cell(relu(0), Op.make("Conv", (1,), **{**CONV3, "dilations": (2, 2)})),
        cell(Op.make("AveragePool", (0,), **POOL, count_include_pad=1)),
    ],
)
def test_what_no_cell_of_the_space_computes_has_no_form(outside: OpGraph) -> None:
    assert cell_form(outside) == ""


@needs_tables
@pytest.mark.slow
def test_every_encoding_of_a_cell_leads_to_its_network() -> None:
    where = spaces.space(TABLES, NASBENCH201)
    by_meaning = {nasbench201.network(c): n for n, c in enumerate(where.labels.codes)}
    for code in where.labels.codes[::10]:
        for edited in nasbench201.edits(code):
            if meaning := nasbench201.network(edited):
                assert where.number(cell_of(edited)) == by_meaning[meaning]


def test_replaced_blocks_lead_to_the_network_of_their_code(tmp_path: Path) -> None:
    where = space(tmp_path, MACRO)
    code = "11210110"
    built = nasbench_macro.build(code)
    graph, places = built.folded(), built.folded_places()
    other = nasbench_macro.build("10210110")
    assert spaces.network_form(graph) != spaces.network_form(other.folded())
    block = cut(graph, places[1])
    nothing = OpGraph(block.graph.input_shapes, (), (), (0,))
    child = splice(graph, block, nothing).graph
    assert where.number(child) == where.labels.codes.index("10210110")
    assert where.number(splice(graph, cut(graph, [0]), _wider(graph)).graph) is None


def _wider(graph: OpGraph) -> OpGraph:
    """The stem with a larger window."""
    stem = cut(graph, [0]).graph
    window = stem.ops[0].with_attributes(kernel_shape=(5, 5), pads=(2, 2, 2, 2))
    return replace(stem, ops=(window,))


@pytest.mark.parametrize("search", [searches.SEGMENTS, searches.OPERATORS, searches.TABLE])
def test_searches_stay_in_the_space_and_keep_to_the_number(tmp_path: Path, search: str) -> None:
    where = space(tmp_path, NASBENCH201)
    base = int(where.macs.argmax())
    barred = frozenset([0 if base else 1])
    case = searches.Case(where, base, barred, most=3, seed=0)
    truth = values.standing_in(values.TRUTH, where, 0)
    found = searches.evaluated(case, search, truth, Run())
    assert found == searches.evaluated(case, search, truth, Run())
    assert found[0] == base
    assert len(set(found)) == len(found) <= 4
    assert not barred.intersection(found)
    assert where.reachable(base).issuperset(found)


def test_neighbours_of_the_best_are_looked_at_until_there_are_no_more(tmp_path: Path) -> None:
    where = space(tmp_path, MACRO)
    truth = values.standing_in(values.TRUTH, where, 0)
    case = searches.Case(where, 13, frozenset(), most=1000, seed=0)
    found = searches.evaluated(case, searches.TABLE, truth, Run())
    best = max(where.reachable(13), key=lambda n: float(truth[n, 0]))
    assert best in found


def test_predictors_look_at_no_label_that_is_judged(tmp_path: Path) -> None:
    where = space(tmp_path, MACRO)
    every = read(tmp_path, (NASBENCH201, MACRO))
    known = values.labelled(where.labels, 1)
    assert tables.case_of(where, "best decile", 1).barred == frozenset(known)
    repeats = tuple(
        runs if n in known else (99.0 - n,) for n, runs in enumerate(where.labels.repeats)
    )
    other = replace(where, labels=replace(where.labels, repeats=repeats))
    swapped = [other.labels if one.family == MACRO else one for one in every]
    mine = values.Predictors(where, every, tmp_path).members(1, few=True)
    for kept in tmp_path.glob("evolve-*-predictor*.npy"):
        kept.unlink()
    theirs = values.Predictors(other, swapped, tmp_path).members(1, few=True)
    assert np.array_equal(mine, theirs)
    assert mine.shape == (len(where.graphs), 2)


def test_figures_are_those_of_the_best_predicted(tmp_path: Path) -> None:
    where = space(tmp_path, MACRO)
    truth, base = where.labels.accuracies, 13
    case = searches.Case(where, base, frozenset(), most=2, seed=0)
    within = sorted(where.reachable(base) - {base}, key=lambda n: int(where.macs[n]))
    cheap, promised = within[0], within[-1]
    members = np.zeros((len(truth), 1))
    members[promised] = 1.0
    figures = tables.outcome(case, members, [base, cheap, promised])
    # The base is as good as the cheap one, and not as cheap.
    both = truth[[promised, cheap]]
    assert figures["gain"] == truth[promised] - truth[base]
    assert figures["mean_of_five"] == pytest.approx(both.mean() - truth[base])
    assert figures["best_of_five"] == both.max() - truth[base]
    assert figures["regret"] == truth[within].max() - truth[promised]
    assert figures["found"] == max(*both, truth[base]) - truth[base]
    assert figures["evaluations"] == 2


def test_outcomes_are_kept_and_shown_with_intervals(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    known = tables.Results(path)
    for seed, value, gain in ((0, "predictor", 1.0), (1, "predictor", 3.0), (0, "MACs", 0.5)):
        figures = (gain, gain, gain, 0.0, 3.0, 9)
        known.add(tables.Outcome("s", "median", searches.SEGMENTS, value, seed, *figures))
    again = tables.Results(path)
    assert again.outcomes == known.outcomes
    assert again.has(("s", "median", searches.SEGMENTS, "MACs", 0))
    assert not again.has(("s", "median", searches.SEGMENTS, "MACs", 1))
    lines = list(tables.table(again.outcomes))
    # Two values 1 and 3: mean 2, standard error 1, and 12.71 of it with one degree of freedom.
    assert any("| segments | predictor | 2.00 ± 12.71 | 2.00 ± 12.71 |" in line for line in lines)
    assert "| s | median | predictor | segments, MACs | 0.50 |" in tables.differences(
        again.outcomes
    )
