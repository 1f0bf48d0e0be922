"""Where a run keeps its findings, and everything on which all of them depend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

from autogo_onnx.checkpoints import Checkpoints
from autogo_onnx.errors import InputError
from autogo_onnx.given import Given
from autogo_onnx.options import Options
from autogo_onnx.report import installed_versions
from autogo_onnx.sizes import digest
from autogo_onnx.work_folder import work_folder

_KEY_BYTES = 32
_LATER = ("budget_s", "work_dir", "latency_table", "quantize_check")
"""What may differ in the run that goes on."""
_FILES = ("segment_db", "predictor")
"""Their contents count, and not where they are."""
_SAMPLES = ("calibration", "labels", "distill", "distill_labels", "epochs")
"""What is read from these counts; the training keys its findings by what it read."""


@contextmanager
def checkpoints_of(start: Given) -> Iterator[Checkpoints]:
    """The findings of an interrupted run of the same model, samples and choices.

    They are removed when the block ends well, and stay when it does not.

    Raises:
        InputError: the folder cannot be used, or another run works there.
    """
    folder = start.options.work_dir
    if folder is None:
        yield Checkpoints(start.clock)
        return
    with work_folder(folder, key(start)) as opened:
        yield Checkpoints(start.clock, opened, start.notes.append)


def key(start: Given) -> bytes:
    """32 bytes that are different whenever another run might find something else."""
    whole = blake2b(_program(), digest_size=_KEY_BYTES)
    options = start.options
    chosen = {
        name: value
        for name, value in asdict(options).items()
        if name not in (*_LATER, *_FILES, *_SAMPLES)
    }
    files = [_content(path) for path in _paths(options)]
    versions = installed_versions()
    samples = None if start.samples is None else start.samples.digest
    found = (sorted(chosen.items()), files, versions, digest(start.model), samples)
    whole.update(repr(found).encode())
    return whole.digest()


def _paths(options: Options) -> list[Path | None]:
    """Files of the user's whose contents count; a metric is a file and a function in it."""
    metric = None if options.evaluate is None else Path(options.evaluate.rpartition(":")[0])
    return [*(getattr(options, name) for name in _FILES), metric]


def _content(path: Path | None) -> str | None:
    try:
        return None if path is None else blake2b(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _program() -> bytes:
    """A digest of this program: another version of it may find something else."""
    whole = blake2b(digest_size=_KEY_BYTES)
    package = Path(__file__).parent
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".db", ".onnx") and path.is_file():
            whole.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return whole.digest()
