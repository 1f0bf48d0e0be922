"""Runs the command line on files that are not trusted, each in a process of its own.

`python sandbox.py MEGABYTES SECONDS FILE...` prints one JSON object per file. The program is
imported once and forked for every file, so a hundred files take seconds; each fork may take so much
address space beyond what the import takes, and so much time.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        code: exit code; negative: the signal that killed it.
        seconds: wall-clock time.
        error, output: what was written to stderr and stdout.
        wrote: whether there is an output file.
    """

    code: int
    seconds: float
    error: str
    output: str
    wrote: bool


def run_all(
    files: Sequence[Path], *, megabytes: int = 6000, seconds: int = 30
) -> dict[Path, Ending]:
    """`autogo-onnx optimize` on every file."""
    command = [sys.executable, __file__, str(megabytes), str(seconds), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    endings = [Ending(**json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(files, endings, strict=True))


def _main(megabytes: int, seconds: int, files: Sequence[Path]) -> None:
    import autogo_onnx.optimization  # before the forks, so that they need not
    from autogo_onnx.cli import run

    assert autogo_onnx.optimization is not None
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.onnx")
        told = [Path(folder, "stdout"), Path(folder, "stderr")]
        for file in files:
            output.unlink(missing_ok=True)
            start = time.monotonic()
            child = os.fork()
            if child == 0:
                resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20,) * 2)
                signal.alarm(seconds)
                for number, path in enumerate(told, 1):
                    os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
                arguments = ["optimize", str(file), "-o", str(output), "--quiet", "--explain"]
                code = run([*arguments, "--target", "macs"])
                sys.stdout.flush()
                os._exit(code)
            _, status = os.waitpid(child, 0)
            ending = Ending(
                os.waitstatus_to_exitcode(status),
                time.monotonic() - start,
                told[1].read_text(errors="replace"),
                told[0].read_text(errors="replace"),
                output.exists(),
            )
            print(json.dumps(ending.__dict__), flush=True)  # noqa: T201


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
