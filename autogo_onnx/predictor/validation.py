"""Whether a file may be run as a predictor; a file from elsewhere is not to be trusted.

Only the trees' attributes ever reach ONNX Runtime, and only after `trees.problem` has followed
every number in them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import onnx

from autogo_onnx import features
from autogo_onnx.predictor import trees
from autogo_onnx.predictor.graph import ROWS

FORMAT, FORMAT_VERSION = "autogo-onnx predictor", "2"
HEAD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_HEADS = 256

Facts = Mapping[str, Mapping[str, Any]]


class Refused(Exception):
    """Why a file is not a predictor, or not one for the rows of this version."""


def metadata(model: onnx.ModelProto) -> tuple[dict[str, str], Facts]:
    """The metadata as it is, and what it says of each head.

    Raises:
        Refused: it is not a predictor's, or one of other columns.
    """
    info = {entry.key: entry.value for entry in model.metadata_props}
    if not all(isinstance(text, str) for pair in info.items() for text in pair):
        raise Refused("its metadata is not text")
    if info.get("format") != FORMAT:
        raise Refused("not a predictor of autogo-onnx (metadata `format`)")
    version = info.get("format_version", "1")
    if version != FORMAT_VERSION:
        raise Refused(f"a predictor of version {version!r}, this reads version {FORMAT_VERSION}")
    version = info.get("features_version", "")
    if version != str(features.VERSION):
        raise Refused(f"made for columns of version {version!r}, this is {features.VERSION}")
    if _json(info, "columns") != list(features.COLUMNS):
        raise Refused("its columns are not ours in name and order")
    heads = _json(info, "heads")
    if not isinstance(heads, dict) or not all(isinstance(facts, dict) for facts in heads.values()):
        raise Refused("its metadata `heads` does not describe its heads")
    for name, facts in heads.items():
        _check_facts(name, facts)
    return info, heads


def head_nodes(model: onnx.ModelProto, heads: Facts) -> dict[str, onnx.NodeProto]:
    """The trees of each head.

    Raises:
        Refused: the graph is not such trees from rows to the heads, or they are not safe to run.
    """
    graph = model.graph
    if model.functions or graph.initializer or graph.sparse_initializer:
        raise Refused("a predictor holds neither functions nor initializers")
    imported = {entry.domain: entry.version for entry in model.opset_import}
    kinds = {(node.domain, node.op_type, node.overload) for node in graph.node}
    if kinds != {(trees.DOMAIN, trees.OPERATOR, "")} or imported.get(trees.DOMAIN) != trees.OPSET:
        raise Refused(f"a predictor is made of {trees.OPERATOR} (version {trees.OPSET}) alone")
    if len(graph.node) > _MOST_HEADS:
        raise Refused(f"it has more than {_MOST_HEADS} heads")
    _check_interface(graph, heads)
    nodes = {}
    for node in graph.node:
        (name,) = node.output
        problem = trees.problem(node, len(features.COLUMNS))
        if problem:
            raise Refused(f"head {name}: {problem}")
        nodes[name] = node
    return nodes


def _check_interface(graph: onnx.GraphProto, heads: Facts) -> None:
    """Inputs, outputs and what is between them; ONNX Runtime is shown none of it."""
    if len(graph.input) != 1 or graph.input[0].name != ROWS:
        raise Refused(f"a predictor has one input, {ROWS}")
    tensor = graph.input[0].type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    if tensor.elem_type != onnx.TensorProto.FLOAT or dims != [0, len(features.COLUMNS)]:
        raise Refused(f"its input is not float32[N,{len(features.COLUMNS)}]")
    outputs = [info.name for info in graph.output]
    if any(list(node.input) != [ROWS] for node in graph.node):
        raise Refused(f"a head reads something other than {ROWS}")
    if [list(node.output) for node in graph.node] != [[name] for name in outputs]:
        raise Refused("its outputs are not those of its heads")
    if sorted(outputs) != sorted(heads):
        raise Refused("its metadata describes other heads than it has")


def _check_facts(name: str, facts: Mapping[str, Any]) -> None:
    if not HEAD_NAME.fullmatch(name) or name == ROWS:
        raise Refused(f"a head cannot be named {name[:80]!r}")
    if not isinstance(facts.get("predicts", ""), str):
        raise Refused(f"what head {name} predicts is not text")
    scale = facts.get("deviation_scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise Refused(f"`deviation_scale` of head {name} is no number")
    if not (0 < scale < 1e6 and math.isfinite(scale)):
        raise Refused(f"`deviation_scale` of head {name} is not a factor of a deviation")


def _json(info: Mapping[str, str], key: str) -> Any:
    """A JSON value of the metadata."""
    try:
        return json.loads(info.get(key, ""))
    except (ValueError, RecursionError):
        raise Refused(f"its metadata `{key}` is not JSON") from None
