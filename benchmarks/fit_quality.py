"""What each part of a fit is worth: the same plan realized without it, judged on test data.

    python -m benchmarks.fit_quality [MODEL ...] [--seeds 3]

The plans do not depend on measured latencies: at every convolution that is not a single point, the
separable or low-rank pair whose multiply-accumulates are nearest to a share of its own. Samples to
fit on are drawn anew with every seed; nothing is fitted on test data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import onnx

from autogo_onnx import assemble
from autogo_onnx.activations import Activations
from autogo_onnx.class_drop import log_posterior
from autogo_onnx.cost import macs
from autogo_onnx.fitting import linear, ridge
from autogo_onnx.fitting.importance import Importance
from autogo_onnx.fitting.inherit import SiteWeights
from autogo_onnx.fitting.segment import Boundary, Fitted, Refused, fit
from autogo_onnx.ground import Ground, survey
from autogo_onnx.job import begin
from autogo_onnx.one_thread import one_blas_thread
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.options import Options
from autogo_onnx.progress import Silent
from autogo_onnx.runtime import open_session, run
from autogo_onnx.samples import Samples
from autogo_onnx.segments import Site
from autogo_onnx.sites import find_sites
from autogo_onnx.step import Step
from autogo_onnx.streams import Stream
from autogo_onnx.submodel import Parts
from autogo_onnx.variants import variants
from benchmarks import inputs

SAMPLES = 512
SHARES = (0.67, 0.4)
Labelled = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A labelled model, and where its samples and its test data come from."""

    model: str
    samples: Callable[[], Labelled]
    test: Callable[[], Labelled]


CASES = (
    Case(
        "cifar10_resnet20_dynamo",
        lambda: inputs.cifar10("train"),
        lambda: inputs.cifar10("test"),
    ),
    Case(
        "fmnist_resnet8_bn",
        lambda: inputs.fashion_mnist("train"),
        lambda: inputs.fashion_mnist("t10k"),
    ),
)


class Unweighted:
    """An original of which it is not known what matters."""

    def __init__(self, original: Activations) -> None:
        self._original = original

    @property
    def count(self) -> int:
        """Number of samples."""
        return self._original.count

    def stream(self, name: str) -> Stream:
        """One tensor."""
        return self._original.stream(name)

    def importance(self, name: str) -> Importance | None:
        """Nothing."""
        return None

    def of(self, parts: Parts) -> Activations:
        """Those of another model."""
        return self._original.of(parts)


def _fit_plainly(
    candidate: OpGraph, site: OpGraph, weights: SiteWeights, boundary: Boundary, cut: object
) -> Fitted | Refused:
    """In the place of `fit_cut`: what comes next is not looked at."""
    return fit(candidate, site, weights, boundary)


def without_cut() -> AbstractContextManager[object]:
    """Fits aim at what comes before a rectifier."""
    return patch.object(assemble, "fit_cut", _fit_plainly)


def without_prior() -> AbstractContextManager[object]:
    """Refits are drawn to the weights that were trained as little as to anything."""
    return patch.object(linear, "PRIOR_RIDGE", ridge.RIDGE)


def without_refits() -> AbstractContextManager[object]:
    """Untouched layers keep their weights."""
    return patch.object(assemble, "refits", lambda *_, **__: [])


@dataclass(frozen=True)
class Way:
    """How to realize a plan: what is left out, by how many samples it is fitted, and which."""

    name: str
    left_out: Sequence[Callable[[], AbstractContextManager[object]]] = ()
    weighted: bool = True
    samples: int = SAMPLES // 2
    mirrored: bool = False


