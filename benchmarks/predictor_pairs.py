"""Pairs of labelled networks, for a model of what replacing one by the other changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autogo_onnx.predictor_training.labels import Labels


def draw(
    labels: Labels, networks: Sequence[int], *, neighbours: int, others: int, seed: int
) -> list[tuple[int, int]]:
    """Pairs (parent, child) for every network of `networks`, all from `networks`.

    The same arguments draw the same pairs.

    Args:
        labels: of the family.
        networks: numbers of networks in the labels.
        neighbours: at most so many children that differ at one place.
        others: so many drawn from all, whatever the difference: they carry the wide changes that a
            segment from the database may be.
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    pool, members = np.array(sorted(networks)), set(networks)
    drawn = []
    for parent in pool.tolist():
        near = [n for n in labels.neighbours[parent] if n in members]
        near = generator.permutation(near).tolist()[:neighbours] if near and neighbours else []
        far = generator.choice(pool, others).tolist()
        drawn += [(parent, int(child)) for child in near + far if child != parent]
    return drawn
