"""Damaged trees: whatever a file says, it is refused in a line or predicts finite numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from predictor_files import head, written

from autogo_onnx import features
from autogo_onnx.predictor import trees
from autogo_onnx.predictor.heads import to_onnx

WIDTH = len(features.COLUMNS)
LISTS = (
    *("tree_roots", "leaf_targetids", "nodes_featureids", "nodes_missing_value_tracks_true"),
    *("nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs"),
)
SIZES = (-(2**63), -1, 0, 1, 2, 5, 1000, 2**31, 2**40, 2**63 - 1)


def node() -> onnx.NodeProto:
    """The trees of a head, to be damaged."""
    found = onnx.NodeProto()
    found.CopyFrom(to_onnx([head(count=2)], {}).graph.node[0])
    return found


def attribute(of: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    found: list[onnx.AttributeProto] = [a for a in of.attribute if a.name == name]
    return found[0]


def set_int(name: str, position: int, value: int) -> Callable[[onnx.NodeProto], None]:
    def damage(of: onnx.NodeProto) -> None:
        attribute(of, name).ints[position] = value

    return damage


def set_tensor(name: str, values: np.ndarray[Any, Any]) -> Callable[[onnx.NodeProto], None]:
    def damage(of: onnx.NodeProto) -> None:
        attribute(of, name).t.CopyFrom(numpy_helper.from_array(values))

    return damage


def chain_of(depth: int) -> Callable[[onnx.NodeProto], None]:
    """One tree so deep."""

    def damage(of: onnx.NodeProto) -> None:
        lists = {
            "tree_roots": [0],
            "nodes_featureids": [0] * depth,
            "nodes_missing_value_tracks_true": [0] * depth,
            "nodes_truenodeids": list(range(1, depth + 1)),
            "nodes_falsenodeids": [*range(1, depth), 0],
            "nodes_trueleafs": [1] * depth,
            "nodes_falseleafs": [0] * (depth - 1) + [1],
            "leaf_targetids": [0] * (depth + 1),
        }
        lists["nodes_truenodeids"][0], lists["nodes_falsenodeids"][-1] = 0, 1
        for name, values in lists.items():
            attribute(of, name).ints[:] = values
        set_tensor("nodes_modes", np.zeros(depth, np.uint8))(of)
        set_tensor("nodes_splits", np.zeros(depth, np.float32))(of)
        set_tensor("leaf_weights", np.zeros(depth + 1, np.float32))(of)

    return damage


def ladder(depth: int) -> Callable[[onnx.NodeProto], None]:
    """A tree whose nodes but the root all have one child, twice: 2**(depth - 1) ways."""

    def damage(of: onnx.NodeProto) -> None:
        chain_of(depth)(of)
        attribute(of, "nodes_truenodeids").ints[1:] = [*range(2, depth), 2]
        attribute(of, "nodes_trueleafs").ints[1:] = [0] * (depth - 2) + [1]

    return damage


def many_members(of: onnx.NodeProto) -> None:
    attribute(of, "n_targets").i = 2**40


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (set_int("nodes_featureids", 4, WIDTH), "columns beyond the rows"),
        (set_int("nodes_featureids", 4, -1), "columns beyond the rows"),
        (set_int("leaf_targetids", 1, 2), "no member"),
        (set_int("nodes_truenodeids", 3, 1 << 40), "does not exist"),
        (set_int("nodes_falsenodeids", 3, -1), "does not exist"),
        (set_int("nodes_trueleafs", 1, 2), "not 0 or 1"),
        (set_int("tree_roots", 1, 1 << 22), "not among its nodes"),
        (set_int("tree_roots", 2, 1), "not trees"),
        (lambda n: attribute(n, "tree_roots").ints.clear(), "no trees"),
        (lambda n: attribute(n, "nodes_featureids").ints.append(0), "entries, not"),
        (lambda n: n.attribute.pop(), "lacks attributes"),
        (lambda n: n.attribute.add().CopyFrom(n.attribute[0]), "lacks attributes"),
        (lambda n: n.attribute[0].ClearField("name"), "lacks attributes"),
        (lambda n: setattr(attribute(n, "n_targets"), "type", 7), "no integer"),
        (lambda n: setattr(attribute(n, "tree_roots"), "type", 1), "no list"),
        (lambda n: setattr(attribute(n, "nodes_splits"), "type", 7), "no tensor"),
        (lambda n: setattr(attribute(n, "tree_roots"), "ref_attr_name", "x"), "refers to"),
        (lambda n: setattr(attribute(n, "aggregate_function"), "i", 0), "is 0"),
        (many_members, "members"),
        (lambda n: attribute(n, "tree_roots").ints.extend([0] * 50_000), "more than 50,000 trees"),
        (set_tensor("nodes_splits", np.zeros(3, np.float32)), "entries, not"),
        (set_tensor("nodes_splits", np.zeros(3, np.float64)), "not a list of float32"),
        (set_tensor("leaf_weights", np.zeros((3, 1), np.float32)), "not a list of float32"),
        (lambda n: attribute(n, "leaf_weights").t.dims.append(1), "not a list of float32"),
        (lambda n: attribute(n, "leaf_weights").t.external_data.add(key="location"), "not a list"),
        (chain_of(trees.DEEPEST + 1), "levels"),
        (ladder(40), "not trees"),
    ],
)
def test_damaged_trees_are_refused(damage: Callable[[onnx.NodeProto], Any], reason: str) -> None:
    damaged = node()
    damage(damaged)
    assert reason in trees.problem(damaged, WIDTH)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("nodes_modes", 6, "otherwise than by <="),
        ("nodes_splits", float("nan"), "not numbers"),
        ("leaf_weights", float("inf"), "no finite number"),
        ("leaf_weights", float("nan"), "no finite number"),
        ("leaf_weights", 3.4e38, "no finite number"),
    ],
)
def test_damaged_values_are_refused(name: str, value: float, reason: str) -> None:
    damaged = node()
    values = numpy_helper.to_array(attribute(damaged, name).t).copy()
    values[1:3] = value
    set_tensor(name, values)(damaged)
    assert reason in trees.problem(damaged, WIDTH)


def test_a_tree_may_be_as_deep_as_it_says() -> None:
    deep = node()
    chain_of(trees.DEEPEST)(deep)
    assert trees.problem(deep, WIDTH) == ""


def are_trees(of: onnx.NodeProto) -> bool:
    """What `trees.problem` must find out, the long way: follow every branch."""
    lists = {name: list(attribute(of, name).ints) for name in LISTS}
    nodes, leaves = len(lists["nodes_featureids"]), len(lists["leaf_targetids"])
    seen: list[tuple[int, int]] = []
    waiting = [(0, root) for root in lists["tree_roots"]]
    while waiting and len(seen) <= nodes + leaves:
        is_leaf, number = waiting.pop()
        if not 0 <= number < (leaves if is_leaf else nodes):
            return False
        seen.append((is_leaf, number))
        if not is_leaf:
            ways = {
                (lists[f"nodes_{way}leafs"][number], lists[f"nodes_{way}nodeids"][number])
                for way in ("true", "false")
            }
            is_stub = len(ways) == 1 and number in lists["tree_roots"] and min(ways)[0] == 1
            if len(ways) == 1 and not is_stub:
                return False
            waiting += ways
    return len(seen) == len(set(seen)) == nodes + leaves


@given(
    st.lists(
        st.tuples(st.sampled_from(LISTS), st.integers(0, 2**20), st.sampled_from(SIZES)),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_what_is_accepted_are_trees(damages: list[tuple[str, int, int]], swap: bool) -> None:
    damaged = node()
    for name, position, value in damages:
        ints = attribute(damaged, name).ints
        position %= len(ints)
        other = value % len(ints)
        if swap:  # stays within the range
            ints[position], ints[other] = ints[other], ints[position]
        else:
            ints[position] = value
    if trees.problem(damaged, WIDTH) == "":
        assert are_trees(damaged)
        onnx.checker.check_node(damaged, _context())
    elif swap and all(name in ("nodes_featureids", "leaf_targetids") for name, *_ in damages):
        raise AssertionError("refused although columns and members may be any")


def _context() -> onnx.checker.C.CheckerContext:
    context = onnx.checker.C.CheckerContext()
    context.ir_version = 10
    context.opset_imports = {"": 21, trees.DOMAIN: trees.OPSET}
    return context


def sandboxed(path: Path, seeds: range) -> list[str]:
    """What became of damaged copies of a file, each in a process of its own."""
    script = Path(__file__).with_name("predictor_sandbox.py")
    command = [sys.executable, str(script), str(path), str(seeds.start), str(seeds.stop)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_damaged_files_end_in_one_line_or_in_numbers(tmp_path: Path) -> None:
    endings = sandboxed(written(tmp_path / "p.onnx"), range(20))
    assert len(endings) == 20
    assert {ending.partition(":")[0] for ending in endings} <= {"refused", "predicts"}


@pytest.mark.slow
def test_many_damaged_files_end_in_one_line_or_in_numbers(tmp_path: Path) -> None:
    heads = [head(), head("error", count=1, deviation_scale=2)]
    endings = sandboxed(written(tmp_path / "p.onnx", heads, families={"a": 1}), range(1000))
    kinds = [ending.partition(":")[0] for ending in endings]
    assert set(kinds) == {"refused", "predicts"}
    assert len(kinds) == 1000
