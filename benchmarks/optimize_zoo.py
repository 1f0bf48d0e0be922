"""The main job on real trained networks: latency ratio and quality on data that nothing saw.

    python -m benchmarks.optimize_zoo [CASE ...] [--out FOLDER]

Runs `autogo-onnx optimize` as a user would, one model after the other, with 512 unlabelled samples
where there are as many, then measures both models on test data and prints a table in Markdown.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from autogo_onnx.fidelity import judge
from autogo_onnx.runtime import open_session, run
from benchmarks import inputs

ZOO = inputs.SHARED / "zoo"
SAMPLES = 512


@dataclass(frozen=True)
class Case:
    """A model of the zoo: where its samples come from, how its quality is told."""

    model: str
    calibration: Callable[[], np.ndarray]
    quality: Callable[[Path, Path], str] | None = None
    arguments: tuple[str, ...] = ()


def some(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """512 samples of a labelled set, drawn at random; the labels stay behind."""
    samples, _ = pair
    return samples[np.random.default_rng(0).permutation(len(samples))[:SAMPLES]]


def top1(test: Callable[[], tuple[np.ndarray, np.ndarray]]) -> Callable[[Path, Path], str]:
    """True top-1 before and after on a labelled test set, and the loss expected without labels."""

    def compare(before: Path, after: Path) -> str:
        samples, labels = test()
        scores = [_scores(model, samples) for model in (before, after)]
        true = [100.0 * float((s.argmax(axis=1) == labels).mean()) for s in scores]
        expected = judge([scores[0]], [scores[1]], None).drop or 0.0
        return f"{true[0]:.2f} -> {true[1]:.2f} % top-1 (expected: -{100 * expected:.2f})"

    return compare


def _scores(model: Path, samples: np.ndarray) -> np.ndarray:
    session = open_session(model)
    name = session.get_inputs()[0].name
    batches = [samples[start : start + 100] for start in range(0, len(samples), 100)]
    return np.concatenate([run(session, None, {name: batch})[0] for batch in batches])


def psnr(before: Path, after: Path) -> str:
    """Super-resolution on Set5 before and after."""
    return f"{psnr_set5(before):.2f} -> {psnr_set5(after):.2f} dB on Set5"


def psnr_set5(model: Path) -> float:
    """Mean RGB PSNR in dB of x2 super-resolution on Set5."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    figures = []
    for picture in inputs.set5():
        sharp = picture.crop((0, 0, picture.width // 2 * 2, picture.height // 2 * 2))
        small = np.asarray(inputs.low_resolution([sharp])[0])[None]
        made = run(session, None, {name: inputs.planar(small, [0] * 3, [255] * 3)})[0]
        wanted = np.asarray(sharp).transpose(2, 0, 1) / 255.0
        error = np.mean((np.clip(made[0], 0.0, 1.0) - wanted) ** 2)
        figures.append(-10.0 * np.log10(error))
    return float(np.mean(figures))


def _pictures(count: int, width: int, height: int) -> np.ndarray:
    return inputs.crops([*inputs.photographs(), *inputs.set5()], count, width, height)


CIFAR = tuple(
    Case(
        f"cifar10_resnet20_{export}",
        lambda: some(inputs.cifar10("train")),
        top1(lambda: inputs.cifar10("test")),
    )
    for export in ("dynamo", "bn", "folded")
)
CASES = (
    *CIFAR,
    Case(
        "fmnist_resnet8_bn",
        lambda: some(inputs.fashion_mnist("train")),
        top1(lambda: inputs.fashion_mnist("t10k")),
    ),
    Case(
        "srgan_generator_x2_bn",
        lambda: inputs.planar(
            inputs.crops(inputs.low_resolution(inputs.photographs()), 64, 48, 48),
            [0] * 3,
            [255] * 3,
        ),
        psnr,
    ),
    Case(
        "yolox_nano",
        lambda: inputs.planar(_pictures(64, 416, 416)[..., ::-1], [0] * 3, [1] * 3),
    ),
    Case(
        "efficientnet_lite0_bn",
        lambda: inputs.planar(_pictures(128, 224, 224) / 255.0, inputs.MEAN, inputs.STD),
    ),
    Case(
        "ultraface_version-RFB-320",
        lambda: inputs.planar(_pictures(96, 320, 240), [127] * 3, [128] * 3),
    ),
    Case("ppocr_v2_cls", lambda: inputs.text_lines(256)),
)


def measure(case: Case, folder: Path) -> str:
    """Optimize one model as a user would; the row of the table."""
    source, out = ZOO / f"{case.model}.onnx", folder / f"{case.model}.onnx"
    samples, report = folder / f"{case.model}.npy", folder / f"{case.model}.json"
    np.save(samples, case.calibration())
    command = ["optimize", str(source), "-o", str(out), "--calibration", str(samples), "--quiet"]
    command += ["--report", str(report), *case.arguments]
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "autogo_onnx", *command], check=True, stdout=subprocess.DEVNULL
    )
    seconds = time.monotonic() - start
    told = json.loads(report.read_text())
    fidelity = told["fidelity"] or {}
    gate = fidelity.get("drop_bound")
    judged = f"{100 * gate:.2f} points" if gate is not None else _decibels(fidelity)
    quality = "-" if case.quality is None else case.quality(source, out)
    macs = told["after"]["macs"] / max(1, told["before"]["macs"])
    return (
        f"| {case.model} | {told['latency_ratio']:.3f} | {told['latency_noise']:.3f} | {macs:.3f} "
        f"| {judged} | {quality} | {len(told['plan'])} | {seconds:.0f} |"
    )


def _decibels(fidelity: dict[str, float]) -> str:
    bound = fidelity.get("psnr_bound_db")
    return "-" if bound is None else f"{bound:.1f} dB"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Keep models and reports here.")
def main(names: tuple[str, ...], out: Path | None) -> None:
    """Print one row per model as soon as it is measured."""
    print("| model | latency ratio | A/A bound | MACs | gate's bound | test data | plan | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    chosen = [case for case in CASES if not names or case.model in names]
    with tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for case in chosen:
            print(measure(case, folder), flush=True)


if __name__ == "__main__":
    main()
