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
            memory_bytes: for answers that are kept, those of the first views; others are computed
                again each time.
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
        count = len(sights.samples)
        views = min(len(sights.views), memory_bytes // max(1, size * count))
        self._is_known = np.zeros(views * count, bool)
        self._known = [np.empty((views * count, *v.shape[1:]), v.dtype) for v in self.some]

    def answers(self, chosen: np.ndarray) -> list[np.ndarray]:
        """Per output the answers to some sights."""
        is_kept = chosen < len(self._is_known)
        self._learn(np.unique(chosen[is_kept]))
        if is_kept.all():
            return [known[chosen] for known in self._known]
        if not is_kept.any():
            return self._asked(chosen)
        found = []
        for known, other in zip(self._known, self._asked(chosen[~is_kept]), strict=True):
            values = np.empty((len(chosen), *known.shape[1:]), known.dtype)
            values[is_kept], values[~is_kept] = known[chosen[is_kept]], other
            found.append(values)
        return found

    def _learn(self, sights: np.ndarray) -> None:
        """Ask for what is kept and was not asked for before."""
        missing = sights[~self._is_known[sights]]
        if len(missing):
            for kept, new in zip(self._known, self._asked(missing), strict=True):
                kept[missing] = new
            self._is_known[missing] = True

    def _asked(self, chosen: np.ndarray) -> list[np.ndarray]:
        samples = self.sights.take(chosen)
        return list(verify.run(self._session, samples, self.names, batch=64).values())
