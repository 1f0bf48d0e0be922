"""Building a database: the same bytes whoever does the work, and on from where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from autogo_onnx.commands.build import build as command
from autogo_onnx.errors import InputError
from autogo_onnx.segment_db import pipeline
from autogo_onnx.segment_db import workers as working
from autogo_onnx.segment_db.build import build, chosen, code_version
from autogo_onnx.segment_db.pipeline import Settings
from autogo_onnx.segment_db.store import open_store
from autogo_onnx.segment_db.workers import ThisProcess, Workers, local, on_cluster
from autogo_onnx.work_folder import work_folder

SMALL = Settings((("nasbench_macro", 8), ("hiaml", 8)), vocabulary_size=300, least_share=0.1)
Factory = Callable[[], AbstractContextManager[Workers]]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four parts of the small collection."""
    monkeypatch.setattr(pipeline, "PART", 4)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("build") / "a.db"
    build(path, SMALL)
    assert list(path.parent.iterdir()) == [path], "no work is left behind"
    return path.read_bytes()


class Failing:
    """Counts the items it does, and fails after some of them."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.done: list[Any] = []

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.done.append(item)
            yield function(item)


# Of the four parts each, read and cut.
@pytest.mark.parametrize("after", [0, 1, 3, 4, 5, 7])
def test_goes_on_where_it_was_interrupted(after: int, expected: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    first, second = Failing(after), Failing(100)
    with pytest.raises(KeyboardInterrupt):
        build(path, SMALL, workers=first)
    assert not path.exists()
    build(path, SMALL, workers=second)
    assert path.read_bytes() == expected
    assert len(first.done) + len(second.done) == 8
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_trusted_is_made_again(expected: bytes, tmp_path: Path) -> None:
    path, folder = tmp_path / "a.db", tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        build(path, SMALL, workers=Failing(7), parts=folder)
    files = sorted(folder.glob("*.autogo-part"))
    half = files[2].read_bytes()
    files[2].write_bytes(half[: len(half) // 2])
    files[1].write_bytes(files[0].read_bytes())  # sound, but another part
    (folder / "counts-000000.autogo-part").write_bytes(b"")
    build(path, SMALL, parts=folder)
    assert path.read_bytes() == expected


def test_parts_of_other_settings_are_not_used(expected: bytes, tmp_path: Path) -> None:
    path, folder = tmp_path / "a.db", tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        build(path, replace(SMALL, families=(("hiaml", 16),)), workers=Failing(7), parts=folder)
    (folder / "notes.txt").write_text("mine")
    counting = Failing(100)
    build(path, SMALL, workers=counting, parts=folder)
    assert path.read_bytes() == expected
    assert len(counting.done) == 8
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


def test_neither_division_nor_order_matters(
    expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PART", 7)
    monkeypatch.setattr(pipeline, "FILES", 2)
    build(tmp_path / "a.db", replace(SMALL, families=SMALL.families[::-1]))
    assert (tmp_path / "a.db").read_bytes() == expected


def test_one_build_per_folder(tmp_path: Path) -> None:
    with (
        work_folder(tmp_path / "work", b"key"),
        pytest.raises(InputError, match="another process works"),
    ):
        build(tmp_path / "a.db", SMALL, parts=tmp_path / "work")


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(InputError, match="work: cannot be made"):
        build(tmp_path / "a.db", SMALL, parts=tmp_path / "work")


def test_the_seed_chooses_other_networks(tmp_path: Path) -> None:
    vocabularies = []
    for seed in (0, 1):
        choice = replace(chosen("twopath", count=6, seed=seed), vocabulary_size=300)
        vocabularies.append(build(tmp_path / f"{seed}.db", choice).vocabulary)
    assert vocabularies[0] != vocabularies[1]


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    arguments = [str(path), "--families", "nasbench_macro", "--count", "6", "--least-share", "0.5"]
    result = CliRunner().invoke(command, [*arguments, "--work-dir", str(tmp_path / "work"), "-q"])
    assert result.exit_code == 0, result.output
    assert "segments of 6 networks" in result.stdout
    assert open_store(path).info()["networks"] == 6
    assert list(tmp_path.iterdir()) == [path]


def test_command_refuses(tmp_path: Path) -> None:
    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(command, [str(tmp_path / "a.db"), *arguments])
        assert result.exit_code
        return str(result.exception) + result.output

    assert "no family 'x'; there are nasbench101" in invoke("--families", "hiaml,x")
    assert "not by both" in invoke("--jobs", "2", "--scheduler", "tcp://127.0.0.1:1")
    nobody = invoke("--scheduler", "tcp://127.0.0.1:1", "--families", "hiaml")
    assert "127.0.0.1:1: no dask scheduler answers" in nobody
    assert list(tmp_path.iterdir()) == []


def test_dask_is_only_wanted_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(InputError, match=r"autogo-onnx\[distributed\]"),
        on_cluster("tcp://127.0.0.1:1", code_version),
    ):
        pass


@contextmanager
def _in_this_process() -> Iterator[Workers]:
    yield ThisProcess()


@contextmanager
def _cluster(processes: int) -> Iterator[Workers]:
    """A dask cluster of so many processes; of none, of two threads here: the protocol alone."""
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=processes or 1,
            threads_per_worker=1 if processes else 2,
            processes=bool(processes),
            dashboard_address=None,
        ) as cluster,
        on_cluster(cluster.scheduler_address, code_version) as workers,
    ):
        yield workers


_cluster_here = partial(_cluster, 0)
_cluster_of_processes = partial(_cluster, 2)


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise InputError(f"{number} is even")
    return number


WORKERS = [
    pytest.param(_in_this_process, id="here"),
    pytest.param(_cluster_here, id="threads"),
    pytest.param(lambda: local(2), id="processes", marks=pytest.mark.slow),
    pytest.param(_cluster_of_processes, id="cluster", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("factory", WORKERS)
def test_workers_keep_their_promise(factory: Factory) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1, 200, 2):
            taken.append(number)
            yield number

    with factory() as workers:
        results = workers.map(_odd, items())
        assert [next(results) for _ in range(3)] == [1, 3, 5]
        assert len(taken) < 20, "items are taken as they are needed"
        assert list(results) == list(range(7, 200, 2))
        assert list(workers.map(_odd, [])) == []
        with pytest.raises(InputError, match="2 is even"):
            list(workers.map(_odd, [1, 2, 3]))


@pytest.mark.parametrize("factory", WORKERS)
def test_the_same_bytes_whoever_does_the_work(
    factory: Factory, expected: bytes, tmp_path: Path
) -> None:
    with factory() as workers:
        build(tmp_path / "a.db", SMALL, workers=workers)
    assert (tmp_path / "a.db").read_bytes() == expected


def test_a_cluster_with_another_version_is_refused() -> None:
    from distributed import LocalCluster

    def thread() -> str:
        return threading.current_thread().name

    def fails_there() -> str:
        return thread() if thread() == "MainThread" else str(_odd(2))

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        with (
            pytest.raises(InputError, match="needs this version"),
            on_cluster(cluster.scheduler_address, thread),
        ):
            pass
        with (
            pytest.raises(InputError, match="cannot run it"),
            on_cluster(cluster.scheduler_address, fails_there),
        ):
            pass


def test_a_cluster_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(working, "_PATIENCE_S", 1)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        pytest.raises(InputError, match="no workers"),
        on_cluster(cluster.scheduler_address, code_version),
    ):
        pass


def _die(_: int) -> int:
    os._exit(1)


@pytest.mark.slow
def test_a_process_that_dies_is_one_line() -> None:
    with local(2) as workers, pytest.raises(InputError, match="lost one of 2 processes") as caught:
        list(workers.map(_die, [1, 2, 3]))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_killed_and_started_again(tmp_path: Path) -> None:
    """Killed without warning at several moments, the same command ends with the same file."""
    arguments = [sys.executable, "-m", "autogo_onnx", "db", "build", "-q"]
    choice = [
        "--families",
        "twopath,hiaml",
        "--count",
        "700",
        "--least-share",
        "0.05",
        "--jobs",
        "2",
    ]
    path, whole = tmp_path / "a.db", tmp_path / "whole.db"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    kills = 0
    for seconds in (4, 8, 12, 600):
        process = subprocess.Popen(
            [*arguments, str(path), *choice], env=environment, start_new_session=True
        )
        try:
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(0.5)
    assert kills, "the collection is too small to be interrupted"
    subprocess.run([*arguments, str(whole), *choice], env=environment, check=True)
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, whole]
