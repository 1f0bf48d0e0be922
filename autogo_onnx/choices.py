"""What may be changed, and which of it to change together.

Prices and scores of changes are summed up here, so this only proposes; `plans.py` finds out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from autogo_onnx.ground import Ground
from autogo_onnx.hindsight import SAVINGS, SCORES, Shown, corrected
from autogo_onnx.opgraph import to_json
from autogo_onnx.planning import Scored
from autogo_onnx.pricing import signature
from autogo_onnx.select import Item, largest_saving, select_within
from autogo_onnx.widths.narrowing import Narrowing
from autogo_onnx.widths.overlaps import overlaps

Choice = Scored | Narrowing
SOLVING_S, SOLVING_SHARE = 20.0, 0.02
"""Most seconds for one program of the selection, and most of the budget."""
_CHOICE = "choice"
_LEAST_SAVED, _LEAST_LOST = 0.001, 1e-9
"""Noise hides smaller savings, and rounding smaller errors."""


@dataclass(frozen=True)
class Seen:
    """A realized plan.

    Attributes:
        chosen: numbers of its choices.
        saved: share of the latency, or of what the target counts.
        lost: the error of the outputs (`Fidelity.error`).
    """

    chosen: tuple[int, ...]
    saved: float
    lost: float


class Choices:
    """Replacements and narrowings by number.

    Attributes:
        every: all of them.
    """

    def __init__(
        self, ground: Ground, scored: Sequence[Scored], narrowings: Sequence[Narrowing]
    ) -> None:
        """Nothing is chosen yet.

        Args:
            ground: the model.
            scored: replacements.
            narrowings: likewise.
        """
        self._job = ground.job
        self.every: tuple[Choice, ...] = (*scored, *narrowings)
        self._items = [_item(choice, narrowings) for choice in self.every]
        self._overlaps = overlaps(ground.reading.opgraph, scored, narrowings)

    @cached_property
    def largest(self) -> float:
        """Most that any plan saves, by the sum of its prices."""

        def compute() -> float:
            return largest_saving(self._items, self._overlaps, max_seconds=self._solving_s)

        return float(self._job.checkpoints.value("largest", self._problem, compute))

    @property
    def _solving_s(self) -> float:
        """Most seconds for one program of the selection."""
        return min(SOLVING_S, SOLVING_SHARE * self._job.options.budget_s)

    @cached_property
    def _problem(self) -> str:
        """A digest of all that choices are made from."""
        items = zip(self.every, self._items, strict=True)
        told = [[full_key([choice]), item.saving, item.score] for choice, item in items]
        text = json.dumps([told, sorted(self._overlaps.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def saving(self, chosen: tuple[int, ...]) -> float:
        """What the plan of some choices should save, by the sum of prices."""
        alone = sum(self._items[i].saving for i in chosen)
        both = frozenset(chosen)
        twice = sum(less for pair, less in self._overlaps.items() if both.issuperset(pair))
        return alone - twice

    def score(self, chosen: tuple[int, ...]) -> float:
        """The summed score of some choices."""
        return sum(self._items[i].score for i in chosen)

    def within(self, score: float) -> tuple[int, ...]:
        """Numbers of the choices that save most and whose summed score is at most `score`.

        Raises:
            OutOfTime: the budget has ended, and no interrupted run has found them.
        """
        return self._chosen(
            ["within", score],
            lambda: select_within(self._items, score, self._overlaps, max_seconds=self._solving_s),
        )

    def hopeful(self, seen: Sequence[Seen], loss: float, seed: int | None) -> tuple[int, ...]:
        """Numbers of the choices that may save most, as far as realized plans tell.

        Args:
            seen: these plans.
            loss: most that the next one may lose, in the unit of theirs.
            seed: of what is drawn where these plans do not tell much; None: what is expected.

        Raises:
            OutOfTime: as `within`.
        """
        rng = None if seed is None else np.random.default_rng(seed)
        return self._chosen(
            ["hopeful", loss, seed, hashlib.sha256(repr(seen).encode()).hexdigest()],
            lambda: select_within(
                self._in_hindsight(seen, rng),
                loss,
                self._overlaps,
                max_seconds=self._solving_s,
            ),
        )

    def _in_hindsight(self, seen: Sequence[Seen], rng: np.random.Generator | None) -> list[Item]:
        """The items, with savings and scores as they are known after some plans."""
        savings = [
            Shown(s.chosen, max(self.saving(s.chosen), _LEAST_SAVED), max(s.saved, _LEAST_SAVED))
            for s in seen
        ]
        scores = [
            Shown(s.chosen, max(self.score(s.chosen), _LEAST_LOST), max(s.lost, _LEAST_LOST))
            for s in seen
        ]
        new_savings = corrected(np.array([i.saving for i in self._items]), savings, SAVINGS, rng)
        new_scores = corrected(np.array([i.score for i in self._items]), scores, SCORES, rng)
        return [
            replace(item, saving=float(saving), score=float(score))
            for item, saving, score in zip(self._items, new_savings, new_scores, strict=True)
        ]

    def _chosen(
        self, wanted: list[str | float | None], solve: Callable[[], tuple[int, ...]]
    ) -> tuple[int, ...]:
        """The solution of a program, which an interrupted run may have found."""
        key = json.dumps([*wanted, self._problem])
        checkpoints = self._job.checkpoints
        if not checkpoints.knows(_CHOICE, key):
            self._job.deadline.check()
        return tuple(checkpoints.value(_CHOICE, key, solve))


def _item(choice: Choice, narrowings: Sequence[Narrowing]) -> Item:
    """Replacements take their operators; narrowings their space, as do replacements round it."""
    if isinstance(choice, Narrowing):
        return Item(frozenset({choice.space}), choice.saving, choice.score)
    ops = frozenset(choice.candidate.site.cut.ops)
    inner = {n.space for n in narrowings if ops.issuperset(n.space.makers)}
    return Item(
        ops | {s for s in inner if any(r.op in ops for r in s.readers)}, choice.saving, choice.score
    )


def plan_key(plan: Sequence[Choice]) -> str:
    """Key of a plan's latency: which operators become which segments, which spaces how wide."""
    text = _told(
        plan,
        lambda narrowing: f"width {len(narrowing.kept)}",
        lambda scored: signature(scored.candidate.site.graph, scored.candidate.graph),
    )
    return f"plan/{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def full_key(plan: Sequence[Choice]) -> str:
    """All that a plan is."""
    return _told(
        plan,
        lambda narrowing: f"kept {narrowing.kept.tolist()}",
        lambda scored: to_json(scored.candidate.graph),
    )


def _told(
    plan: Sequence[Choice],
    narrower: Callable[[Narrowing], str],
    replaced: Callable[[Scored], str],
) -> str:
    """Where every choice of a plan is, and what it is, in an order of its own."""
    parts = sorted(
        [list(choice.space.makers), narrower(choice)]
        if isinstance(choice, Narrowing)
        else [list(choice.candidate.site.cut.ops), replaced(choice)]
        for choice in plan
    )
    return json.dumps(parts)
