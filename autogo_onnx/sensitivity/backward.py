"""The gradients of a combination of a model's outputs by tensors inside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort

from autogo_onnx.graph import constant_value
from autogo_onnx.runtime import open_session, run
from autogo_onnx.segments import Reading
from autogo_onnx.sensitivity import linear
from autogo_onnx.sensitivity.adjoints import adjoint_of
from autogo_onnx.sensitivity.layer import Adjoint, Array, Layer
from autogo_onnx.submodel import Parts

Values = Mapping[str, Array]


@dataclass(frozen=True)
class _Stage:
    """An operator that is gone through: its tensors by name, constants as they are."""

    index: int
    adjoint: Adjoint
    operands: tuple[str | Array | None, ...]
    varying: tuple[int, ...]
    result: str

    @property
    def sources(self) -> list[str]:
        """Names of what varies."""
        return [str(self.operands[i]) for i in self.varying]


class Backward:
    """Goes through one model from its outputs to its inputs, some samples at a time.

    Attributes:
        reached: tensors by name with a way to an output, and none through an unknown operator.
    """

    def __init__(self, parts: Parts, reading: Reading, *, threads: int = 1) -> None:
        """Find the way.

        Args:
            parts: the model.
            reading: of it.
            threads: of ONNX Runtime.
        """
        self._parts, self._reading, self._threads = parts, reading, threads
        stages = [_stage(reading, i) for i in range(len(reading.opgraph.ops))]
        known = [stage is not None for stage in stages]
        numbers = _reached(reading, known)
        self.reached = frozenset(reading.tensors[t] for t in numbers)
        self._stages = [s for s in stages if s is not None and s.result in self.reached]
        self._again, self._forward = cache(self._alone), cache(self._whole)

    def values(self, feed: Values) -> dict[str, Array]:
        """All tensors that are needed on the way back, and the outputs.

        Raises:
            InputError: ONNX Runtime refuses the model.
        """
        names = {n for s in self._stages for n in (*s.sources, s.result)} | set(self._parts.outputs)
        fetched = sorted(names - set(feed))
        session = self._forward(tuple((n, str(a.dtype)) for n, a in feed.items()), tuple(fetched))
        read = {i.name for i in session.get_inputs()}
        made = run(session, None, {n: a for n, a in feed.items() if n in read})
        return {**feed, **dict(zip((o.name for o in session.get_outputs()), made, strict=True))}

    def gradients(self, values: Values, seeds: Values, wanted: Collection[str]) -> dict[str, Array]:
        """Gradients of `sum(seeds * outputs)` by tensors, as far as they depend on them.

        Args:
            values: what `values` gave.
            seeds: by name of an output, float32 of its shape.
            wanted: names of tensors that are reached.

        Raises:
            InputError: ONNX Runtime refuses to run an operator by itself.
        """
        found = {name: np.asarray(seed) for name, seed in seeds.items() if name in self.reached}
        for stage in reversed(self._stages):
            if stage.result not in found:
                continue
            keep = stage.result in wanted
            gradient = found[stage.result] if keep else found.pop(stage.result)
            layer = self._layer(stage, values)
            given = stage.adjoint(layer, np.ascontiguousarray(gradient))
            for name, part in zip(stage.sources, given, strict=True):
                if name in self.reached:
                    found[name] = found[name] + part if name in found else part
        return {name: found[name] for name in wanted if name in found}

    def _layer(self, stage: _Stage, values: Values) -> Layer:
        operands = [values[o] if isinstance(o, str) else o for o in stage.operands]

        def again(sources: Sequence[Array]) -> Array:
            feed = dict(zip(stage.sources, sources, strict=True))
            return np.asarray(run(self._again(stage.index), None, feed)[0])

        op = self._reading.opgraph.ops[stage.index]
        return Layer(op, operands, stage.varying, values[stage.result], again)

    def _alone(self, index: int) -> ort.InferenceSession:
        """One operator by itself."""
        stage = _stage(self._reading, index)
        assert stage is not None, "only known operators are gone through"
        given = {name: np.dtype(np.float32) for name in stage.sources}
        part = self._parts.between(given, [stage.result])
        return open_session(part, threads=self._threads, frugal=True)

    def _whole(
        self, feeds: tuple[tuple[str, str], ...], fetched: tuple[str, ...]
    ) -> ort.InferenceSession:
        given: dict[str, np.dtype[Any]] = {name: np.dtype(kind) for name, kind in feeds}
        return open_session(self._parts.between(given, fetched), threads=self._threads)


def _stage(reading: Reading, index: int) -> _Stage | None:
    """One operator as it is gone through; None where its adjoint is not known."""
    graph, node = reading.opgraph, reading.nodes[index]
    op, made = graph.ops[index], graph.n_inputs + index
    if "output" in dict(op.attributes) and op.kind != "Split":
        return None
    names = [reading.tensors[t] for t in op.inputs]
    operands: list[str | Array | None] = []
    for tensor in node.inputs:
        value = None if tensor.is_empty() else constant_value(tensor)
        operands.append(value if value is not None or tensor.is_empty() else str(tensor.name))
    varying = tuple(i for i, o in enumerate(operands) if isinstance(o, str) and o in names)
    computed = any(isinstance(o, str) and o not in names for o in operands)
    if [operands[i] for i in varying] != names:
        return None
    adjoint = adjoint_of(op, varying, graph.shape(op.inputs[0]), graph.shape(made))
    if adjoint is None or (computed and adjoint is not linear.reshaped):
        return None
    # A shape that is computed is of no interest on the way back.
    kept = tuple(None if isinstance(o, str) and o not in names else o for o in operands)
    return _Stage(index, adjoint, kept, varying, reading.tensors[made])


def _reached(reading: Reading, known: Sequence[bool]) -> set[int]:
    """Tensors that the outputs depend on, and only in ways that are known."""
    graph = reading.opgraph
    reached = set(graph.outputs)
    blocked: set[int] = set()
    for index in reversed(range(len(graph.ops))):
        made = graph.n_inputs + index
        matters = made in reached or made in blocked
        if matters and not known[index]:
            blocked.update(graph.ops[index].inputs)
        if made in reached:
            reached.update(graph.ops[index].inputs)
        if made in blocked:
            blocked.update(graph.ops[index].inputs)
    return reached - blocked
