"""Samples and their views, by one number each.

A network with few samples learns them by heart. Pictures moved by a step, with the original's
answers to them, leave a student less to learn by heart (decision 17).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
import torch

from autogo_onnx import verify
from autogo_onnx.class_drop import is_class_scores, is_posterior
from autogo_onnx.errors import InputError
from autogo_onnx.overconfidence import agrees, keeps_classes
from autogo_onnx.quantities import SINGLE, Quantities
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples, evenly
from autogo_onnx.views import AS_IT_IS, MIRRORED, MOVED, View

_TRIED = 512
_AS_LIKELY = 0.5
"""Of a sample to be seen where it is, or not mirrored."""


class Sights:
    """The samples as they are come first, then all of them in the next view.

    Attributes:
        samples: as they are.
        views: of each of them.
    """

    def __init__(self, samples: Samples, views: Sequence[View] = (AS_IT_IS,)) -> None:
        """Nothing is computed yet.

        Args:
            samples: that have all these views.
            views: the first one is of samples as they are.
        """
        self.samples, self.views = samples, tuple(views)
        self._weights = torch.tensor([_weight(view, self.views) for view in self.views])

    def __len__(self) -> int:
        return len(self.views) * len(self.samples)

    def drawn(self, chosen: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """Sights of the samples at some positions, each in a view that is drawn."""
        if len(self.views) == 1:
            return chosen
        views = torch.multinomial(
            self._weights, len(chosen), replacement=True, generator=generator
        ).numpy()
        return np.asarray(chosen + len(self.samples) * views)

    def take(self, sights: np.ndarray) -> Samples:
        """The pictures behind some numbers, in that order."""
        views, positions = np.divmod(sights, len(self.samples))
        found = self.samples.take(positions)
        if not views.any():
            return found
        ((name, pictures),) = found.feeds.items()
        pictures = pictures.copy()
        for number in np.unique(views[views > 0]):
            of_view = np.nonzero(views == number)[0]
            seen = self.views[number].of(found.take(of_view))
            assert seen is not None, "the views were chosen on samples like these"
            pictures[of_view] = seen.feeds[name]
        return replace(found, feeds={name: pictures})


def sights(
    model: onnx.ModelProto, samples: Samples, *, threads: int, quantities: Quantities = SINGLE
) -> Sights:
    """The samples in all views that a classifier of pictures takes for nearly the same.

    Args:
        model: the original; other models than classifiers of pictures have one view.
        samples: to learn from.
        threads: of ONNX Runtime.
        quantities: of its outputs.

    Raises:
        InputError: the model does not run on a sample.
    """
    if model.graph.output[0].name in quantities.means:
        return Sights(samples)
    session, some = open_session(model, threads=threads), samples.take(evenly(len(samples), _TRIED))

    def scores(view: View) -> np.ndarray | None:
        seen = view.of(some)
        if seen is None:
            return None
        try:
            return next(iter(verify.run(session, seen, batch=64).values()))
        except InputError:
            if view == AS_IT_IS:
                raise
            return None  # It takes these pictures, but not every picture.

    return Sights(samples, alike(scores))


def alike(scores: Callable[[View], np.ndarray | None]) -> tuple[View, ...]:
    """Views in which a classifier says about the same.

    Args:
        scores: the class scores of a view of some samples; None where there is no such view.
    """
    plain = scores(AS_IT_IS)
    if plain is None or not is_class_scores(plain) or not is_posterior(plain):
        return (AS_IT_IS,)

    seen = [scores(view) for view in MOVED]
    has_moves = all(others is not None and agrees(plain, others) for others in seen)
    views = (AS_IT_IS, *(MOVED if has_moves else ()))
    reflected = scores(MIRRORED)
    if reflected is None or not (agrees(plain, reflected) and keeps_classes(plain, reflected)):
        return views
    return (*views, *(replace(view, is_mirrored=True) for view in views))


def _weight(view: View, views: Sequence[View]) -> float:
    """How likely one of the views is."""
    places = {(v.down, v.right) for v in views}
    is_moved = (view.down, view.right) != (0, 0)
    weight = (1 - _AS_LIKELY) / (len(places) - 1) if is_moved else _AS_LIKELY
    if any(v.is_mirrored for v in views):
        weight *= 1 - _AS_LIKELY if view.is_mirrored else _AS_LIKELY
    return weight
