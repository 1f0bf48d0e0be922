"""The exact level beside the public simplifiers: nodes, MACs, latency, CPU time.

    python -m benchmarks.exact_level [MODEL.onnx ...] [--peers FOLDER] [--rounds 3]

Without models: the zoo, and generated graphs of 1,250 to 20,000 nodes; others are written by
`benchmarks/export_models.py`. `FOLDER` holds the commands `onnxsim` and `onnxslim` (the `bin` of a
virtual environment of their own); tools that are not there are left out. Inputs of unknown size
take the samples of `MODEL.npz` if there is one, else what `calibration.noise` takes.

Ours runs twice. Nodes, MACs, latency and the rules are those of the default run, which measures and
verifies; its whole wall time is a column of its own. CPU time (user and system, of the whole
command, the least of some interleaved rounds) is that of `--target macs`, which verifies the result
but measures nothing, as the others neither verify nor measure. Latency ratios are paired, all
models in one measurement, one thread, with all of ONNX Runtime's optimizations.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx

from autogo_onnx import calibration, latency, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.options import Options
from autogo_onnx.report import Size
from autogo_onnx.sizes import size
from benchmarks.deep_graph import deep_graph
from benchmarks.inputs import SHARED

OURS, PEERS = "autogo-onnx", ("onnxsim", "onnxslim")
GENERATED = (1250, 2500, 5000, 10000, 20000)
LATENCY_SECONDS = 6.0
LARGEST_MEASURED = 5000
MAIN_RULES = 3
TIMEOUT_S = 900

Command = list[str]
Feed = Mapping[str, np.ndarray[Any, Any]]


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--peers", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--rounds", default=3, show_default=True)
def main(models: tuple[Path, ...], peers: Path | None, rounds: int) -> None:
    """Print the table, a line per model, as it grows."""
    tools = {tool: peers / tool for tool in PEERS if peers and (peers / tool).exists()}
    of_all = " / ".join([OURS, *tools])
    head = ["model", f"nodes: before / {of_all}", f"MMACs: before / {of_all}"]
    head += [f"latency ratio: {of_all}", "A/A bound", f"CPU s: {of_all}", "default run, s", "rules"]
    print("|", " | ".join(head), "|")
    print("|" + " --- |" * len(head), flush=True)
    with tempfile.TemporaryDirectory() as generated:
        given = models or (*sorted((SHARED / "zoo").glob("*.onnx")), *_generated(Path(generated)))
        for path in given:
            with tempfile.TemporaryDirectory() as folder:
                print("|", " | ".join(_row(path, tools, rounds, Path(folder))), "|", flush=True)


def _generated(folder: Path) -> Iterator[Path]:
    for nodes in GENERATED:
        path = folder / f"generated_{nodes}.onnx"
        onnx.save(deep_graph(nodes), path)
        yield path


def _row(model: Path, tools: Mapping[str, Path], rounds: int, folder: Path) -> list[str]:
    results = {tool: folder / f"{tool}.onnx" for tool in (OURS, *tools)}
    report = folder / "report.json"
    commands = {tool: [str(path), str(model), str(results[tool])] for tool, path in tools.items()}
    commands[OURS] = [*_ours(model, results[OURS]), "--target", "macs"]
    seconds: dict[str, list[float]] = {tool: [] for tool in results}
    for _ in range(rounds):
        for tool in results:
            seconds[tool].append(_cpu_seconds(commands[tool]))
    results[OURS].unlink(missing_ok=True)  # or a default run that fails would show the other's
    _cpu_seconds([*_ours(model, results[OURS]), "--report", str(report)])
    feed = _feed(model)
    sizes = [_size(path, feed) for path in (model, *results.values())]
    ratios, bound = _latency(model, results, feed) if feed else ("-", "-")
    told = json.loads(report.read_text()) if report.exists() else None
    return [
        model.stem,
        " / ".join(str(s.nodes) if s else "failed" for s in sizes),
        " / ".join(f"{s.macs / 1e6:.4g}" if s else "failed" for s in sizes),
        ratios,
        bound,
        " / ".join(f"{min(times):.1f}" for times in seconds.values()),
        f"{told['seconds']['total']:.1f}" if told else "failed",
        _rules(told) if told else "",
    ]


def _ours(model: Path, result: Path) -> Command:
    command = [sys.executable, "-m", "autogo_onnx", "optimize", str(model), "-o", str(result)]
    samples = model.with_suffix(".npz")
    given = ["--calibration", str(samples)] if samples.exists() else []
    return [*command, "--level", "exact", "--quiet", *given]


def _cpu_seconds(command: Command) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            click.echo(f"{' '.join(command)}\n{done.stderr[-2000:]}", err=True)
    except subprocess.TimeoutExpired:
        return float("inf")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _feed(path: Path) -> Feed | None:
    """One batch to measure with; None for a model that is too large, or does not run."""
    model, samples = onnx.load(path), path.with_suffix(".npz")
    if len(model.graph.node) > LARGEST_MEASURED:
        return None
    try:
        if samples.exists():
            return next(calibration.load(samples, model, Options()).batches(1))
        feed = next(calibration.noise(model, 1, seed=0).batches(1))
        runtime.run(runtime.open_session(model), None, feed)
    except InputError:
        return None
    return feed


def _size(path: Path, feed: Feed | None) -> Size | None:
    if not path.exists():
        return None
    shapes = {name: array.shape for name, array in feed.items()} if feed else None
    return size(onnx.load(path), shapes)


def _latency(model: Path, results: Mapping[str, Path], feed: Feed) -> tuple[str, str]:
    """Ratios to the original, and the largest bound."""
    running = [tool for tool, path in results.items() if _runs(path, feed)]
    opened = [model, model, *(results[tool] for tool in running)]
    sessions = [runtime.open_session(path) for path in opened]
    times = latency.interleave(sessions, feed, seconds=LATENCY_SECONDS, seed=0, threads=1)
    found = {
        tool: latency.judge(times[[0, 1, 2 + index]], threads=1, seed=0)
        for index, tool in enumerate(running)
    }
    cells = [f"{found[tool].ratio_p10:.3f}" if tool in found else "failed" for tool in results]
    return " / ".join(cells), f"{max((p.noise for p in found.values()), default=0.0):.3f}"


def _runs(path: Path, feed: Feed) -> bool:
    try:
        runtime.run(runtime.open_session(path), None, feed)
    except InputError:
        return False
    return True


def _rules(report: Mapping[str, Any]) -> str:
    """Rules on trial with their own latency ratio, then those that saved most nodes; refusals."""
    done: Sequence[Mapping[str, Any]] = report["rewrites"]
    tried = [r for r in done if r["latency_ratio"] is not None]
    others = sorted((r for r in done if r not in tried), key=lambda r: -r["nodes_saved"])
    cells = [f"{r['rule']} x{r['count']} ({r['latency_ratio']:.2f})" for r in tried]
    cells += [f"{r['rule']} x{r['count']}" for r in others[:MAIN_RULES]]
    cells += [f"{len(others) - MAIN_RULES} more"] if len(others) > MAIN_RULES else []
    refused = [s for s in report["skipped"] if s["reason"].startswith("it was not used")]
    cells += [f"{s['rule']}: {s['reason']}" for s in refused]
    cells += [note for note in report["notes"] if "dropped" in note or "not measured" in note]
    return ", ".join(cells) or "none"


if __name__ == "__main__":
    main()
