"""Segment S of a network replaced by S' (predecessor P, successor C): one row of named numbers.

A column is `<part>.<number>`: the numbers of `part_features` for `segment`, `replacement`, their
difference `change`, and (the fewer of `_AROUND`) `predecessor` and `successor`; `network.*` says
what the whole network becomes. P, S and C are the same for all replacements at one site, so they
are described once (`context`) and every replacement costs only its own description.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import part_features
from autogo_onnx.operator_facts import STEPS
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.part_features import Vector

Rows = NDArray[np.float32]

VERSION = 1
"""Raised whenever a column is added, dropped or means something else."""

_PART = {name: number for number, name in enumerate(part_features.COLUMNS)}
_SIZES = ("macs_log2", "parameters_log2", "bytes_log2")
_PATHS = tuple(f"{step}_path_{way}" for way in ("min", "max", "mean") for step in STEPS)
_AROUND = (
    *(
        f"{name}_ops"
        for name in ("conv1x1", "conv3x3", "conv_large", "depthwise3x3", "depthwise_large")
    ),
    *("average_pool_ops", "add_ops", "activation_ops"),
    *_SIZES,
    *("in_channels_log2", "in_pixels_log2", "max_channels_log2", "paths_log2"),
    *_PATHS,
)

COLUMNS: tuple[str, ...] = (
    *(f"segment.{name}" for name in part_features.COLUMNS),
    *(f"replacement.{name}" for name in part_features.COLUMNS),
    *(f"change.{name}" for name in part_features.COLUMNS),
    *(f"predecessor.{name}" for name in _AROUND),
    *(f"successor.{name}" for name in _AROUND),
    *(f"network.{name}" for name in _SIZES),
    *(f"network.{name}_change" for name in _SIZES),
    *(f"network.{name.removesuffix('_log2')}_share" for name in _SIZES),
    *(f"network.{name}" for name in _PATHS),
    "network.depth",
)
"""Names of the columns of every row, in order. `share` is the segment's part of the network before;
`depth` is 0 when the segment comes first and 1 when it comes last, counted in weighted operators.
"""


@dataclass(frozen=True)
class Context:
    """A site described once: numbers of its predecessor, segment and successor."""

    predecessor: Vector
    segment: Vector
    successor: Vector


def context(predecessor: OpGraph, segment: OpGraph, successor: OpGraph) -> Context:
    """The site's part of every row: all that does not depend on the replacement."""
    describe = part_features.describe
    return Context(describe(predecessor), describe(segment), describe(successor))


def rows(site: Context, replacements: Sequence[OpGraph]) -> Rows:
    """A row per replacement, float32[N,F] in the order of `COLUMNS`."""
    if not replacements:
        return np.empty((0, len(COLUMNS)), np.float32)
    return rows_of_parts(site, np.stack([part_features.describe(r) for r in replacements]))


def rows_back(site: Context, replacements: Sequence[OpGraph]) -> Rows:
    """A row per replacement for the way back, S' replaced by S; float32[N,F]."""
    if not replacements:
        return np.empty((0, len(COLUMNS)), np.float32)
    return rows_back_of_parts(site, np.stack([part_features.describe(r) for r in replacements]))


def row(predecessor: OpGraph, segment: OpGraph, replacement: OpGraph, successor: OpGraph) -> Rows:
    """One row, float32[F]; use `context` and `rows` for more than one replacement of a site."""
    one: Rows = rows(context(predecessor, segment, successor), [replacement])[0]
    return one


def rows_of_parts(site: Context, replacements: Vector) -> Rows:
    """Rows from replacements that `part_features.describe` has described, float64[N,G]."""
    return _rows(site, np.broadcast_to(site.segment, replacements.shape), replacements)


def rows_back_of_parts(site: Context, replacements: Vector) -> Rows:
    """Rows of the way back, likewise."""
    return _rows(site, replacements, np.broadcast_to(site.segment, replacements.shape))


def _rows(site: Context, segments: Vector, replacements: Vector) -> Rows:
    """A row per pair of a segment and what replaces it between the site's P and C."""
    count = len(replacements)
    around = [_PART[name] for name in _AROUND]
    fixed = np.concatenate([site.predecessor[around], site.successor[around]])
    columns = (
        segments,
        replacements,
        replacements - segments,
        np.broadcast_to(fixed, (count, len(fixed))),
        *_network_sizes(site, segments, replacements),
        _network_paths(site, replacements),
        np.full((count, 1), _depth(site)),
    )
    return np.concatenate(columns, axis=1).astype(np.float32)


def _network_sizes(
    site: Context, segments: Vector, replacements: Vector
) -> tuple[Vector, Vector, Vector]:
    """log2 of the network's sizes after, their change, and the segment's share before."""
    sizes = [_PART[name] for name in _SIZES]
    ahead, before, behind = (
        np.exp2(part[..., sizes]) - 1 for part in (site.predecessor, segments, site.successor)
    )
    total = ahead + before + behind
    after = total - before + np.exp2(replacements[:, sizes]) - 1
    log_after = np.log2(1 + np.maximum(after, 0))
    return log_after, log_after - np.log2(1 + total), before / np.maximum(total, 1)


def _network_paths(site: Context, replacements: Vector) -> Vector:
    """Path lengths of P, S' and C in a row; a way around the segment is not seen."""
    paths = [_PART[name] for name in _PATHS]
    after: Vector = site.predecessor[paths] + site.successor[paths] + replacements[:, paths]
    return after


def _depth(site: Context) -> float:
    """Where the segment starts, by weighted operators on the longest way, 0 to 1."""
    column = _PART["weighted_path_max"]
    ahead, behind = float(site.predecessor[column]), float(site.successor[column])
    return ahead / (ahead + behind) if ahead + behind else 0.0
