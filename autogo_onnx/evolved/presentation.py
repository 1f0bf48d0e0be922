"""The front's networks as models: which of them, built and checked, timed, described."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from autogo_onnx.cost import macs, op_parameters, parameters
from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import AutogoError
from autogo_onnx.evolution import Member
from autogo_onnx.evolution.front import crowding
from autogo_onnx.evolved.base import Base
from autogo_onnx.evolved.building import Built, build
from autogo_onnx.evolved.changes import Change, changes
from autogo_onnx.evolved.inheritance import Inheritance
from autogo_onnx.evolved.options import EvolveOptions
from autogo_onnx.evolved.report import ChangedSegment, EvolvedModel
from autogo_onnx.evolved.timing import Timing
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.progress import Progress
from autogo_onnx.sizes import size

_TIMES_BUILT = 2
"""To be seen, and to be written."""


@dataclass(frozen=True)
class Presented:
    """Models of a front, the best predicted one first, and why others are left out."""

    models: tuple[EvolvedModel, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Presentation:
    """How networks become models.

    Attributes:
        base: that they are edits of.
        timing: of their latency.
        options: of the run.
        deadline: by which all must be done.
    """

    base: Base
    timing: Timing
    options: EvolveOptions
    deadline: Deadline

    def of(self, front: Sequence[Member], progress: Progress) -> Presented:
        """At most `keep` models: the extremes of the front first, then the loneliest networks.

        A network that the base's opset cannot say, that breaks a promise or the limit on measured
        latency is left out, and the next one takes its place. Where time is short, models come
        before their measurements.
        """
        waiting = _loneliest_first([member for member in front if member.edits])
        wanted = min(self.options.keep, len(waiting))
        progress.stage("build and measure", wanted)
        pace = _Pace(self.deadline, self.timing.measuring_s)
        found: list[EvolvedModel] = []
        warnings: list[str] = []
        while waiting and len(found) < wanted and pace.may_build():
            member = waiting.pop(0)
            try:
                one = self._model(member, pace, wanted - len(found) - 1)
            except AutogoError as error:
                warnings.append(f"network {member.key[:12]} was left out: {error}")
                continue
            if not self._is_fast_enough(one):
                warnings.append(f"network {member.key[:12]} was left out: not seen to be as fast")
                continue
            found.append(one)
            progress.advance()
        warnings += self._shortages(found, wanted if waiting else len(found))
        return Presented(_ranked(found), tuple(warnings))

    def _shortages(self, found: Sequence[EvolvedModel], wanted: int) -> list[str]:
        """What there was no time for, a line each."""
        shortages = []
        if len(found) < wanted:
            shortages.append(f"the budget ended after {len(found)} of {wanted} models")
        unmeasured = sum(one.latency is None for one in found)
        if self.timing.kind == "measured" and unmeasured:
            shortages.append(f"the budget left no time to measure {unmeasured} of the models")
        return shortages

    def _is_fast_enough(self, model: EvolvedModel) -> bool:
        most = self.options.max_latency_change
        return most is None or (model.latency is not None and model.latency.ratio <= 1 + most)

    def _model(self, member: Member, pace: _Pace, left: int) -> EvolvedModel:
        """A network as a model; measured if there is time for that and so many others.

        Raises:
            InputError: the base's opset cannot say an operator, or ONNX Runtime refuses the model.
            PromiseError: it is not what was found.
        """
        base = self.base
        parts = changes(base.graph, member.edits)
        with pace.building():
            built = build(base, parts, member.graph, self.options.seed)
            self.timing.try_out(built.model)
        latency = None
        if pace.may_measure(left):
            with pace.measuring():
                latency = self.timing.of(member.graph, built.model)
        whole, own = size(built.model, base.shapes), size(base.model, base.shapes)
        return EvolvedModel(
            file="",
            key=member.key,
            size=replace(whole, latency_ms=None if latency is None else latency.ms),
            macs_change=whole.macs / own.macs - 1 if own.macs else 0.0,
            params_change=whole.params / own.params - 1 if own.params else 0.0,
            latency=latency,
            predicted_change=member.change,
            deviation=member.deviation,
            inherited=1 - _fresh(parts, built) / max(1, whole.params),
            iteration=member.iteration,
            changes=tuple(map(partial(_described, base), parts, built.inherited)),
            make=partial(_made, base, parts, member.graph, self.options.seed),
        )


class _Pace:
    """How long building and measuring take: as long as the last time."""

    def __init__(self, deadline: Deadline, measuring_s: float) -> None:
        self._deadline = deadline
        self._building_s, self._measuring_s = 0.0, measuring_s

    def may_build(self) -> bool:
        """Whether there is time for another model."""
        return self._deadline.has(self._building_s)

    def may_measure(self, left: int) -> bool:
        """Whether there is time for a measurement, and for building so many models after it."""
        return self._deadline.has(self._measuring_s + left * self._building_s)

    @contextmanager
    def building(self) -> Iterator[None]:
        """The block builds a model."""
        start = self._deadline.elapsed()
        yield
        self._building_s = _TIMES_BUILT * (self._deadline.elapsed() - start)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """The block measures one."""
        start = self._deadline.elapsed()
        yield
        self._measuring_s = self._deadline.elapsed() - start


def _loneliest_first(members: Sequence[Member]) -> list[Member]:
    points = np.array([[-m.change, m.macs] for m in members], np.float64).reshape(-1, 2)
    order = np.lexsort((np.arange(len(members)), -crowding(points)))
    return [members[i] for i in order]


def _ranked(models: Sequence[EvolvedModel]) -> tuple[EvolvedModel, ...]:
    """The best predicted one first, each with its file's name."""
    order = sorted(models, key=lambda one: (-one.predicted_change, one.size.macs, one.key))
    digits = max(2, len(str(len(order))))
    return tuple(
        replace(one, file=f"rank_{rank:0{digits}d}.onnx") for rank, one in enumerate(order, 1)
    )


def _made(base: Base, parts: Sequence[Change], wanted: OpGraph, seed: int) -> onnx.ModelProto:
    return build(base, parts, wanted, seed).model


def _described(base: Base, change: Change, inheritance: Inheritance) -> ChangedSegment:
    before, after = change.before.graph, change.after
    counts = op_parameters(after)
    own = max(1, sum(counts))
    nodes = (base.reading.nodes[i] for i in change.before.ops)
    return ChangedSegment(
        nodes=tuple(dict.fromkeys(node.name or node.outputs[0].name for node in nodes)),
        sources=change.sources,
        macs_delta=macs(after) - macs(before),
        params_delta=sum(counts) - parameters(before),
        inherited=sum(counts[i] for i in inheritance.kept) / own,
        resized=sum(counts[i] for i in inheritance.resized) / own,
        before=before,
        after=after,
    )


def _fresh(parts: Sequence[Change], built: Built) -> int:
    """Parameters that are not the base's byte by byte."""
    return sum(
        count
        for part, inheritance in zip(parts, built.inherited, strict=True)
        for index, count in enumerate(op_parameters(part.after))
        if index not in inheritance.kept
    )
