"""Small databases and outcomes for tests of the store."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from autogo_onnx.files import write_bytes
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.experience import Experience, column_digest
from autogo_onnx.segment_db.families import FAMILIES
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.image import image
from autogo_onnx.segment_db.mining import Mined, find, mine
from autogo_onnx.segment_db.segment import Segment
from autogo_onnx.segment_db.store import Store

# To list the cells of NAS-Bench-201 takes two seconds.
CODES = {
    "nasbench201": (
        "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|"
        "+|nor_conv_1x1~0|skip_connect~1|avg_pool_3x3~2|",
        "|skip_connect~0|+|avg_pool_3x3~0|skip_connect~1|"
        "+|avg_pool_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    ),
    "nasbench_macro": ("10121002", "21211200"),
}


@cache
def small_mined() -> Mined:
    """A few networks of two families, everything that is found in them."""
    networks = [
        (family, FAMILIES[family].build(code).folded())
        for family, codes in CODES.items()
        for code in codes
    ]
    return mine(networks, 300)


@cache
def _small_bytes() -> bytes:
    return image(small_mined())


def write_small(path: Path) -> Path:
    """A database of them."""
    write_bytes(path, _small_bytes())
    return path


def own(kernel: int = 7) -> OpGraph:
    """A network unlike those of the families."""
    net = Builder((1, 8, 32, 32))
    x = net.op("Mish", (net.conv(0, 16, kernel=kernel),), (1, 16, 32, 32))
    return net.graph(net.conv(net.relu(x), 16, kernel=3))


def add_own(store: Store, name: str = "mine", kernel: int = 7) -> int:
    """Add such a network, and say how many structures are new."""
    return insert(store, found_in_own(store, name, kernel), name)


def insert(store: Store, segments: Iterable[Segment], name: str) -> int:
    """Add what was found in a network whose digest is its name, and say how much is new."""
    with store.writing() as writer:
        return writer.insert(segments, {name: name})


def found_in_own(store: Store, digest: str, kernel: int = 7) -> tuple[Segment, ...]:
    """Its segments; the digest is any text here."""
    return find([(digest, own(kernel))], store.vocabulary())


def outcome(number: int = 0, score: float | None = 0.25) -> Experience:
    """The outcome of a fit."""
    return Experience(
        site=own(7),
        candidate=own(3),
        columns=column_digest(("segment.ops", "change.ops"), 1),
        features=np.array([number, 1 / 3], np.float32),
        nmse=0.125,
        score=score,
        macs_delta=-1000 - number,
        latency_delta_ms=None,
        target="cpu",
        versions={"autogo-onnx": "0.1", "onnxruntime": "1.31"},
    )
