"""Boosted trees of scikit-learn -> one ONNX TreeEnsemble (ai.onnx.ml 5), a target per member.

ONNX compares float32 features with float32 thresholds, scikit-learn compares them as float64. With
thresholds rounded *down* to float32 both send every float32 value the same way: no float32 lies
between the rounded threshold and the true one. Leaf values are rounded and summed in float32.

The older TreeEnsembleRegressor takes about three times the bytes: it counts leaves among the nodes
and names tree and node at each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from autogo_onnx.predictor.trees import BRANCH_LEQ, DOMAIN, NO_TRANSFORM, OPERATOR, SUM

_NODE = (
    *("nodes_featureids", "nodes_splits", "nodes_modes", "nodes_missing_value_tracks_true"),
    *("nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs"),
)

_Tree = dict[str, NDArray[Any]]


def tree_ensemble(
    members: Sequence[Any], columns: Sequence[int], rows: str, output: str
) -> onnx.NodeProto:
    """Fitted regressors as one node: `rows` float32[N,F] -> `output` float32[N,K], K members.

    Args:
        members: fitted `HistGradientBoostingRegressor`s whose link is the identity.
        columns: the number in `rows` of each column that they were fitted on.
    """
    trees = [
        (target, tree)
        for target, member in enumerate(members)
        for tree in _trees_of(member, np.asarray(columns, np.int64))
    ]
    nodes = np.cumsum([0, *(len(tree["nodes_modes"]) for _, tree in trees)])
    leaves = np.cumsum([0, *(len(tree["leaf_weights"]) for _, tree in trees)])
    shifted = [_shifted(tree, n, m) for (_, tree), n, m in zip(trees, nodes, leaves, strict=False)]
    lists = {name: np.concatenate([tree[name] for tree in shifted]) for name in _NODE}
    weights = np.concatenate([tree["leaf_weights"] for tree in shifted])
    targets = np.repeat([target for target, _ in trees], np.diff(leaves))
    return helper.make_node(
        OPERATOR,
        [rows],
        [output],
        name=output,
        domain=DOMAIN,
        n_targets=len(members),
        aggregate_function=SUM,
        post_transform=NO_TRANSFORM,
        tree_roots=nodes[:-1].tolist(),
        leaf_targetids=targets.tolist(),
        leaf_weights=numpy_helper.from_array(weights.astype(np.float32)),
        **{name: _attribute(values) for name, values in lists.items()},
    )


def float32_at_most(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each value.

    >>> float(float32_at_most(np.array([0.1]))[0]) <= 0.1 < float(np.float32(0.1))
    True
    """
    with np.errstate(over="ignore"):  # beyond float32: infinity, of which the next below is taken
        nearest = values.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
    rounded: NDArray[np.float32] = np.where(nearest.astype(np.float64) > values, below, nearest)
    return rounded


def _attribute(values: NDArray[Any]) -> Any:
    """Integers as a list of them, all else as a tensor: so the operator wants them."""
    if values.dtype == np.int64:
        return values.tolist()
    return numpy_helper.from_array(values)


def _trees_of(regressor: Any, columns: NDArray[np.int64]) -> Iterator[_Tree]:
    """What the boosting starts from, as a tree of one leaf, and its trees."""
    yield _leaf(float(np.ravel(regressor._baseline_prediction)[0]))
    for (predictor,) in regressor._predictors:
        nodes = predictor.nodes
        yield _tree(nodes, columns) if len(nodes) > 1 else _leaf(float(nodes["value"][0]))


def _leaf(weight: float) -> _Tree:
    """A tree that is a leaf: a node whose two ways both lead to it."""
    values = {name: np.zeros(1, np.int64) for name in _NODE} | {
        "nodes_splits": np.zeros(1, np.float32),
        "nodes_modes": np.array([BRANCH_LEQ], np.uint8),
        "leaf_weights": np.array([weight]),
    }
    return values | {name: np.ones(1, np.int64) for name in ("nodes_trueleafs", "nodes_falseleafs")}


def _tree(nodes: NDArray[Any], columns: NDArray[np.int64]) -> _Tree:
    """One tree, its branches and leaves numbered apart and from 0, children after parents."""
    leaf = nodes["is_leaf"].astype(bool)
    branches = nodes[~leaf]
    leaves = _leaf_order(nodes, leaf)
    number = np.empty(len(nodes), np.int64)
    number[~leaf] = np.arange(len(branches))
    number[leaves] = np.arange(len(leaves))
    left, right = branches["left"], branches["right"]
    return {
        "nodes_featureids": columns[branches["feature_idx"]],
        "nodes_splits": float32_at_most(branches["num_threshold"].astype(np.float64)),
        "nodes_modes": np.full(len(branches), BRANCH_LEQ, np.uint8),
        "nodes_missing_value_tracks_true": branches["missing_go_to_left"].astype(np.int64),
        "nodes_truenodeids": number[left],
        "nodes_falsenodeids": number[right],
        "nodes_trueleafs": leaf[left].astype(np.int64),
        "nodes_falseleafs": leaf[right].astype(np.int64),
        "leaf_weights": nodes["value"][leaves],
    }


def _leaf_order(nodes: NDArray[Any], leaf: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The leaves, a leaf of the root last.

    So its number is above that of any branch of its tree. Some versions of ONNX Runtime take a
    root for a leaf where its one way leads to leaf number n and the other to branch number n
    (https://github.com/microsoft/onnxruntime/issues/24679).
    """
    leaves = np.flatnonzero(leaf)
    at_root = np.isin(leaves, [nodes["left"][0], nodes["right"][0]])
    return np.concatenate([leaves[~at_root], leaves[at_root]])


def _shifted(tree: _Tree, nodes: int, leaves: int) -> _Tree:
    """The tree behind others that have so many nodes and leaves."""
    ways = {
        f"nodes_{way}nodeids": tree[f"nodes_{way}nodeids"]
        + np.where(tree[f"nodes_{way}leafs"] == 1, leaves, nodes)
        for way in ("true", "false")
    }
    return tree | ways
