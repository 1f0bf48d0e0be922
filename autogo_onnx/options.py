"""The one frozen value that carries every choice of the user down the call chain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["exact", "fitted", "unverified"]
Target = str
DEVICE = "device:"
"""Before the name of a device in a target."""
Layout = Literal["auto", "nchw", "nhwc"]
Gating = Literal["auto", "accuracy", "agreement", "values"]


@dataclass(frozen=True)
class Options:
    """What `optimize` may be told; the command line's options one by one, with their defaults.

    Attributes:
        calibration: unlabelled samples: `.npz` (an array per input), `.npy` (one input) or a folder
            of images or arrays. None: only exact rewrites.
        mean, std, scale, layout: how an image becomes the input: `(pixel * scale - mean) / std`.
        labels: `.npy` or `.csv` of class indices in calibration order; top-1 accuracy then gates.
        evaluate: `FILE.py:FUNCTION`, `FUNCTION(path) -> float`, higher is better; gates instead. An
            array with a figure per sample is as good: a 90 % bound on the loss then gates.
        gate: what decides of a first output float[N,K]: `max_drop` bounds the `accuracy` lost, or
            for `agreement` the share of samples whose answer changes; or it is no scores of classes
            but `values`, which `min_psnr` bounds. `auto`: accuracy or values, as `vectors` tells.
        max_drop: largest loss of the gating figure (0.01 = one point of top-1).
        min_psnr: floor in dB for outputs that are no class scores, without a metric: see
            `fidelity.peak_power`; 45 keep 99 % of their variance or more.
        target: what to minimize: `cpu`, latency measured in ONNX Runtime; `macs` or `params`,
            counted; or `device:NAME`, predicted from published measurements of a device that the
            predictor knows.
        threads: intra-op threads of ONNX Runtime, in measurements.
        memory_bytes: of activations in memory; on disk they may take four times as much. Samples
            are left out where that is too little; else it changes no result.
        budget_s: wall-clock seconds for the whole run.
        seed: of every random choice.
        level: None means fitted with calibration data, else exact.
        opset: version of the ONNX operators to convert to first; None keeps the model's.
        latency_table: a table written by an earlier run; its prices are used instead of measuring.
        segment_db: a file instead of the shipped one; the outcomes of fits are appended to it if it
            can be written.
        predictor: a file instead of the shipped one.
        quantize_check: tell how the result fares in int8, beside the original; needs samples.
        work_dir: a folder for what takes long; a run that was interrupted goes on from there.
        distill: unlabelled samples, read as `calibration` is, that plans beyond the gate are
            trained back on, within the budget; needs torch.
        distill_labels: class indices in the order of `distill`, which the training then sees too.
        epochs: passes over `distill` for a plan; None: what suits the number of samples.
    """

    calibration: Path | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1 / 255
    layout: Layout = "auto"
    labels: Path | None = None
    evaluate: str | None = None
    gate: Gating = "auto"
    max_drop: float = 0.01
    min_psnr: float = 45.0
    target: Target = "cpu"
    threads: int = 1
    memory_bytes: int = 2_000_000_000
    budget_s: float = 600.0
    seed: int = 0
    level: Level | None = None
    opset: int | None = None
    latency_table: Path | None = None
    segment_db: Path | None = None
    predictor: Path | None = None
    quantize_check: bool = False
    work_dir: Path | None = None
    distill: Path | None = None
    distill_labels: Path | None = None
    epochs: int | None = None
