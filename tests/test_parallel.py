"""Independent work at the same time: nothing but the time depends on how many cores there are."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx import parallel
from autogo_onnx.deadline import Clock, Deadline
from autogo_onnx.errors import InputError, OutOfTime
from autogo_onnx.parallel import beside, side_by_side


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)


def met(meeting: threading.Barrier, number: int) -> int:
    """Ends only if another task runs at the same time."""
    meeting.wait(timeout=60)
    return number


class Ended(BaseException):
    """As a signal to end is told."""


def refuse(why: str) -> None:
    raise InputError(why)


@pytest.mark.usefixtures("two_cores")
def test_tasks_run_at_the_same_time_and_answer_in_order() -> None:
    meeting = threading.Barrier(2)
    tasks = [partial(met, meeting, number) for number in range(2)]
    assert side_by_side(tasks, threads=1, clock=Clock()) == [0, 1]


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(("count", "threads"), [(2, 2), (1, 1), (0, 1)])
def test_there_are_no_more_threads_than_cores(count: int, threads: int) -> None:
    names = side_by_side(
        [lambda: threading.current_thread().name] * count, threads=threads, clock=Clock()
    )
    assert names == [threading.current_thread().name] * count


@pytest.mark.usefixtures("two_cores")
def test_settings_of_numpy_hold_in_every_task() -> None:
    with np.errstate(over="raise"):
        found = side_by_side([np.geterr, np.geterr], threads=1, clock=Clock())
    assert [one["over"] for one in found] == ["raise", "raise"]


@pytest.mark.usefixtures("two_cores")
def test_the_first_failure_in_order_is_told() -> None:
    with pytest.raises(InputError, match="one"):
        side_by_side([partial(refuse, "one"), partial(refuse, "two")], threads=1, clock=Clock())


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Ended])
def test_breaking_off_ends_the_other_task_at_its_deadline(kind: type[BaseException]) -> None:
    clock, ends = Clock(), []
    deadline, working = Deadline(3600.0, clock), threading.Event()

    def break_off() -> None:
        working.wait(timeout=60)
        raise kind

    def work() -> None:
        try:
            while True:
                working.set()
                deadline.check()
        except OutOfTime:
            ends.append(True)
            raise

    with pytest.raises(kind):
        side_by_side([break_off, work], threads=1, clock=clock)
    assert ends == [True]


@pytest.mark.usefixtures("two_cores")
def test_work_goes_on_beside_the_callers_own_one_piece_at_a_time() -> None:
    done: list[int] = []
    going = threading.Event()

    def work(number: int) -> None:
        going.wait(timeout=60)
        done.append(number)

    with beside(threads=1, clock=Clock()) as other:
        other.begin(partial(work, 0))
        assert not done
        going.set()
        other.begin(partial(work, 1))
        assert done[:1] == [0]
        other.wait()
        assert done == [0, 1]
        other.begin(partial(work, 2))
    assert done == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_what_goes_wrong_beside_comes_out(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: count)
    with pytest.raises(InputError, match="beside"), beside(threads=1, clock=Clock()) as other:
        other.begin(partial(refuse, "beside"))


@pytest.mark.usefixtures("two_cores")
def test_breaking_off_stops_the_clock_of_what_goes_on_beside() -> None:
    clock = Clock()
    deadline = Deadline(3600.0, clock)

    def work() -> None:
        while not deadline.is_past():
            pass

    def broken_off() -> None:
        with beside(threads=1, clock=clock) as other:
            other.begin(work)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert deadline.is_past()
    assert clock.elapsed() < 3600.0, "what is kept for a run that goes on has its time"


def test_a_run_gives_the_same_bytes_on_one_core_and_on_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "samples.npy", samples())
    made = []
    for count in (1, 2):
        monkeypatch.setattr(parallel, "cores", lambda count=count: count)
        report = autogo_onnx.optimize(
            classifier(), tmp_path / "samples.npy", target="macs", max_drop=0.05
        )
        assert report.plan
        made.append(report.model.SerializeToString(deterministic=True))
    assert made[0] == made[1]
