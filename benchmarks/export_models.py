"""Write the models on which the exact rules are judged, as exporters write them.

    pip install torch==2.13.0 onnx onnxscript && pip install --no-deps timm==1.0.31
    pip download --no-deps --dest FOLDER rapidocr_onnxruntime==1.4.4    # if wanted
    python benchmarks/export_models.py FOLDER [NAME ...]

Architectures from timm and from here, any batch size, random weights (a seed each). The statistics
of the batch norms are those of random data, so that values stay of the order of one. The models of
PP-OCR, which are trained, are taken out of their wheel if it lies in the folder; their pictures
have no fixed size, so each gets a file of samples beside it.
"""

from __future__ import annotations

import sys
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

OPSET = 17
TORCHVISION = """
torchvision torchvision.datasets torchvision.models torchvision.models.feature_extraction
torchvision.ops torchvision.ops.misc torchvision.transforms torchvision.transforms.functional
""".split()
OCR = {
    "ppocr_v4_rec": ("ch_PP-OCRv4_rec_infer", (48, 320)),
    "ppocr_v4_det": ("ch_PP-OCRv4_det_infer", (320, 320)),
    "ppocr_v2_cls": ("ch_ppocr_mobile_v2.0_cls_infer", (48, 192)),
}


@dataclass(frozen=True)
class Recipe:
    """A model and the way it is exported.

    Attributes:
        build: makes the network.
        shape: of a sample.
        form: `training` keeps all nodes (TorchScript, nothing folded: what comes from an export
            that was not meant for deployment), `inference` is TorchScript's normal export, `dynamo`
            the present default of torch, which folds and cleans up itself.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    form: str


def architecture(name: str, **options: Any) -> Callable[[], nn.Module]:
    """An architecture of timm's, which is imported when one is built."""

    def build() -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(name, pretrained=False, **options)
        return network

    return build


def conv(channels: int, width: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that keeps the size of the picture."""
    return nn.Conv2d(channels, width, kernel, padding=kernel // 2)


def conv_bn(channels: int, width: int) -> nn.Sequential:
    """A 3x3 convolution as most networks have them."""
    return nn.Sequential(conv(channels, width), nn.BatchNorm2d(width), nn.ReLU())


class Residual(nn.Module):
    """A network and its shortcut."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[N,C,H,W] -> float[N,C,H,W]."""
        return x + self.layers(x)


def edsr(scale: int, width: int = 64, blocks: int = 16) -> nn.Module:
    """EDSR-baseline without its shift of the mean (Lim et al. 2017): super-resolution."""
    body = [Residual(conv(width, width), nn.ReLU(), conv(width, width)) for _ in range(blocks)]
    up = [conv(width, 4 * width), nn.PixelShuffle(2)]
    again = [conv(width, 4 * width), nn.PixelShuffle(2)] if scale == 4 else []
    trunk = Residual(*body, conv(width, width))
    return nn.Sequential(conv(3, width), trunk, *up, *again, conv(width, 3))


class UNet(nn.Module):
    """Ronneberger et al. 2015, going up by nearest neighbour and a 3x3 convolution."""

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.first = conv_bn(3, widths[0])
        self.down = nn.ModuleList([conv_bn(fine, coarse) for fine, coarse in pairs])
        self.up = nn.ModuleList([conv_bn(coarse, fine) for fine, coarse in pairs])
        self.join = nn.ModuleList([conv_bn(2 * fine, fine) for fine, _ in pairs])
        self.last = conv(widths[0], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[N,3,H,W] -> float[N,2,H,W]."""
        levels = [self.first(x)]
        for down in self.down:
            levels.append(down(functional.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            x = up(functional.interpolate(x, scale_factor=2, mode="nearest"))
            x = join(torch.cat([levels.pop(), x], 1))
        return self.last(x)


class Head(nn.Module):
    """A segmentation head over maps at strides 4 to 32; patch embeddings are their backbone.

    The maps are projected (SegFormer, Xie et al. 2021) or left as they are (HRNet, Wang et al.
    2020), enlarged, concatenated and fused by a 1x1 convolution.
    """

    def __init__(self, widths: Sequence[int], projected: int | None) -> None:
        super().__init__()
        self.stems = nn.ModuleList(
            [nn.Conv2d(3, w, s, s) for w, s in zip(widths, (4, 8, 16, 32), strict=True)]
        )
        self.project = nn.ModuleList([nn.Linear(w, projected) for w in widths if projected])
        total = 4 * projected if projected else sum(widths)
        width = projected or total
        self.fuse = nn.Sequential(conv(total, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.classify = conv(width, 19, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[N,3,H,W] -> float[N,19,H/4,W/4]."""
        maps = [functional.relu(stem(x)) for stem in self.stems]
        size = maps[0].shape[2:]
        for index, linear in enumerate(self.project):
            tokens = linear(maps[index].flatten(2).transpose(1, 2))
            maps[index] = tokens.transpose(1, 2).unflatten(2, maps[index].shape[2:])
        enlarged = [functional.interpolate(m, size=size, mode="bilinear") for m in maps[1:]]
        return self.classify(self.fuse(torch.cat([maps[0], *enlarged], 1)))


def mlp(widths: Sequence[int] = (784, 512, 512, 256)) -> nn.Module:
    """Linear, BatchNorm1d, ReLU; a classifier at the end."""
    hidden = [
        m for i, o in pairwise(widths) for m in (nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU())
    ]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], 10))


