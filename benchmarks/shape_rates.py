"""How often stored segments fit the zoo's sites, how long that takes, and why the rest does not."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import joblib

from autogo_onnx.segment_db.store import open_store
from autogo_onnx.shapes import Infeasible
from benchmarks.shape_pairs import Pair, Place, Segments, measured, places, segments

# What is left out of a reason to group it: lists of shapes, operators, numbers and lists of them.
_DETAILS = (
    (re.compile(r"\[[\d,]+\]( and \[[\d,]+\])*"), "[#]"),
    (re.compile(r"\w+ \(operator \d+\)(, \w+ \(operator \d+\))*"), "@"),
    (re.compile(r"\d+(x\d+)*(( or|,| and) \d+(x\d+)*)*( \.\.\.)?"), "#"),
)
# The first that is found in a reason's form says what kind of reason it is.
KINDS = {
    "demands of different batches": r"batch axis",
    "other numbers of axes": r"axes",
    "operator that is not known": r"^@: ",
    "sizes out of reach": r"can be|sizes|cannot continue",
    "channels that nothing changes": r"^nothing changes channels",
    "channels that do not add up": r"channel",
    "no answer in time": r"no proven answer",
}
MOST_REASONS = 20
# Whether all boundary tensors are two-dimensional maps: of the site, and of the segment as mined.
ANY, AT_SITE, BOTH = "any", "site", "both"


@dataclass(frozen=True)
class Timing:
    """CPU milliseconds of some calls of one kind."""

    name: str
    ms: Sequence[float]

    def row(self, total: int) -> str:
        """As a row of a table."""
        if not self.ms:
            return f"| {self.name} | 0 | | | |"
        share = f"{100 * len(self.ms) / total:.1f} %"
        figures = (mean(self.ms), median(self.ms), max(self.ms))
        return f"| {self.name} | {share} | {' | '.join(f'{f:.2f}' for f in figures)} |"


@dataclass
class Tally:
    """What adapting some pairs gave.

    Attributes:
        pairs, fits: by whether the boundary is made of maps (`ANY`, `AT_SITE`, `BOTH`).
        at_sites, fits_at_sites: likewise, a place counted once for each of its sites.
        ms, solver_ms: CPU time of calls without and with the mixed-integer solver.
        explained_ms: CPU time of reading the reasons.
        reasons: how often each was given, numbers left out.
        examples: of each reason, the first.
    """

    pairs: Counter[str] = field(default_factory=Counter)
    fits: Counter[str] = field(default_factory=Counter)
    at_sites: Counter[str] = field(default_factory=Counter)
    fits_at_sites: Counter[str] = field(default_factory=Counter)
    ms: list[float] = field(default_factory=list)
    solver_ms: list[float] = field(default_factory=list)
    explained_ms: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, pair: Pair) -> None:
        """Adapt one pair and count it."""
        outcome, maps = measured(pair), _maps(pair)
        (self.solver_ms if outcome.solver_calls else self.ms).append(outcome.ms)
        self.pairs[maps] += 1
        self.at_sites[maps] += pair.place.sites
        if not isinstance(outcome.graph, Infeasible):
            self.fits[maps] += 1
            self.fits_at_sites[maps] += pair.place.sites
            return
        start = time.process_time()
        reason = outcome.graph.reason
        self.explained_ms.append(1000 * (time.process_time() - start))
        form = form_of(reason)
        self.reasons[form] += 1
        self.examples.setdefault(form, f"{reason} ({pair.identifier[:12]} at {pair.place})")

    def merge(self, other: Tally) -> None:
        """Count what another counted, too."""
        for mine, theirs in (
            (self.pairs, other.pairs),
            (self.fits, other.fits),
            (self.at_sites, other.at_sites),
            (self.fits_at_sites, other.fits_at_sites),
        ):
            mine.update(theirs)
        self.reasons.update(other.reasons)
        self.ms += other.ms
        self.solver_ms += other.solver_ms
        self.explained_ms += other.explained_ms
        self.examples = {**other.examples, **self.examples}


def form_of(reason: str) -> str:
    """A reason without its details.

    >>> form_of("output 0 of Conv (operator 7) can be 2x3 or 2x4 ... but must be 31x2")
    'output # of @ can be # but must be #'
    """
    for pattern, sign in _DETAILS:
        reason = pattern.sub(sign, reason)
    return reason


def tally(path: Path | None, share: float, jobs: int) -> Tally:
    """Adapt a share of all pairs, or all.

    Args:
        path: of the segment database; the shipped one by default.
        share: of the segments, drawn for every place.
        jobs: worker processes.
    """
    store = open_store(path)
    where = places(store)
    stored = segments(store, where)
    total = Tally()
    tasks = (joblib.delayed(_at)(place, _of(stored, place), share) for place in where)
    for part in joblib.Parallel(jobs, return_as="generator", batch_size=1)(tasks):
        total.merge(part)
    return total


def lines(total: Tally) -> Iterator[str]:
    """Three tables in Markdown: rate, time, reasons."""
    yield "| pairs | number | fit | each at all its sites | fit |"
    yield "| --- | --- | --- | --- | --- |"
    for name, kinds in (
        ("all", (ANY, AT_SITE, BOTH)),
        ("maps at the site", (AT_SITE, BOTH)),
        ("maps at the site and in the segment", (BOTH,)),
    ):
        cells = (
            _share(total.pairs, total.fits, kinds),
            _share(total.at_sites, total.fits_at_sites, kinds),
        )
        yield f"| {name} | {' | '.join(cells)} |"
    yield "\n| CPU time, ms | share of calls | mean | median | largest |"
    yield "| --- | --- | --- | --- | --- |"
    calls = total.pairs.total()
    yield Timing("all", [*total.ms, *total.solver_ms]).row(calls)
    yield Timing("without solver", total.ms).row(calls)
    yield Timing("with solver", total.solver_ms).row(calls)
    yield Timing("reading a reason", total.explained_ms).row(calls)
    yield from _reasons(total)


def _reasons(total: Tally) -> Iterator[str]:
    refusals = total.reasons.total()
    kinds: Counter[str] = Counter()
    for form, count in total.reasons.items():
        kinds[_kind(form)] += count
    yield "\n| refusals | kind |\n| --- | --- |"
    yield from (_counted(count, refusals, kind) for kind, count in kinds.most_common())
    yield "\n| refusals | reason | for example |\n| --- | --- | --- |"
    for form, count in sorted(total.reasons.items(), key=lambda r: (-r[1], r[0]))[:MOST_REASONS]:
        yield f"{_counted(count, refusals, form)} {total.examples[form]} |"


def _maps(pair: Pair) -> str:
    if not pair.place.is_of_maps:
        return ANY
    mined = (*pair.segment.input_shapes, *pair.segment.output_shapes)
    return BOTH if all(len(shape) == 4 for shape in mined) else AT_SITE


def _kind(form: str) -> str:
    return next((kind for kind, sign in KINDS.items() if re.search(sign, form)), "other")


def _counted(count: int, refusals: int, what: str) -> str:
    return f"| {100 * count / refusals:.2f} % | {what} |"


def _share(pairs: Counter[str], fits: Counter[str], kinds: Sequence[str]) -> str:
    number, fitting = (sum(counts[kind] for kind in kinds) for counts in (pairs, fits))
    return f"{number:,} | {100 * fitting / max(1, number):.1f} %"


def _of(stored: Segments, place: Place) -> Segments:
    side = len(place.inputs), len(place.outputs)
    return {side: stored[side]}


def _at(place: Place, stored: Segments, share: float) -> Tally:
    counted = Tally()
    (known,) = stored.values()
    rng = random.Random(str(place))
    for identifier, graph in known:
        if share >= 1 or rng.random() < share:
            counted.add(Pair(place, identifier, graph))
    return counted
