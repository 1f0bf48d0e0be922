"""Parts of a long piece of work as files, so that it can go on where it was interrupted.

A file is the BLAKE2b digest (16 bytes) of its content, keyed with what the content depends on and
its own name, and then the content. One that is broken, or of other settings, is as good as missing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from autogo_onnx.errors import InputError
from autogo_onnx.files import make_folder

_DIGEST_BYTES = 16
_SUFFIX = ".autogo-part"
"""No other program's: the user may keep files of theirs in the folder."""


@contextmanager
def work_folder(path: Path, key: bytes) -> Iterator[WorkFolder]:
    """The folder, made where missing, for this process alone.

    When the block ends well, our files are removed, and the folder when nothing else is in it;
    when it ends by an exception or the process dies, they stay.

    Args:
        path: where.
        key: at most 64 bytes that are different whenever the parts would be.

    Raises:
        InputError: it cannot be made or written, or another process works there.
    """
    make_folder(path)
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{path}: another process works in this folder") from None
        folder = WorkFolder(path, key)
        yield folder
        folder.remove()
    finally:
        os.close(handle)


class WorkFolder:
    """Named parts in a folder; see `work_folder`."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._key = key

    def get(self, name: str) -> bytes | None:
        """The content of a part; None where there is none that is sound and of these settings."""
        try:
            data = self._file(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self._file(name)}: cannot be read: {error.strerror}") from None
        content = data[_DIGEST_BYTES:]
        digest = self._digest(name)
        digest.update(content)
        return content if data[:_DIGEST_BYTES] == digest.digest() else None

    def load(self, name: str) -> bytes:
        """The content of a part that was there before.

        Raises:
            InputError: it is gone or broken.
        """
        content = self.get(name)
        if content is None:
            raise InputError(f"{self._file(name)}: lost while it was needed; run the command again")
        return content

    def put(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a part in one step; its content may come in pieces."""
        digest = self._digest(name)
        temporary = self.path / f".{name}{_SUFFIX}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(bytes(_DIGEST_BYTES))
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
                file.seek(0)
                file.write(digest.digest())
            temporary.replace(self._file(name))
        except OSError as error:
            raise InputError(f"{temporary}: cannot be written: {error.strerror}") from None

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """The content of a part that is there, unchecked, to be read as it is needed."""
        with self._file(name).open("rb") as file:
            file.seek(_DIGEST_BYTES)
            yield file

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of some parts that are still to be made."""
        return [name for name in names if self.get(name) is None]

    def remove(self) -> None:
        """Remove our files, also those of other settings, and the folder when it is then empty."""
        for pattern in (f"*{_SUFFIX}", f".*{_SUFFIX}.tmp"):
            for file in self.path.glob(pattern):
                file.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _file(self, name: str) -> Path:
        return self.path / f"{name}{_SUFFIX}"

    def _digest(self, name: str) -> blake2b:
        return blake2b(name.encode() + b"\0", digest_size=_DIGEST_BYTES, key=self._key)
