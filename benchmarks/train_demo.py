"""Train the demo that the wheel ships: a residual network on scikit-learn's handwritten digits.

The network is wider than the task needs, on purpose, as trained networks in the field are. It is
written with its BatchNormalization nodes, so that the exact rules have something to do as well.

Run: `pip install torch==2.13.0 scikit-learn onnx && python benchmarks/train_demo.py`
(ten seconds on one core). Writes into `autogo_onnx/demo/`; the same versions give the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

DEMO = Path(__file__).parents[1] / "autogo_onnx" / "demo"
EPOCHS, BATCH, SEED = 30, 50, 0
TRAIN, CALIBRATION = 1000, 400  # of 1797 samples; the rest is held out for the accuracy


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.project = stride != 1 or channels != width
        if self.project:
            self.conv3 = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[N,C,H,W] -> float[N,width,H/stride,W/stride]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        shortcut = self.bn3(self.conv3(x)) if self.project else x
        return functional.relu(self.bn2(self.conv2(y)) + shortcut)


class Digits(nn.Module):
    """A stem, four blocks, a linear classifier: 170 thousand parameters for 8x8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(32)
        self.blocks = nn.ModuleList(
            [Block(32, 32, 1), Block(32, 32, 1), Block(32, 64, 2), Block(64, 64, 1)]
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[N,1,8,8] -> float[N,10] class scores."""
        x = functional.relu(self.bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(dim=(2, 3)))


def _shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every image moved by up to one pixel each way."""
    padded = functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2), generator=generator).tolist()
    return torch.stack(
        [image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, moves, strict=True)]
    )


def train(images: np.ndarray, labels: np.ndarray) -> Digits:
    """A network trained with one thread and one seed."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    network, x, y = Digits(), torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(
        network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            scores = network(_shifted(x[batch], generator))
            optimizer.zero_grad()
            functional.cross_entropy(scores, y[batch]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    return network


class Writer:
    """Collects the nodes and weights of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        self.nodes.append(helper.make_node(kind, inputs, [name + "_out"], name, **attributes))
        return name + "_out"

    def weight(self, name: str, values: torch.Tensor) -> str:
        """Add an initializer; returns its name."""
        self.weights.append(numpy_helper.from_array(values.detach().numpy(), name))
        return name

    def conv_bn(self, name: str, x: str, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> str:
        """A convolution and its normalization, unfolded as trained."""
        pads = [conv.padding[0], conv.padding[1]] * 2
        kernel, strides = list(conv.kernel_size), list(conv.stride)
        inputs = [x, self.weight(f"{name}.weight", conv.weight)]
        y = self.node("Conv", name, inputs, kernel_shape=kernel, strides=strides, pads=pads)
        statistics = {
            "scale": bn.weight,
            "bias": bn.bias,
            "mean": bn.running_mean,
            "var": bn.running_var,
        }
        norms = [self.weight(f"{name}.bn.{k}", v) for k, v in statistics.items() if v is not None]
        return self.node("BatchNormalization", f"{name}.bn", [y, *norms], epsilon=bn.eps)

    def model(
        self, name: str, picture: tuple[int, int, int], provenance: dict[str, str]
    ) -> onnx.ModelProto:
        """All of it as a classifier of pictures float[N,C,H,W] into ten, opset 17."""
        self.nodes[-1].output[0] = "scores"
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *picture])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
            self.weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
            producer_name="autogo-onnx",
        )
        helper.set_model_props(model, provenance)
        onnx.checker.check_model(model, full_check=True)
        return model


def export(network: Digits, accuracy: float) -> onnx.ModelProto:
    """The network as ONNX, opset 17, any batch size."""
    writer = Writer()
    x = writer.conv_bn("stem", "image", network.stem, network.bn)
    x = writer.node("Relu", "stem.relu", [x])
    for index, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        name = f"block{index}"
        y = writer.conv_bn(f"{name}.conv1", x, block.conv1, block.bn1)
        y = writer.node("Relu", f"{name}.relu1", [y])
        y = writer.conv_bn(f"{name}.conv2", y, block.conv2, block.bn2)
        if block.project:
            x = writer.conv_bn(f"{name}.shortcut", x, block.conv3, block.bn3)
        x = writer.node("Relu", f"{name}.relu2", [writer.node("Add", f"{name}.add", [y, x])])
    x = writer.node("Flatten", "flatten", [writer.node("GlobalAveragePool", "pool", [x])])
    weight = writer.weight("classifier.weight", network.classifier.weight)
    bias = writer.weight("classifier.bias", network.classifier.bias)
    writer.node("Gemm", "classifier", [x, weight, bias], transB=1)
    provenance = {
        "trained_by": "benchmarks/train_demo.py",
        "trained_on": f"sklearn.datasets.load_digits, {TRAIN} samples",
        "accuracy": f"{accuracy:.4f} on the held-out samples",
    }
    return writer.model("digits", (1, 8, 8), provenance)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """`numpy.savez_compressed` without the time of day in the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED
            )


def main() -> None:
    """Train, measure on the held-out samples, write the three files."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(SEED).permutation(len(images))
    fit, calibration, held_out = np.split(order, [TRAIN, TRAIN + CALIBRATION])
    network = train(images[fit], labels[fit])
    with torch.no_grad():
        predicted = network(torch.from_numpy(images[held_out])).argmax(1).numpy()
    accuracy = float((predicted == labels[held_out]).mean())
    onnx.save(export(network, accuracy), DEMO / "digits.onnx")
    save_arrays(DEMO / "calibration.npz", image=images[calibration])
    save_arrays(DEMO / "held_out.npz", image=images[held_out], labels=labels[held_out])
    print(f"accuracy {accuracy:.4f} on {len(held_out)} held-out samples")


if __name__ == "__main__":
    main()
