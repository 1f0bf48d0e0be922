"""What a user could pick, made from one model with the same samples: the rows of a comparison."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import onnx

from autogo_onnx import verify
from autogo_onnx.errors import InputError
from autogo_onnx.fidelity import Fidelity
from autogo_onnx.gate import Gate
from autogo_onnx.ground import Ground, survey
from autogo_onnx.job import begin
from autogo_onnx.options import Options
from autogo_onnx.progress import Silent
from autogo_onnx.quantization import quantize
from benchmarks.optimize_zoo import optimized
from benchmarks.uniform import WAYS, Trials, Tried

PEERS = ("onnxsim", "onnxslim")
INT8_SAMPLES = 128
"""As many as `--quantize-check` takes: more change no range by much."""
TIMEOUT_S = 900


@dataclass(frozen=True)
class Choice:
    """One row.

    Attributes:
        name: for the table.
        model: its file; None where there is no such model, and `bound` says why.
        bound: the gate's bound, as text.
        passes: whether the gate lets it through.
        seconds: wall-clock time that it took to make and judge.
    """

    name: str
    model: Path | None
    bound: str
    passes: bool
    seconds: float


@dataclass(frozen=True)
class Arena:
    """One model, one set of samples, one gate for all.

    Attributes:
        source: the model.
        samples: to calibrate with.
        folder: for models; the file of a choice is named after it.
        options: with these samples, without a budget: each choice has one of its own.
    """

    source: Path
    samples: Path
    folder: Path
    options: Options

    @cached_property
    def ground(self) -> Ground:
        """The model, read and rewritten exactly, its samples shared out."""
        job = begin(self.source, self.options, Silent())
        assert job.samples is not None, "there are samples"
        return survey(job, job.samples)

    @cached_property
    def gate(self) -> Gate:
        """The judge."""
        return Gate(self.ground)

    def place(self, name: str) -> Path:
        """Where the model of a choice goes."""
        kept = "".join(c if c.isalnum() else "_" for c in name)
        return self.folder / f"{self.source.stem}.{kept}.onnx"

    def choice(self, name: str, model: onnx.ModelProto, fidelity: Fidelity, start: float) -> Choice:
        """A model that was made and judged since `start`, written to its place."""
        path, options = self.place(name), self.options
        onnx.save(model, path)
        passes = fidelity.passes(max_drop=options.max_drop, min_psnr=options.min_psnr)
        return Choice(name, path, bound_of(fidelity), passes, time.monotonic() - start)


def bound_of(fidelity: Fidelity) -> str:
    """The gate's bound, as text."""
    if fidelity.drop_bound is not None:
        return f"{100 * fidelity.drop_bound:.2f} points"
    return "-" if fidelity.psnr_bound_db is None else f"{fidelity.psnr_bound_db:.1f} dB"


def simplified(arena: Arena, tools: Mapping[str, Path]) -> Iterator[Choice]:
    """By each of the exact simplifiers."""
    for name, tool in tools.items():
        start, out = time.monotonic(), arena.place(name)
        done = subprocess.run(
            [str(tool), str(arena.source), str(out)], capture_output=True, timeout=TIMEOUT_S
        )
        seconds = time.monotonic() - start
        if done.returncode or not out.exists():
            yield Choice(name, None, "failed", False, seconds)
            continue
        try:
            verdict = arena.gate.judge_unfitted(onnx.load(out))
        except InputError as error:
            yield Choice(name, None, f"does not run: {error}", False, seconds)
        else:
            yield Choice(name, out, bound_of(verdict.fidelity), verdict.passes, seconds)


def exactly_rewritten(arena: Arena) -> Choice:
    """By our exact rules alone."""
    start = time.monotonic()
    model = arena.ground.model
    fidelity = arena.gate.judge_unfitted(model).fidelity
    return arena.choice("exact rewrites", model, fidelity, start)


def ours(arena: Arena, name: str, arguments: Sequence[str]) -> Choice:
    """By the command line, with some arguments more."""
    out = arena.place(name)
    found = optimized(arena.source, arena.samples, out, arguments)
    return Choice(name, out, found.bound, True, found.seconds)


def uniform(arena: Arena, wanted_macs: int, seconds: float) -> Iterator[Choice]:
    """By one share for all layers: at some multiply-accumulates, and the cheapest that passes.

    For the second there are so many `seconds` per way.
    """
    originals = [arena.ground.activations(fit) for fit, _ in arena.gate.folds]
    for name, way in WAYS.items():
        trials = Trials(way(arena.ground), arena.gate, originals)
        yield _tried(arena, f"{name}, our MACs", partial(trials.at_macs, wanted_macs))
        within = partial(trials.cheapest_passing, seconds)
        yield _tried(arena, f"{name}, passing", within)


def _tried(arena: Arena, name: str, attempt: Callable[[], Tried | None]) -> Choice:
    start = time.monotonic()
    found = attempt()
    if found is None:
        return Choice(name, None, "none", False, time.monotonic() - start)
    return arena.choice(name, found.model, found.verdict.fidelity, start)


def in_int8(arena: Arena, base: Choice | None) -> Choice:
    """By ONNX Runtime's static quantizer: the original, or what another choice made of it.

    Calibrated on the samples that are fitted on, judged on the others.
    """
    name = "int8" if base is None else f"{base.name} + int8"
    start, (fit, held_out) = time.monotonic(), arena.gate.folds[0]
    path = arena.source if base is None else base.model
    assert path is not None, "only what was made is quantized"
    try:
        some = fit.take(range(min(len(fit), INT8_SAMPLES)))
        made = quantize(onnx.load(path), some).model
        outputs = arena.gate.outputs(made, held_out)
    except InputError as error:
        return Choice(name, None, f"failed: {error}", False, time.monotonic() - start)
    reference, temperature = arena.gate.reference[0], arena.gate.temperature
    fidelity = verify.judge(reference, outputs, None, temperature=temperature)
    return arena.choice(name, made, fidelity, start)
