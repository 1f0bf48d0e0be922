"""Tensors of a model on calibration samples, computed once and on demand.

A request runs only the nodes between what is already known and what is asked for, so a walk
through the sites of a network in order costs about one pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from autogo_onnx.errors import InputError
from autogo_onnx.samples import Samples
from autogo_onnx.submodel import Arrays, Parts, run_batched

BATCH = 32


class Activations:
    """The known tensors of one model on one set of samples; grows by `require`.

    Attributes:
        parts: the model.
        batch: samples that are run at a time.
        count: number of samples.
        threads: of ONNX Runtime.
        known: arrays by tensor name; the leading axis counts samples.
    """

    def __init__(self, parts: Parts, samples: Samples, *, threads: int = 1) -> None:
        self.parts = parts
        self.samples = samples
        self.batch = samples.batch_size(BATCH)
        self.count = len(samples)
        self.threads = threads
        self.known: Arrays = dict(samples.feeds)
        self._whole = samples.batch is not None

    def require(self, names: Collection[str]) -> None:
        """Compute the tensors among `names` that are not known yet, and keep them.

        Raises:
            InputError: a tensor's leading axis does not count samples.
        """
        self.known.update(self._computed(self.known, names))

    def get(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor, float[N,...]."""
        self.require([name])
        return self.known[name]

    def outputs_with(
        self, changed: Mapping[str, np.ndarray[Any, Any]]
    ) -> list[np.ndarray[Any, Any]]:
        """The model's outputs when some tensors have other values than the model gives them."""
        stale = self.parts.downstream(set(changed))
        given = {n: a for n, a in self.known.items() if n not in stale} | dict(changed)
        results = self._computed(given, self.parts.outputs)
        return [(results if name in results else given)[name] for name in self.parts.outputs]

    def _computed(self, given: Arrays, names: Collection[str]) -> Arrays:
        wanted = [name for name in dict.fromkeys(names) if name not in given]
        if not wanted:
            return {}
        model = self.parts.between({name: a.dtype for name, a in given.items()}, wanted)
        results = run_batched(
            model, given, batch=self.batch, whole=self._whole, threads=self.threads
        )
        for name, array in results.items():
            if len(array) != self.count:
                raise InputError(f"tensor {name!r} does not keep samples apart on its first axis")
        return results


def bytes_per_sample(shapes: Mapping[str, tuple[int, ...]], names: Collection[str]) -> int:
    """float32 bytes that one sample's values of some tensors take."""
    return sum(4 * int(np.prod(shapes[name][1:])) for name in set(names) if name in shapes)
