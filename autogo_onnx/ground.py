"""What all stages of fitted optimization work on: one model, its samples and the choices made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx

from autogo_onnx import signature
from autogo_onnx.activation_store import free_bytes, stored_bytes
from autogo_onnx.activations import BATCH, PASS_BYTES, Activations, bytes_per_sample
from autogo_onnx.assemble import Settings
from autogo_onnx.calibration import split
from autogo_onnx.cost import macs
from autogo_onnx.graph import from_model
from autogo_onnx.job import Job
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.options import Options
from autogo_onnx.progress import Progress
from autogo_onnx.samples import Samples
from autogo_onnx.segments import Reading, Site, op_weights, read
from autogo_onnx.step import Step
from autogo_onnx.submodel import Parts

HELD_OUT = 0.5
FEWEST_TO_FIT = 4
DISK_PER_MEMORY = 4
"""The disk may hold so many times as much of activations as memory."""
CACHE_SHARE = 0.15
"""Of the memory, for what was read last; the rest is for what is worked on."""
AT_A_TIME = 3
"""Sets of activations at a time: the original's on both halves of the samples, and a plan's."""


@dataclass(frozen=True)
class Ground:
    """One model to be made faster by fitted replacements.

    Attributes:
        job: the run: original and exactly rewritten model, choices, prices, deadline.
        reading: of the exactly rewritten model, with the shapes of one batch.
        fit, held_out: samples to fit on, and those that only judge.
    """

    job: Job
    reading: Reading
    fit: Samples
    held_out: Samples

    @property
    def model(self) -> onnx.ModelProto:
        """The exactly rewritten model; every replacement starts from it."""
        return self.job.exact.model

    @property
    def options(self) -> Options:
        """The user's choices."""
        return self.job.options

    @property
    def progress(self) -> Progress:
        """Who is told."""
        return self.job.progress

    @property
    def settings(self) -> Settings:
        """How fits see the samples."""
        return Settings(seed=self.options.seed)

    @property
    def feed(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """One batch for measuring."""
        return next(self.held_out.batches(1))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the exactly rewritten model for one sample."""
        return macs(self.reading.opgraph)

    @property
    def has_fixed_size(self) -> bool:
        """Whether all input dimensions but the batch are declared as numbers."""
        specs = signature.inputs(self.job.original)
        return all(isinstance(d, int) for spec in specs for d in (spec.dims or ("?", "?"))[1:])

    def activations(self, samples: Samples) -> Activations:
        """The model's activations, none computed yet, on as many of the samples as are fitted on.

        They are shuffled, so that the first of them, which candidates are scored on, are of all
        classes even where files are sorted by class.
        """
        order = np.random.default_rng(self.options.seed).permutation(len(samples))
        return Activations(
            Parts(self.model),
            samples.take(order[: self.most_to_fit]),
            batch=min(BATCH, max(1, PASS_BYTES // self._bytes_per_sample)),
            cache_bytes=int(CACHE_SHARE * self.options.memory_bytes / AT_A_TIME),
            threads=self.options.threads,
        )

    @cached_property
    def most_to_fit(self) -> int:
        """Samples whose activations have room on the disk; as many may be fitted on at a time."""
        room = min(DISK_PER_MEMORY * self.options.memory_bytes, free_bytes())
        each = AT_A_TIME * sum(stored_bytes(shape) for shape in self._shapes.values())
        most = max(FEWEST_TO_FIT, room // max(1, each))
        return most - most % self.fit.batch_size(1)

    @property
    def _bytes_per_sample(self) -> int:
        return max(1, bytes_per_sample(self._shapes, self._shapes))

    def step(self, site: Site, replacement: OpGraph) -> Step:
        """A replacement together with the weights that it may inherit."""
        return Step(site, replacement, self.weights(site))

    def weights(self, site: Site) -> dict[int, tuple[np.ndarray[Any, Any], ...]]:
        """The weights of a site by operator index."""
        return {k: op_weights(self.reading.nodes[i]) for k, i in enumerate(site.cut.ops)}

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        graph = self.reading.opgraph
        return {name: graph.shape(t) for t, name in enumerate(self.reading.tensors)}


def survey(job: Job, samples: Samples) -> Ground:
    """Read the exactly rewritten model and share out the samples.

    Raises:
        InputError: the model cannot be read as a graph.
    """
    graph = from_model(job.exact.model)
    shapes = tensor_shapes(job.exact.model, job.input_shapes)
    fit, held_out = halves(samples, job.options.seed)
    return Ground(job, read(graph, shapes), fit, held_out)


def halves(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Samples to fit on and samples to judge by.

    As many judge as are fitted on: a fit has seen enough after some ten thousand positions, while a
    bound on a loss of one per cent needs hundreds of samples.
    """
    return split(samples, seed=seed, held_out=HELD_OUT)
