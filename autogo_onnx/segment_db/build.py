"""Make a database: generate networks of the NAS families, mine them, write the file.

`autogo-onnx db build PATH` makes the same bytes as the shipped file, on one core in a few minutes;
no table of the benchmarks is needed. Each step is done part by part, by whichever workers there
are, and every part is a file in the work folder, so that an interrupted build goes on where it was
when the same command is given again. Neither workers nor parts have an influence on the result.
"""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from hashlib import blake2b
from importlib.metadata import version
from math import isfinite
from pathlib import Path

from autogo_onnx.errors import InputError
from autogo_onnx.files import write_bytes
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.segment_db import pipeline
from autogo_onnx.segment_db.families import FAMILIES
from autogo_onnx.segment_db.image import image
from autogo_onnx.segment_db.mining import Mined
from autogo_onnx.segment_db.pipeline import Pipeline, Settings
from autogo_onnx.segment_db.workers import ThisProcess, Workers
from autogo_onnx.work_folder import work_folder

SHIPPED = Settings(
    (
        ("nasbench101", 2_000),
        ("nasbench201", 2_000),
        ("nasbench_macro", 1_000),
        ("transnasbench101_macro", 500),
        ("transnasbench101_micro", 500),
        ("hiaml", 2_000),
        ("twopath", 2_000),
        ("inception", 250),
        ("darts", 100),
        ("nasbench301", 150),
        ("fbnet", 300),
        ("accel_nasbench", 300),
        ("ofa_mobilenetv3", 300),
        ("published", 1_000),
    )
)
COUNT = 1_000  # of families that are not shipped


def chosen(
    families: str | None = None,
    count: int | None = None,
    least_share: float | None = None,
    seed: int = 0,
) -> Settings:
    """The settings of the shipped file but for what is given; families with commas between them.

    Raises:
        InputError: there is no such family, or the share is no number.

    >>> chosen("nasbench_macro,hiaml", count=5).families
    (('nasbench_macro', 5), ('hiaml', 5))
    """
    shipped = dict(SHIPPED.families)
    names = tuple(shipped) if families is None else tuple(dict.fromkeys(families.split(",")))
    for name in names:
        if name not in FAMILIES:
            raise InputError(f"no family {name!r}; there are {', '.join(FAMILIES)}")
    counts = tuple((name, count or shipped.get(name, COUNT)) for name in names)
    share = SHIPPED.least_share if least_share is None else least_share
    if not isfinite(share):
        raise InputError(f"a share of {share} would leave out every segment")
    return replace(SHIPPED, families=counts, seed=seed, least_share=share)


def build(
    path: Path,
    settings: Settings = SHIPPED,
    *,
    workers: Workers | None = None,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> Mined:
    """Write the database mined from networks of the families.

    Args:
        path: of the database.
        settings: which networks.
        workers: who does it; this process by default.
        parts: work folder; `PATH.parts` by default. Removed when done.
        progress: told what is being done.

    Raises:
        InputError: something cannot be written, or another process is at work in the folder.
    """
    folder = parts or path.with_name(f"{path.name}.parts")
    with work_folder(folder, _key(settings)) as work:
        mined = Pipeline(settings, workers or ThisProcess(), work, progress or Silent()).run()
        write_bytes(path, image(mined))
    return mined


def code_version() -> str:
    """Differs whenever our code does, or the library that learns pieces."""
    digest = blake2b(version("sentencepiece").encode(), digest_size=16)
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _key(settings: Settings) -> bytes:
    text = json.dumps([code_version(), astuple(settings), pipeline.PART])
    return blake2b(text.encode(), digest_size=32).digest()
