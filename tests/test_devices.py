"""Devices whose latency is predicted: amounts, prices, their file form, fitting, the target."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_cases import device
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_tables import write_table
from published_tables import TABLES, needs_tables

from autogo_onnx import devices
from autogo_onnx.devices import AMOUNTS, amounts
from autogo_onnx.errors import InputError
from autogo_onnx.features.operators import CLASSES
from autogo_onnx.opgraph import Op, OpGraph, cut
from autogo_onnx.predictor_training import latency
from autogo_onnx.predictor_training.latency import Measured, fit, predicted, split
from autogo_onnx.predictor_training.latency_tables import SOURCES, Measurements, Source, read
from autogo_onnx.segment_db.families import nasbench201

SHAPE = (len(CLASSES), len(AMOUNTS))
CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|skip_connect~1|none~2|"


def test_amounts_of_a_network_are_those_of_its_parts() -> None:
    whole = nasbench201.build(CELL).folded()
    end = len(whole.ops)
    for middle in (1, 7, end // 2, end - 1):
        parts = (cut(whole, range(middle)).graph, cut(whole, range(middle, end)).graph)
        np.testing.assert_array_equal(amounts(whole), sum(map(amounts, parts)))
    assert amounts(whole)[:, 0].sum() == end
    assert amounts(whole)[:, 1].sum() == nasbench201.build(CELL).macs()


def test_a_folded_and_an_unfolded_network_amount_to_the_same() -> None:
    network = nasbench201.build(CELL)
    assert len(network.folded().ops) < len(network.graph.ops)
    same = slice(0, 3)  # the normalization's own weights are no longer there
    np.testing.assert_array_equal(
        amounts(network.graph)[:, same], amounts(network.folded())[:, same]
    )


def test_operators_of_unknown_shape_are_counted() -> None:
    graph = OpGraph(((),), (Op("Shape", (0,)), Op("com.acme::Magic", (1,))), ((), ()), (2,))
    assert amounts(graph)[CLASSES.index("other")].tolist() == [2.0, 0.0, 16.0, 0.0]


def test_a_node_of_several_outputs_reads_its_input_once() -> None:
    ops = (Op.make("Split", (0,), axis=1), Op.make("Split", (0,), axis=1, output=1))
    found = amounts(OpGraph(((1, 8, 2, 2),), ops, ((1, 6, 2, 2), (1, 2, 2, 2)), (1, 2)))
    assert found[CLASSES.index("other")].tolist() == [1.0, 0.0, 4 * (32 + 24 + 8), 0.0]


def test_odd_operators_are_counted_without_a_fault() -> None:
    shape = (1, 4, 8, 8)
    no_groups = Op.make("Conv", (0,), kernel_shape=(3, 3), group=0)
    assert amounts(OpGraph((shape,), (no_groups,), (shape,), (1,))).sum() > 0
    for kind in ("Conv", "Gemm", "BatchNormalization"):  # its data is constant, its bias is not
        assert amounts(OpGraph(((4,),), (Op(kind, (0,)),), (shape,), (1,)))[:, 0].sum() == 1


def test_what_is_written_is_read_again() -> None:
    text = json.dumps(devices.to_json([device(), device(name="other")]))
    found = devices.read({devices.KEY: text})
    assert list(found) == ["other", "toy"]
    one = found["toy"]
    np.testing.assert_array_equal(one.prices, device().prices)
    assert (one.overhead_ms, one.held_out, one.tables) == (0.25, device().held_out, ("a/b.csv.gz",))
    assert (one.range_ms, one.classes) == ((0.5, 8.0), frozenset({"conv3x3"}))
    assert json.dumps(devices.to_json(reversed(found.values()))) == text
    assert devices.read({}) == {}
    _, line = devices.describe({"toy": one})
    assert line == f"  {'toy':<22} nasbench201 0.951, 4.7% of 281"
    assert one.basis == (
        "predicted from published measurements of toy, not measured"
        " (on networks held out, nasbench201: rank correlation 0.95, median error 4.7%)"
    )


def test_what_was_timed_is_told_where_it_is_not_one_sample() -> None:
    text = json.dumps(devices.to_json([device(timed="a batch of 32", held_out={})]))
    basis = devices.read({devices.KEY: text})["toy"].basis
    assert basis.endswith("measurements of toy, not measured, as the time of a batch of 32")


def test_what_was_not_measured_is_doubted() -> None:
    network = nasbench201.build(CELL).folded()
    known = device(range_ms=(0.1, 1e6), classes=frozenset({"conv3x3", "conv1x1"}))
    assert known.doubts(network) == []
    (size,) = device(range_ms=(0.1, 0.2), classes=known.classes).doubts(network)
    assert "outside of what was measured on it, 0.1 to 0.2 ms" in size
    (kinds,) = device(range_ms=(0.1, 1e6), classes=frozenset({"conv1x1"})).doubts(network)
    assert "of kinds that were not measured on toy: conv3x3" in kinds


def test_work_that_is_not_counted_is_doubted() -> None:
    kinds = ("LSTM", "Relu", "com.acme::Magic")
    ops = tuple(Op(kind, (number,)) for number, kind in enumerate(kinds))
    network = OpGraph(((1, 4),), ops, ((1, 4),) * 3, (3,))
    assert device(range_ms=(0.0, 1.0)).doubts(network) == [
        "the work of LSTM, com.acme::Magic is not predicted"
    ]
    many = tuple(Op(f"com.acme::Magic{number}", (0,)) for number in range(99))
    (line,) = device(range_ms=(0.0, 1.0)).doubts(OpGraph(((4,),), many, ((4,),) * 99, (1,)))
    assert len(line) < 150


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), []),
        (("toy",), 3),
        (("../toy",), {}),
        (("toy", "prices"), {}),
        (("toy", "prices", "conv9x9"), [1, 1, 1, 1]),
        (("toy", "prices", "conv3x3"), [1, 1, 1]),
        (("toy", "prices", "conv3x3"), [1, 1, 1, -1]),
        (("toy", "prices", "conv3x3"), [1, 1, 1, float("nan")]),
        (("toy", "prices", "conv3x3"), [1, 1, 1, 1e300]),
        (("toy", "prices", "conv3x3"), [1, 1, 1, 10**400]),
        (("toy", "prices", "conv3x3"), [1, 1, 1, True]),
        (("toy", "overhead_ms"), None),
        (("toy", "overhead_ms"), float("inf")),
        (("toy", "range_ms"), [1]),
        (("toy", "range_ms"), [1, "2"]),
        (("toy", "range_ms"), [2, 1]),
        (("toy", "classes"), None),
        (("toy", "classes"), [1]),
        (("toy", "timed"), 1),
        (("toy", "timed"), "\x1b[31m"),
        (("toy", "held_out"), {str(n): 0 for n in range(17)}),
        (("toy", "held_out", "two\nlines"), {"networks": 1, "spearman": 1, "error": 0}),
        (("toy", "classes"), ["conv9x9"]),
        (("toy", "classes"), [["conv3x3"]]),
        (("toy", "held_out"), [1]),
        (("toy", "held_out", "fbnet"), {"networks": 1}),
        (("toy", "held_out", "fbnet"), {"networks": 1, "spearman": 2, "error": 0}),
        (("toy", "tables"), [1]),
    ],
)
def test_broken_devices_are_refused_in_a_line(path: tuple[str, ...], value: Any) -> None:
    body: Any = devices.to_json([device()])
    if path:
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    else:
        body = value
    with pytest.raises(InputError, match="the predictor's") as refused:
        devices.read({devices.KEY: json.dumps(body)})
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert devices.read({devices.KEY: text}) == {}


def networks(count: int, seed: int = 0) -> np.ndarray:
    """Amounts as of networks of four classes of operators; every network has one of a fifth."""
    rng = np.random.default_rng(seed)
    found = np.zeros((count, *SHAPE))
    for number in range(4):
        operators = rng.integers(0, 12, count)
        found[:, number, 0] = operators
        found[:, number, 1:] = operators[:, None] * rng.uniform(0.5, 2, (count, 3)) * 1e6
    found[:, 4] = (1.0, 2e6, 3e4, 5e5)
    return found


def measured(count: int, noise: float = 0.0, seed: int = 0) -> tuple[Measured, np.ndarray]:
    prices = np.zeros(SHAPE)
    prices[:5] = np.random.default_rng(9).uniform(0.5, 2, (5, 4)) * (0.1, 1e-7, 1e-8, 1e-8)
    found = networks(count, seed)
    times = (found * prices).sum(axis=(1, 2)) + 0.5
    times *= np.exp(noise * np.random.default_rng(seed).standard_normal(count))
    return Measured("toy", found, times), prices


def test_prices_are_found_again_and_hold_far_outside() -> None:
    known, prices = measured(300)
    found = fit([known])
    np.testing.assert_allclose(found.of_amounts[:4, :2], prices[:4, :2], rtol=0.02)
    larger = networks(50, seed=3) * 20
    true = (larger * prices).sum(axis=(1, 2))
    assert np.median(np.abs(predicted(larger, found) / true - 1)) < 0.1
    assert (found.of_amounts >= 0).all()
    assert found.overhead_ms >= 0


def test_what_never_varies_and_what_was_never_seen_cost_what_all_operators_do() -> None:
    known, _ = measured(300)
    slow = Measured("toy", known.amounts, known.milliseconds + 100.0)
    found = fit([slow])
    seen, constant, unseen = found.of_amounts[:4, 0], found.of_amounts[4, 0], found.of_amounts[9, 0]
    assert unseen > 0
    assert constant == pytest.approx(unseen, rel=0.05)
    assert constant < 10 * seen.max()  # the 100 ms are not put down to the one classifier
    assert found.overhead_ms == pytest.approx(100.0, rel=0.1)


def test_families_of_any_size_count_alike() -> None:
    many, _ = measured(400)
    few, _ = measured(40, seed=1)
    slower = Measured("few", few.amounts, 2 * few.milliseconds)
    found = fit([many, slower])
    ratios = [np.median(predicted(p.amounts, found) / p.milliseconds) for p in (many, slower)]
    assert ratios[0] > 1.15
    assert ratios[1] < 0.95


def test_networks_of_equal_amounts_are_not_split() -> None:
    known, _ = measured(100)
    twice = Measured("toy", np.repeat(known.amounts, 2, axis=0), np.repeat(known.milliseconds, 2))
    train, test = split(twice, seed=0)
    assert len(test.milliseconds) == 40
    keys = [{row.tobytes() for row in part.amounts} for part in (train, test)]
    assert not keys[0] & keys[1]


def test_figures_are_of_networks_that_were_held_out() -> None:
    train, test = split(measured(300, noise=0.02)[0], seed=0)
    figures = latency.held_out(test, fit([train]))
    assert figures.networks == len(test.milliseconds)
    assert figures.spearman > 0.99
    assert 0.005 < figures.error < 0.03


CELLS, OFA = SOURCES[0], SOURCES[2]


def test_a_table_is_read_by_device(tmp_path: Path) -> None:
    header = ("arch_str", "titan_xp_32", "raspi4", "note")
    rows = [(CELL.replace("none", "skip_connect"), 4, 2.5, "x"), (CELL, 9, 9, "")]
    write_table(tmp_path / CELLS.table, header, [*rows, (rows[0][0], 5, "", "")])
    found = read(tmp_path, CELLS, 10)
    assert len(found.codes) == 2, "the cell with `none` is not read"
    assert found.timed == {"titanxp_32": "a batch of 32", "raspi4": ""}
    assert found.milliseconds["titanxp_32"].tolist() == [4, 5]
    np.testing.assert_array_equal(found.milliseconds["raspi4"], [2.5, np.nan])


@pytest.mark.parametrize(
    ("source", "header", "row", "reason"),
    [
        (CELLS, ("arch_str", "raspi4"), None, "needs rows with a column arch_str"),
        (CELLS, ("index", "raspi4"), ("0", "1"), "needs rows with a column arch_str"),
        (CELLS, ("arch_str", "abacus"), (CELL, "1"), "no column of latencies"),
        (CELLS, ("arch_str", "raspi4"), (CELL.replace("none", "conv"), "1"), "does not read"),
        (OFA, ("ks", "e", "d", "r", "v100_1"), ("3", "3", "two", "160", "1"), "does not read"),
        (OFA, ("ks", "e", "d", "r", "v100_1"), ("3", "3", "2", "160", "1"), "does not read"),
    ],
)
def test_a_table_of_another_form_is_refused(
    tmp_path: Path,
    source: Source,
    header: tuple[str, ...],
    row: tuple[str, ...] | None,
    reason: str,
) -> None:
    write_table(tmp_path / source.table, header, [] if row is None else [row])
    with pytest.raises(InputError, match=reason) as refused:
        read(tmp_path, source, 10)
    assert "\n" not in str(refused.value)


def test_a_family_with_few_networks_is_not_learnt_from() -> None:
    known, _ = measured(60)
    found = Measurements(
        family="toy",
        table="a.csv.gz",
        sha256="",
        codes=("",) * 60,
        amounts=known.amounts,
        milliseconds={
            "all": known.milliseconds,
            "few": np.append(known.milliseconds[:49], [np.nan] * 11),
        },
        timed={"all": "", "few": ""},
    )
    (one,) = latency.measured_on("all", [found])
    assert len(one.milliseconds) == 60
    assert latency.measured_on("few", [found]) == []


@needs_tables
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{source.family}-{source.table}")
def test_published_networks_are_read(source: Any) -> None:
    found = read(TABLES, source, 3)
    assert found.amounts.shape == (3, *SHAPE)
    assert len(found.codes) == 3
    assert all(np.nanmin(ms) > 0 for ms in found.milliseconds.values())
    assert not any("none" in code for code in found.codes)
    names = set(found.milliseconds)
    assert {"raspi4", "2080ti_1", "pi5_onnx", "zcu102", "a100"} & names
    assert not any(name.startswith("titan_xp") or name.endswith("_ms") for name in names)
    known = {"titanxp_32": "a batch of 32", "raspi4": "", "essential_ph_1": "", "2080ti_1": ""}
    known |= {"a100": "one of many samples at once", "zcu102": ""}
    assert found.timed.keys() == names
    assert all(found.timed[name] == known[name] for name in names & known.keys())


@needs_tables
@pytest.mark.slow
def test_published_devices_rank_networks_held_out() -> None:
    found, hashes = latency.devices(TABLES)
    assert len(found) == 45
    assert len(hashes) == 5
    by_name = {one.name: one for one in found}
    assert by_name["pixel3"].held_out["fbnet"].spearman > 0.99
    assert by_name["raspi4"].held_out["nasbench201"].spearman > 0.94
    ranks = [one.spearman for device in found for one in device.held_out.values()]
    assert np.median(ranks) > 0.93
    assert len(json.dumps(devices.to_json(found))) < 100_000
