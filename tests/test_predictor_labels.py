"""Tables become networks with labels, every network once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from made_up_tables import MACRO, NASBENCH201, write_table

from autogo_onnx.errors import InputError
from autogo_onnx.predictor_training.labels import (
    FAMILIES,
    MEASURED,
    accel_nasbench,
    darts,
    nasbench101,
    nasbench201,
    nasbench_macro,
    read,
    transnasbench101,
)
from autogo_onnx.predictor_training.labels.labels import merged


def test_equal_values_of_encodings_are_one_training() -> None:
    values = {"b": [1.0, 1.0], "a": [1.0, 1.0], "c": [3.0, 5.0], "d": [9.0], "-": [7.0]}
    networks = {"a": "A", "b": "A", "c": "A", "d": "D", "-": ""}
    found = merged(values, networks.__getitem__, Path("table"))
    assert list(found.items()) == [("a", (1.0, 1.0, 3.0, 5.0)), ("d", (9.0,))]


def test_labels_count_networks_and_know_their_neighbours(tables: Path) -> None:
    both = read(tables, ("nasbench201", "nasbench_macro", "nasbench201"))
    assert [labels.name for labels in both] == ["nasbench201/cifar10", "nasbench_macro/cifar10"]
    assert len(set(map(nasbench201.network, both[0].codes))) == len(both[0].codes)
    assert len(set(map(nasbench_macro.network, both[1].codes))) == len(both[1].codes)
    for labels in both:
        assert len(labels.codes) == len(labels.repeats)
        assert labels.accuracies.tolist() == [np.mean(values) for values in labels.repeats]
        for index, near in enumerate(labels.neighbours):
            assert near == tuple(sorted(set(near) - {index}))
            assert all(index in labels.neighbours[other] for other in near)
    chains = both[1]
    assert chains.repeats[0] == (73.5, 74.0, 74.5)
    first = chains.codes.index("10200100")
    assert chains.codes.index("11200100") in chains.neighbours[first]
    assert chains.codes.index("11200110") not in chains.neighbours[first]


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the table"):
        read(tmp_path)
    with pytest.raises(InputError, match="'alexnet'; there are nasbench201, "):
        read(tmp_path, ("alexnet",))
    write_table(tmp_path / NASBENCH201, ("arch", "accuracy"), [("a", 1.0)])
    with pytest.raises(InputError, match="a column arch_str, c10_test_mean_200ep"):
        read(tmp_path, ("nasbench201",))
    packed = (tmp_path / NASBENCH201).read_bytes()
    for damaged in (b"plain text", packed[:12] + b"\xff" * 8 + packed[20:], packed[:-9]):
        (tmp_path / NASBENCH201).write_bytes(damaged)
        with pytest.raises(InputError, match="cannot read the table"):
            read(tmp_path, ("nasbench201",))
    header = ("arch", *nasbench_macro.RUNS)
    for row, reason in (
        (("00000000", "1", "nan", "2"), "test_acc_run2 = 'nan', not a number"),
        (("00000000", "1"), "test_acc_run2 = '', not a number"),
        (("0000", "1", "1", "1"), "is not 8 digits"),
        (("00000000", "1", "1", "1"), "fewer than two networks"),
    ):
        write_table(tmp_path / MACRO, header, [row])
        with pytest.raises(InputError, match=reason):
            read(tmp_path, ("nasbench_macro",))


# A family's table: file, header, rows of which the last two are one network where there are such.
TABLES: dict[str, tuple[str, Sequence[str], Sequence[Sequence[object]], list[float]]] = {
    "nasbench101": (
        nasbench101.FILE,
        (nasbench101.EDGES, nasbench101.OPERATIONS, nasbench101.ACCURACY),
        [("1", "", 0.5), ("110011", "c3|mp", 0.7), ("110011", "mp|c3", 0.9)],
        [50, 80],
    ),
    "transnasbench101_micro": (
        transnasbench101.MICRO_FILE,
        ("arch", *(f"{task}_val" for task in transnasbench101.UNITS)),
        [
            ("64-41414-0_00_200", *[1] * 7),
            ("64-41414-0_00_303", *[3] * 7),
            ("64-41414-0_00_300", *[2] * 7),
            ("64-41414-0_00_000", *[0] * 7),
        ],
        [1, 2.5],
    ),
    "transnasbench101_macro": (
        transnasbench101.MACRO_FILE,
        ("arch", *(f"{task}_val" for task in transnasbench101.UNITS)),
        [("64-4111-basic", *range(7)), ("64-1411-basic", *range(7, 14))],
        [7, 0],
    ),
    "darts": (
        darts.FILE,
        (*darts.CELLS, darts.ACCURACY),
        [
            (*["0:skip_connect 1:skip_connect " + "0:none 1:none " * 3] * 2, 1),
            (*["0:skip_connect 1:none " + "0:none 1:none " * 3] * 2, 2),
            (*["0:none 1:none 0:skip_connect 1:none " + "0:none 1:none " * 2] * 2, 4),
        ],
        [3, 1],
    ),
    "nasbench301": (
        darts.SURROGATE_FILE,
        (*darts.SURROGATE_CELLS, darts.SURROGATE),
        [
            (*["0:2 1:2 0:2 1:2 0:2 1:2 0:2 1:2"] * 2, 1),
            (*["0:2 1:2 0:2 1:2 0:2 1:2 0:3 1:2"] * 2, ""),
            (*["0:2 1:2 0:2 1:2 0:2 1:2 0:3 1:5"] * 2, 2),
        ],
        [1, 2],
    ),
    "accel_nasbench": (
        accel_nasbench.FILE,
        (*accel_nasbench.CODE, accel_nasbench.ACCURACY),
        [
            ("1-1-1-1-1-1-1", "3-3-3-3-3-3-3", "1-1-1-1-1-1-1", "0-0-0-0-0-0-0", 1),
            ("1-1-1-1-1-1-1", "3-3-3-3-3-3-5", "1-1-1-1-1-1-1", "0-0-0-0-0-0-0", 2),
            ("1-1-1-1-1-1-1", "3-3-3-3-3-3-5", "1-1-1-1-1-1-1", "0-0-0-0-0-0-0", 4),
        ],
        [1, 3],
    ),
}


@pytest.mark.parametrize("family", TABLES)
def test_every_table_is_read(family: str, tmp_path: Path) -> None:
    file, header, rows, accuracies = TABLES[family]
    write_table(tmp_path / file, header, rows)
    found = read(tmp_path, (family,))
    assert sorted(found[0].accuracies) == pytest.approx(sorted(accuracies))
    assert all(FAMILIES[family].build(code).places for code in found[0].codes)
    assert all(("predicted by" in labels.unit) == (family not in MEASURED) for labels in found)
    assert all(len(labels.neighbours) == len(labels.codes) for labels in found)
    if family.startswith("transnasbench101"):
        assert [labels.task for labels in found] == list(transnasbench101.UNITS)


def test_published_tables_hold_the_known_networks(shared: Path) -> None:
    chosen = ("nasbench_macro", "transnasbench101_micro", "darts", "accel_nasbench")
    found = read(shared / "nas", chosen)
    counts = {labels.family: len(labels.codes) for labels in found}
    assert counts == dict(zip(chosen, (3969, 1375, 526, 5125), strict=True))
    assert all(np.isfinite(labels.accuracies).all() for labels in found)


@pytest.mark.slow
def test_published_tables_hold_the_known_networks_of_every_family(shared: Path) -> None:
    counts = Counter(labels.family for labels in read(shared / "nas"))
    assert set(counts) == set(MEASURED)
    assert counts["transnasbench101_macro"] == counts["transnasbench101_micro"] == 7
    large = read(shared / "nas", ("nasbench201", "nasbench101", "nasbench301"))
    assert [len(labels.codes) for labels in large] == [5043, 5000, 725]
    assert sum(map(len, large[1].neighbours)) > 1000
