"""Four small tasks to train base and evolved networks for: what, on what data, judged how.

Each network keeps the pattern of a published one at reduced width, so that one training takes
about two minutes of one core. Nothing is downloaded: Fashion-MNIST comes from Debian's
`dataset-fashion-mnist`, the photographs to learn from with scikit-image, and Set5, which no
training sees, lies in `../shared/images`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from autogo_onnx.runtime import open_session, run
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.network import Network
from benchmarks.inputs import fashion_mnist, set5

Maps = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

PHOTOGRAPHS = (
    "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png "
    "motorcycle_left.png motorcycle_right.png rocket.jpg"
).split()
"""What of scikit-image's pictures, as its wheel has them, is a photograph of this world."""

_CLASSES = 10
_CLOTHES = 30_000
_PATCH, _PATCHES = 48, 1600
_UPSAMPLING = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest"}
NOISE = 25 / 255
"""Standard deviation of the noise to remove, of the pictures' range."""


@dataclass(frozen=True)
class Task:
    """What to train for.

    Attributes:
        network: the weight-free base.
        data: the arrays to train on, as `train --data` reads them.
        quality: of a trained model on test data; higher is better.
        unit: of the quality.
        training: of `training.TrainOptions`, what differs from its defaults.
    """

    network: Callable[[], Network]
    data: Callable[[], dict[str, np.ndarray]]
    quality: Callable[[onnx.ModelProto], float]
    unit: str
    training: dict[str, Any]


