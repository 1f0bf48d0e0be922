"""The choices of a user who trains a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autogo_onnx.options import Layout

TaskName = Literal["classification", "super-resolution", "denoising", "segmentation"]
Normalization = Literal["keep", "freeze", "insert"]
Augmentation = Literal["none", "flip", "shift", "both"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainOptions:
    """What `train` may be told; the command line's options one by one, with their defaults.

    Attributes:
        data: what to train on, see `data`.
        task: decides the loss and the metric.
        labels: `.npy` or `.csv` of class indices in the order of the data, where it has none.
        targets: `.npy` of the wanted outputs in the order of the data, where it has none.
        teacher: a model that takes the same inputs, whose outputs are to be met.
        epochs: rounds over the data.
        batch: samples per step.
        learning_rate: of AdamW at its highest, after a twentieth of the steps.
        weight_decay: of kernels and matrices; biases, scales and shifts have none.
        label_weight: share of the labels in the loss where there is a teacher too.
        temperature: by which the class scores of teacher and student are divided.
        normalization: `keep` trains BatchNormalization on batch statistics; `freeze` keeps the
            stored ones; `insert` adds one behind every convolution that has none, and folds it away
            in the end.
        from_scratch: forget the stored weights and draw new ones.
        augment: random changes of the training images: mirrored, moved by up to an eighth.
        noise: standard deviation of the noise that denoising learns to remove, in units of the
            images' range.
        held_out: share of the data that is not trained on, for the metric.
        seed: of every random choice.
        device: where to compute; `auto` takes a GPU where there is one.
        threads: of torch on the CPU; None leaves it to torch.
        work_dir: keeps the state after every epoch, from which the same command goes on.
        mean, std, scale, layout: how an image becomes the input: `(pixel * scale - mean) / std`.
    """

    data: Path
    task: TaskName = "classification"
    labels: Path | None = None
    targets: Path | None = None
    teacher: Path | None = None
    epochs: int = 10
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    label_weight: float = 0.5
    temperature: float = 2.0
    normalization: Normalization = "keep"
    from_scratch: bool = False
    augment: Augmentation = "none"
    noise: float = 25 / 255
    held_out: float = 0.1
    seed: int = 0
    device: Device = "auto"
    threads: int | None = None
    work_dir: Path | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1 / 255
    layout: Layout = "auto"