WAYS = (
    Way("all", (nullcontext,)),
    Way("no importance of channels", weighted=False),
    Way("no aim behind rectifiers", (without_cut,)),
    Way("weak pull to trained weights", (without_prior,)),
    Way("none of the three", (without_cut, without_prior), weighted=False),
    Way("no refits", (without_refits,)),
    Way("all, half the samples", samples=SAMPLES // 4),
    Way("all, twice the samples", samples=SAMPLES),
    Way("all, pictures mirrored beside", mirrored=True),
)


def plan(ground: Ground, share: float) -> list[Step]:
    """A replacement for every convolution with a window that has one near the share."""
    found = []
    for site in find_sites(ground.reading, [], fixed_size=ground.has_fixed_size):
        if len(site.cut.ops) == 1 and (graph := _nearest(site, share)) is not None:
            found.append(ground.step(site, graph))
    return found


def _nearest(site: Site, share: float) -> OpGraph | None:
    pairs = [v.graph for v in variants(site.graph) if v.name in ("separable", "low_rank")]
    wanted = share * macs(site.graph)
    return min(pairs, key=lambda graph: abs(macs(graph) - wanted), default=None)


def with_mirrored(samples: Samples) -> Samples:
    """Pictures [N,C,H,W], and behind them the same mirrored: of the only input."""
    ((name, pictures),) = samples.feeds.items()
    both = np.concatenate([pictures, np.flip(pictures, 3)])
    return replace(samples, feeds={name: both})


def realized(ground: Ground, share: float, way: Way) -> onnx.ModelProto:
    """The plan of a share as a model."""
    original = ground.activations(with_mirrored(ground.fit) if way.mirrored else ground.fit)
    aim = original if way.weighted else Unweighted(original)
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        for leave_out in way.left_out:
            stack.enter_context(leave_out())
        steps = plan(ground, share)
        made = assemble.realize(ground.model, ground.reading, steps, aim, ground.settings)
    assert not isinstance(made, Refused), made
    return made.model


def scores(model: onnx.ModelProto, samples: np.ndarray) -> np.ndarray:
    """Class scores float[N,K]."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    parts = [run(session, None, {name: samples[i : i + 100]}) for i in range(0, len(samples), 100)]
    return np.concatenate([part[0] for part in parts])


def judged(model: onnx.ModelProto, test: Labelled, reference: np.ndarray) -> tuple[float, ...]:
    """Divergence from the original, change of top-1 in points, agreement in per cent."""
    found = scores(model, test[0])
    p, q = log_posterior(reference), log_posterior(found)
    top, new = reference.argmax(axis=1), found.argmax(axis=1)
    change = np.mean(new == test[1]) - np.mean(top == test[1])
    divergence = np.mean(np.sum(np.exp(p) * (p - q), axis=1))
    return float(divergence), 100.0 * float(change), 100.0 * float(np.mean(top == new))


def grounds(case: Case, samples: int, seeds: int) -> Iterator[Ground]:
    """The model with other samples to fit on each time."""
    pool = case.samples()[0]
    path = inputs.SHARED / "zoo" / f"{case.model}.onnx"
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            file = Path(folder) / f"{seed}.npy"
            # Half of them is fitted on.
            np.save(file, pool[np.random.default_rng(seed).permutation(len(pool))[: 2 * samples]])
            job = begin(path, Options(calibration=file, budget_s=1e6), Silent())
            assert job.samples is not None
            yield survey(job, job.samples)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seeds", default=3, show_default=True, help="Draws of samples to fit on.")
def main(names: tuple[str, ...], seeds: int) -> None:
    """Print one row per model, plan and way."""
    print("| model | MACs of a layer | fitted | divergence | top-1 | agreement |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for case in (case for case in CASES if not names or case.model in names):
        test = case.test()
        reference = scores(onnx.load(inputs.SHARED / "zoo" / f"{case.model}.onnx"), test[0])
        for share in SHARES:
            for way in WAYS:
                models = (realized(g, share, way) for g in grounds(case, way.samples, seeds))
                rows = [judged(model, test, reference) for model in models]
                divergence, change, agreement = np.mean(rows, axis=0)
                print(
                    f"| {case.model} | {share} | {way.name} | {divergence:.4f} | {change:+.2f} "
                    f"| {agreement:.1f} % |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
