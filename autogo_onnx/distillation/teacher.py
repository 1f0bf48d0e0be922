"""The original's answers, in ONNX Runtime, each computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx

from autogo_onnx import verify
from autogo_onnx.distillation.sights import Sights
from autogo_onnx.quantities import SINGLE, Quantities
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import evenly

_TRIED = 64


class Teacher:
    """Answers samples.

    Attributes:
        sights: all that may be asked.
        names: of the outputs that answer: floating point, one entry per sample.
        some: answers to samples that are spread over all, per output.
        quantities: of the outputs.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        sights: Sights,
        *,
        memory_bytes: int,
        threads: int,
        without: Collection[str] = (),
        quantities: Quantities = SINGLE,
    ) -> None:
        """Ask for some answers, to see what they are.

        Args:
            model: the original.
            sights: all that may be asked.
            memory_bytes: for answers that are kept; more are computed again each time.
            threads: of ONNX Runtime.
            without: outputs that are not asked for.
            quantities: of the outputs.

        Raises:
            InputError: the model does not run on a sample.
        """
        self._session, self.sights = open_session(model, threads=threads), sights
        self.quantities = quantities
        first = sights.samples.take(evenly(len(sights.samples), _TRIED))
        answers = verify.run(self._session, first)
        self.names = tuple(
            name
            for name, values in answers.items()
            if name not in without
            and values.dtype.kind == "f"
            and values.shape[:1] == (len(first),)
            and values.size
        )
        self.some = tuple(answers[name] for name in self.names)
        size = sum(values.nbytes for values in self.some) // len(first)
        self._is_known = np.zeros(len(sights), bool)
        self._known: list[np.ndarray] | None = None
        if size * len(sights) <= memory_bytes:
            self._known = [np.empty((len(sights), *v.shape[1:]), v.dtype) for v in self.some]

    def answers(self, chosen: np.ndarray) -> list[np.ndarray]:
        """Per output the answers to some sights."""
        if self._known is None:
            return self._asked(chosen)
        missing = np.unique(chosen[~self._is_known[chosen]])
        if len(missing):
            for kept, new in zip(self._known, self._asked(missing), strict=True):
                kept[missing] = new
            self._is_known[missing] = True
        return [kept[chosen] for kept in self._known]

    def _asked(self, chosen: np.ndarray) -> list[np.ndarray]:
        samples = self.sights.take(chosen)
        return list(verify.run(self._session, samples, self.names, batch=64).values())
