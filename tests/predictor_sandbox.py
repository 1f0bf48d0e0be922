"""Damages a predictor file in seeded ways and opens every copy, each in a fork of its own.

`python predictor_sandbox.py FILE FIRST LAST` prints a line per seed: `refused: why`, `predicts:` or
what went wrong, a signal or a time limit among it. The program is imported once.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from autogo_onnx import features
from autogo_onnx.errors import InputError
from autogo_onnx.predictor import open_predictor

_SECONDS, _MEGABYTES = 20, 4000
_NUMBERS = (-(2**63), -1, 0, 1, 2, 7, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1)


def damaged(data: bytes, seed: int) -> bytes:
    """Flipped bits, cut, repeated or exchanged bytes, or numbers in the trees changed."""
    rng = random.Random(seed)
    kind = seed % 5
    if kind == 4:
        return _damaged_numbers(data, rng)
    bytes_ = bytearray(data)
    start = rng.randrange(len(bytes_))
    end = min(len(bytes_), start + rng.randrange(1, 64))
    if kind == 0:
        for _ in range(rng.choice((1, 3, 30))):
            bytes_[rng.randrange(len(bytes_))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del bytes_[start : end if rng.random() < 0.5 else len(bytes_)]
    elif kind == 2:
        bytes_[start:end] = rng.randbytes(end - start)
    else:
        bytes_[start:start] = bytes_[start:end] * rng.choice((1, 2, 1000))
    return bytes(bytes_)


def _damaged_numbers(data: bytes, rng: random.Random) -> bytes:
    """The file stays a message; the trees get other numbers."""
    model = onnx.load_model_from_string(data)
    for _ in range(rng.choice((1, 1, 3))):
        attribute = rng.choice(rng.choice(model.graph.node).attribute)
        if attribute.ints:
            near = rng.choice(attribute.ints) + rng.choice((-1, 0, 1))
            value = rng.choice((near, rng.choice(_NUMBERS)))
            attribute.ints[rng.randrange(len(attribute.ints))] = max(value, -(2**63))
        elif attribute.HasField("t"):
            raw = bytearray(attribute.t.raw_data)
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            attribute.t.raw_data = bytes(raw)
        else:
            attribute.i = rng.choice(_NUMBERS)
    return bytes(model.SerializeToString())


def ending(path: Path) -> str:
    """How it goes with one file; whatever else is raised shows as a traceback."""
    rows = np.random.default_rng(0).standard_normal((60, len(features.COLUMNS)))
    try:
        predictor = open_predictor(path)
        found = [predictor.predict(rows.astype(np.float32), head) for head in predictor.heads()]
    except InputError as error:
        is_line = str(error).isprintable() and len(str(error)) < 600
        return f"refused: {error}" if is_line else f"no line: {str(error)!r}"
    good = all(
        np.isfinite([one.mean, one.deviation]).all() and one.mean.shape == (60,) for one in found
    )
    return "predicts: " + " ".join(predictor.heads()) if good else "not finite"


def _main(source: Path, first: int, last: int) -> None:
    data = source.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged.onnx")
        for seed in range(first, last):
            path.write_bytes(damaged(data, seed))
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                resource.setrlimit(resource.RLIMIT_AS, (_MEGABYTES << 20,) * 2)
                signal.alarm(_SECONDS)
                print(ending(path), flush=True)  # noqa: T201
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                print(f"seed {seed} ended with {os.waitstatus_to_exitcode(status)}")  # noqa: T201


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
