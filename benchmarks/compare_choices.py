"""What a user could pick instead: one table per model, all choices in one measurement.

    python -m benchmarks.compare_choices [CASE ...] [--peers FOLDER] [--trained FOLDER]
        [--out FOLDER] [--budget 10m] [--also "NAME: ARGUMENTS"] [--seconds 20]

Every choice gets the same 512 unlabelled samples (where there are as many) and the same budget of
wall-clock time, and is judged by the same gate on samples that it was not fitted on:

- `onnxsim`, `onnxslim`: exact simplifiers, from `--peers`, the `bin` of a virtual environment;
- our exact rewrites alone;
- low rank and channel pruning, one share for all layers, fitted as ours are (`uniform.py` beside
  this file): at the multiply-accumulates of our result, and the cheapest that passes the gate;
- int8: ONNX Runtime's static quantizer (QDQ), of the original, and on top of our result;
- ours. `--also` adds runs with other arguments of `optimize`, for example with training.

Latency ratios are of p10, one thread, all models in turns; the A/A bound is the largest of any
row. Test data were seen by nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import onnx

from autogo_onnx.commands.values import duration
from autogo_onnx.one_thread import one_blas_thread
from autogo_onnx.options import Options
from autogo_onnx.sizes import size
from benchmarks.cases import Case, chosen
from benchmarks.in_turns import ratios_of
from benchmarks.optimize_zoo import kept_in, samples_of
from benchmarks.rivals import (
    PEERS,
    Arena,
    Choice,
    exactly_rewritten,
    in_int8,
    ours,
    simplified,
    uniform,
)

OURS = "autogo-onnx"
WEEK_S = 604_800.0
"""In other words no budget: the choices have budgets of their own."""
HEAD = ("choice", "latency ratio", "MACs", "gate's bound", "passes", "test data", "s")


@dataclass(frozen=True)
class Settings:
    """What is compared with what.

    Attributes:
        tools: of others, by name.
        runs: of ours, arguments of `optimize` by name.
        budget_s: of each choice.
        seconds: of the measurement.
    """

    tools: Mapping[str, Path]
    runs: Mapping[str, Sequence[str]]
    budget_s: float
    seconds: float


def choices(arena: Arena, settings: Settings) -> Iterator[Choice]:
    """Every choice, ours last; those that cost as much as ours need ours first."""
    made = [ours(arena, name, arguments) for name, arguments in settings.runs.items()]
    yield from simplified(arena, settings.tools)
    yield exactly_rewritten(arena)
    with one_blas_thread():
        yield from uniform(arena, _macs(arena, made[0].model), settings.budget_s)
    yield in_int8(arena, None)
    for one in made:
        yield one
        yield in_int8(arena, one)


def _macs(arena: Arena, model: Path | None) -> int:
    assert model is not None, "there is a model"
    return size(onnx.load(model), arena.ground.job.input_shapes).macs


def table(case: Case, arena: Arena, settings: Settings) -> Iterator[str]:
    """The lines of one model's table."""
    found = list(choices(arena, settings))
    ratios, noise = ratios_of(
        arena.source, [c.model for c in found if c.model], arena.ground.feed, settings.seconds
    )
    judge = case.quality.against(arena.source)
    before = max(1, _macs(arena, arena.source))
    yield f"**{arena.source.stem}** (A/A bound {noise:.3f})\n"
    yield f"| {' | '.join(HEAD)} |"
    yield "| --- " * len(HEAD) + "|"
    for one in found:
        cells = ["-"] * 2 + [one.bound, "no", "-", f"{one.seconds:.0f}"]
        if one.model is not None:
            cells[:2] = f"{ratios[one.model]:.3f}", f"{_macs(arena, one.model) / before:.3f}"
            cells[3:5] = "yes" if one.passes else "no", judge(one.model).text
        yield f"| {' | '.join([one.name, *cells])} |"
    yield ""


def _named(also: str) -> tuple[str, list[str]]:
    name, _, arguments = also.partition(":")
    return f"{OURS}, {name.strip()}", shlex.split(arguments)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--peers", type=click.Path(path_type=Path, exists=True), help="Holds the tools.")
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep models and reports here.")
@click.option("--budget", type=duration, default="10m", show_default=True, help="Of each choice.")
@click.option("--also", multiple=True, help="A further run of ours, as `NAME: ARGUMENTS`.")
@click.option("--seconds", default=20.0, show_default=True, help="Of each measurement.")
def main(
    names: tuple[str, ...],
    peers: Path | None,
    trained: Path | None,
    out: Path | None,
    budget: float,
    also: tuple[str, ...],
    seconds: float,
) -> None:
    """Print one table per model as soon as it is measured."""
    tools = {name: peers / name for name in PEERS if peers and (peers / name).exists()}
    within = ["--budget", f"{budget}s"]
    runs = {OURS: within, **{name: [*within, *given] for name, given in map(_named, also)}}
    with kept_in(out) as folder:
        for case in chosen(names, trained):
            samples = samples_of(case, folder)
            options = Options(calibration=samples, budget_s=WEEK_S)
            arena = Arena(case.path(trained), samples, folder, options)
            for line in table(case, arena, Settings(tools, runs, budget, seconds)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
