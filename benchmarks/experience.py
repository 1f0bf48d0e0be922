"""Every candidate at every site of the zoo's trained models, fitted and scored: `trials.json.gz`.

    python -m benchmarks.experience [CASE ...] -o FILE [--into]

The head for errors of the shipped predictor is trained on this file, and `benchmarks.fits_needed`
plays fitting through on it. Everything that `optimize` makes is fitted, and what follows the
original is scored, whatever else there is at its site; beside that as many more segments of the
database, drawn at random, are fitted. The target is multiply-accumulates, so no clock decides.
Takes about a quarter of an hour per model.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from autogo_onnx.activations import Activations
from autogo_onnx.candidates import PER_SITE, Candidate, Catalogue
from autogo_onnx.cost import macs
from autogo_onnx.errors import InputError
from autogo_onnx.fitting.segment import Boundary, Refused, fit
from autogo_onnx.ground import Ground, survey
from autogo_onnx.job import begin
from autogo_onnx.one_thread import one_blas_thread
from autogo_onnx.options import Options
from autogo_onnx.planning import WORST_FIT
from autogo_onnx.predictor import open_predictor
from autogo_onnx.predictor_training.trials import Place, Trial, Trials, read, write
from autogo_onnx.progress import Silent
from autogo_onnx.savings import LEAST_SAVING
from autogo_onnx.score import score
from autogo_onnx.segment_db.segmentation import pieces
from autogo_onnx.segment_db.store import open_store
from autogo_onnx.segments import Site
from autogo_onnx.sites import find_sites
from benchmarks.cases import CASES, ZOO, Case

OUT = Path(__file__).parent / "data" / "trials.json.gz"
LEFT_OUT = ("cifar10_resnet20_bn", "cifar10_resnet20_folded")
"""The same network as `cifar10_resnet20_dynamo`, in other exports."""
SCORING_SECONDS = 300
"""Sizes the samples that scores are taken on, as a budget of ten minutes does."""
MACS_PER_SECOND = 2e10
MOST_SCORED, FEWEST_SCORED = 128, 4


def trials(case: Case, folder: Path, seed: int = 0) -> Trials:
    """Fit and score all candidates of one model."""
    samples = folder / f"{case.model}.npy"
    np.save(samples, case.calibration(0))
    options = Options(calibration=samples, target="macs", level="fitted", seed=seed)
    # No deadline: what is fitted does not depend on the machine.
    job = begin(ZOO / f"{case.model}.onnx", replace(options, budget_s=math.inf), Silent())
    assert job.samples is not None
    ground = survey(job, job.samples)
    original = ground.activations(ground.fit)
    offered = list(_offered(ground, seed))
    count = sum(len(candidates) for _, candidates in offered)
    jury = original.first(_scored_samples(ground, count, original))
    reference = jury.outputs_with({})
    print(f"{case.model}: {count} candidates, scored on {jury.count} samples", flush=True)
    places = []
    with one_blas_thread():
        for number, (site, candidates) in enumerate(offered):
            made = _tried(ground, candidates, original, (jury, reference))
            places.append(Place(tuple(site.cut.ops), tuple(made)))
            print(f"{case.model}: site {number + 1} of {len(offered)}", flush=True)
    return Trials(case.model, ground.reading.opgraph, tuple(places))


def _offered(ground: Ground, seed: int) -> Iterator[tuple[Site, list[tuple[Candidate, bool]]]]:
    """The sites; of each the candidates that save something, and whether `optimize` makes them."""
    store = open_store()
    generator = np.random.default_rng(seed)
    catalogue = Catalogue(ground.reading, store, open_predictor(), per_site=None)
    cuts = pieces(ground.reading.opgraph, store.vocabulary())
    for site in find_sites(ground.reading, cuts, fixed_size=ground.has_fixed_size):
        everything = catalogue.candidates(site)
        stored = [one for one in everything if one.name.startswith("db:")]
        own = everything[: len(everything) - len(stored)]
        rest = stored[PER_SITE:]
        drawn = sorted(generator.permutation(len(rest))[:PER_SITE].tolist())
        chosen = [(one, True) for one in (*own, *stored[:PER_SITE])]
        chosen += [(rest[i], False) for i in drawn]
        found = [(c, is_made) for c, is_made in chosen if _saving(ground, c) >= LEAST_SAVING]
        if found:
            yield site, found


def _saving(ground: Ground, candidate: Candidate) -> float:
    return (macs(candidate.site.graph) - macs(candidate.graph)) / max(1, ground.macs)


def _scored_samples(ground: Ground, candidates: int, original: Activations) -> int:
    seconds = max(1, ground.macs) / MACS_PER_SECOND / 2
    affordable = int(SCORING_SECONDS / 2 / max(1, candidates) / seconds)
    return min(original.count, max(FEWEST_SCORED, min(MOST_SCORED, affordable)))


def _tried(
    ground: Ground,
    candidates: list[tuple[Candidate, bool]],
    original: Activations,
    judge: tuple[Activations, list[np.ndarray]],
) -> Iterator[Trial]:
    """What became of the candidates of one site."""
    site = candidates[0][0].site
    boundary = Boundary(
        tuple(original.stream(name) for name in site.inputs),
        original.stream(site.outputs[0]),
        rows=ground.settings.rows,
        seed=ground.settings.seed,
    )
    weights = ground.weights(site)
    for candidate, is_made in candidates:
        nmse, value = math.inf, None
        try:
            fitted = fit(candidate.graph, site.graph, weights, boundary)
        except InputError:
            fitted = Refused("")
        if not isinstance(fitted, Refused):
            nmse = fitted.nmse
            if is_made and nmse <= WORST_FIT:
                value = score(site, candidate.graph, fitted.weights, *judge)
        saving = _saving(ground, candidate)
        yield Trial(candidate.name, candidate.graph, saving, nmse, value, is_made)


@click.command()
@click.argument("names", nargs=-1)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
@click.option("--into", is_flag=True, help="Keep the file's other models.")
def main(names: tuple[str, ...], out: Path, into: bool) -> None:
    """Fit everything; the file is written anew after every model."""
    chosen = [c for c in CASES if (c.model in names if names else c.model not in LEFT_OUT)]
    known = {model.model: model for model in read(out)} if into and out.exists() else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for case in chosen:
            known[case.model] = trials(case, Path(scratch))
            write(out, [known[name] for name in sorted(known)])


if __name__ == "__main__":
    main()
