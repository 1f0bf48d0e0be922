"""The importance of every tensor that a fit may aim at, estimated from random directions.

The squared change of the outputs after a small error `e` of a tensor is `|J e|^2`. For `v` drawn
from the standard normal distribution, `g = J' v` has `E[g g'] = J' J`, and `g` takes one way back
through the model (Hutchinson 1989), whatever the number of outputs. Class scores are the logarithms
of probabilities up to a constant, so there `v` has mean zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import InputError
from autogo_onnx.fitting.importance import Importance
from autogo_onnx.quantities import SINGLE, Quantities
from autogo_onnx.samples import Samples, evenly
from autogo_onnx.segments import Reading
from autogo_onnx.sensitivity.backward import Backward
from autogo_onnx.sensitivity.layer import Array
from autogo_onnx.submodel import Parts, Run

PROBES = 2
"""Random directions per sample; more gain nothing."""
WEIGHED = 64
"""Samples that tell an output's unit: of a few, all may lack what it is to detect."""
POSITIONS = 64
"""Of a sample, so many enter a tensor's metric: neighbours tell nearly the same."""
_AIMED_AT = ("Add", "Conv", "ConvTranspose", "Gemm", "Sum")
_LEAST_P = 1e-12


class Sensitivity:
    """What matters inside one model on one set of samples; computed when first asked for."""

    def __init__(
        self,
        reading: Reading,
        samples: Samples,
        *,
        batch: int,
        seed: int,
        threads: int = 1,
        quantities: Quantities = SINGLE,
    ) -> None:
        """Nothing is computed yet.

        Args:
            reading: of the model.
            samples: on which errors are weighed.
            batch: samples at a time, if the model takes any number.
            seed: of the directions.
            threads: of ONNX Runtime.
            quantities: of the outputs.
        """
        self._quantities = quantities
        self._reading, self._samples = reading, samples
        self._batch, self._seed, self._threads = samples.batch_size(batch), seed, threads
        self._found: dict[str, Importance] | None = None

    def of(self, name: str, parts: Parts, deadline: Deadline) -> Importance | None:
        """The importance of a tensor of the model; None where it is not known.

        It is not where an operator without a known derivative comes behind, and for outputs.

        Args:
            name: of the tensor.
            parts: the model.
            deadline: of the computation.

        Raises:
            OutOfTime: the deadline has come.
        """
        if self._found is None:
            try:
                self._found = self._estimate(parts, deadline)
            except InputError:
                # Some models do not run part by part; they are fitted as if all mattered alike.
                self._found = {}
        return self._found.get(name)

    def _estimate(self, parts: Parts, deadline: Deadline) -> dict[str, Importance]:
        backward = Backward(parts, self._reading, threads=self._threads)
        names = [n for n in self._aimed_at() if n in backward.reached]
        metrics: dict[str, Array] = {}
        generator = np.random.default_rng(self._seed)
        weights = self._weights(parts) if names else {}
        left = len(self._samples)
        for feed in self._samples.batches(self._batch) if names else ():
            deadline.check()
            values = backward.values(feed)
            outputs = {n: values[n] for n in parts.outputs}
            for _ in range(PROBES):
                seeds = _seeds(outputs, weights, generator)
                found = backward.gradients(values, seeds, names)
                for name, gradient in found.items():
                    metrics[name] = metrics.get(name, 0.0) + _metric(gradient[:left])
            left -= self._batch
        return {n: Importance(m) for n, m in metrics.items() if np.isfinite(m).all() and m.any()}

    def _weights(self, parts: Parts) -> dict[str, Array]:
        """Of squared errors of outputs that are no class scores, by samples spread over all."""
        some = self._samples.take(evenly(len(self._samples), WEIGHED))
        kinds = {name: array.dtype for name, array in some.feeds.items()}
        run = Run(
            parts.between(kinds, parts.outputs),
            some.feeds,
            batch=self._batch,
            whole=some.batch is not None,
            threads=self._threads,
        )
        found: dict[str, list[Array]] = {}
        for _, results in run.batches(0, len(some)):
            for name, values in results.items():
                if values.dtype == np.float32:
                    found.setdefault(name, []).append(values)
        whole = {name: _joined(values) for name, values in found.items()}
        return {
            name: self._quantities.weights(name, values)
            for name, values in whole.items()
            if not self._quantities.are_classes(name, values)
        }

    def _aimed_at(self) -> list[str]:
        graph = self._reading.opgraph
        return [
            self._reading.tensors[graph.n_inputs + i]
            for i, op in enumerate(graph.ops)
            if op.kind in _AIMED_AT
            and len(graph.op_shapes[i]) in (2, 4)
            and graph.op_shapes[i][0] == graph.input_shapes[0][0]
            and graph.n_inputs + i not in graph.outputs
        ]


def _joined(pieces: Sequence[Array]) -> Array:
    """Outputs of several batches; where time comes first, all their values in a row."""
    if len({piece.shape[1:] for piece in pieces}) > 1 or not pieces[0].ndim:
        return np.concatenate([piece.ravel() for piece in pieces])
    return np.concatenate(pieces)


def _seeds(
    outputs: Mapping[str, Array], weights: Mapping[str, Array], generator: np.random.Generator
) -> dict[str, Array]:
    """A random direction for each output, every quantity in its own scale.

    Outputs without weights are scores of classes.
    """
    found = {}
    for name in sorted(outputs):
        output = outputs[name]
        if output.dtype != np.float32:
            continue
        seed = generator.standard_normal(output.shape)
        if name not in weights:
            seed -= seed.mean(axis=1, keepdims=True)
            if (output >= 0).all() and np.allclose(output.sum(axis=1), 1.0, atol=1e-2):
                seed /= np.maximum(output, _LEAST_P)
        else:
            seed = seed * np.sqrt(weights[name])
        found[name] = np.asarray(seed, np.float32)
    return found


def _metric(gradient: Array) -> Array:
    """Summed outer products over channels of float32[N,C,...]."""
    flat = gradient.reshape(*gradient.shape[:2], -1)
    step = max(1, flat.shape[2] // POSITIONS)
    rows = flat[:, :, ::step].transpose(1, 0, 2).reshape(flat.shape[1], -1)
    return np.asarray(rows @ rows.T, np.float64)
