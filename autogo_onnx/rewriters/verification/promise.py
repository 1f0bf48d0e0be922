"""The promise of an exact rewrite, and how it is kept: same outputs on inputs chosen to hurt.

Both models run in ONNX Runtime with its own optimizations off, or two wrong graphs could be
optimized into the same right one. Where it is cheap both also run in float64, in ONNX's reference
evaluator: there rounding hides nothing, and it tells how much rounding the original itself shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from autogo_onnx import runtime, signature
from autogo_onnx.errors import InputError
from autogo_onnx.model import check
from autogo_onnx.rewriters.verification.agreement import has_finite, is_numeric, mismatch, relative
from autogo_onnx.rewriters.verification.arbiter import Arbiter, NotFeasible
from autogo_onnx.rewriters.verification.feeds import Feed
from autogo_onnx.rewriters.verification.runs import Run, is_random, is_single, random_runs
from autogo_onnx.rewriters.verification.saturation import coarseness

# In float64 only the rounding of folded weights is left, which the original's rounding outweighs.
_SHARPEST, _TIMES_WEIGHTS = 2e-6, 4.0
# An arbiter farther from ONNX Runtime than this has another opinion on an operator: not asked.
_CREDIBLE = 1e-3
# Outputs that amplify the rounding of their inputs (argmax, saturation) are compared more loosely,
# by what noise in the last bits of the inputs does to them, but never more loosely than this.
_LOOSEST = 1e-2
_ROUNDING = 1e-6
# The arbiter is asked about one run, of at most so many elements, and if that is too expensive
# about smaller ones.
_ARBITER_ELEMENTS = 300_000
_ARBITER_ATTEMPTS, _SMALLER = 3, 3


@dataclass
class Witness:
    """What a model computes, remembered: feeds and the outputs for each.

    Attributes:
        model: the original.
        runs: cheapest first, but the user's samples before all.
        remark: why nothing was compared in float64; empty where it was.
        coarseness: per output, a difference that means nothing.
    """

    model: onnx.ModelProto
    runs: tuple[Run, ...]
    remark: str
    coarseness: tuple[float, ...]
    _noisy: dict[int, list[list[Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto, samples: Sequence[Feed] = (), *, seed: int = 0) -> Witness:
        """Run the model on random feeds and on the given samples.

        Raises:
            InputError: ONNX Runtime cannot run it, or not on any feed tried, or its outputs are
                random.
        """
        if is_random(model):
            raise InputError("the outputs are random, so rewrites cannot be verified")
        drawn = random_runs(model, seed)
        session = runtime.open_session(model, optimize=False)
        given = [Run(sample, runtime.run(session, None, sample)) for sample in samples]
        runs = [*given, *sorted(drawn, key=lambda run: run.elements)]
        if not runs:
            raise InputError("the model runs on no shapes that were tried")
        usual = (drawn or given)[0].elements
        most = next((run for run in reversed(runs) if has_finite(run.outputs)), runs[-1])
        again = runtime.run(session, None, most.feed)
        if any(mismatch(a, b, 0.0) for a, b in zip(most.outputs, again, strict=True)):
            raise InputError("the outputs are random, so rewrites cannot be verified")
        del session  # so that never two models are open at once
        judged, remark = _judged(model, runs, usual)
        return cls(model, judged, remark, coarseness(model))

    def objection(self, changed: onnx.ModelProto) -> str | None:
        """Why `changed` does not compute the same; None if it does."""
        try:
            if signature.outputs(changed) != signature.outputs(self.model):
                return "the outputs are declared otherwise"
            check(changed)
            doubts = list(self._doubts(changed))
            for position, index, got in doubts:
                found = self._second_look(position, index, got)
                if found:
                    return f"output {changed.graph.output[index].name!r} {found}"
            return self._exact_objection(changed)
        except InputError as error:
            return str(error).splitlines()[0]

    def _doubts(self, changed: onnx.ModelProto) -> Iterator[tuple[int, int, Any]]:
        """Run, output and value where `changed` is not plainly right; after an error no more."""
        session = runtime.open_session(changed, optimize=False)
        known = {i.name for i in (*session.get_inputs(), *session.get_overridable_initializers())}
        for position, run in enumerate(self.runs):
            if not known.issuperset(run.feed):
                continue  # it overrides an initializer that is frozen now
            outputs = runtime.run(session, None, run.feed)
            found = [
                (position, index, got)
                for index, got in enumerate(outputs)
                if mismatch(run.outputs[index], got, np.inf)
                or self._mismatch(run, index, got, run.tolerance(index))
            ]
            yield from found
            if found:
                return

    def _second_look(self, position: int, index: int, got: Any) -> str | None:
        """The difference, unless noise in the last bits of the inputs does as much."""
        run = self.runs[position]
        expected, tolerance = run.reference(index), run.tolerance(index)
        found = mismatch(run.outputs[index], got, np.inf)
        found = found or self._mismatch(run, index, got, tolerance)
        if not found or not is_numeric(expected) or np.shape(expected) != np.shape(got):
            return found
        slack = 0.0
        for noisy in self._jittered(position):
            if np.shape(noisy[index]) == np.shape(expected):
                slack = max(slack, 2 * relative(run.outputs[index], noisy[index]))
        return self._mismatch(run, index, got, max(tolerance, min(slack, _LOOSEST)))

    def _mismatch(self, run: Run, index: int, got: Any, tolerance: float) -> str | None:
        return mismatch(run.reference(index), got, tolerance, nothing=self.coarseness[index])

    def _jittered(self, position: int) -> list[list[Any]]:
        """What the original makes of a feed with noise in its last bits."""
        if position not in self._noisy:
            session = runtime.open_session(self.model, optimize=False)
            feed = self.runs[position].feed
            self._noisy[position] = [
                runtime.run(session, None, _jittered(feed, seed)) for seed in range(3)
            ]
        return self._noisy[position]

    def _exact_objection(self, changed: onnx.ModelProto) -> str | None:
        """Why `changed` is wrong in float64; None where it is right, or cannot be run so."""
        run = next((run for run in self.runs if run.exact is not None), None)
        if run is None or run.exact is None:
            return None
        try:
            outputs = Arbiter.of(changed).run(run.feed)
        except NotFeasible:
            return None  # another operator than before; ONNX Runtime's verdict has to do
        for index, (exact, got) in enumerate(zip(run.exact, outputs, strict=True)):
            if not is_single(run.outputs[index]) or not is_numeric(got):
                continue
            tolerance = max(_SHARPEST, _TIMES_WEIGHTS * run.rounding(index))
            error = relative(exact, got.astype(exact.dtype)) if got.shape == exact.shape else np.inf
            # ONNX Runtime's output has passed, so a larger error is the arbiter's own.
            if tolerance < error <= 2 * run.tolerance(index):
                name = changed.graph.output[index].name
                return f"output {name!r} differs by {error:.2g} of its largest value, in float64"
        return None


def _judged(model: onnx.ModelProto, runs: list[Run], usual: int) -> tuple[tuple[Run, ...], str]:
    """The runs, one of them with the arbiter's opinion, and why none has, if so.

    Args:
        model: the original.
        runs: with the plain outputs.
        usual: elements of an ordinary feed: of one sample, of no odd size.
    """
    try:
        arbiter = Arbiter.of(model)
    except NotFeasible as error:
        return tuple(runs), f"not verified in float64: {error}"
    remark = "not verified in float64: no output is float32 and finite"
    for position in _suited_to_arbiter(runs, usual):
        run = runs[position]
        try:
            judged = Run(run.feed, run.outputs, arbiter.run(run.feed))
        except NotFeasible as error:
            remark = f"not verified in float64: {error}"
            continue
        if all(map(_is_credible, judged.exact or [], judged.outputs)):
            return (*runs[:position], judged, *runs[position + 1 :]), ""
        remark = "not verified in float64: the reference evaluator disagrees with ONNX Runtime"
    return tuple(runs), remark


def _suited_to_arbiter(runs: list[Run], usual: int) -> list[int]:
    """Positions of runs with plain finite outputs: the usual size first, then much smaller ones."""
    finite = [
        i
        for i, run in enumerate(runs)
        if run.elements <= min(usual, _ARBITER_ELEMENTS)
        and any(is_single(v) and v.size and np.isfinite(v).all() for v in run.outputs)
    ]
    chosen: list[int] = []
    for position in sorted(finite, key=lambda i: -runs[i].elements):
        if not chosen or runs[position].elements * _SMALLER <= runs[chosen[-1]].elements:
            chosen.append(position)
    return chosen[:_ARBITER_ATTEMPTS]


def _is_credible(exact: Any, expected: Any) -> bool:
    """Whether the arbiter's output is in double precision and close to ONNX Runtime's."""
    if not is_single(expected):
        return True
    if not isinstance(exact, np.ndarray) or exact.dtype != np.float64:
        return False
    return exact.shape == expected.shape and relative(exact, expected) < _CREDIBLE


def _jittered(feed: Feed, seed: int) -> Feed:
    rng = np.random.default_rng(seed)
    return {
        name: (value * (1 + _ROUNDING * rng.standard_normal(value.shape))).astype(value.dtype)
        if value.dtype.kind == "f"
        else value
        for name, value in feed.items()
    }
