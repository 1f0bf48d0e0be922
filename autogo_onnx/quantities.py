"""What belongs together in an output: boxes in pixels and scores below 1 are two quantities.

Detectors join both into one tensor. Judged as one, boxes hide what becomes of the scores: errors
are measured by the largest values there are. So such an output is taken apart again, by the
operators that its elements come from, and each quantity is judged by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from autogo_onnx import verify
from autogo_onnx.errors import InputError
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples

Array = np.ndarray[Any, Any]

_MOVING = frozenset(
    {"Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)
"""Operators that move elements and change none."""
_PREFIX = "autogo_quantity_"


@dataclass(frozen=True)
class Quantities:
    """The quantities of a model's outputs.

    Attributes:
        kinds: of each output that holds several, the number of every element's quantity, from 0 on:
            int64, of the shape of one sample's output.
    """

    kinds: Mapping[str, NDArray[np.int64]]

    def split(self, outputs: Mapping[str, Array]) -> list[Array]:
        """The outputs in order, those of several quantities as one float[N,elements,1] for each."""
        found = []
        for name, values in outputs.items():
            kinds = self.kinds.get(name)
            if kinds is None or kinds.shape != values.shape[1:]:
                found.append(values)
                continue
            rows = values.reshape(len(values), -1, 1)
            found += [rows[:, kinds.ravel() == k] for k in range(kinds.max() + 1)]
        return found

    def weights(self, name: str, values: Array) -> NDArray[np.float64]:
        """What squared errors of elements are worth: each quantity's mean, over its variance.

        Args:
            name: of the output.
            values: float[N,...], the original's.

        Returns:
            float64, of the shape of one sample's output. The sum of all squared errors of a sample,
            so weighted, is the sum over the quantities of what part of their variance is lost.
        """
        kinds = self.kinds.get(name)
        if kinds is None or kinds.shape != values.shape[1:]:
            kinds = np.zeros(values.shape[1:], np.int64)
        found = np.zeros(kinds.shape)
        for k in np.unique(kinds):
            of = kinds == k
            found[of] = 1 / (of.sum() * (values[:, of].var(dtype=np.float64) or 1.0))
        return found


SINGLE = Quantities({})
"""Every output is one quantity."""


def quantities_of(model: onnx.ModelProto, samples: Samples) -> Quantities:
    """Find out which elements of the outputs come from operators of the same type.

    The model is run once with these operators' results replaced by numbers that tell their types.
    Class scores, [N,K], are never taken apart.

    Args:
        model: one that runs.
        samples: on which it does; the first is used.
    """
    makers = {name: node for node in model.graph.node for name in node.output if name}
    joined = {o.name: _Joined.behind(o.name, makers) for o in model.graph.output}
    joined = {name: one for name, one in joined.items() if len(set(one.sources.values())) > 1}
    if not joined:
        return SINGLE
    try:
        session = open_session(_telling(model, joined), optimize=False)
        told = verify.run(session, samples.take([0]), [_PREFIX + name for name in joined])
    except InputError:
        return SINGLE
    kinds = {name: told[_PREFIX + name][0] for name in joined}
    return Quantities({name: _numbered(k) for name, k in kinds.items() if k.ndim > 1})


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
            if node is None or node.op_type not in _MOVING or node.domain:
                sources[name] = "" if node is None or node.op_type == "Constant" else node.op_type
            elif name not in moving:
                moving.add(name)
                left += _data(node)
        return cls(frozenset(moving), sources)


def _data(node: onnx.NodeProto) -> Sequence[str]:
    """Inputs whose elements are moved; the others tell where to."""
    return list(node.input if node.op_type == "Concat" else node.input[:1])


def _telling(model: onnx.ModelProto, joined: Mapping[str, _Joined]) -> onnx.ModelProto:
    """A model that also gives, for some outputs, the number of each element's type."""
    told = onnx.ModelProto()
    told.CopyFrom(model)
    sources = {name: kind for one in joined.values() for name, kind in one.sources.items()}
    numbers = {kind: float(k) for k, kind in enumerate(sorted(set(sources.values())))}
    for name, kind in sources.items():
        number = helper.make_tensor("", onnx.TensorProto.FLOAT, [1], [numbers[kind]])
        shape, filled = f"{_PREFIX}shape_{name}", _PREFIX + name
        told.graph.node.add().CopyFrom(helper.make_node("Shape", [name], [shape]))
        told.graph.node.add().CopyFrom(
            helper.make_node("ConstantOfShape", [shape], [filled], value=number)
        )
    moving = frozenset[str]().union(*(one.moving for one in joined.values()))
    for node in model.graph.node:
        if not moving.isdisjoint(node.output):
            moved = set(_data(node))
            copy = told.graph.node.add()
            copy.CopyFrom(node)
            copy.name = ""
            copy.input[:] = [_PREFIX + n if n in moved else n for n in node.input]
            copy.output[:] = [_PREFIX + n if n else n for n in node.output]
    told.graph.output.extend(
        helper.make_tensor_value_info(_PREFIX + name, onnx.TensorProto.FLOAT, None)
        for name in joined
    )
    return told


def _numbered(told: Array) -> NDArray[np.int64]:
    """Numbers from 0 on, without gaps."""
    numbers: NDArray[np.int64] = np.unique(told, return_inverse=True)[1].reshape(told.shape)
    return numbers
