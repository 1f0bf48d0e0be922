"""Whether the trees of a node are safe to run.

ONNX Runtime 1.31 takes a column's number without looking at its range, and so reads beyond the
rows; a tree 100,000 levels deep overflows its stack. What else it finds out itself is found here
first: other versions may not, and a head is only shown to it when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto

DOMAIN, OPERATOR, OPSET = "ai.onnx.ml", "TreeEnsemble", 5
SUM, NO_TRANSFORM, BRANCH_LEQ = 1, 0, 0
MOST_MEMBERS = 256
MOST_TREES = 50_000
"""Of a head. ONNX Runtime takes time quadratic in them to open it: 0.6 s; 80 s for 580,000."""
DEEPEST = 1000
"""Levels of a tree. scikit-learn's have fewer than leaves, and those are tens."""

_INTEGER = {"aggregate_function": SUM, "post_transform": NO_TRANSFORM, "n_targets": None}
_BRANCHES = ("nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs")
_INTEGERS = (
    *("tree_roots", "leaf_targetids", "nodes_featureids", "nodes_missing_value_tracks_true"),
    *_BRANCHES,
)
_TENSORS: Mapping[str, tuple[int, np.dtype[Any]]] = {
    "nodes_modes": (TensorProto.UINT8, np.dtype("uint8")),
    "nodes_splits": (TensorProto.FLOAT, np.dtype("<f4")),
    "leaf_weights": (TensorProto.FLOAT, np.dtype("<f4")),
}

_Arrays = Mapping[str, NDArray[Any]]
_Numbers = NDArray[np.int64]


class _Damaged(Exception):
    """What is wrong with the trees."""


def problem(node: onnx.NodeProto, width: int) -> str:
    """Why the trees of a node, for rows of `width` columns, are not safe to run; "" if they are."""
    try:
        arrays = _arrays(node)
        members = int(arrays["n_targets"][0])
        _expect(0 < members <= MOST_MEMBERS, f"it has {members} members")
        _check_lists(arrays, width, members)
        _check_shape(arrays)
    except _Damaged as damage:
        return str(damage)
    return ""


def _expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise _Damaged(otherwise)


def _arrays(node: onnx.NodeProto) -> _Arrays:
    """All attributes, by name, of their own type and no other."""
    wanted = {*_INTEGER, *_INTEGERS, *_TENSORS}
    names = [attribute.name for attribute in node.attribute]
    _expect(len(names) == len(wanted) and set(names) == wanted, "it lacks attributes of trees")
    return {attribute.name: _array(attribute) for attribute in node.attribute}


def _array(attribute: AttributeProto) -> NDArray[Any]:
    name = attribute.name
    _expect(not attribute.ref_attr_name, f"`{name}` refers to another attribute")
    if name in _TENSORS:
        _expect(attribute.type == AttributeProto.TENSOR, f"`{name}` is no tensor")
        return _tensor(name, attribute.t)
    if name in _INTEGERS:
        _expect(attribute.type == AttributeProto.INTS, f"`{name}` is no list of integers")
        return np.array(attribute.ints, np.int64)
    _expect(attribute.type == AttributeProto.INT, f"`{name}` is no integer")
    _expect(_INTEGER[name] in (None, attribute.i), f"`{name}` is {attribute.i}")
    return np.array([attribute.i], np.int64)


def _tensor(name: str, tensor: TensorProto) -> NDArray[Any]:
    kind, dtype = _TENSORS[name]
    plain = (
        tensor.data_type == kind
        and len(tensor.dims) == 1
        and tensor.dims[0] * dtype.itemsize == len(tensor.raw_data)
        and tensor.data_location == TensorProto.DEFAULT
        and not (tensor.float_data or tensor.int32_data or tensor.external_data)
        and not tensor.HasField("segment")
    )
    _expect(plain, f"`{name}` is not a list of {dtype.name}")
    return np.frombuffer(tensor.raw_data, dtype)


