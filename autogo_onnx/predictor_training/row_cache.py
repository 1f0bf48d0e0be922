"""Rows of labelled networks kept in a folder, for benchmarks that need them again and again.

`<family>-<digest>.npz` holds `sites`, int32[N,3] (number of a network, its first place, the place
after its last one) and `rows`, float32[N,F]. The digest is that of the table, of the networks taken
from it and of the columns' names, so what is kept for others is never read. A file that cannot be
read counts as absent.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from autogo_onnx import features
from autogo_onnx.errors import InputError
from autogo_onnx.features import Rows
from autogo_onnx.files import write_bytes
from autogo_onnx.predictor_training.labels import Labels
from autogo_onnx.sample_files import read_npz

Key = tuple[int, int, int]


def file_of(folder: Path, labels: Labels) -> Path:
    """Where the rows of a family are kept; tasks of a family share them."""
    meaning = [labels.sha256, labels.codes, features.VERSION, features.COLUMNS]
    digest = hashlib.sha256(json.dumps(meaning).encode()).hexdigest()
    return folder / f"{labels.family}-{digest[:16]}.npz"


def read(path: Path) -> dict[Key, Rows]:
    """The kept rows by site, float32[F] each; empty where there is no such file."""
    try:
        kept = read_npz(path)
        sites, rows = kept["sites"], kept["rows"]
    except (InputError, KeyError):
        return {}
    if sites.shape[1:] != (3,) or sites.dtype != np.int32:
        return {}
    if rows.shape != (len(sites), len(features.COLUMNS)) or rows.dtype != np.float32:
        return {}
    keys = ((network, first, last) for network, first, last in sites.tolist())
    return dict(zip(keys, rows, strict=True))


def write(path: Path, rows: Mapping[Key, Rows]) -> None:
    """Keep rows instead of those that were kept.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    buffer = io.BytesIO()
    keys = sorted(rows)
    stacked = np.stack([rows[key] for key in keys])
    np.savez_compressed(buffer, sites=np.array(keys, np.int32), rows=stacked)
    write_bytes(path, buffer.getvalue())
