"""Rows of labelled networks: a network as it is, seen at one of its places.

A place is a cell, block or layer (`Network.places`); a site of a network is one place or several
in a row, which make the segment S between predecessor P and successor C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from autogo_onnx import features
from autogo_onnx.features import Rows
from autogo_onnx.files import check_writable
from autogo_onnx.predictor_training import row_cache
from autogo_onnx.predictor_training.labels import FAMILIES, Labels

Site = tuple[int, range]
"""A network's number in the labels, and the numbers of its places."""


def rows_of(labels: Labels, sites: Sequence[Site], cache: Path | None = None) -> Rows:
    """A row per site, of the network as it is: S' = S; float32[N,F].

    Args:
        labels: of the family; all its tasks have the same rows.
        sites: which networks, and at which of their places.
        cache: a folder where rows are kept, see `row_cache`. One of the kept rows is made again,
            and if it has changed, all are.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    keys = [(index, places.start, places.stop) for index, places in sites]
    networks = _Networks(labels)
    path = row_cache.file_of(cache, labels) if cache else None
    made = row_cache.read(path) if path else {}
    if made and not _is_current(networks, made):
        made = {}
    missing = sorted(set(keys) - made.keys())
    if path and missing:
        check_writable(path)  # many rows take minutes
    made.update((key, networks.row(key)) for key in missing)
    if path and missing:
        row_cache.write(path, made)
    if not keys:
        return np.empty((0, len(features.COLUMNS)), np.float32)
    return np.stack([made[key] for key in keys])


def middle_sites(labels: Labels, networks: Sequence[int]) -> list[Site]:
    """Every network at its middle place."""
    family = FAMILIES[labels.family]
    return [(n, family.middle(labels.codes[n])) for n in networks]


def drawn_sites(labels: Labels, networks: Sequence[int], *, each: int, seed: int) -> list[Site]:
    """Every network at some of its places, different ones, chosen at random; `each` at most."""
    generator = np.random.default_rng(seed)
    family = FAMILIES[labels.family]
    found = []
    for index in networks:
        order = generator.permutation(family.places(labels.codes[index]))
        found += [(index, range(place, place + 1)) for place in sorted(order[:each].tolist())]
    return found


class _Networks:
    """The networks of labels, built and described when they are asked for."""

    def __init__(self, labels: Labels) -> None:
        self._codes = labels.codes
        self._family = FAMILIES[labels.family]
        # Sites of a network are asked for one after the other; all networks are too large to keep.
        self._described = lru_cache(maxsize=1)(self._describe)

    def row(self, key: row_cache.Key) -> Rows:
        """The row of one site, float32[F]."""
        index, first, last = key
        network, places = self._described(self._codes[index])
        begin, end = places[first].start, places[last - 1].stop
        if begin < end:
            site = network.site(range(begin, end))
        else:
            site = network.site_at(network.graph.n_inputs + begin - 1)
        row: Rows = features.rows_of_parts(site, site.segment[None])[0]
        return row

    def _describe(self, code: str) -> tuple[features.Network, tuple[range, ...]]:
        built = self._family.build(code)
        return features.Network(built.folded()), built.folded_places()


def _is_current(networks: _Networks, made: dict[row_cache.Key, Rows]) -> bool:
    """Whether the features and the family's generator still say what they said."""
    key = min(made)
    try:
        return np.array_equal(made[key], networks.row(key))
    except IndexError:  # the network has fewer places now
        return False
