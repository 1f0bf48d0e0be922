"""TransNAS-Bench-101, macro and micro: seven tasks of Taskonomy, final-epoch validation.

All tasks have the encoder alone as their network, on images of 256 x 256: decoders do not depend on
the encoder but for its width. A cell is a network of the micro space by what it computes both where
it keeps the resolution and where it halves it, where the identity of its input has weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

from autogo_onnx.predictor_training.labels.four_node_cells import Meaning, network_of
from autogo_onnx.predictor_training.labels.labels import LabelledFamily, Labels, merged
from autogo_onnx.predictor_training.labels.neighbours import (
    Neighbours,
    differences,
    neighbours_by_edits,
)
from autogo_onnx.predictor_training.labels.table import read_table
from autogo_onnx.segment_db.families import transnasbench101
from autogo_onnx.segment_db.families.transnasbench101_encoders import parse

MACRO_FILE = "transnasbench101/tnb101_macro.csv.gz"
MICRO_FILE = "transnasbench101/tnb101_micro.csv.gz"
CODE = "arch"
UNITS = {
    "class_scene": "top-1 accuracy in percent",
    "class_object": "top-1 accuracy in percent",
    "room_layout": "negative loss",
    "jigsaw": "top-1 accuracy in percent",
    "segmentsemantic": "pixel accuracy in percent",
    "normal": "SSIM",
    "autoencoder": "SSIM",
}
_KEEPS = Meaning(zero="0", identity="1")
_HALVES = Meaning(zero="0", identity="1", reduces=True)


@lru_cache(maxsize=1 << 12)
def micro_network(code: str) -> str:
    """What the cells of a network compute; "" when no path leads to their output.

    >>> micro_network("64-41414-0_00_300")
    'a=3(x);a / a=3(x);a'
    >>> micro_network("64-41414-1_00_010"), micro_network("64-41414-0_00_100")
    ('x / a=1(x);a', 'x / a=1(x);a')
    """
    operations = _cell(code)
    kept = network_of(operations, _KEEPS)
    return kept and f"{kept} / {network_of(operations, _HALVES)}"


def micro_edits(code: str) -> Iterator[str]:
    """The 18 cells with another operation on one edge."""
    operations = _cell(code)
    for edge, old in enumerate(operations):
        for new in "0123":
            if new != old:
                other = f"{operations[:edge]}{new}{operations[edge + 1 :]}"
                yield f"64-41414-{other[0]}_{other[1:3]}_{other[3:]}"


def macro_edits(code: str) -> Iterator[str]:
    """The networks with another layer at one place, as far as there are such."""
    layers = parse(code).layers
    for place, old in enumerate(layers):
        for new in "1234":
            if new != old:
                yield f"64-{layers[:place]}{new}{layers[place + 1 :]}-basic"


def _cell(code: str) -> str:
    return parse(code).cell


def _macro_network(code: str) -> str:
    """No two macro networks are the same."""
    return parse(code).layers


def _micro_neighbours(codes: Sequence[str]) -> Neighbours:
    return neighbours_by_edits(codes, micro_network, micro_edits)


def _macro_neighbours(codes: Sequence[str]) -> Neighbours:
    return neighbours_by_edits(codes, str, macro_edits)


def _differing_layers(one: str, other: str) -> list[int]:
    return differences(parse(one).layers, parse(other).layers)


def _read(
    name: str,
    file: str,
    network: Callable[[str], str],
    neighbours: Callable[[Sequence[str]], Neighbours],
    tables: Path,
) -> tuple[Labels, ...]:
    path = tables / file
    columns = {task: f"{task}_val" for task in UNITS}
    table = read_table(path, (CODE, *columns.values()))
    found = []
    for task, column in columns.items():
        values = {row[CODE]: [table.number(row, column)] for row in table.rows}
        networks = merged(values, network, path)
        found.append(
            Labels(
                family=name,
                task=task,
                unit=f"validation {UNITS[task]}",
                codes=tuple(networks),
                repeats=tuple(networks.values()),
                sha256=table.sha256,
                neighbours_among=neighbours,
            )
        )
    return tuple(found)


MACRO = LabelledFamily(
    transnasbench101.MACRO,
    partial(_read, transnasbench101.MACRO, MACRO_FILE, _macro_network, _macro_neighbours),
    transnasbench101.build_macro,
    lambda code: len(parse(code).layers),
    _differing_layers,
)
MICRO = LabelledFamily(
    transnasbench101.MICRO,
    partial(_read, transnasbench101.MICRO, MICRO_FILE, micro_network, _micro_neighbours),
    transnasbench101.build_micro,
    lambda code: 2 * len(parse(code).layers),
)
