"""Tensors of a model on calibration samples, computed once and on demand, kept on disk.

A request runs only the nodes between what is already known and what is asked for, so a walk
through the sites of a network in order costs about one pass.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from autogo_onnx.activation_store import CACHE_BYTES, ActivationStore, StoredTensor
from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import InputError
from autogo_onnx.fitting.importance import Importance
from autogo_onnx.quantities import SINGLE, Quantities
from autogo_onnx.samples import Samples
from autogo_onnx.sensitivity import Sensitivity
from autogo_onnx.streams import Part, Stream, whole
from autogo_onnx.submodel import Parts, Run

BATCH = 32
PASS_BYTES = 1 << 28
"""What all tensors of one batch take together, if one sample's take no more by themselves."""


class Activations:
    """The known tensors of one model on one set of samples; grows by `require`.

    Attributes:
        parts: the model.
        batch: samples that are run at a time.
        count: number of samples.
        threads: of ONNX Runtime.
        deadline: nothing is computed after it.
        together: names of tensors that are computed with the first one that is asked for. Values
            that are kept are rounded, and what is computed from them is, too; so what is known
            may not depend on the order of the questions, which differs in a run that goes on.
        known: streams by tensor name: the samples as they are, all else rounded to float16.
    """

    def __init__(
        self,
        parts: Parts,
        samples: Samples,
        *,
        batch: int = BATCH,
        cache_bytes: int = CACHE_BYTES,
        threads: int = 1,
        deadline: Deadline | None = None,
        together: Collection[str] = (),
        sensitivity: Sensitivity | None = None,
        quantities: Quantities = SINGLE,
        sample_axes: Mapping[str, int] | None = None,
    ) -> None:
        """Nothing is computed yet.

        Args:
            parts: the model.
            samples: what it is run on.
            batch: samples at a time, if the model takes any number.
            cache_bytes: most bytes of what was read from disk that are kept in memory.
            threads: of ONNX Runtime.
            deadline: nothing is computed after it; None: there is none.
            together: tensors that are computed with the first one.
            sensitivity: of the model on the samples.
            quantities: of the outputs.
            sample_axes: of the outputs whose leading axis does not count samples.
        """
        self.parts = parts
        self.samples = samples
        self.batch = samples.batch_size(batch)
        self.count = len(samples)
        self.threads = threads
        self.deadline = deadline or Deadline(math.inf)
        self.together = together
        self.known: dict[str, Stream] = dict(samples.feeds)
        self._store = ActivationStore(cache_bytes)
        self._sensitivity = sensitivity
        self._quantities = quantities
        self._sample_axes = sample_axes or {}

    def of(self, parts: Parts, changed: Collection[str] | None = None) -> Activations:
        """Those of another model on the same samples.

        Args:
            parts: of the other model.
            changed: what is known and depends on none of these tensors is the same in both; None:
                nothing is known of the other model yet.
        """
        other = Activations(
            parts,
            self.samples,
            batch=self.batch,
            cache_bytes=self._store.cache_bytes,
            threads=self.threads,
            deadline=self.deadline,
            quantities=self._quantities,
            sample_axes=self._sample_axes,
        )
        if changed is not None:
            stale = parts.downstream(changed)
            other.known |= {n: s for n, s in self.known.items() if n not in stale}
        return other

    def first(self, count: int) -> Activations:
        """Those on the first `count` samples: what is known is shared, what is new is not."""
        return self._part(0, count)

    def after(self, count: int) -> Activations:
        """Those on the other samples, likewise; all of them where there are no others.

        What matters to the outputs is that of all samples.
        """
        start = count if count < self.count else 0
        return self._part(start, self.count, self._sensitivity)

    def _part(self, start: int, stop: int, sensitivity: Sensitivity | None = None) -> Activations:
        part = Activations(
            self.parts,
            self.samples.take(range(start, stop)),
            batch=self.batch,
            cache_bytes=self._store.cache_bytes,
            threads=self.threads,
            deadline=self.deadline,
            sensitivity=sensitivity,
            quantities=self._quantities,
            sample_axes=self._sample_axes,
        )
        given = self.samples.feeds
        part.known |= {n: Part(s, start, stop) for n, s in self.known.items() if n not in given}
        return part

    def require(self, names: Collection[str]) -> None:
        """Compute the tensors among `names` that are not known yet, and keep them.

        Raises:
            InputError: a tensor's leading axis does not count samples, or the disk is full.
            OutOfTime: the deadline has come.
        """
        wanted = [name for name in dict.fromkeys(names) if name not in self.known]
        if not wanted:
            return
        if self.together:
            rest, self.together = self.together, ()
            self._keep([name for name in sorted(rest) if name not in self.known])
            self.require(wanted)
            return
        self._keep(wanted)
        for name in wanted:
            if name not in self.known:
                told = "does not keep samples apart on its first axis"
                raise InputError(f"tensor {name!r} {told}")

    def _keep(self, names: Sequence[str]) -> None:
        """Compute tensors of numbers and keep those whose leading axis counts samples.

        Others may look like them where the shapes are of one sample: [1] is also a piece of a
        shape.
        """
        found: dict[str, StoredTensor] = {}
        mixed: set[str] = set()
        for size, results in self._run(self.known, names).batches(0, self.count):
            self.deadline.check()
            mixed |= {n for n, a in results.items() if a.shape[:1] != (size,) or a.dtype.hasobject}
            for name, array in results.items():
                if name in mixed:
                    continue
                if name not in found:
                    found[name] = StoredTensor.like(self._store, array)
                found[name].append(array)
        self.known |= {name: stored for name, stored in found.items() if name not in mixed}

    def stream(self, name: str) -> Stream:
        """One tensor, float[N,...], read from disk as it is needed.

        Raises:
            InputError: see `require`.
        """
        self.require([name])
        return self.known[name]

    def get(self, name: str) -> np.ndarray[Any, Any]:
        """One tensor as an array; for small ones.

        Raises:
            InputError: see `require`.
        """
        return whole(self.stream(name))

    def importance(self, name: str) -> Importance | None:
        """How much errors of one tensor matter to the outputs; None where it is not known.

        Raises:
            OutOfTime: the deadline has come.
        """
        if self._sensitivity is None:
            return None
        return self._sensitivity.of(name, self.parts, self.deadline)

    def outputs_with(self, changed: Mapping[str, Stream]) -> list[np.ndarray[Any, Any]]:
        """The model's outputs when some tensors have other values than the model gives them.

        Their leading axes count samples; those of several quantities are taken apart.
        """
        stale = self.parts.downstream(set(changed))
        given = {n: a for n, a in self.known.items() if n not in stale} | dict(changed)
        wanted = [name for name in self.parts.outputs if name not in given]
        results: dict[str, Stream] = {}
        if wanted:
            results |= self._run(given, wanted, self._sample_axes).whole()
        return self._quantities.split(
            {n: whole((results if n in results else given)[n]) for n in self.parts.outputs}
        )

    def _run(
        self,
        given: Mapping[str, Stream],
        wanted: Collection[str],
        sample_axes: Mapping[str, int] | None = None,
    ) -> Run:
        return Run(
            self.parts.between({name: a.dtype for name, a in given.items()}, wanted),
            given,
            batch=self.batch,
            whole=self.samples.batch is not None,
            threads=self.threads,
            sample_axes=sample_axes,
        )


def bytes_per_sample(shapes: Mapping[str, tuple[int, ...]], names: Collection[str]) -> int:
    """float32 bytes that one sample's values of some tensors take."""
    return sum(4 * int(np.prod(shapes[name][1:])) for name in set(names) if name in shapes)
