"""What all stages of fitted optimization work on: one model, its samples and the choices made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, prod
from typing import Any

import numpy as np
import onnx

from autogo_onnx import signature
from autogo_onnx.activation_store import free_bytes, stored_bytes
from autogo_onnx.activations import BATCH, PASS_BYTES, Activations, bytes_per_sample
from autogo_onnx.assemble import Settings
from autogo_onnx.calibration import split
from autogo_onnx.cost import macs
from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import InputError, NotComparable
from autogo_onnx.given import FEWEST_SAMPLES
from autogo_onnx.graph import from_model
from autogo_onnx.job import Job
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.options import Options
from autogo_onnx.pricing import Measure
from autogo_onnx.progress import Progress
from autogo_onnx.quantities import SINGLE, Quantities, quantities_of
from autogo_onnx.samples import Samples
from autogo_onnx.segments import Reading, Site, op_weights, read
from autogo_onnx.sensitivity import Sensitivity
from autogo_onnx.sizes import digest
from autogo_onnx.step import Step
from autogo_onnx.submodel import Parts

HELD_OUT = 0.5
FEWEST_TO_FIT = 4
DISK_PER_MEMORY = 4
"""The disk may hold so many times as much of activations as memory."""
CACHE_SHARE = 0.15
"""Of the memory, for what was read last; the rest is for what is worked on."""
MACS_PER_SECOND = 2e10
"""Multiply-accumulates that one core is trusted to do in a second; sizes the work."""
PASS_SHARE = 0.1
"""Of the budget, for one pass of the model over the samples; there are many."""
NO_CLASSES = "is judged as values: it does not look like scores of classes (--gate accuracy if so)"
OUTPUTS_AT_A_TIME = 2
"""Of all samples, in memory: the original's, and a plan's."""
AT_A_TIME = 4
"""Sets of activations at a time: the original's and a plan's, on both halves of the samples."""


@dataclass(frozen=True)
class Ground:
    """One model to be made faster by fitted replacements.

    Attributes:
        job: the run: original and exactly rewritten model, choices, prices, deadline.
        reading: of the exactly rewritten model, with the shapes of one batch.
        fit, held_out: samples to fit on, and those that only judge.
        sample_axes: of the outputs whose leading axis does not count samples.
    """

    job: Job
    reading: Reading
    fit: Samples
    held_out: Samples
    sample_axes: Mapping[str, int] = field(default_factory=dict)
    _known: list[tuple[Samples, Samples, Sensitivity]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

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
        return Settings(seed=self.options.seed, deadline=self.job.deadline)

    @property
    def feed(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """One batch for measuring."""
        return next(self.held_out.batches(1))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the exactly rewritten model for one batch of samples."""
        return macs(self.reading.opgraph)

    @cached_property
    def digest(self) -> str:
        """Tells the exactly rewritten model apart from others."""
        return digest(self.model)

    def measure(self, deadline: Deadline) -> Measure:
        """How changes of the model are measured."""
        options = self.options
        return Measure(self.feed, options.threads, options.seed, self.job.pace, deadline)

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
        batch = min(BATCH, max(1, PASS_BYTES // self._bytes_per_sample))
        some, sensitivity = self._drawn(samples, batch)
        options = self.options
        return Activations(
            Parts(self.model),
            some,
            batch=batch,
            cache_bytes=int(CACHE_SHARE * options.memory_bytes / AT_A_TIME),
            threads=options.threads,
            deadline=self.job.deadline,
            together=self._tensors,
            sensitivity=sensitivity,
            quantities=self.quantities,
            sample_axes=self.sample_axes,
        )

    def _drawn(self, samples: Samples, batch: int) -> tuple[Samples, Sensitivity]:
        """As many as are fitted on, shuffled, and what matters to the outputs on them.

        Both are remembered: the second takes as long as a plan.
        """
        for others, some, known in self._known:
            if others is samples:
                return some, known
        options = self.options
        some = samples.take(self._order(len(samples)))
        made = Sensitivity(
            self.reading,
            some,
            batch=batch,
            seed=options.seed,
            threads=options.threads,
            quantities=self.quantities,
        )
        self._known.append((samples, some, made))
        return some, made

    def _order(self, count: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng(self.options.seed).permutation(count)[: self.most_to_fit]

    @cached_property
    def quantities(self) -> Quantities:
        """Of the outputs, which exact rewriting and every replacement leave where they are.

        Raises:
            NotComparable: a vector changes its length with the sample.
        """
        options, notes = self.options, self.job.notes
        try:
            found = quantities_of(self.job.original, self.fit, options.gate, self.sample_axes)
        except NotComparable:
            raise
        except InputError as error:
            notes.append(f"quantities in one output are judged as one: {error}")
            return SINGLE
        first = self.job.original.graph.output[0].name
        if first in found.means and options.gate == "auto" and options.evaluate is None:
            notes.append(f"output {first!r} {NO_CLASSES}")
        return found

    @cached_property
    def most_to_fit(self) -> int:
        """Samples whose activations have room on the disk; as many may be fitted on at a time."""
        room = min(DISK_PER_MEMORY * self.options.memory_bytes, free_bytes())
        each = AT_A_TIME * sum(stored_bytes(shape) for shape in self._shapes.values())
        most = max(FEWEST_TO_FIT, room // max(1, each))
        return most - most % self.fit.batch_size(1)

    @cached_property
    def _tensors(self) -> tuple[str, ...]:
        """Names of all that the model computes per sample."""
        batch = self.fit.batch_size(1)
        return tuple(
            name
            for name, shape in self._shapes.items()
            if shape[:1] == (batch,) and name not in self.fit.feeds
        )

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
        InputError: the model cannot be read as a graph, or the budget is too short for it.
    """
    graph = from_model(job.exact.model)
    reading = read(graph, tensor_shapes(job.exact.model, job.input_shapes))
    fit, held_out = halves(_affordable(job, reading, samples), job.options.seed)
    return Ground(job, reading, fit, held_out)


def _affordable(job: Job, reading: Reading, samples: Samples) -> Samples:
    """As many samples, drawn at random, as time and memory allow for.

    Raises:
        InputError: they would be too few.
    """
    seconds = macs(reading.opgraph) / samples.batch_size(1) / MACS_PER_SECOND
    budget = job.options.budget_s
    most = int(min(len(samples), PASS_SHARE * budget / max(1e-12, seconds)))
    if most < FEWEST_SAMPLES:
        needed = ceil(FEWEST_SAMPLES * seconds / PASS_SHARE)
        raise InputError(f"the model is too slow for {budget:g} seconds: give --budget {needed}s")
    each = OUTPUTS_AT_A_TIME * _output_bytes(reading) // samples.batch_size(1)
    have_room = job.options.memory_bytes // max(1, each)
    if have_room < FEWEST_SAMPLES:
        raise InputError(f"outputs take {FEWEST_SAMPLES * each / 1e6:.0f} MB: give more --memory")
    if min(most, have_room) == len(samples):
        return samples
    why = "the budget (--budget) is too short"
    if have_room < most:
        most, why = have_room, "their outputs leave no room (--memory)"
    job.notes.append(f"{most} of {len(samples)} samples are used: {why} for more")
    order = np.random.default_rng(job.options.seed).permutation(len(samples))
    return samples.take(np.sort(order[:most]))


def _output_bytes(reading: Reading) -> int:
    """float32 bytes of all outputs for one batch."""
    return sum(4 * prod(shape) for shape in reading.opgraph.output_shapes)


def halves(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Samples to fit on and samples to judge by.

    As many judge as are fitted on: a fit has seen enough after some ten thousand positions, while a
    bound on a loss of one per cent needs hundreds of samples.
    """
    return split(samples, seed=seed, held_out=HELD_OUT)
