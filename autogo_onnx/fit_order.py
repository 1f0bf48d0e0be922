"""In which order candidates are fitted: first what may end in a plan, as far as can be foretold.

A plan takes, at every site, one of the candidates that save much for their error. So candidates are
peeled in layers: the first holds those that no other of their site is expected to beat, the second
those that one beats, and so on. All sites get their first layers before any gets its last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = (1, 3)
"""Layers at which another round over the sites begins. A site is visited once per round, and what
its candidates share (moments of the activations) is computed anew each time."""


def visits(
    sites: Sequence[int], savings: Floats, errors: Floats, rounds: Sequence[int] = ROUNDS
) -> tuple[tuple[int, ...], ...]:
    """All candidates by number, in the order in which to fit them, a tuple per visit to a site.

    Within a round the sites come in the order of the most saving per expected error, and a site's
    candidates layer by layer.

    Args:
        sites: of each of the N candidates, which site it is for.
        savings: what each saves, float64[N] > 0.
        errors: log10 of the error expected of its fit, float64[N].
        rounds: as `ROUNDS`, ascending.

    >>> visits([0, 0, 1], np.array([0.2, 0.1, 0.1]), np.array([-1.0, -0.5, -2.0]))
    ((2,), (0,), (1,))
    """
    beaten = layers(sites, savings, errors)
    turns = np.searchsorted(rounds, beaten, side="right")
    worth = np.log10(savings) - errors
    members: dict[tuple[int, int], list[int]] = {}
    for number, site in enumerate(sites):
        members.setdefault((int(turns[number]), site), []).append(number)
    best = {key: max(worth[n] for n in group) for key, group in members.items()}
    order = sorted(members, key=lambda key: (key[0], -best[key], key[1]))
    return tuple(
        tuple(sorted(members[key], key=lambda n: (beaten[n], -worth[n], n))) for key in order
    )


def layers(sites: Sequence[int], savings: Floats, errors: Floats) -> NDArray[np.int64]:
    """How many others of its site save as much as each candidate with a smaller error, int64[N].

    >>> layers([0, 0, 1], np.array([0.2, 0.1, 0.1]), np.array([-1.0, -0.5, -0.5])).tolist()
    [0, 1, 0]
    """
    counted = np.zeros(len(savings), np.int64)
    of_site: dict[int, list[int]] = {}
    for number, site in enumerate(sites):
        of_site.setdefault(site, []).append(number)
    for group in of_site.values():
        saving, error = savings[group], errors[group]
        beats = (saving[:, None] >= saving) & (error[:, None] < error)
        counted[group] = beats.sum(axis=0)
    return counted
