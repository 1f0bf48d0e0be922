"""Published tables of measured latencies: which networks, on which devices, in milliseconds.

| networks | table | devices |
| --- | --- | --- |
| NAS-Bench-201 | HELP | 27: GPUs by batch size, processors, phones, an FPGA, a simulated ASIC |
| FBNet, input 32 | HELP | 27, the same but for batch 64 in place of 256 |
| OFA MobileNetV3 | HELP | 4 GPUs at batches of 1, 32 and 64 |
| NAS-Bench-201, inputs 32 and 88 | HW-NAS-Bench-360 | Raspberry Pi 5 (3 runtimes), a Pixel |
| MnasNet space of Accel-NASBench | its own | ZCU102, VCK190; by throughput A100, RTX 3090, TPUs |

A name ends in the batch size that one latency is of, where HELP gives several. Of a throughput the
milliseconds per image are taken. Of NAS-Bench-201 only cells without `none` are read: PyTorch runs
dead branches too, and what was measured is then not the network that is left of the cell. Of
HW-NAS-Bench-360 only cells that were measured themselves are read: the others have the latency of
a representative, for which two equal convolutions of one tensor count as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.devices import Amounts, amounts
from autogo_onnx.errors import InputError
from autogo_onnx.predictor_training.labels.table import Table, read_table
from autogo_onnx.segment_db.families import fbnet, mbconv, nasbench201, ofa_mobilenetv3
from autogo_onnx.segment_db.families.network import Network

Floats = NDArray[np.float64]
Row = dict[str, str]

_HW360_COLUMNS = ("arch_str", "index", "iso_rep_index")
_ACCEL_COLUMNS = ("expansion7", "kernel7", "layers7", "se7")
_OFA_COLUMNS = ("ks", "e", "d", "r")
_OFA_STAGES, _OFA_MOST = 5, 4
_HELP_TITAN_XP = re.compile(r"^titan_xp_")
_STATED = r"1080ti|2080ti|titan_rtx|titanx|titanxp|titan_xp|v100"
_HELP = (
    rf"(?:{_STATED})_(?P<batch>\d+)|essential_ph_1|eyeriss|fpga|gold_\w+|pixel2|pixel3|raspi4"
    r"|samsung_\w+|silver_\w+"
)


@dataclass(frozen=True)
class Measurements:
    """Networks of one family, and what devices needed for them.

    Attributes:
        family: its name, with the input's size where there are several.
        table: the file, below the folder of tables.
        sha256: of the file.
        codes: of the networks.
        amounts: float64[N,C,4] of the networks as they are deployed.
        milliseconds: by device, float64[N]; NaN where the table has none.
        timed: by device, what they are of where it is not one sample alone.
    """

    family: str
    table: str
    sha256: str
    codes: tuple[str, ...]
    amounts: Amounts
    milliseconds: dict[str, Floats]
    timed: dict[str, str]


@dataclass(frozen=True)
class Source:
    """Where measurements are, and how they are read.

    Attributes:
        family, table: as in `Measurements`.
        reads: columns that say which network a row is of.
        code: the network of a row; "" where it is not to be read.
        build: network of a code.
        columns: pattern that the columns of latencies match as a whole; its group `device` names
            the device, else all of it does; its group `batch`, if any, is the batch's size.
        per_second: whether they are throughputs.
    """

    family: str
    table: str
    reads: tuple[str, ...]
    code: Callable[[Row], str]
    build: Callable[[str], Network]
    columns: str
    per_second: bool = False


def read(tables: Path, source: Source, count: int, seed: int = 0) -> Measurements:
    """So many networks of a source, chosen at random, or all that it has.

    Args:
        tables: folder of the tables.

    Raises:
        InputError: the table cannot be read, or a row of it is no network of the family.
    """
    table = read_table(tables / source.table, source.reads)
    columns, timed = {}, {}
    for column in table.rows[0]:
        if found := re.fullmatch(source.columns, column or ""):
            device = _HELP_TITAN_XP.sub("titanxp_", found.groupdict().get("device", column))
            columns[device] = column
            timed[device] = _timed(source, found.groupdict().get("batch"))
    if not columns:
        raise InputError(f"the table {table.path} has no column of latencies {source.columns}")
    listed = [(code, row) for row in table.rows if (code := source.code(row))]
    order = np.random.default_rng(seed).permutation(len(listed))[:count]
    chosen = [listed[place] for place in sorted(order)]
    return Measurements(
        family=source.family,
        table=source.table,
        sha256=table.sha256,
        codes=tuple(code for code, _ in chosen),
        amounts=np.array([amounts(source.build(code).folded()) for code, _ in chosen]),
        milliseconds={
            device: np.array(
                [_milliseconds(table, row, column, source.per_second) for _, row in chosen]
            )
            for device, column in sorted(columns.items())
        },
        timed=timed,
    )


def _timed(source: Source, batch: str | None) -> str:
    if source.per_second:
        return "one of many samples at once"
    return "" if batch in (None, "1") else f"a batch of {batch}"


def _milliseconds(table: Table, row: Row, column: str, per_second: bool) -> float:
    """NaN where the cell is empty.

    Raises:
        InputError: it holds something else than a positive number.
    """
    if row[column] in ("", "nan"):
        return np.nan
    value = table.number(row, column)
    if value <= 0:
        raise InputError(f"the table {table.path} has {column} = {row[column]!r}, not above 0")
    return 1000 / value if per_second else value


def _cell_without_none(row: Row) -> str:
    return "" if "none" in row["arch_str"] else row["arch_str"]


def _representative(row: Row) -> str:
    return _cell_without_none(row) if row["index"] == row["iso_rep_index"] else ""


def _accel_code(row: Row) -> str:
    return ":".join(row[name] for name in _ACCEL_COLUMNS)


def _ofa_code(row: Row) -> str:
    """Blocks beyond a stage's depth are listed, but not used."""
    try:
        kernels, expansions, depths = (
            [int(number) for number in row[name].split("-")] for name in ("ks", "e", "d")
        )
        stages = tuple(
            tuple(
                (kernels[_OFA_MOST * stage + block], expansions[_OFA_MOST * stage + block])
                for block in range(depths[stage])
            )
            for stage in range(_OFA_STAGES)
        )
        return ofa_mobilenetv3.code_of(stages, int(row["r"]))
    except (ValueError, IndexError):
        told = ", ".join(f"{name} {row[name]!r}" for name in _OFA_COLUMNS)
        raise InputError(f"OFA MobileNetV3 of {told} does not read") from None


