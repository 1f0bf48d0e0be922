"""Segment S of a network replaced by S' (predecessor P, successor C): one row of named numbers.

| columns | what |
| --- | --- |
| `replacement.*` | the numbers of S', see `part` |
| `segment.*` | those of S; its boundary is that of S', so it is left out |
| `change.*` | S' minus S |
| `predecessor.*`, `successor.*` | amounts (`network.AROUND`) and paths of P and of C |
| `network.{macs,parameters,bytes}_log2` | log2(1 + amount) of the network with S' in it |
| `network.*_change` | what the replacement adds to that |
| `network.*_share` | the segment's share in the amount of the network before, 0 to 1 |
| `network.*_path_*`, `network.*_ways_*` | ways through P, S' and C in a row, see `ways` |
| `network.depth` | 0 when the segment comes first and 1 when it comes last |
| `network.in_pixels_log2` | of the network's largest input |

Of a network, predecessor or successor `receptive_path_*` is in pixels of the network's input.
`depth` is counted in weighted operators on the longest way. What depends on P, S and C alone is
described once per site (`Network.site`); a replacement costs its own description.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.features import part, ways
from autogo_onnx.features.network import AROUND, Context
from autogo_onnx.features.ways import Vector
from autogo_onnx.opgraph import OpGraph

Rows = NDArray[np.float32]

VERSION = 2
"""Raised whenever a column is added, dropped or means something else."""

_SIZES = ("macs_log2", "parameters_log2", "bytes_log2")
_OWN = [n for n, name in enumerate(part.COLUMNS) if name not in part.BOUNDARY]
_AT = [part.COLUMNS.index(name) for name in _SIZES]
_WAYS = slice(len(part.COLUMNS) - len(ways.COLUMNS), None)
_PATHS = [ways.COLUMNS.index(name) for name in (*ways.PATHS, ways.ALL_WAYS)]
# A network without a spatial step is none that we know of: its stem is one.
_THROUGH = [
    n
    for n, name in enumerate(ways.COLUMNS)
    if name in ways.PATHS or "spatial" in name.partition("_ways_")[0].split("_")
]
_LONGEST = ways.COLUMNS.index("weighted_path_max")

COLUMNS: tuple[str, ...] = (
    *(f"segment.{part.COLUMNS[n]}" for n in _OWN),
    *(f"replacement.{name}" for name in part.COLUMNS),
    *(f"change.{part.COLUMNS[n]}" for n in _OWN),
    *(f"predecessor.{name}" for name in AROUND),
    *(f"predecessor.{ways.COLUMNS[n]}" for n in _PATHS),
    *(f"successor.{name}" for name in AROUND),
    *(f"successor.{ways.COLUMNS[n]}" for n in _PATHS),
    *(f"network.{name}" for name in _SIZES),
    *(f"network.{name}_change" for name in _SIZES),
    *(f"network.{name.removesuffix('_log2')}_share" for name in _SIZES),
    *(f"network.{ways.COLUMNS[n]}" for n in _THROUGH),
    "network.depth",
    "network.in_pixels_log2",
)
"""Names of the columns of every row, in order."""


def rows(site: Context, replacements: Sequence[OpGraph]) -> Rows:
    """A row per replacement, float32[N,F] in the order of `COLUMNS`."""
    if not replacements:
        return np.empty((0, len(COLUMNS)), np.float32)
    return rows_of_parts(site, np.stack([part.describe(r) for r in replacements]))


def rows_of_parts(site: Context, replacements: Vector) -> Rows:
    """Rows from replacements that `part.describe` has described, float64[N,G]."""
    return _rows(_Sites.of([site]), replacements)


def rows_of_segments(sites: Sequence[Context]) -> Rows:
    """A row per site, at least one, each with its own segment: the network as it is."""
    stacked = _Sites.of(sites)
    return _rows(stacked, stacked.segment)


@dataclass(frozen=True, eq=False)
class _Sites:
    """The fields of `Context` for several sites, a row each."""

    segment: Vector
    predecessor: Vector
    successor: Vector
    ways_before: Vector
    ways_after: Vector
    rest: Vector
    scale: Vector
    in_pixels_log2: Vector

    @classmethod
    def of(cls, sites: Sequence[Context]) -> _Sites:
        columns = ([getattr(site, field.name) for site in sites] for field in fields(cls))
        return cls(*(np.array(column).reshape(len(sites), -1) for column in columns))


def _rows(sites: _Sites, replacements: Vector) -> Rows:
    """A row per replacement, at the one site or each at its own."""
    segment = sites.segment[:, _OWN]
    before, behind = sites.ways_before[:, _PATHS], sites.ways_after[:, _PATHS]
    sizes, change, share = _network_sizes(sites, replacements)
    columns = (
        segment,
        replacements,
        replacements[:, _OWN] - segment,
        *(sites.predecessor, before, sites.successor, behind),
        sizes,
        change,
        share,
        _network_ways(sites, replacements)[:, _THROUGH],
        _depth(sites),
        sites.in_pixels_log2,
    )
    found = np.empty((len(replacements), len(COLUMNS)), np.float32)
    start = 0
    for values in columns:
        found[:, start : start + values.shape[-1]] = values
        start += values.shape[-1]
    return found


def _network_sizes(sites: _Sites, replacements: Vector) -> tuple[Vector, Vector, Vector]:
    """log2 of the network's sizes after, their change, and the segment's share before."""
    segment = np.exp2(sites.segment[:, _AT]) - 1
    before = sites.rest + segment
    after = np.log2(1 + sites.rest + (np.exp2(replacements[:, _AT]) - 1))
    return after, after - np.log2(1 + before), segment / np.maximum(before, 1)


def _network_ways(sites: _Sites, replacements: Vector) -> Vector:
    """Ways through P, S' and C in a row; none where one of them has none."""
    own = ways.in_sides(replacements[:, _WAYS], sites.scale)
    around = (np.broadcast_to(v, own.shape) for v in (sites.ways_before, sites.ways_after))
    return ways.in_a_row([own, *around])


def _depth(sites: _Sites) -> Vector:
    """Where the segment starts, by weighted operators on the longest way, 0 to 1; float64[N,1]."""
    ahead = sites.ways_before[:, [_LONGEST]]
    both = ahead + sites.ways_after[:, [_LONGEST]]
    depth: Vector = np.divide(ahead, both, out=np.zeros_like(both), where=both != 0)
    return depth
