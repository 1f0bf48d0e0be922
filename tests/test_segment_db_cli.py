"""The database commands as users meet them: odd names, closed doors, files that mean harm."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from segment_db_cases import add_own, found_in_own, insert, write_small
from tiny_models import classifier

from autogo_onnx import cli
from autogo_onnx.files import write_bytes
from autogo_onnx.segment_db.merging import merge
from autogo_onnx.segment_db.segment import Segment
from autogo_onnx.segment_db.store import open_store

_ODD = os.fsdecode(b"odd \xff\x1b[31m")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small(tmp_path / "small.db")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(classifier(), path)
    return path


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def _changed(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr with which a `db` command fails."""
    code = cli.run(["db", *map(str, arguments)])
    output = capsys.readouterr()
    assert (code, output.out) == (2, ""), output
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    return output.err


def test_names_that_are_no_text(
    small: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / f"{_ODD}.onnx"
    odd.write_bytes(model.read_bytes())
    path = tmp_path / f"{_ODD}.db"
    path.write_bytes(small.read_bytes())
    assert cli.run(["db", "add", str(odd), "--segment-db", str(path), "-q"]) == 0
    assert cli.run(["db", "info", "--segment-db", str(path)]) == 0
    assert "odd ??[31m: " in capsys.readouterr().out


def test_nothing_that_steers_a_terminal_is_printed(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _changed(small, "UPDATE OR IGNORE sighting SET family = 'a' || char(27) || '[31mb'")
    segment = open_store(small).everything()[0]
    assert cli.run(["db", "info", "--segment-db", str(small)]) == 0
    assert cli.run(["db", "show", segment.id, "--segment-db", str(small)]) == 0
    output = capsys.readouterr().out
    assert "a?[31mb" in output
    assert "\x1b" not in output


def test_no_device_is_replaced_by_a_file(
    small: Path, pipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = open_store(small).everything()[0].id
    for command in (
        ("build", pipe, "--families", "hiaml", "--count", 1),
        ("merge", small, "-o", pipe),
        ("export", "-o", pipe, "--segment-db", small),
        ("network", "resnet50", "-o", pipe),
        ("show", some, "--svg", pipe, "--segment-db", small),
    ):
        assert "pipe: is a device or pipe" in _refused(capsys, *command)
    assert pipe.is_fifo()


def test_an_interrupted_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a.db", b"much")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_added_to_is_refused_before_models_are_read(
    small: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "none" / "a.db"
    assert "is not a folder" in _refused(capsys, "add", model, "--segment-db", folder)
    small.write_bytes(b"")
    line = _refused(capsys, "add", model, "--segment-db", small)
    assert "small.db: not a segment database" in line


def test_a_read_only_database_is_refused_before_models_are_read(
    small: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever is root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK or Path(path) != small)
    line = _refused(capsys, "add", model, "--segment-db", small)
    assert "small.db: cannot be written: no permission" in line


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--least-share", "nan", "would leave out every segment"),
        ("--least-share", "inf", "would leave out every segment"),
        ("--scheduler", "nonsense", "nonsense: no dask scheduler answers"),
        ("--scheduler", "tcp://127.0.0.1:99999", "no dask scheduler answers"),
    ],
)
def test_options_that_mean_nothing(
    option: str, value: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if option == "--scheduler":
        pytest.importorskip("distributed")
    path = tmp_path / "a.db"
    assert told in _refused(capsys, "build", path, "--families", "hiaml", option, value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("identifier", ["", "zz", "ab.x", "ab.99999999999999999999", "a b"])
def test_an_identifier_of_nothing(
    identifier: str, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _refused(capsys, "show", identifier, "--segment-db", small)
    assert "segment" in line
    assert "broken" not in line


def test_no_database_is_named_by_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such segment database" in _refused(capsys, "info", "--segment-db", "")


@pytest.mark.parametrize(
    "trap",
    [
        "CREATE TRIGGER t BEFORE INSERT ON source BEGIN DELETE FROM segment; END",
        "CREATE VIEW v AS WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
        " SELECT n FROM r",
    ],
)
def test_a_file_that_brings_code(
    trap: str, small: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _changed(small, trap)
    for command in (
        ("info", "--segment-db", small),
        ("add", model, "--segment-db", small),
        ("merge", small, "-o", tmp_path / "out.db"),
        ("migrate", small),
    ):
        assert "it has views or triggers" in _refused(capsys, *command)


_DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "damage",
    [
        f"UPDATE operator SET attributes = '{{\"a\":{_DEEP}'",
        f"UPDATE shape SET axes = '{_DEEP}'",
        "UPDATE shape SET axes = '[1,-8]'",
        "UPDATE shape SET axes = '[true]'",
        "UPDATE shape SET axes = '[99999999999999999999]'",
        "UPDATE operator SET attributes = '{\"group\":null}'",
        "UPDATE operator SET attributes = '{\"pads\":[[1]]}'",
    ],
)
def test_content_that_is_made_to_hurt(
    damage: str, small: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _changed(small, damage)
    for command in (
        ("export", "--onnx", tmp_path / "models", "-q", "--segment-db", small),
        ("merge", small, "-o", tmp_path / "out.db", "-q"),
        ("add", model, "-q", "--segment-db", small),
    ):
        assert "small.db: broken or no segment database" in _refused(capsys, *command)


def test_a_segment_that_is_no_model_is_left_out(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _changed(
        small,
        "UPDATE operator SET attributes = json_set(attributes, '$.group', 0) WHERE kind = 'Conv'",
    )
    folder = tmp_path / "models"
    assert cli.run(["db", "export", "--onnx", str(folder), "--segment-db", str(small), "-q"]) == 0
    output = capsys.readouterr()
    assert "left out: " in output.err
    assert f"{len(list(folder.iterdir()))} models" in output.out


def test_merging_loses_no_structure_that_another_vocabulary_found(
    small: Path, tmp_path: Path
) -> None:
    """Both databases have one network, cut in other ways."""
    segments: list[Segment] = list(found_in_own(open_store(small), "mine"))
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for path, found in ((one, segments[::2]), (other, segments[1::2])):
        write_small(path)
        insert(open_store(path, write=True), found, "mine")
    whole = open_store(small, write=True)
    add_own(whole)
    contents = []
    for order in ([one, other], [other, one], [one, other, one]):
        merge(order, tmp_path / "out.db")
        merged = open_store(tmp_path / "out.db")
        assert merged.info()["networks"] == whole.info()["networks"]
        contents.append({s.id: (s.count, merged.sightings(s.id)) for s in merged.everything()})
    expected = {s.id: (s.count, whole.sightings(s.id)) for s in whole.everything()}
    assert contents == [expected] * 3


def _run(tmp_path: Path, *arguments: str, stdout: int) -> subprocess.CompletedProcess[str]:
    code = "from autogo_onnx.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_stdout_is_one_line(
    unbuffered: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        done = _run(tmp_path, "db", "info", "--segment-db", str(small), stdout=full.fileno())
    assert (done.returncode, done.stderr) == (2, "error: stdout: No space left on device\n")


_PARENT = """
import os, signal, sys
from autogo_onnx.segment_db.workers import local
with local(2) as workers:
    print(*workers.map(int, ["1"]), flush=True)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with open(f"/proc/{name}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[1] == str(os.getpid()):
                    print(name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _living(processes: Iterator[Path]) -> list[Path]:
    return [process for process in processes if process.exists()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs a list of processes")
def test_workers_end_with_the_process_that_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", _PARENT], capture_output=True, text=True)
    one, *children = done.stdout.split()
    assert one == "1"
    assert len(children) >= 2
    end = time.monotonic() + 20
    while _living(Path("/proc", child) for child in children):
        assert time.monotonic() < end, "workers outlive their parent"
        time.sleep(0.2)


def test_exported_lines_are_json(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert cli.run(["db", "export", "-o", str(path), "--segment-db", str(small), "-q"]) == 0

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=refuse)
