"""The claim of evolution at a small scale: base and evolved networks, trained alike from scratch.

    python -m benchmarks.train_evolved FOLDER [TASK ...] [--seeds 3] [--bases]
        [--networks 2] [--evolve "--iterations 3"]

For every task of `benchmarks/evolved_tasks.py`: `autogo-onnx evolve` on the untrained base, then
the base and two networks of the front are trained with the same recipe, several seeds each, and
judged on test data. The two are named before anything is trained: the one with the highest
predicted change, and the cheapest that is predicted to be no worse. `--bases` trains the bases
alone. FOLDER keeps every figure, so that the same command goes on where it was interrupted.

Needs torch and scikit-image; about 70 minutes of one idle core, minutes on a GPU.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import onnx
from scipy import stats

from autogo_onnx.cost import macs, parameters
from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.sizes import read_model
from autogo_onnx.training.options import TrainOptions
from benchmarks.evolved_tasks import TASKS, Task

BASE = "base"
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Candidate:
    """A network to train.

    Attributes:
        role: `base`, or why it was taken from the front.
        path: of its file.
        predicted: change of the accuracy that the predictor expects, and its deviation.
    """

    role: str
    path: Path
    predicted: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Result:
    """One training.

    Attributes:
        task, role: what was trained.
        seed: of the training.
        quality: on test data.
        macs, parameters: of the network.
        predicted, deviation: as in `Candidate`.
        seconds: of the training.
        key: digest of network and recipe.
    """

    task: str
    role: str
    seed: int
    quality: float
    macs: int
    parameters: int
    predicted: float
    deviation: float
    seconds: float
    key: str


def write_base(task: Task, folder: Path) -> Path:
    """The task's untrained network and data, once; returns the network's file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "base.onnx"
    if not path.exists():
        np.savez(folder / "data.npz", **task.data())  # type: ignore[arg-type]  # numpy's stub
        graph = task.network().folded()
        onnx.save(to_onnx(graph, random_weights(graph, 0)), path)
    return path


def evolve(base: Path, arguments: Sequence[str]) -> Path:
    """Evolve the base beside it, once; returns the list of the front."""
    folder = base.parent / "evolved"
    front = folder / "front.csv"
    if not front.exists():
        command = [sys.executable, "-m", "autogo_onnx", "evolve", str(base), "-o", str(folder)]
        # The whole front is written: which of it is trained is decided here.
        command += ["--keep", "1000", "--target", "macs", "--work-dir", str(base.parent / "state")]
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
    return front


def chosen(front: Path, count: int = 2) -> list[Candidate]:
    """The best predicted network of a front, and the cheapest that is predicted to be no worse."""
    with front.open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["predicted_change"]))
    fit = [row for row in rows if float(row["predicted_change"]) >= 0]
    cheapest = min(fit or [best], key=lambda row: int(row["macs"]))
    found = [("best predicted", best)]
    if cheapest is not best:
        found.append(("cheapest predicted no worse", cheapest))
    return [
        Candidate(
            role,
            front.parent / row["file"],
            (float(row["predicted_change"]), float(row["deviation"])),
        )
        for role, row in found[:count]
    ]


def trained(name: str, candidate: Candidate, seed: int, known: Iterable[Result]) -> Result:
    """A training's outcome: the one that is known already, or a new one."""
    from autogo_onnx.training.workflow import train  # It needs torch, and tables do not.

    task, path = TASKS[name], candidate.path
    options = TrainOptions(
        data=path.parents[path.parent.name == "evolved"] / "data.npz",
        from_scratch=True,
        held_out=0.0,  # Nothing is chosen by samples that are held out.
        seed=seed,
        threads=1,
        **task.training,
    )
    recipe = json.dumps(task.training, sort_keys=True).encode()
    key = hashlib.sha256(path.read_bytes() + recipe).hexdigest()[:16]
    for result in known:
        if (result.task, result.role, result.seed, result.key) == (name, candidate.role, seed, key):
            return result
    network = onnx.load(path)
    graph = read_model(network).opgraph
    outcome = train(network, options)
    return Result(
        task=name,
        role=candidate.role,
        seed=seed,
        quality=task.quality(outcome.model),
        macs=macs(graph),
        parameters=parameters(graph),
        predicted=candidate.predicted[0],
        deviation=candidate.predicted[1],
        seconds=outcome.seconds,
        key=key,
    )