def resnet() -> Network:
    """ResNet-18's eight basic blocks (He et al., 2016) at an eighth of its width."""
    net = Builder((1, 1, 28, 28))
    x = net.relu(net.conv_bn(0, 8, kernel=3))
    for stage, width in enumerate((8, 16, 32, 64)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = net.relu(net.conv_bn(x, width, kernel=3, stride=stride))
            y = net.conv_bn(y, width, kernel=3)
            x = net.relu(net.add(y, x if stride == 1 else net.conv_bn(x, width, stride=stride)))
    return net.network(net.classifier(x, _CLASSES))


def vgg() -> Network:
    """VGG-16's thirteen convolutions (Simonyan and Zisserman, 2015) at an eighth of its width."""
    net = Builder((1, 1, 28, 28))
    x = 0
    for stage, (width, count) in enumerate(((8, 2), (16, 2), (32, 3), (64, 3), (64, 3))):
        for _ in range(count):
            x = net.relu(net.conv_bn(x, width, kernel=3))
        if stage < 3:  # 28 pixels bear three halvings.
            x = net.pool("MaxPool", x, kernel=2, stride=2)
    return net.network(net.classifier(x, _CLASSES))


def edsr() -> Network:
    """EDSR's baseline for x2 (Lim et al., 2017) with 4 of its 16 blocks and 16 of 64 channels."""
    net = Builder((1, 3, _PATCH // 2, _PATCH // 2))
    first = x = _conv(net, 0, 16)
    for _ in range(4):
        x = net.add(_conv(net, net.relu(_conv(net, x, 16)), 16), x)
    x = _conv(net, net.add(_conv(net, x, 16), first), 64)
    x = net.op("DepthToSpace", (x,), (1, 16, _PATCH, _PATCH), blocksize=2, mode="CRD")
    return net.network(_conv(net, x, 3))


def unet() -> Network:
    """Noise2Noise's U-Net (Lehtinen et al., 2018): three of five poolings, a quarter as wide."""
    net = Builder((1, 3, _PATCH, _PATCH))
    skips, x = [0], _leaky(net, 0, 12)
    for _ in range(3):
        x = net.pool("MaxPool", _leaky(net, x, 12), kernel=2, stride=2)
        skips.append(x)
    x = _leaky(net, skips.pop(), 12)
    while skips:
        x = net.concat(_upsampled(net, x), skips.pop())
        for width in (24, 24) if skips else (16, 8):
            x = _leaky(net, x, width)
    return net.network(_conv(net, x, 3))


def _conv(net: Builder, x: int, width: int) -> int:
    return net.conv(x, width, kernel=3, bias=True)


def _leaky(net: Builder, x: int, width: int) -> int:
    return net.unary("LeakyRelu", _conv(net, x, width), alpha=0.1)


def _upsampled(net: Builder, x: int) -> int:
    batch, width, height, across = net.shape(x)
    shape = (batch, width, 2 * height, 2 * across)
    return net.op("Resize", (x,), shape, nearest_mode="floor", **_UPSAMPLING)


def clothes() -> dict[str, np.ndarray]:
    """The first half of Fashion-MNIST's 60,000 training pictures, which are in random order."""
    pictures, labels = fashion_mnist("train")
    return {"x0": pictures[:_CLOTHES], "labels": labels[:_CLOTHES]}


def top1(model: onnx.ModelProto) -> float:
    """Per cent of the 10,000 test pictures of Fashion-MNIST."""
    pictures, labels = fashion_mnist("t10k")
    session = open_session(model)
    parts = [pictures[start : start + 250] for start in range(0, len(pictures), 250)]
    answers = np.concatenate([run(session, None, {"x0": p})[0].argmax(1) for p in parts])
    return 100.0 * float((answers == labels).mean())


def photographs() -> list[Image.Image]:
    """The photographs of scikit-image in colour.

    Raises:
        FileNotFoundError: scikit-image is not installed.
    """
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the photographs come with scikit-image: pip install scikit-image")
    folder = Path(found.submodule_search_locations[0]) / "data"
    return [Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS]


def patches(pictures: list[Image.Image], count: int, *, seed: int) -> Maps:
    """Squares at random places, equally many of every picture: float32[count,3,48,48] in [0, 1]."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        pixels = np.asarray(pictures[index % len(pictures)])
        top, left = (int(rng.integers(size - _PATCH + 1)) for size in pixels.shape[:2])
        made.append(pixels[top : top + _PATCH, left : left + _PATCH])
    return _values(np.stack(made))


def enlarging() -> dict[str, np.ndarray]:
    """Patches at half their size, and what they were."""
    wanted = patches(photographs(), _PATCHES, seed=0)
    small = [_halved(_picture(patch)) for patch in wanted]
    return {"x0": _values(np.stack([np.asarray(p) for p in small])), "targets": wanted}


def denoising() -> dict[str, np.ndarray]:
    """Clean patches; the training makes them noisy, anew every time."""
    return {"x0": patches(photographs(), _PATCHES, seed=0)}


def enlarged_set5(model: onnx.ModelProto) -> float:
    """Mean PSNR on Set5, on luminance without two border pixels, as x2 is reported."""
    session = open_session(of_any_size(model))
    figures = []
    for picture in set5():
        sharp = _cropped(picture, 2)
        (made,) = run(session, None, {"x0": _values(np.asarray(_halved(sharp))[None])})
        pair = (_luminance(v)[2:-2, 2:-2] for v in (made[0], _values(np.asarray(sharp)[None])[0]))
        figures.append(_psnr(*pair))
    return float(np.mean(figures))


def denoised_set5(model: onnx.ModelProto) -> float:
    """Mean PSNR on Set5 in colour, with the same noise for every model."""
    session = open_session(of_any_size(model))
    rng = np.random.default_rng(0)
    figures = []
    for picture in set5():
        clean = _values(np.asarray(_cropped(picture, 8))[None])
        noisy = (clean + NOISE * rng.standard_normal(clean.shape)).astype(np.float32)
        figures.append(_psnr(run(session, None, {"x0": noisy})[0].clip(0, 1), clean))
    return float(np.mean(figures))


def of_any_size(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that takes pictures of other sizes than those that it was evolved and trained at."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    del free.graph.value_info[:]
    for value in (*free.graph.input, *free.graph.output):
        for axis in (2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_size{axis}"
    return free


def _picture(values: Maps) -> Image.Image:
    return Image.fromarray((values.transpose(1, 2, 0) * 255).round().astype(np.uint8))


def _halved(picture: Image.Image) -> Image.Image:
    size = (picture.width // 2, picture.height // 2)
    return picture.resize(size, Image.Resampling.BICUBIC)


def _cropped(picture: Image.Image, unit: int) -> Image.Image:
    return picture.crop((0, 0, picture.width // unit * unit, picture.height // unit * unit))


def _values(pixels: np.ndarray) -> Maps:
    """uint8[N,H,W,3] as float32[N,3,H,W] in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(255), dtype=np.float32)


def _luminance(values: np.ndarray) -> np.ndarray:
    """Y of ITU-R BT.601 in [0, 1], without the head- and footroom, which shift no error."""
    weights = np.array([65.481, 128.553, 24.966]) / 255.0
    return np.tensordot(weights, values.clip(0, 1).astype(np.float64), axes=1)


def _psnr(made: np.ndarray, wanted: np.ndarray) -> float:
    error = float(np.mean((made.astype(np.float64) - wanted) ** 2))
    return -10.0 * float(np.log10(error))


_OF_CLASSES = {
    "task": "classification",
    "normalization": "insert",
    "augment": "flip",
    "batch": 128,
    "learning_rate": 4e-3,
}
_OF_PIXELS = {"augment": "flip", "batch": 16, "learning_rate": 2e-3}

TASKS = {
    "fashion-resnet": Task(resnet, clothes, top1, "% top-1", {**_OF_CLASSES, "epochs": 4}),
    "fashion-vgg": Task(vgg, clothes, top1, "% top-1", {**_OF_CLASSES, "epochs": 6}),
    "super-resolution-edsr": Task(
        edsr,
        enlarging,
        enlarged_set5,
        "dB",
        {**_OF_PIXELS, "task": "super-resolution", "epochs": 40},
    ),
    "denoising-unet": Task(
        unet,
        denoising,
        denoised_set5,
        "dB",
        {**_OF_PIXELS, "task": "denoising", "noise": NOISE, "epochs": 24},
    ),
}