def _nasbench201_at_88(code: str) -> Network:
    """As measured but for the stem, which read one channel there."""
    return nasbench201.build(code, size=88)


def _sources() -> Iterator[Source]:
    name, build = nasbench201.NAME, nasbench201.build
    table = "help_latency/nb201_latency_ms.csv.gz"
    yield Source(name, table, ("arch_str",), _cell_without_none, build, _HELP)
    table = "help_latency/fbnet_cifar100_latency_ms.csv.gz"
    yield Source(fbnet.NAME, table, ("ops22",), lambda row: row["ops22"], fbnet.build, _HELP)
    table, wide = "help_latency/ofa_mbv3_latency_ms.csv.gz", ofa_mobilenetv3.build
    yield Source(ofa_mobilenetv3.NAME, table, _OFA_COLUMNS, _ofa_code, wide, _HELP)
    table, reads = "nasbench201_hw360/nb201_pi5_pixel.csv.gz", _HW360_COLUMNS
    columns = r"(?P<device>(?:pi5|pixel)_[a-z]+)_{}_lat_ms"
    yield Source(name, table, reads, _representative, build, columns.format("cifar100"))
    larger, columns = _nasbench201_at_88, columns.format("darcy")
    yield Source(f"{name}@88", table, reads, _representative, larger, columns)
    name, table, inverted = mbconv.NAME, "accel_nasbench/accel_nasbench.csv.gz", mbconv.build
    columns = r"(?P<device>zcu102|vck190)_latency_ms"
    yield Source(name, table, _ACCEL_COLUMNS, _accel_code, inverted, columns)
    columns = r"(?P<device>a100|rtx3090|tpuv2|tpuv3)_img_s"
    yield Source(name, table, _ACCEL_COLUMNS, _accel_code, inverted, columns, per_second=True)


SOURCES = tuple(_sources())
