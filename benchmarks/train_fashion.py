"""Train two over-parameterised networks on Fashion-MNIST: VGG-16 and ResNet-18 at quarter width.

Both keep the published pattern of layers (Simonyan & Zisserman, 2015; He et al., 2016) at a quarter
of its channels, for 28x28 pixels, and are written with their BatchNormalization nodes. Nobody has
shaped them for this project: they stand for what a user brings.

Run: `pip install torch==2.13.0 onnx && python -m benchmarks.train_fashion FOLDER`, seven minutes
per network on one idle core; `--only resnet18` for one of them. Needs Debian's
`dataset-fashion-mnist`. The same versions of torch and processor give the same bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional

from benchmarks.inputs import Labels, Maps, fashion_mnist
from benchmarks.train_demo import Writer

WIDTH, BATCH, SEED = 16, 128, 0
VGG_STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # (multiple of WIDTH, convolutions)
RESNET_STAGES = ((1, 2), (2, 2), (4, 2), (8, 2))  # (multiple of WIDTH, blocks)


class ConvNorm(nn.Module):
    """A convolution and its normalization."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[N,C,H,W] -> float[N,width,H/stride,W/stride]."""
        return self.norm(self.conv(x))


class Block(nn.Module):
    """ResNet's basic block: two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, width, 3, stride)
        self.second = ConvNorm(width, width, 3)
        self.shortcut = ConvNorm(channels, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[N,C,H,W] -> float[N,width,H/stride,W/stride]."""
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


def vgg16() -> nn.Sequential:
    """Thirteen convolutions in five stages; one linear classifier in place of VGG's three.

    28x28 pixels bear three halvings, so the last two stages share 3x3 positions.
    """
    layers: list[nn.Module] = []
    channels = 1
    for stage, (multiple, count) in enumerate(VGG_STAGES):
        for _ in range(count):
            layers += [ConvNorm(channels, multiple * WIDTH, 3), nn.ReLU()]
            channels = multiple * WIDTH
        if stage < 3:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def resnet18() -> nn.Sequential:
    """A 3x3 stem at full size, as for any small pictures, and eight basic blocks."""
    layers: list[nn.Module] = [ConvNorm(1, WIDTH, 3), nn.ReLU()]
    channels = WIDTH
    for stage, (multiple, count) in enumerate(RESNET_STAGES):
        for index in range(count):
            stride = 2 if stage and not index else 1
            layers.append(Block(channels, multiple * WIDTH, stride))
            channels = multiple * WIDTH
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


@dataclass(frozen=True)
class Recipe:
    """How a network is made.

    Attributes:
        build: it, with random weights.
        epochs: rounds over the pictures.
        learning_rate: at the highest.
        is_mirrored: whether pictures are mirrored at random.
    """

    build: Callable[[], nn.Sequential]
    epochs: int
    learning_rate: float
    is_mirrored: bool = True


RECIPES = {"resnet18": Recipe(resnet18, 5, 0.1), "vgg16": Recipe(vgg16, 5, 0.08)}