PICTURE, SMALL = (3, 224, 224), (3, 128, 128)
RECIPES = {
    "repvgg_a0": Recipe(architecture("repvgg_a0"), PICTURE, "training"),
    "repvgg_a0_dynamo": Recipe(architecture("repvgg_a0"), PICTURE, "dynamo"),
    "mobileone_s1": Recipe(architecture("mobileone_s1"), PICTURE, "training"),
    "fastvit_t8": Recipe(architecture("fastvit_t8"), (3, 256, 256), "training"),
    "repvit_m1": Recipe(architecture("repvit_m1"), PICTURE, "training"),
    "densenet121": Recipe(architecture("densenet121"), PICTURE, "dynamo"),
    "vit_tiny": Recipe(architecture("vit_tiny_patch16_224", exportable=True), PICTURE, "inference"),
    "swin_tiny": Recipe(architecture("swin_tiny_patch4_window7_224"), PICTURE, "training"),
    "edsr_x2": Recipe(lambda: edsr(2), (3, 48, 48), "inference"),
    "edsr_x4": Recipe(lambda: edsr(4), (3, 48, 48), "inference"),
    "unet_nearest": Recipe(UNet, SMALL, "dynamo"),
    "segformer_head": Recipe(lambda: Head((32, 64, 160, 256), 256), (3, 256, 256), "inference"),
    "hrnet_head": Recipe(lambda: Head((18, 36, 72, 144), None), (3, 256, 256), "inference"),
    "mlp_bn": Recipe(mlp, (784,), "training"),
    "resnet50": Recipe(architecture("resnet50"), PICTURE, "training"),
}


def settle(network: nn.Module, samples: torch.Tensor) -> None:
    """Random scales and shifts, and the statistics that the samples have then."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    network.eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "layer_scale" in name or name.endswith("gamma"):
                weight.uniform_(0.25, 0.75)  # As initialized, 1e-5, the layers would do nothing.
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.1)
            norm.momentum = 1.0
            norm.train()
        network(samples)
    network.eval()


def export(recipe: Recipe, path: Path) -> None:
    """Write a model; the same versions give the same weights."""
    torch.manual_seed(0)
    network = recipe.build()
    samples = torch.randn(4, *recipe.shape)
    settle(network, samples)
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
    if recipe.form == "dynamo":
        dims = ({0: torch.export.Dim("N")},)
        settings = {"dynamo": True, "external_data": False, "dynamic_shapes": dims}
        torch.onnx.export(network, (samples,), path, **names, **settings, verbose=False)
        return
    settings = {"dynamo": False, "opset_version": OPSET, "dynamic_axes": {"x": {0: "N"}}}
    if recipe.form == "training":
        preserve = torch.onnx.TrainingMode.PRESERVE
        settings |= {"training": preserve, "do_constant_folding": False}
    torch.onnx.export(network, (samples[:1],), path, **names, **settings)


def unpack(folder: Path) -> Iterator[str]:
    """The models of PP-OCR, if their wheel is in the folder, and pictures of realistic sizes."""
    for wheel in folder.glob("rapidocr_onnxruntime-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name, (member, size) in OCR.items():
                data = archive.read(f"rapidocr_onnxruntime/models/{member}.onnx")
                (folder / f"{name}.onnx").write_bytes(data)
                noise = np.random.default_rng(0).standard_normal((8, 3, *size), dtype=np.float32)
                np.savez(folder / f"{name}.npz", x=noise)
                yield name


class _Placeholder(type):
    """A class whose attributes are such classes."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Placeholder(name, (), {})


def replace_torchvision() -> None:
    """Placeholders: timm imports torchvision, but only reading data needs it."""
    for name in TORCHVISION:
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__dict__["__getattr__"] = partial(getattr, _Placeholder(name, (), {}))
        sys.modules[name] = module


def main(folder: Path, wanted: Sequence[str]) -> None:
    """Write all models, or the wanted ones."""
    warnings.simplefilter("ignore")  # TorchScript's export calls itself deprecated.
    torch.set_num_threads(1)
    replace_torchvision()
    folder.mkdir(parents=True, exist_ok=True)
    for name in wanted or RECIPES:
        export(RECIPES[name], folder / f"{name}.onnx")
        print(name, flush=True)
    for name in unpack(folder):
        print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