def table(results: Sequence[Result]) -> str:
    """Markdown: quality as mean and standard deviation over seeds, and what was gained.

    The gain has its 95 % interval by Welch's t; where it holds 0, nothing is claimed.
    """
    lines = [
        "| task | network | MACs | parameters | predicted change | quality | gain | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task, role in dict.fromkeys((r.task, r.role) for r in results):
        mine, bases = (_of(results, task, part) for part in (role, BASE))
        one, values = mine[0], [r.quality for r in mine]
        spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
        cells = [
            *(task, role),
            f"{one.macs / 1e6:.2f} M ({_percent(one.macs, bases[0].macs)})",
            f"{one.parameters / 1e3:.1f} k ({_percent(one.parameters, bases[0].parameters)})",
            "" if role == BASE else f"{one.predicted:+.2f} ± {one.deviation:.2f}",
            f"{np.mean(values):.2f} ± {spread:.2f} {TASKS[task].unit} ({len(values)} seeds)",
            *(("", "") if role == BASE else _gain(values, [r.quality for r in bases])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(results: Sequence[Result], task: str, role: str) -> list[Result]:
    return [r for r in results if (r.task, r.role) == (task, role)]


def _percent(value: int, base: int) -> str:
    return f"{100 * (value / base - 1):+.1f} %"


def _gain(values: Sequence[float], bases: Sequence[float]) -> tuple[str, str]:
    """Difference of the means with its interval, and in a word."""
    gain = float(np.mean(values) - np.mean(bases))
    if min(len(values), len(bases)) < 2:
        return f"{gain:+.2f}", "one seed tells nothing"
    test = stats.ttest_ind(values, bases, equal_var=False)
    low, high = test.confidence_interval(_CONFIDENCE)
    verdict = "better" if low > 0 else "worse" if high < 0 else "not distinguishable"
    return f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]", verdict


def read(path: Path) -> list[Result]:
    """What earlier runs found."""
    return [Result(**row) for row in json.loads(path.read_text())] if path.exists() else []


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("tasks", nargs=-1, type=click.Choice(list(TASKS)))
@click.option("--seeds", default=3, show_default=True)
@click.option("--bases", is_flag=True, help="Train the bases alone.")
@click.option("--networks", default=2, show_default=True, help="Evolved ones per task; at most 2.")
@click.option("--evolve", "arguments", default="", help="Further arguments of `evolve`.")
def main(
    folder: Path, tasks: tuple[str, ...], seeds: int, bases: bool, networks: int, arguments: str
) -> None:
    """See the module."""
    kept = folder / "results.json"
    earlier, results = read(kept), list[Result]()
    for name in tasks or TASKS:
        base = write_base(TASKS[name], folder / name)
        candidates = [Candidate(BASE, base)]
        if not bases:
            candidates += chosen(evolve(base, shlex.split(arguments)), networks)
        for seed in range(seeds):  # Seed by seed, so that an interrupted run compares as many.
            for candidate in candidates:
                result = trained(name, candidate, seed, earlier)
                results.append(result)
                every = dict.fromkeys([*results, *earlier])
                kept.write_text(json.dumps([asdict(r) for r in every], indent=1) + "\n")
                line = f"{name}, {candidate.role}, seed {seed}: {result.quality:.2f}"
                click.echo(f"{line} {TASKS[name].unit}, {result.seconds:.0f} s", err=True)
    click.echo(table(results))


if __name__ == "__main__":
    main()
