"""Predicts what a replaced segment changes: trees over the rows of `features`, in ONNX Runtime.

A predictor is an ONNX file with a node per head, each a TreeEnsemble from `rows` float32[N,F] to
float32[N,K]: K members that predict the same. Its `metadata_props` name the columns that it wants
(`columns`, a JSON list), their version (`features_version`), its heads (`heads`) and where it comes
from. Nothing in a file is executed but that one operator, and a head costs nothing until it is
asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from autogo_onnx import features, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.features import Rows, Vector
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import validation
from autogo_onnx.predictor.graph import model_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = NDArray[np.float64]

ACCURACY = "accuracy"
ERROR = "error"
SHIPPED = "predictor.onnx"
_LARGEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Predicted:
    """Predictions of one quantity, in the unit of the head that made them.

    Attributes:
        mean: float64[N].
        deviation: how far the members of the head disagree, float64[N] >= 0; 0 where it has one.
    """

    mean: Floats
    deviation: Floats


class Predictor:
    """An opened predictor.

    Attributes:
        info: the file's metadata: `families`, `tables_sha256`, `rows`, `seed`, ...
    """

    def __init__(
        self,
        info: Mapping[str, str],
        facts: validation.Facts,
        nodes: Mapping[str, onnx.NodeProto],
    ) -> None:
        self.info = info
        self._facts = facts
        self._nodes = nodes
        self._sessions: dict[str, InferenceSession] = {}

    def heads(self) -> tuple[str, ...]:
        """Names of what it predicts, in the file's order."""
        return tuple(self._nodes)

    def facts(self, head: str) -> Mapping[str, Any]:
        """What the file says of a head: `predicts`, and figures from its training.

        Raises:
            InputError: it has no such head.
        """
        self._expect(head)
        return self._facts[head]

    def sizes(self, head: str) -> Mapping[str, int]:
        """Members, trees and leaves of a head.

        Raises:
            InputError: it has no such head.
        """
        self._expect(head)
        lists = {a.name: a for a in self._nodes[head].attribute}
        trees, leaves = len(lists["tree_roots"].ints), len(lists["leaf_targetids"].ints)
        return {"members": lists["n_targets"].i, "trees": trees, "leaves": leaves}

    def predict(self, rows: Rows, head: str = ACCURACY) -> Predicted:
        """What a head predicts of each row.

        Args:
            rows: float32[N,F] in the order of `features.COLUMNS`.

        Raises:
            InputError: it has no such head, or the rows have another number of columns.
        """
        return self.predicted(self.members(rows, head), head)

    def compare(
        self, site: features.Context, replacements: Sequence[OpGraph], head: str = ACCURACY
    ) -> Predicted:
        """What each replacement at a site changes against the segment that is there.

        Args:
            head: one that predicts what the network with the replacement in it *is*, not what
                changes; `accuracy` does.

        Raises:
            InputError: it has no such head.
        """
        width = len(site.segment)
        numbers = [features.describe(replacement) for replacement in replacements]
        return self.compare_parts(site, np.reshape(numbers, (-1, width)), head)

    def compare_parts(
        self, site: features.Context, replacements: Vector, head: str = ACCURACY
    ) -> Predicted:
        """`compare` for replacements that `features.describe` has described, float64[N,G].

        Each member's prediction for the segment itself is taken from its predictions, so the change
        is exactly 0 for the segment, and the deviation is that of the change.

        Raises:
            InputError: it has no such head.
        """
        rows = features.rows_of_parts(site, np.vstack([site.segment, replacements]))
        values = self.members(rows, head)
        return self.predicted(values[1:] - values[:1], head)

    def predicted(self, members: Floats, head: str = ACCURACY) -> Predicted:
        """What members of a head agree on, and how far they do not; `members` is float64[N,K].

        Raises:
            InputError: it has no such head.
        """
        scale = self.facts(head).get("deviation_scale", 1.0)
        return Predicted(members.mean(axis=1), members.std(axis=1) * scale)

    def members(self, rows: Rows, head: str = ACCURACY) -> Floats:
        """What each member of a head predicts, float64[N,K]; arguments as `predict`.

        Raises:
            InputError: as `predict`.
        """
        session = self._session(head)
        if rows.ndim != 2 or rows.shape[1] != len(features.COLUMNS):
            wanted = f"[N,{len(features.COLUMNS)}]"
            raise InputError(f"predictor: rows of shape {list(rows.shape)}, expected {wanted}")
        # ONNX Runtime does not say what trees make of no rows at all.
        feed = rows if len(rows) else np.zeros((1, len(features.COLUMNS)))
        name = session.get_inputs()[0].name
        (found,) = runtime.run(session, None, {name: feed.astype(np.float32, copy=False)})
        members: Floats = found.astype(np.float64)[: len(rows)]
        return members

    def _session(self, head: str) -> InferenceSession:
        self._expect(head)
        if head not in self._sessions:
            model = model_of([self._nodes[head]])
            self._sessions[head] = runtime.open_session(model)
        return self._sessions[head]

    def _expect(self, head: str) -> None:
        if head not in self._nodes:
            known = ", ".join(self._nodes)
            raise InputError(f"the predictor has no head {head!r}, only {known}")


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
    try:
        info, facts = validation.metadata(model)
        return Predictor(info, facts, validation.head_nodes(model, facts))
    except validation.Refused as refused:
        hint = "train one with `autogo-onnx predictor train`"
        raise InputError(f"{name}: {refused}; {hint}") from refused


def _read(path: Path | None, name: str) -> bytes:
    source = path or resources.files("autogo_onnx") / "data" / SHIPPED
    try:
        with source.open("rb") as file:
            data: bytes = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read the predictor {name}: {error.strerror}") from error
    if len(data) > _LARGEST_BYTES:
        raise InputError(f"{name} is larger than {_LARGEST_BYTES >> 20} MiB: not a predictor")
    return data
