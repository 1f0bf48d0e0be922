"""What belongs together in an output: boxes in pixels and scores below 1 are two quantities.

Detectors join both into one tensor. Judged as one, boxes hide what becomes of the scores: errors
are measured by the largest values there are. So such an output is taken apart again, by the
operators that its elements come from, and each quantity is judged by itself. So is a vector of
values, such as a box or an embedding: by what it spreads by over the samples.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from autogo_onnx import verify
from autogo_onnx.class_drop import is_class_scores
from autogo_onnx.fidelity import error_unit
from autogo_onnx.messages import opset_of
from autogo_onnx.options import Gating
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples, evenly
from autogo_onnx.vectors import TRIED, is_of_classes, units

Array = np.ndarray[Any, Any]

_MOVING = frozenset(
    {"Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"}
    | {"Identity", "Reshape", "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split"}
    | {"Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"}
)
"""Operators that move elements and change none; a Cast changes what they are written in."""
_OLDEST_OPSET = 9
"""Of a model that can be asked: before there is no ConstantOfShape."""
_FLOATS, _RANKS = ("tensor(float)", "tensor(float16)", "tensor(double)"), (0, 2)
"""Of outputs that may be vectors; where nobody knows it, ONNX Runtime tells rank 0."""
_LEAST_UNIT = 1e-30
_PREFIX = "autogo/quantity/"


@dataclass(frozen=True)
class Quantities:
    """The quantities of a model's outputs.

    Attributes:
        kinds: of each output that holds several, the number of every element's quantity, from 0 on:
            int64, of the shape of one sample's output.
        means: over some samples, float32[K], of every output float[N,K] that is no scores of
            classes: each of its values counts from there.
    """

    kinds: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    means: Mapping[str, Array] = field(default_factory=dict)

    def are_classes(self, name: str, values: Array) -> bool:
        """Whether an output, as the model gives it, is scores of classes."""
        return is_class_scores(values) and name not in self.means

    def split(self, outputs: Mapping[str, Array]) -> list[Array]:
        """The outputs in order, those of several quantities as one float[N,elements,1] for each."""
        found = []
        for name, values in outputs.items():
            kinds = self._of(name, values)
            if kinds is None:
                found.append(values)
                continue
            rows = self._centred(name, values).reshape(len(values), -1, 1)
            found += [rows[:, kinds.ravel() == k] for k in range(kinds.max() + 1)]
        return found

    def weights(self, name: str, values: Array) -> NDArray[np.float64]:
        """What squared errors of elements are worth: each quantity's mean, over its `error_unit`.

        Args:
            name: of the output.
            values: float[N,...], the original's.

        Returns:
            float64, of the shape of one sample's output, or () for a single quantity. The sum of
            all squared errors of a sample, so weighted, is the sum over the quantities of what is
            lost of each.
        """
        kinds = self._of(name, values)
        if kinds is None:
            return np.asarray(1 / (values[0].size * _unit(values) if values.ndim else 1.0))
        found, values = np.zeros(kinds.shape), self._centred(name, values)
        for k in range(kinds.max() + 1):
            of = kinds == k
            found[of] = 1 / (of.sum() * _unit(values[:, of]))
        return found

    def _of(self, name: str, values: Array) -> NDArray[np.int64] | None:
        """The numbers for values of an output; None for one quantity, or another size."""
        kinds = self.kinds.get(name)
        return kinds if kinds is not None and kinds.shape == values.shape[1:] else None

    def _centred(self, name: str, values: Array) -> Array:
        return values - self.means[name] if name in self.means else values


SINGLE = Quantities()
"""Every output is one quantity."""


def _unit(values: Array) -> float:
    """The `error_unit`; 1 where values are constant, as far as float32 can tell, or not finite."""
    found = error_unit(values)
    return found if _LEAST_UNIT < found < math.inf else 1.0


def quantities_of(
    model: onnx.ModelProto,
    samples: Samples,
    gating: Gating = "auto",
    sample_axes: Collection[str] = (),
) -> Quantities:
    """Find out which elements of the outputs belong together.

    Args:
        model: the original: exact rewriting may take the last operators away.
        samples: on which it runs; some are used.
        gating: what the user says of the first output, if that could be scores of classes.
        sample_axes: outputs whose leading axis does not count samples.

    Raises:
        InputError: ONNX Runtime does not run the model, or the one that tells the operators.
    """
    kinds, means = _joined_kinds(model, samples), dict[str, Array]()
    said: Gating = gating if samples.labels is None else "accuracy"
    for name, values in _vectors(model, samples, sample_axes).items():
        says = said if name == model.graph.output[0].name else "auto"
        if is_of_classes(values) if says == "auto" else says != "values":
            continue
        both = np.stack([kinds.get(name, np.zeros(values.shape[1])), units(values)])
        kinds[name] = _numbered(np.unique(both, axis=1, return_inverse=True)[1].ravel())
        means[name] = np.nan_to_num(values.mean(axis=0), posinf=0.0, neginf=0.0)
    return Quantities({n: k for n, k in kinds.items() if k.ndim > 1 or n in means}, means)


def _vectors(
    model: onnx.ModelProto, samples: Samples, sample_axes: Collection[str]
) -> dict[str, Array]:
    """float[N,K] outputs for some samples, spread over all, that could be scores of classes."""
    session = open_session(model)
    names = [
        output.name
        for output in session.get_outputs()
        if output.type in _FLOATS and len(output.shape) in _RANKS and output.name not in sample_axes
    ]
    if not names:
        return {}
    found = verify.run(session, samples.take(evenly(len(samples), TRIED)), names)
    return {name: values for name, values in found.items() if is_class_scores(values)}


def _joined_kinds(model: onnx.ModelProto, samples: Samples) -> dict[str, NDArray[np.int64]]:
    """By the type of the operator that elements come from, of outputs that come from several.

    The model is run once with these operators' results replaced by numbers that tell their types.
    Nothing is told of models of operator sets before 9.
    """
    makers = {name: node for node in model.graph.node for name in node.output if name}
    joined = {o.name: _Joined.behind(o.name, makers) for o in model.graph.output}
    joined = {name: one for name, one in joined.items() if len(set(one.sources.values())) > 1}
    if not joined or opset_of(model) < _OLDEST_OPSET:
        return {}
    telling, names = _telling(model, joined)
    told = verify.run(open_session(telling, optimize=False), samples.take([0]), names)
    kinds = {name: told[new][0] for name, new in zip(joined, names, strict=True)}
    return {name: _numbered(k) for name, k in kinds.items()}


@dataclass(frozen=True)
class _Joined:
    """How an output is put together.

    Attributes:
        moving: results of the operators that only move elements.
        sources: what they move, by name, and the type of the operator that made it; constants are
            of type "".
    """

    moving: frozenset[str]
    sources: Mapping[str, str]

    @classmethod
    def behind(cls, output: str, makers: Mapping[str, onnx.NodeProto]) -> _Joined:
        moving: set[str] = set()
        sources: dict[str, str] = {}
        left = [output]
        while left:
            name = left.pop()
            node = makers.get(name)
            if node is None or node.op_type == "Constant":
                sources[name] = ""
            elif node.op_type not in _MOVING or node.domain not in ("", "ai.onnx"):
                sources[name] = node.op_type
            elif name not in moving:
                moving.add(name)
                left += _data(node)
        return cls(frozenset(moving), sources)


def _data(node: onnx.NodeProto) -> Sequence[str]:
    """Inputs whose elements are moved; the others tell where to."""
    if node.op_type == "Concat":
        return list(node.input)
    if node.op_type == "Where":
        return list(node.input[1:])
    return list(node.input[::2] if node.op_type.startswith("Scatter") else node.input[:1])


def _telling(
    model: onnx.ModelProto, joined: Mapping[str, _Joined]
) -> tuple[onnx.ModelProto, list[str]]:
    """A model that also gives, for some outputs, the number of each element's type; their names."""
    told = onnx.ModelProto()
    told.CopyFrom(model)
    told.graph.ClearField("output")
    sources = {name: kind for one in joined.values() for name, kind in one.sources.items()}
    numbers = {kind: float(k) for k, kind in enumerate(sorted(set(sources.values())))}
    moving = frozenset[str]().union(*(one.moving for one in joined.values()))
    made = [
        n for node in model.graph.node if not moving.isdisjoint(node.output) for n in node.output
    ]
    names = {name: f"{_PREFIX}{k}" for k, name in enumerate((*sources, *made)) if name}
    for name, kind in sources.items():
        number = helper.make_tensor("", onnx.TensorProto.FLOAT, [1], [numbers[kind]])
        shape = f"{names[name]}/shape"
        told.graph.node.extend(
            [
                helper.make_node("Shape", [name], [shape]),
                helper.make_node("ConstantOfShape", [shape], [names[name]], value=number),
            ]
        )
    for node in model.graph.node:
        if not moving.isdisjoint(node.output):
            told.graph.node.append(_moving_numbers(node, names))
    outputs = [names[name] for name in joined]
    told.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
    )
    return told, outputs


def _moving_numbers(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """The same operator on the numbers of what it moves, which stay float32."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    moved = set(_data(node))
    copy.input[:] = [names[n] if n in moved else n for n in node.input]
    copy.output[:] = [names.get(n, "") for n in node.output]
    if node.op_type == "Cast":
        copy.op_type = "Identity"
        copy.ClearField("attribute")
    return copy


def _numbered(told: Array) -> NDArray[np.int64]:
    """Numbers from 0 on, without gaps."""
    numbers: NDArray[np.int64] = np.unique(told, return_inverse=True)[1].reshape(told.shape)
    return numbers