def train(recipe: Recipe, labelled: tuple[Maps, Labels]) -> nn.Sequential:
    """A network trained on pictures and their labels, by one thread from one seed."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    pictures, labels = (torch.from_numpy(array) for array in labelled)
    network = recipe.build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * (len(pictures) // BATCH)
    )
    for epoch in range(recipe.epochs):
        began, total = time.monotonic(), 0.0
        # A rest would be a batch with noisy statistics.
        order = torch.randperm(len(pictures), generator=generator)[: len(pictures) // BATCH * BATCH]
        for batch in order.split(BATCH):
            x = pictures[batch]
            if recipe.is_mirrored:
                mirrored = torch.rand(BATCH, 1, 1, 1, generator=generator) < 0.5
                x = torch.where(mirrored, x.flip(3), x)
            loss = functional.cross_entropy(network(x), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        mean = total * BATCH / len(order)
        print(f"epoch {epoch + 1}: loss {mean:.4f}, {time.monotonic() - began:.0f} s", flush=True)
    return network.eval()


def accuracy(network: nn.Sequential, labelled: tuple[Maps, Labels]) -> float:
    """Top-1 on some pictures."""
    pictures, labels = (torch.from_numpy(array) for array in labelled)
    with torch.no_grad():
        answers = torch.cat([network(part).argmax(1) for part in pictures.split(500)])
    return float((answers == labels).double().mean())


def export(
    network: nn.Sequential, name: str, picture: tuple[int, int, int], provenance: dict[str, str]
) -> onnx.ModelProto:
    """The network as ONNX, opset 17, any batch size of pictures (channels, height, width)."""
    writer = Writer()
    tensor = "image"
    for index, layer in enumerate(network):
        tensor = _written(writer, f"layer{index}", tensor, layer)
    return writer.model(name, picture, provenance)


def _written(writer: Writer, name: str, x: str, layer: nn.Module) -> str:
    """Add a layer's nodes; returns the name of its output."""
    match layer:
        case ConvNorm():
            return writer.conv_bn(name, x, layer.conv, layer.norm)
        case Block():
            y = writer.conv_bn(f"{name}.first", x, layer.first.conv, layer.first.norm)
            y = writer.node("Relu", f"{name}.relu1", [y])
            y = writer.conv_bn(f"{name}.second", y, layer.second.conv, layer.second.norm)
            x = _written(writer, f"{name}.shortcut", x, layer.shortcut)
            return writer.node("Relu", f"{name}.relu2", [writer.node("Add", f"{name}.add", [y, x])])
        case nn.Identity():
            return x
        case nn.ReLU():
            return writer.node("Relu", name, [x])
        case nn.MaxPool2d():
            return writer.node("MaxPool", name, [x], kernel_shape=[2, 2], strides=[2, 2])
        case nn.AdaptiveAvgPool2d():
            return writer.node("GlobalAveragePool", name, [x])
        case nn.Flatten():
            return writer.node("Flatten", name, [x])
        case nn.Linear():
            weights = (("weight", layer.weight), ("bias", layer.bias))
            inputs = [x, *(writer.weight(f"{name}.{part}", value) for part, value in weights)]
            return writer.node("Gemm", name, inputs, transB=1)
    raise TypeError(f"no ONNX form is known for {type(layer).__name__}")


@dataclass(frozen=True)
class Task:
    """What networks are trained on.

    Attributes:
        name: of the files, behind the network's.
        script: that is run.
        told: where the pictures are from.
        train, test: pictures and labels.
        picture: (channels, height, width).
    """

    name: str
    script: str
    told: str
    train: tuple[Maps, Labels]
    test: tuple[Maps, Labels]
    picture: tuple[int, int, int]


def write_networks(task: Callable[[], Task], recipes: Mapping[str, Recipe], told: str) -> None:
    """Train, measure on the test pictures, write `<network>_<task>.onnx` into the folder."""
    parser = argparse.ArgumentParser(description=told)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=sorted(recipes))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    on = task()
    for name in (options.only,) if options.only else recipes:
        network = train(recipes[name], on.train)
        share = accuracy(network, on.test)
        provenance = {
            "trained_by": f"benchmarks/{on.script}",
            "trained_on": on.told,
            "accuracy": f"{share:.4f} on the 10,000 test pictures",
        }
        path = options.folder / f"{name}_{on.name}.onnx"
        onnx.save(export(network, on.name, on.picture, provenance), path)
        print(f"{path}: top-1 {share:.4f}", flush=True)


def fashion() -> Task:
    """Fashion-MNIST."""
    told = "the 60,000 training pictures of Fashion-MNIST"
    pictures = fashion_mnist("train"), fashion_mnist("t10k")
    return Task("fashion", "train_fashion.py", told, *pictures, (1, 28, 28))


if __name__ == "__main__":
    write_networks(fashion, RECIPES, __doc__)
