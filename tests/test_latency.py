from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from autogo_onnx import latency
from autogo_onnx.errors import InputError
from autogo_onnx.latency import LatencyTable


class Machine:
    """A clock that runs only while one of its programs does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[int] = []

    def clock(self) -> float:
        return self.now

    def program(self, number: int, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.order.append(number)
            self.now += seconds

        return run


def turns(machine: Machine, costs: list[float], *, seconds: float, seed: int = 0) -> np.ndarray:
    runs = [machine.program(number, cost) for number, cost in enumerate(costs)]
    return latency.take_turns(
        runs, seconds=seconds, seed=seed, clock=machine.clock, wall=machine.clock
    )


def test_times_are_milliseconds_per_run() -> None:
    times = turns(Machine(), [2e-3, 5e-3], seconds=1.0)
    np.testing.assert_allclose(times[0], 2.0)
    np.testing.assert_allclose(times[1], 5.0)
    assert times.shape[1] == 143


def test_short_runs_are_grouped_to_a_millisecond_and_cost_what_one_costs() -> None:
    machine = Machine()
    times = turns(machine, [1e-4, 2e-4], seconds=0.06)
    np.testing.assert_allclose(times, np.repeat([[0.1], [0.2]], latency.MIN_ROUNDS, axis=1))
    assert machine.order.count(0) == 10 * latency.MIN_ROUNDS + 3


def test_a_clock_too_coarse_to_see_a_run_does_not_stop_the_measurement() -> None:
    machine = Machine()
    runs = [machine.program(0, 0.0)]
    ticks = iter(range(10_000))
    times = latency.take_turns(
        runs, seconds=0.0, seed=0, clock=machine.clock, wall=lambda: float(next(ticks))
    )
    assert (times == 0).all()


def test_few_rounds_are_made_up_for_but_not_without_end() -> None:
    assert turns(Machine(), [0.01], seconds=0.1).shape[1] == latency.MIN_ROUNDS
    assert turns(Machine(), [1.0], seconds=2.0).shape[1] == 8
    assert turns(Machine(), [10.0], seconds=0.001).shape[1] == 8


def test_orders_are_random_balanced_and_seeded() -> None:
    first, again, other = Machine(), Machine(), Machine()
    turns(first, [2e-3, 2e-3], seconds=2.0, seed=1)
    turns(again, [2e-3, 2e-3], seconds=2.0, seed=1)
    turns(other, [2e-3, 2e-3], seconds=2.0, seed=2)
    assert first.order == again.order != other.order
    rounds = np.array(first.order[6:]).reshape(-1, 2)
    assert (np.sort(rounds, axis=1) == [0, 1]).all()
    assert 0.4 < np.mean(rounds[:, 0] == 0) < 0.6


def simulated(ratio: float, *, rounds: int = 200, seed: int = 0) -> np.ndarray:
    """Times of a, a again and b on a machine whose speed drifts and that others disturb."""
    rng = np.random.default_rng(seed)
    drift = 1 + 0.3 * np.sin(np.linspace(0, 20, rounds))
    disturbed = 1 + rng.exponential(0.05, (3, rounds))
    return np.array([[1.0], [1.0], [ratio]]) * drift * disturbed


@pytest.mark.parametrize("ratio", [0.5, 0.8, 0.95, 1.3])
def test_the_ratio_is_found_within_the_noise_that_is_reported(ratio: float) -> None:
    for seed in range(10):
        paired = latency.judge(simulated(ratio, seed=seed), threads=1, seed=0)
        assert abs(paired.ratio_p10 / ratio - 1) < 2 * paired.noise
        assert paired.ratio_median == pytest.approx(ratio, rel=0.03)
        assert 0 < paired.noise < 0.1
        assert paired.is_faster == (ratio < 1)
        assert paired.is_slower == (ratio > 1)


def test_equal_models_are_neither_faster_nor_slower() -> None:
    verdicts = [latency.judge(simulated(1.0, seed=s), threads=1, seed=0) for s in range(40)]
    assert sum(p.is_faster or p.is_slower for p in verdicts) <= 4


def test_a_systematic_difference_between_equal_sessions_is_noise() -> None:
    times = simulated(0.97)
    times[1] *= 0.94
    paired = latency.judge(times, threads=1, seed=0)
    assert paired.noise > 0.05
    assert not paired.is_faster


def test_judging_is_deterministic() -> None:
    times = simulated(0.9)
    assert latency.judge(times, threads=1, seed=7) == latency.judge(times, threads=1, seed=7)


@pytest.mark.parametrize("threads", [1, 2])
def test_real_models_are_measured_together(tmp_path: Path, threads: int) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]>\n'
    text += "g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }"
    model = onnx.parser.parse_model(text)
    path = tmp_path / "relu.onnx"
    path.write_bytes(model.SerializeToString())
    feed = {"x": np.ones((1, 4), np.float32)}
    paired = latency.compare(model, path, feed, seconds=0.0, threads=threads)
    assert paired.rounds >= 8
    assert paired.threads == threads
    assert min(paired.ms_a, paired.ms_b, paired.ratio_p10, paired.ratio_median) > 0


def test_a_feed_that_does_not_fit_is_refused_before_measuring() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]>\n'
    model = onnx.parser.parse_model(text + "g (float[4] x) => (float[4] y) { y = Relu(x) }")
    with pytest.raises(InputError, match="does not run"):
        latency.compare(model, model, {"x": np.ones(5, np.float32)}, seconds=0.0)


# The table


def table() -> LatencyTable:
    return LatencyTable("1.31.1", 1, {"b": 0.1 + 0.2, "a": 1.0})


def test_a_table_survives_its_file_to_the_last_digit(tmp_path: Path) -> None:
    table().write(tmp_path / "t.json")
    again = LatencyTable.read(tmp_path / "t.json")
    assert again == table()
    assert again.to_json() == table().to_json()
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


def test_equal_tables_are_equal_bytes_in_whatever_order_they_grew() -> None:
    other = LatencyTable("1.31.1", 1)
    assert other.price("a", lambda: 1.0) == 1.0
    assert other.price("b", lambda: 0.1 + 0.2) == 0.1 + 0.2
    assert other.to_json() == table().to_json()


def test_a_known_price_is_not_measured_again() -> None:
    def fail() -> float:
        raise AssertionError

    assert table().price("a", fail) == 1.0


def test_other_conditions_are_named() -> None:
    assert table().differences(onnxruntime="1.31.1", threads=1) == []
    assert table().differences(onnxruntime="1.32.0", threads=4) == [
        "latency table is of ONNX Runtime 1.31.1, not 1.32.0",
        "latency table is of 1 threads, not 4",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": "autogo-onnx latency table", "version": 2}',
        '{"format": "autogo-onnx latency table", "version": 1}',
        table().to_json()[:-20],
        table().to_json().replace("1.0", "NaN"),
        table().to_json().replace("1.0", '"fast"'),
        table().to_json().replace("1.0", "true"),
        table().to_json().replace('"threads": 1', '"threads": "1"'),
    ],
)
def test_foreign_and_broken_tables_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=r"t\.json") as caught:
        LatencyTable.read(tmp_path / "t.json")
    assert "\n" not in str(caught.value)


def test_a_missing_table_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        LatencyTable.read(tmp_path / "t.json")
    with pytest.raises(InputError, match="cannot be written"):
        table().write(tmp_path / "none" / "t.json")
