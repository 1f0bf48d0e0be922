"""The file for large weights goes with its process, however that ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from autogo_onnx import scratch
from autogo_onnx.tensor_data import value

_PROGRAM = """
    import os, signal, sys
    import numpy as np
    from autogo_onnx import cli, scratch

    scratch.folder = lambda: sys.argv[1]

    def run(arguments):
        scratch.put_aside("w", np.ones(10, np.float32))
        assert len(list(os.scandir(sys.argv[1]))) == 1
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
        signal.pause()

    cli.run = run
    cli.main()
"""


def ended(folder: Path, by: str) -> subprocess.CompletedProcess[bytes]:
    """A process that put weights aside and was then sent a signal."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(folder), by],
        capture_output=True,
        check=False,
        timeout=100,
    )


def test_a_process_that_is_asked_to_end_removes_its_file(tmp_path: Path) -> None:
    done = ended(tmp_path, "SIGTERM")
    assert done.returncode == 143
    assert done.stderr == b"error: terminated\n"
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended(tmp_path, "SIGKILL").returncode == -signal.SIGKILL
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    monkeypatch.setattr(scratch, "folder", lambda: str(tmp_path))
    made = cache(scratch._scratch.__wrapped__)
    monkeypatch.setattr(scratch, "_scratch", made)
    tensor = scratch.put_aside("w", np.arange(4.0))
    (ours,) = tmp_path.iterdir()
    assert ours != left[0]
    scratch._remove_left()  # as another process would: ours is in use
    assert np.array_equal(value(tensor), np.arange(4.0))
    made()[0].close()
