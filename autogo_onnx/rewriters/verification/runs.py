"""What a model makes of its feeds: runs on sizes and values that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from autogo_onnx import runtime, tensor_data
from autogo_onnx.errors import InputError
from autogo_onnx.isolation import Isolated
from autogo_onnx.rewriters.verification.agreement import has_finite, is_numeric, mismatch, relative
from autogo_onnx.rewriters.verification.feeds import Feed, Noise, Sizes
from autogo_onnx.untrusted import all_nodes

# Where nothing is known about rounding. Of its largest value, as all that follow.
_TOLERANCE = 1e-4
# ONNX Runtime computes chains of float16 nodes in float32 and rounds where it likes.
_HALF_TOLERANCE = 4 * 2**-11
# Where the original's own rounding is known: some times that, and never less than this. Sums in
# another order err alike, but the few values of a small output may be exact by luck.
_SHARP, _TIMES_ROUNDING = 1e-5, 8.0
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"}
    | {"RandomUniform", "RandomUniformLike"}
)
_LIMIT_S, _LOOP_LIMIT_S = 120.0, 10.0


@dataclass(frozen=True)
class Run:
    """One feed and what the original makes of it.

    Attributes:
        feed: its inputs.
        outputs: as ONNX Runtime computes them.
        exact: in float64, where the arbiter was asked and is credible.
    """

    feed: Feed
    outputs: list[Any]
    exact: list[Any] | None = None

    @property
    def elements(self) -> int:
        """Size of the inputs, by which runs are ordered: what costs least is run first."""
        return sum(value.size for value in self.feed.values())

    def tolerance(self, index: int) -> float:
        """How far output `index` of a changed model may be from `reference(index)`."""
        expected = self.outputs[index]
        if is_numeric(expected) and expected.dtype.kind != "f":
            return 0.0  # nothing is rounded
        if is_numeric(expected) and expected.dtype == np.float16:
            return _HALF_TOLERANCE
        if self.exact is None or not is_single(expected):
            return _TOLERANCE
        return max(_SHARP, _TIMES_ROUNDING * self.rounding(index))

    def rounding(self, index: int) -> float:
        """How far ONNX Runtime's output is from the exact one."""
        assert self.exact is not None
        return relative(self.exact[index], self.outputs[index])

    def reference(self, index: int) -> Any:
        """What to compare with, of the original's type."""
        expected = self.outputs[index]
        if self.exact is None or not is_single(expected):
            return expected
        return self.exact[index].astype(np.float32)


def is_random(model: onnx.ModelProto) -> bool:
    """Whether an operator draws numbers; two runs may agree by chance, so running does not tell."""
    nodes = [*all_nodes(model.graph.node), *(n for f in model.functions for n in all_nodes(f.node))]
    if any(node.op_type in _RANDOM for node in nodes):
        return True
    # From opset 12 on Dropout trains if its third input says so.
    training = {n.input[2] for n in nodes if n.op_type == "Dropout" and len(n.input) > 2} - {""}
    if not training:
        return False
    fixed = {t.name: tensor_data.value(t) for t in model.graph.initializer if t.name in training}
    fixed |= {
        node.output[0]: tensor_data.value(node.attribute[0].t)
        for node in nodes
        if node.op_type == "Constant" and node.output[0] in training
    }
    listed = {info.name for info in model.graph.input}
    return any(name not in fixed or fixed[name].any() or name in listed for name in training)


class _Attempts:
    """Tries random feeds on a model; remembers what went well."""

    def __init__(self, session: Isolated, model: onnx.ModelProto, seed: int) -> None:
        self.session, self.noise = session, Noise.of(model)
        self.rng = np.random.default_rng(seed)
        self.limit_s = _run_limit(model)
        self.integers = 0
        self.runs: list[Run] = []

    def run(self, feed: Feed) -> Run | None:
        """A run, unless the model refuses the feed."""
        try:
            return Run(feed, self.session.run(feed, limit_s=self.limit_s))
        except runtime.TookTooLong:
            raise
        except InputError:
            return None

    def first(self, kind: str, *alternatives: Sizes) -> None:
        """Remember the run on the first of some sizes that the model takes."""
        for sizes in alternatives:
            if not self.noise.is_bearable(sizes):
                continue
            run = self.run(self.noise.draw(sizes, self.integers, kind, self.rng))
            if run:
                self.runs.append(run)
                return

    def base(self) -> dict[str, int] | None:
        """The first sizes that the model runs on, if possible with outputs that tell something."""
        fallback: tuple[dict[str, int], int, list[Run]] | None = None
        for sizes, integers in self.noise.bases():
            if not self.noise.is_bearable(sizes):
                continue
            run = self.run(self.noise.draw(sizes, integers, "normal", self.rng))
            if run is None:
                continue
            other = self.run(self.noise.draw(sizes, integers, "picture", self.rng))
            runs = [run] if other is None else [run, other]
            if _tell_something(runs):
                fallback = sizes, integers, runs
                break
            fallback = fallback or (sizes, integers, runs)
        if fallback is None:
            return None
        sizes, self.integers, runs = fallback
        self.runs += runs
        return sizes


def _tell_something(runs: list[Run]) -> bool:
    """Whether outputs are finite and follow the input: pooled to nothing, a picture has no say."""
    if not has_finite(runs[0].outputs):
        return False
    pairs = zip(runs[0].outputs, runs[-1].outputs, strict=True)
    return any(mismatch(one, other, 0.0) for one, other in pairs)


def random_runs(model: onnx.ModelProto, seed: int) -> list[Run]:
    """Random feeds that the model runs on and what it makes of them; empty if none was found.

    Raises:
        InputError: ONNX Runtime cannot load it, or one run takes too long.
    """
    with Isolated(model, optimize=False) as session:
        attempts = _Attempts(session, model, seed)
        base = attempts.base()
        if base is None:
            return []
        overrides = attempts.noise.overrides(attempts.rng)
        if overrides:
            run = attempts.run({**attempts.runs[0].feed, **overrides})
            attempts.runs += [run] if run else []
        batch = attempts.noise.batch_keys
        attempts.first("large", {**base, **dict.fromkeys(batch, 3)}, base)
        for alternatives in attempts.noise.variations(base):
            attempts.first("normal", *alternatives)
        return attempts.runs


def _run_limit(model: onnx.ModelProto) -> float:
    """Seconds for one run: a loop may never end, all else ends some day."""
    loops = any(node.op_type in ("Loop", "Scan", "If") for node in model.graph.node)
    return _LOOP_LIMIT_S if loops or model.functions else _LIMIT_S


def is_single(value: object) -> bool:
    """Whether it is a dense float32 tensor, the type that float64 can judge."""
    return isinstance(value, np.ndarray) and value.dtype == np.float32
