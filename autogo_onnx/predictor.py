"""Predicts how much a replaced segment changes a network's accuracy; runs in ONNX Runtime.

A predictor is an ONNX file of one TreeEnsembleRegressor, float32[N,F] -> float32[N,1]. Its
`metadata_props` name the columns it wants (`columns`, a JSON list), their version
(`features_version`) and where it comes from. Nothing in a file is executed but that one operator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from autogo_onnx import features, part_features, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.features import Rows
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.part_features import Vector

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = "autogo-onnx predictor"
SHIPPED = "predictor.onnx"
_LARGEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Predictor:
    """An opened predictor.

    Attributes:
        info: the file's metadata: `families`, `tables_sha256`, `rows`, `seed`, ...
    """

    info: Mapping[str, str]
    _session: InferenceSession = field(repr=False)

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Predicted change of the family-standardized accuracy, higher is better; float64[N].

        Args:
            rows: float32[N,F] in the order of `features.COLUMNS`.

        Raises:
            InputError: the rows have another number of columns.
        """
        if rows.ndim != 2 or rows.shape[1] != len(features.COLUMNS):
            wanted = f"[N,{len(features.COLUMNS)}]"
            raise InputError(f"predictor: rows of shape {list(rows.shape)}, expected {wanted}")
        if not len(rows):
            return np.empty(0)
        name = self._session.get_inputs()[0].name
        (change,) = runtime.run(self._session, None, {name: rows.astype(np.float32, copy=False)})
        flat: NDArray[np.float64] = change.astype(np.float64)[:, 0]
        return flat

    def compare(
        self, site: features.Context, replacements: Sequence[OpGraph]
    ) -> NDArray[np.float64]:
        """What each replacement at a site changes, asked both ways; float64[N].

        The mean of replacing S by S' and of the negated way back: exactly 0 for S itself, where
        `predict` alone is off by some tenths on networks unlike those it was trained on. So sites
        can be compared with each other, and a site's own ranking is a little better.
        """
        if not replacements:
            return np.empty(0)
        return self.compare_parts(site, np.stack([part_features.describe(r) for r in replacements]))

    def compare_parts(self, site: features.Context, replacements: Vector) -> NDArray[np.float64]:
        """`compare` for replacements that `part_features.describe` has described, float64[N,G]."""
        there = self.predict(features.rows_of_parts(site, replacements))
        back = self.predict(features.rows_back_of_parts(site, replacements))
        mean: NDArray[np.float64] = (there - back) / 2
        return mean


def open_predictor(path: Path | None = None) -> Predictor:
    """The predictor in a file, or the shipped one.

    Raises:
        InputError: the file cannot be read, is not a predictor, or wants other columns.
    """
    name = str(path) if path is not None else "the shipped predictor"
    data = _read(path, name)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise InputError(f"{name} is not an ONNX file: {error}") from error
    info = {entry.key: entry.value for entry in model.metadata_props}
    problem = _metadata_problem(info) or _graph_problem(model)
    if problem:
        raise InputError(f"{name}: {problem}; train one with `autogo-onnx predictor train`")
    try:
        return Predictor(info, runtime.open_session(data))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _read(path: Path | None, name: str) -> bytes:
    source = path or resources.files("autogo_onnx") / "data" / SHIPPED
    try:
        if path is not None and path.stat().st_size > _LARGEST_BYTES:
            raise InputError(f"{name} is larger than {_LARGEST_BYTES >> 20} MiB: not a predictor")
        return source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the predictor {name}: {error.strerror}") from error


def _metadata_problem(info: Mapping[str, str]) -> str:
    """Why the metadata is not of a predictor for our columns; "" when it is."""
    if info.get("format") != FORMAT:
        return "not a predictor of autogo-onnx (metadata `format`)"
    version = info.get("features_version", "")
    if version != str(features.VERSION):
        return f"made for columns of version {version!r}, this is version {features.VERSION}"
    try:
        columns = json.loads(info.get("columns", ""))
    except ValueError:
        return "its metadata `columns` is not JSON"
    if columns != list(features.COLUMNS):
        return "its columns are not ours in name and order"
    return ""


def _graph_problem(model: onnx.ModelProto) -> str:
    """Why the graph is not one tree ensemble from rows to a number each; "" when it is."""
    graph = model.graph
    if model.functions or graph.initializer or graph.sparse_initializer:
        return "a predictor holds neither functions nor initializers"
    kinds = [(node.domain, node.op_type) for node in graph.node]
    if kinds != [("ai.onnx.ml", "TreeEnsembleRegressor")]:
        return "a predictor is one TreeEnsembleRegressor"
    if len(graph.input) != 1 or len(graph.output) != 1:
        return "a predictor has one input and one output"
    tensor = graph.input[0].type.tensor_type
    dims = [d.dim_value for d in tensor.shape.dim]
    if tensor.elem_type != onnx.TensorProto.FLOAT or dims != [0, len(features.COLUMNS)]:
        return f"its input is not float32[N,{len(features.COLUMNS)}]"
    return _tree_problem(graph.node[0])


def _tree_problem(node: onnx.NodeProto) -> str:
    """Why the trees are not safe to run; "" when they are.

    ONNX Runtime follows column and target numbers without looking at their range, and so reads
    beyond the rows. Cycles and missing children it refuses itself.
    """
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    columns, targets = values.get("nodes_featureids", []), values.get("target_ids", [])
    if values.get("n_targets") != 1 or any(targets):
        return "its trees predict more than one number"
    if not columns or min(columns) < 0 or max(columns) >= len(features.COLUMNS):
        return "its trees ask for columns that do not exist"
    if any(len(v) != len(columns) for name, v in values.items() if name.startswith("nodes_")):
        return "its trees' lists have different lengths"
    if any(len(v) != len(targets) for name, v in values.items() if name.startswith("target_")):
        return "its leaves' lists have different lengths"
    return ""