def _check_lists(arrays: _Arrays, width: int, members: int) -> None:
    """Lengths and ranges, each list by itself."""
    nodes, leaves = len(arrays["nodes_modes"]), len(arrays["leaf_weights"])
    for name, values in arrays.items():
        if name.startswith(("nodes_", "leaf_")):
            count = nodes if name.startswith("nodes_") else leaves
            _expect(len(values) == count, f"`{name}` has {len(values)} entries, not {count}")
    _expect(nodes and leaves and len(arrays["tree_roots"]), "it has no trees")
    _expect(len(arrays["tree_roots"]) <= MOST_TREES, f"it has more than {MOST_TREES:,} trees")
    _expect(_within(arrays["nodes_featureids"], width), "its trees ask for columns beyond the rows")
    _expect(_within(arrays["leaf_targetids"], members), "its leaves belong to no member")
    _expect((arrays["nodes_modes"] == BRANCH_LEQ).all(), "its trees branch otherwise than by <=")
    for name in ("nodes_trueleafs", "nodes_falseleafs", "nodes_missing_value_tracks_true"):
        _expect(_within(arrays[name], 2), f"`{name}` are not 0 or 1")
    _expect(not np.isnan(arrays["nodes_splits"]).any(), "its thresholds are not numbers")
    with np.errstate(invalid="ignore"):  # what is no number says so to whoever converts it
        total = np.abs(arrays["leaf_weights"].astype(np.float64)).sum()
    _expect(total < float(np.finfo(np.float32).max), "its leaves add up to no finite number")


def _within(values: NDArray[Any], below: int) -> bool:
    return bool(((values >= 0) & (values < below)).all())


def _check_shape(arrays: _Arrays) -> None:
    """Every node and leaf has one parent, before it: trees, which end."""
    nodes, leaves, roots = (
        len(arrays["nodes_modes"]),
        len(arrays["leaf_weights"]),
        arrays["tree_roots"],
    )
    _expect(_within(roots, nodes), "a root is not among its nodes")
    yes, no, yes_leaf, no_leaf = (arrays[name] for name in _BRANCHES)
    for child, is_leaf in ((yes, yes_leaf == 1), (no, no_leaf == 1)):
        _expect(_within(child[is_leaf], leaves), "a branch leads to a leaf that does not exist")
        _expect(_within(child[~is_leaf], nodes), "a branch leads to a node that does not exist")
    same = yes == no
    alone = same & (yes_leaf == 1) & (no_leaf == 1)  # a tree that is a leaf, see ONNX
    # Some versions of ONNX Runtime would take such a root for a leaf, see `tree_ensemble`.
    _expect(not (same & ~alone)[roots].any(), "a root's two ways have one number")
    _expect(np.isin(np.flatnonzero(alone), roots).all(), "two ways lead to one leaf")
    parents = np.flatnonzero(yes_leaf == 0), np.flatnonzero(no_leaf == 0)
    inner = np.concatenate([roots, yes[parents[0]], no[parents[1]]])
    _expect(_each_once(inner, nodes), "its nodes are not trees")
    ends = np.concatenate([yes[yes_leaf == 1], no[(no_leaf == 1) & ~alone]])
    _expect(_each_once(ends, leaves), "its leaves are not those of trees")
    _check_depth(roots, np.concatenate(parents), inner[len(roots) :], nodes)


def _each_once(numbers: _Numbers, count: int) -> bool:
    return bool((np.bincount(numbers, minlength=count) == 1).all())


def _check_depth(roots: _Numbers, parents: _Numbers, children: _Numbers, nodes: int) -> None:
    """Walk down all trees together, a level at a time, until nothing is below.

    Where every node has one parent, those that the walk does not reach lie on circles.
    """
    below = np.full((2, nodes), -1, np.int64)
    order = np.argsort(parents, kind="stable")
    parents, children = parents[order], children[order]
    second = np.concatenate([[False], parents[1:] == parents[:-1]]).astype(np.int64)
    below[second, parents] = children
    level, reached = roots, 0
    for _ in range(DEEPEST):
        reached += len(level)
        level = below[:, level].ravel()
        level = level[level >= 0]
        if not len(level):
            break
    _expect(not len(level), f"a tree has more than {DEEPEST} levels")
    _expect(reached == nodes, "its branches run in a circle")
