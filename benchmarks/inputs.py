"""Real inputs for the benchmarks: photographs, digits of clothing, rendered text.

Nothing is downloaded: CIFAR-10 and Set5 lie in `../shared/images`, Fashion-MNIST comes from
Debian's `dataset-fashion-mnist`, two photographs come with scikit-learn, text is drawn.
"""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHARED = Path(__file__).resolve().parents[2] / "shared"
FASHION = Path("/usr/share/datasets/fashion-mnist")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LETTERS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz 0123456789")

Maps = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Labels = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def cifar10(part: str) -> tuple[Maps, Labels]:
    """`test` or `train`: float32[10000,3,32,32] as the zoo's networks want them, and labels."""
    name = {"test": "test_10000.zip", "train": "train_first1000_per_class.zip"}[part]
    with zipfile.ZipFile(SHARED / "images" / "cifar10_jpeg" / name) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))
        classes = sorted({n.split("/")[-2] for n in names})
        pictures = [np.asarray(Image.open(archive.open(n)).convert("RGB")) for n in names]
    labels = np.array([classes.index(n.split("/")[-2]) for n in names])
    return _planar((np.stack(pictures) / 255.0 - MEAN) / STD), labels


def fashion_mnist(part: str) -> tuple[Maps, Labels]:
    """`t10k` or `train`: float32[N,1,28,28], normalized as the zoo's network wants, and labels."""
    pixels = _idx(FASHION / f"{part}-images-idx3-ubyte.gz")[:, None]
    labels = _idx(FASHION / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    return ((pixels / 255.0 - 0.286) / 0.353).astype(np.float32), labels


def photographs() -> list[Image.Image]:
    """The photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(picture) for picture in load_sample_images().images]


def set5() -> list[Image.Image]:
    """The five test images of super-resolution."""
    paths = sorted((SHARED / "images" / "set5").glob("*.bmp"))
    return [Image.open(path).convert("RGB") for path in paths]


def crops(
    pictures: Sequence[Image.Image], count: int, width: int, height: int, *, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Random crops at random scales, half of them mirrored: uint8[count,height,width,3]."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        picture = pictures[index % len(pictures)]
        widest = min(picture.width, int(picture.height * width / height))
        wide = int(widest * rng.uniform(0.3, 1.0))
        high = int(wide * height / width)
        left = int(rng.integers(0, picture.width - wide + 1))
        top = int(rng.integers(0, picture.height - high + 1))
        crop = picture.crop((left, top, left + wide, top + high))
        pixels = np.asarray(crop.resize((width, height), Image.Resampling.BICUBIC))
        made.append(pixels[:, ::-1] if rng.random() < 0.5 else pixels)
    return np.stack(made)


def pages(
    count: int, width: int, height: int, *, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Pages of rendered words in lines of several sizes: uint8[count,height,width,3]."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        paper, ink = _colours(rng)
        picture = Image.new("RGB", (width, height), paper)
        top = 5
        while top < height - 8:
            size = min(int(rng.integers(10, 26)), height - top)
            place = (int(rng.integers(4, 30)), top)
            words = "".join(rng.choice(_LETTERS, int(rng.integers(5, max(6, width // 9)))))
            font = ImageFont.load_default(size=size)
            ImageDraw.Draw(picture).text(place, words, fill=ink, font=font)
            top += int(size * rng.uniform(1.2, 2.5))
        made.append(np.asarray(picture))
    return np.stack(made)


def text_lines(count: int, *, seed: int = 0) -> Maps:
    """Rendered words, half of them upside down: float32[count,3,48,192] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        paper, ink = _colours(rng)
        picture = Image.new("RGB", (192, 48), paper)
        font = ImageFont.load_default(size=int(rng.integers(14, 28)))
        place = (int(rng.integers(2, 20)), int(rng.integers(4, 16)))
        words = "".join(rng.choice(_LETTERS, int(rng.integers(6, 16))))
        ImageDraw.Draw(picture).text(place, words, fill=ink, font=font)
        pixels = np.asarray(picture)
        made.append(pixels[::-1, ::-1] if index % 2 else pixels)
    return _planar(np.stack(made) / 127.5 - 1.0)


def _colours(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of paper, and of ink that can be read on it."""
    return tuple(rng.integers(150, 255, 3).tolist()), tuple(rng.integers(0, 100, 3).tolist())


def low_resolution(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Half the size, bicubic: the inputs of x2 super-resolution."""
    return [p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC) for p in pictures]


def planar(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Maps:
    """Pictures [N,H,W,3] as float32[N,3,H,W], `(pixel - mean) / std`."""
    return _planar((pixels - np.asarray(mean)) / np.asarray(std))


def _planar(pictures: np.ndarray) -> Maps:
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32)


def _idx(path: Path) -> np.ndarray:
    """An array in the IDX format of MNIST."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
