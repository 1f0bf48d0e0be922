"""Published tables of networks and their accuracies: the labels of the predictor.

A table has a row per *encoding*. Many encodings are one network: branches that reach no output,
sums in another order, identity blocks that commute. Networks, not encodings, are what is counted,
split and drawn, so the same network never stands on both sides of a split. Every family's module
says when two of its encodings are one network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autogo_onnx.errors import InputError
from autogo_onnx.predictor_training.labels import (
    accel_nasbench,
    darts,
    nasbench101,
    nasbench201,
    nasbench_macro,
    transnasbench101,
)
from autogo_onnx.predictor_training.labels.labels import LabelledFamily, Labels

FAMILIES: dict[str, LabelledFamily] = {
    family.name: family
    for family in (
        nasbench201.FAMILY,
        nasbench101.FAMILY,
        nasbench_macro.FAMILY,
        transnasbench101.MACRO,
        transnasbench101.MICRO,
        darts.FAMILY,
        accel_nasbench.FAMILY,
        darts.NASBENCH301,
    )
}
"""All families that a table labels, by name."""

MEASURED = tuple(name for name in FAMILIES if name != darts.NASBENCH301.name)
"""Those whose networks were trained; the rest has predicted values, which are never trained on."""


def read(tables: Path, families: Sequence[str] = MEASURED) -> tuple[Labels, ...]:
    """The labels of some families, one per task, from a folder of tables; each family once.

    Raises:
        InputError: a family is unknown, or its table is missing, unreadable or lacks a column.
    """
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        known = ", ".join(FAMILIES)
        raise InputError(f"no labelled family is called {unknown[0]!r}; there are {known}")
    distinct = dict.fromkeys(families)
    return tuple(labels for name in distinct for labels in FAMILIES[name].read(tables))


__all__ = ["FAMILIES", "MEASURED", "LabelledFamily", "Labels", "read"]
