"""What a run has found by now, kept in a folder, so that an interrupted run goes on from there.

With every finding stands when it was made. A run that finds it again sets its clock to that time,
and so has as much of its budget left as the interrupted one had.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from autogo_onnx.deadline import Clock
from autogo_onnx.errors import InputError
from autogo_onnx.work_folder import WorkFolder

_TIME = struct.Struct(">d")
_NAME_BYTES = 16


class Checkpoints:
    """Findings by kind and key; without a folder, none is kept and none is ever known.

    Attributes:
        clock: of the run.
        folder: where findings are kept; its key says on what all of them depend.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        folder: WorkFolder | None = None,
        complain: Callable[[str], None] | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            clock: of the run.
            folder: where findings are kept.
            complain: is told, once, when they cannot be kept any more; the run does not need them.
        """
        self.clock = clock or Clock()
        self.folder = folder
        self._complain = complain

    def knows(self, kind: str, key: str) -> bool:
        """Whether this was found."""
        return self._read(kind, key) is not None

    def get(self, kind: str, key: str) -> bytes | None:
        """What was found; the clock is set to when it was. None: it was not found yet.

        Args:
            kind: a word for the stage.
            key: everything that the finding depends on beside the folder's key.
        """
        found = self._read(kind, key)
        if found is None:
            return None
        self.clock.skip_to(*_TIME.unpack_from(found))
        return found[_TIME.size :]

    def value(self, kind: str, key: str, compute: Callable[[], Any]) -> Any:
        """What was found, else what is computed now: anything that is the same read from JSON.

        Infinity and NaN count, too: Python reads them as it writes them.
        """
        known = self.get(kind, key)
        if known is not None:
            return json.loads(known)
        found = compute()
        self.put(kind, key, json.dumps(found).encode())
        return found

    def put(self, kind: str, key: str, *pieces: bytes) -> None:
        """Keep what was found; it may come in pieces."""
        if self.folder is None:
            return
        try:
            self.folder.put(_name(kind, key), (_TIME.pack(self.clock.elapsed()), *pieces))
        except InputError as error:
            self.give_up(str(error))

    def give_up(self, why: str) -> None:
        """Keep nothing more, and say so."""
        if self.folder is not None and self._complain is not None:
            self._complain(f"an interrupted run would start anew: {why}")
        self.folder = None

    def _read(self, kind: str, key: str) -> bytes | None:
        return None if self.folder is None else self.folder.get(_name(kind, key))


def _name(kind: str, key: str) -> str:
    return f"{kind}-{blake2b(key.encode(), digest_size=_NAME_BYTES).hexdigest()}"
