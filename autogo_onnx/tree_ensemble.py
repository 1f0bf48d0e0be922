"""scikit-learn's histogram gradient boosting -> one ONNX TreeEnsembleRegressor.

ONNX compares float32 features with float32 thresholds, scikit-learn compares them as float64. With
thresholds rounded *down* to float32 both send every float32 value the same way: no float32 lies
between the rounded threshold and the true one. Leaf values are rounded and summed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

INPUT, OUTPUT = "rows", "change"
_IR_VERSION, _OPSET, _ML_OPSET = 8, 17, 3


def to_onnx(regressor: Any, n_columns: int, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The fitted `HistGradientBoostingRegressor` as a model float32[N,F] -> float32[N,1].

    Args:
        regressor: fitted on numerical columns with an identity link (squared error).
        n_columns: how many columns it was fitted on.
        metadata: written to the model's `metadata_props`, sorted by key.
    """
    trees = [iteration[0].nodes for iteration in regressor._predictors]
    attributes: dict[str, Any] = {**_branches(trees), **_leaves(trees)}
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[float(np.ravel(regressor._baseline_prediction)[0])],
        aggregate_function="SUM",
        post_transform="NONE",
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "predictor",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", n_columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", 1])],
    )
    model = helper.make_model(
        graph,
        ir_version=_IR_VERSION,
        opset_imports=[
            helper.make_opsetid("", _OPSET),
            helper.make_opsetid("ai.onnx.ml", _ML_OPSET),
        ],
        producer_name="autogo-onnx",
    )
    helper.set_model_props(model, dict(sorted(metadata.items())))
    return model


def float32_at_most(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each value.

    >>> float(float32_at_most(np.array([0.1]))[0]) <= 0.1 < float(np.float32(0.1))
    True
    """
    nearest = values.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    rounded: NDArray[np.float32] = np.where(nearest.astype(np.float64) > values, below, nearest)
    return rounded


def _branches(trees: list[NDArray[Any]]) -> dict[str, list[Any]]:
    """The `nodes_*` attributes of all trees, leaves included."""
    nodes = np.concatenate(trees)
    leaf = nodes["is_leaf"].astype(bool)

    def inner(name: str) -> list[int]:
        return [int(v) for v in np.where(leaf, 0, nodes[name])]

    thresholds = np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64)
    return {
        "nodes_treeids": _tree_ids(trees),
        "nodes_nodeids": [number for tree in trees for number in range(len(tree))],
        "nodes_featureids": inner("feature_idx"),
        "nodes_values": [float(v) for v in float32_at_most(thresholds)],
        "nodes_modes": ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf],
        "nodes_truenodeids": inner("left"),
        "nodes_falsenodeids": inner("right"),
        "nodes_missing_value_tracks_true": inner("missing_go_to_left"),
    }


def _leaves(trees: list[NDArray[Any]]) -> dict[str, list[Any]]:
    """The `target_*` attributes: what each leaf adds."""
    leaf = np.concatenate(trees)["is_leaf"].astype(bool)
    tree_ids = np.array(_tree_ids(trees))[leaf]
    numbers = np.concatenate([np.arange(len(tree)) for tree in trees])[leaf]
    return {
        "target_treeids": [int(t) for t in tree_ids],
        "target_nodeids": [int(n) for n in numbers],
        "target_ids": [0] * int(leaf.sum()),
        "target_weights": [float(v) for v in np.concatenate(trees)["value"][leaf]],
    }


def _tree_ids(trees: list[NDArray[Any]]) -> list[int]:
    return [number for number, tree in enumerate(trees) for _ in range(len(tree))]
