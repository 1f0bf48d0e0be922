"""The demo that the package ships: a trained network for handwritten digits, and its samples.

`benchmarks/train_demo.py` makes the three files from scikit-learn's digits.

| file | what it holds |
| --- | --- |
| digits.onnx | input `image` float[N,1,8,8] in 0..1, output `scores` float[N,10] |
| calibration.npz | `image` float[400,1,8,8], unlabelled, not seen in training |
| held_out.npz | `image` float[397,1,8,8] and `labels` int64[397], seen by nobody |
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from autogo_onnx.errors import InputError
from autogo_onnx.files import make_folder

FILES = ("digits.onnx", "calibration.npz", "held_out.npz")


def copy_to(folder: Path) -> tuple[Path, Path, Path]:
    """Copy the demo's files into a folder, made when missing; their paths in the order of `FILES`.

    Raises:
        InputError: the folder cannot be made or written.
    """
    make_folder(folder)
    shipped = resources.files(__name__)
    try:
        for name in FILES:
            (folder / name).write_bytes((shipped / name).read_bytes())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    model, calibration, held_out = (folder / name for name in FILES)
    return model, calibration, held_out


def accuracy(model: Path, held_out: Path) -> float:
    """Top-1 accuracy of a model on the held-out samples, 0..1."""
    import numpy as np

    from autogo_onnx.runtime import open_session, run

    session = open_session(model)
    with np.load(held_out, allow_pickle=False) as samples:
        scores = run(session, ["scores"], {"image": samples["image"]})[0]
        return float((scores.argmax(axis=1) == samples["labels"]).mean())
