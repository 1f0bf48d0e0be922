"""Networks of a family with what a table knows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.errors import InputError
from autogo_onnx.predictor_training.labels.neighbours import Neighbours
from autogo_onnx.segment_db.families.network import Network


@dataclass(frozen=True)
class Labels:
    """The networks of one family with their values in one task.

    Attributes:
        family: the family's name, as in `FAMILIES`.
        task: what the networks were trained for.
        unit: what their accuracies are.
        codes: one code per distinct network, ascending.
        repeats: per network, the values of its trainings, more is better: of several ones that the
            table lists, or of several encodings. Encodings with equal values are taken for copies
            of one training.
        sha256: of the table's file.
        neighbours_among: finds the neighbours in a list of codes of the family.
    """

    family: str
    task: str
    unit: str
    codes: tuple[str, ...]
    repeats: tuple[tuple[float, ...], ...]
    sha256: str
    neighbours_among: Callable[[Sequence[str]], Neighbours] = field(repr=False)

    @property
    def name(self) -> str:
        """Family and task: `nasbench201/cifar10`."""
        return f"{self.family}/{self.task}"

    @cached_property
    def accuracies(self) -> NDArray[np.float64]:
        """The mean of every network's repeats; float64[N]."""
        return np.array([np.mean(values) for values in self.repeats])

    @cached_property
    def neighbours(self) -> Neighbours:
        """Per network, those that another choice at one place makes of it."""
        return self.neighbours_among(self.codes)


@dataclass(frozen=True)
class LabelledFamily:
    """A family that a table labels.

    Attributes:
        name: the family's name.
        read: its labels, one per task, from a folder of tables; raises InputError.
        build: the network of a code, with its places.
        places: number of places (cells, blocks, layers) that the network of a code has.
        differ: numbers of the places where the networks of two codes differ; None where all places
            of a network change together.
    """

    name: str
    read: Callable[[Path], tuple[Labels, ...]]
    build: Callable[[str], Network]
    places: Callable[[str], int]
    differ: Callable[[str, str], Sequence[int]] | None = None

    def middle(self, code: str) -> range:
        """The network's middle place."""
        place = self.places(code) // 2
        return range(place, place + 1)

    def differing_places(self, one: str, other: str) -> range:
        """The places from the first to the last where two networks differ.

        The middle one where all change together, or where none differs.
        """
        places = self.differ(one, other) if self.differ else ()
        return range(min(places), max(places) + 1) if places else self.middle(one)


def merged(
    values: Mapping[str, Sequence[float]], network: Callable[[str], str], path: Path
) -> dict[str, tuple[float, ...]]:
    """The values of every network's trainings by the first of its encodings, in ascending order.

    Args:
        values: of the trainings of every encoding.
        network: a text that is the same for encodings of the same network, "" for none at all.
        path: the table, named when it is refused.

    Raises:
        InputError: there are fewer than two networks.
    """
    first: dict[str, str] = {}
    trainings: dict[str, list[tuple[float, ...]]] = {}
    for code in sorted(values):
        if same := network(code):
            known = trainings.setdefault(first.setdefault(same, code), [])
            if tuple(values[code]) not in known:
                known.append(tuple(values[code]))
    if len(trainings) < 2:
        raise InputError(f"the table {path} has fewer than two networks; nothing to compare")
    return {code: tuple(chain.from_iterable(known)) for code, known in trainings.items()}
