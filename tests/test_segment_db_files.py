"""Files of other versions, broken ones, several together, and what is written for others."""

import dataclasses
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from segment_db_cases import add_own, outcome, own, small_mined, write_small

from autogo_onnx import runtime
from autogo_onnx.commands.database import database
from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import from_json
from autogo_onnx.segment_db import writer
from autogo_onnx.segment_db.experience import Experience, column_digest, digest
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.image import empty
from autogo_onnx.segment_db.merging import merge
from autogo_onnx.segment_db.migration import migrate
from autogo_onnx.segment_db.store import Store, open_store
from autogo_onnx.serialize import canonical_hash

VERSION_1 = Path(__file__).parent / "segment_db_version_1.sql"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small(tmp_path / "small.db")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1.read_text())
    connection.close()
    return path


def _version_1(path: Path) -> dict[str, tuple[str, int, dict[str, int], int]]:
    """What a file of version 1 says of every segment, read without the package."""
    connection = sqlite3.connect(path)
    found = {}
    for identifier, graph, count in connection.execute("SELECT id, graph, count FROM segment"):
        seen = connection.execute(
            "SELECT family, count FROM sighting WHERE segment = ?", (identifier,)
        )
        (shapes,) = connection.execute(
            "SELECT count(*) FROM boundary WHERE segment = ?", (identifier,)
        ).fetchone()
        found[identifier] = graph, count, dict(seen.fetchall()), shapes
    connection.close()
    return found


def _same(store: Store, expected: dict[str, tuple[str, int, dict[str, int], int]]) -> None:
    assert len(store.everything()) == len(expected) == 13
    for text, count, families, shapes in expected.values():
        identifier = canonical_hash(from_json(text))
        stored = store.segment(identifier)
        assert (stored.graph, stored.count) == (from_json(text), count)
        assert dict(store.sightings(identifier)) == families
        assert len(store.boundaries(identifier)) == shapes


def test_an_old_file_is_read_as_it_is(old: Path) -> None:
    before, expected = old.read_bytes(), _version_1(old)
    store = open_store(old)
    assert store.info()["schema"] == 1
    assert {s.id: s.count for s in store.everything()} == {i: e[1] for i, e in expected.items()}
    assert store.vocabulary().pieces
    assert store.candidates(Demand(((1, 16, 8, 8),), ((1, 16, 8, 8),)))
    assert old.read_bytes() == before


def test_an_old_file_is_brought_up_to_date(old: Path) -> None:
    expected = _version_1(old)
    assert migrate(old) == (1, 2)
    store = open_store(old, write=True)
    _same(store, expected)
    assert store.info()["networks"] == 10021
    assert add_own(store) > 0
    before = old.read_bytes()
    assert migrate(old) == (2, 2)
    assert old.read_bytes() == before


def test_an_old_file_is_not_written_unasked(old: Path) -> None:
    with pytest.raises(InputError, match=r"schema 1, .* `autogo-onnx db migrate .*old\.db`"):
        open_store(old, write=True)


def test_a_migration_that_fails_changes_nothing(old: Path) -> None:
    connection = sqlite3.connect(old)
    connection.execute("UPDATE segment SET graph = '{}' WHERE n_inputs = 2")
    connection.commit()
    connection.close()
    before = old.read_bytes()
    with pytest.raises(InputError, match=r"old\.db: broken"):
        migrate(old)
    assert old.read_bytes() == before


def test_hashes_follow_the_program(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the file came from a program that told two structures apart that are one today."""
    store = open_store(small, write=True)
    segments = {s.id: s for s in store.everything()}
    one, other = list(segments)[:2]
    connection = sqlite3.connect(small)
    connection.execute("UPDATE segment SET hash = randomblob(16)")
    connection.execute(
        "UPDATE segment SET graph = (SELECT graph FROM segment WHERE number = 1) WHERE number = 2"
    )
    counts = dict(connection.execute("SELECT number, count FROM segment WHERE number < 3"))
    connection.execute("UPDATE meta SET value = 'of another program' WHERE name = 'hashing'")
    connection.commit()
    connection.close()
    assert one != other
    with store.writing():
        pass
    after = {s.id: s for s in store.everything()}
    assert len(after) == len(segments) - 1
    assert all(canonical_hash(s.graph) == i for i, s in after.items())
    assert sum(s.count for s in after.values()) == sum(s.count for s in segments.values())
    assert sum(counts.values()) in {s.count for s in after.values()}
    assert all(sum(n for _, n in store.sightings(i)) == s.count for i, s in after.items())
    demand = Demand(((1, 16, 8, 8),), ((1, 16, 8, 8),))
    assert {s.id for s in store.candidates(demand)} <= set(after)
    monkeypatch.setattr(writer, "canonical_hash", lambda graph: canonical_hash(graph)[::-1])
    writer.hashing.cache_clear()
    try:
        assert writer.hashing() != _hashing_of(small)
    finally:
        monkeypatch.undo()
        writer.hashing.cache_clear()
    assert writer.hashing() == _hashing_of(small)


def _hashing_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    (value,) = connection.execute("SELECT value FROM meta WHERE name = 'hashing'").fetchone()
    connection.close()
    return str(value)


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.db", tmp_path):
        for what in (open_store, migrate, lambda p: merge([p], tmp_path / "out.db")):
            with pytest.raises(InputError, match="no such segment database"):
                what(path)
    assert not (tmp_path / "out.db").exists()


def test_foreign_empty_and_future_files(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"a\.db: broken or no segment database") as caught:
        open_store(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a segment database"):
        open_store(path)
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    with pytest.raises(InputError, match="not a segment database"):
        open_store(tmp_path / "foreign.db")
    future = bytearray(small.read_bytes())
    future[60:64] = (9).to_bytes(4, "big")
    path.write_bytes(future)
    for what in (open_store, migrate):
        with pytest.raises(InputError, match=r"schema 9, .* newer version"):
            what(path)
    assert path.read_bytes() == future


def _use(path: Path) -> None:
    """Everything that reads or writes a file."""
    store = open_store(path)
    store.info()
    for segment in store.everything()[:60]:
        store.sightings(segment.id)
        store.boundaries(segment.id)
    list(store.with_boundary(1, 1))
    list(store.candidates(Demand(((1, 16, 8, 8),), ((1, 16, 8, 8),), 1e5, 8, ("Conv",))))
    list(store.experience())
    store = open_store(path, write=True)
    store.record([outcome()])
    add_own(store)


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 8, 64])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _overwritten(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(4096) + data[start + 4096 :]


@pytest.mark.parametrize("damage", [_flipped, _truncated, _overwritten])
@pytest.mark.parametrize("count", [6, pytest.param(300, marks=pytest.mark.slow)])
def test_a_damaged_file_is_an_error_in_one_line(
    damage: Callable[[bytes, random.Random], bytes], count: int, small: Path
) -> None:
    open_store(small, write=True).record(outcome(n) for n in range(3))
    data, rng = small.read_bytes(), random.Random(count)
    errors = []
    for _ in range(count):
        small.write_bytes(damage(data, rng))
        try:
            _use(small)
        except InputError as error:
            errors.append(str(error))
        for left in small.parent.glob("small.db-*"):
            left.unlink()
    assert errors
    assert all(e.startswith(f"{small}: ") and "\n" not in e for e in errors)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE segment SET graph = 7",
        "UPDATE segment SET graph = 'text'",
        "UPDATE segment SET graph = x'01'",
        "UPDATE segment SET graph = x'010101ff7f'",
        "UPDATE segment SET hash = 'text' || number",
        "UPDATE segment SET count = 'many'",
        "UPDATE operator SET attributes = '[]'",
        "UPDATE operator SET attributes = '{'",
        "UPDATE shape SET axes = '[\"a\"]'",
        "DELETE FROM shape",
        "DROP TABLE operator",
        "UPDATE shelf SET segments = x'00'",
        "UPDATE shelf SET profiles = x''",
        "UPDATE shelf SET makers = '3'",
        "DELETE FROM segment WHERE n_inputs = 1",
        "UPDATE meta SET value = x'00' WHERE name = 'vocabulary'",
        "DELETE FROM meta WHERE name = 'vocabulary'",
        "UPDATE experience SET features = x'00'",
        "UPDATE experience SET versions = '[]'",
        "UPDATE experience SET site = 'text'",
        "UPDATE experience SET nmse = 'small'",
    ],
)
def test_content_that_makes_no_sense(small: Path, damage: str) -> None:
    open_store(small, write=True).record([outcome()])
    connection = sqlite3.connect(small)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match=r"small\.db: broken or no segment database: ."):
        _use(small)


def test_merging_counts_what_is_the_same_once(small: Path, tmp_path: Path) -> None:
    one, other, out = tmp_path / "one.db", tmp_path / "other.db", tmp_path / "out.db"
    for path, kernels in ((one, (7, 9)), (other, (9, 11))):
        shutil.copy(small, path)
        for kernel in kernels:
            add_own(open_store(path, write=True), f"net{kernel}", kernel)
    merge([one, other], out)
    expected = open_store(small, write=True)
    for kernel in (7, 9, 11):
        add_own(expected, f"net{kernel}", kernel)
    merged = open_store(out)
    assert merged.info()["networks"] == 4 + 3
    assert {s.id: s for s in merged.everything()} == {s.id: s for s in expected.everything()}
    for segment in expected.everything():
        assert merged.sightings(segment.id) == expected.sightings(segment.id)
    again = tmp_path / "again.db"
    merge([one, other], again)
    assert again.read_bytes() == out.read_bytes()
    merge([out, one, out], again)
    assert _content(again) == _content(out)


def _content(path: Path) -> list[object]:
    store = open_store(path)
    return [(s, store.sightings(s.id), store.boundaries(s.id)) for s in store.everything()]


def test_merging_joins_vocabularies_experience_and_old_files(
    small: Path, old: Path, tmp_path: Path
) -> None:
    store = open_store(small, write=True)
    store.record([outcome(1), outcome(2)])
    other = tmp_path / "other.db"
    shutil.copy(small, other)
    open_store(other, write=True).record([outcome(3)])
    out = tmp_path / "out.db"
    merge([small, other, old], out)
    merged = open_store(out)
    assert [e.macs_delta for e in merged.experience()] == [-1001, -1002, -1003]
    first, second, both = (open_store(p).vocabulary() for p in (small, old, out))
    assert both.alphabet[: len(first.alphabet)] == first.alphabet
    assert set(both.alphabet) == {*first.alphabet, *second.alphabet}
    known = {both.decode([piece]) for piece in both.pieces}
    assert known == {v.decode([piece]) for v in (first, second) for piece in v.pieces}
    ids = {s.id for s in merged.everything()}
    assert ids == {
        canonical_hash(s.graph) for p in (small, old) for s in open_store(p).everything()
    }
    assert merged.info()["networks"] == 4 + 10021


def test_outcomes_come_back_as_they_were(small: Path) -> None:
    store = open_store(small, write=True)
    outcomes = [outcome(number, None if number % 2 else 0.5) for number in range(600)]
    assert store.record(outcomes) == 600
    found = list(open_store(small).experience())
    assert [digest(e) for e in found] == [digest(e) for e in outcomes]
    assert found[0].site == own(7)
    assert found[0].features.dtype == np.float32
    assert found[0].features.tolist() == outcomes[0].features.tolist()
    assert store.info()["outcomes of fits"] == 600
    assert len(small_mined().segments) == store.info()["segments"], "fits are no sightings"


def test_outcomes_without_a_number(small: Path) -> None:
    store = open_store(small, write=True)
    nan = float("nan")
    odd = dataclasses.replace(outcome(), nmse=nan, score=nan, latency_delta_ms=-0.5)
    store.record([odd])
    (found,) = store.experience()
    assert (found.nmse, found.score, found.latency_delta_ms) == (float("inf"), None, -0.5)


def test_features_are_only_read_with_their_columns() -> None:
    assert column_digest(("a", "b"), 1) != column_digest(("b", "a"), 1) != column_digest(("ab",), 1)
    assert isinstance(outcome(), Experience)


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(database, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_commands(small: Path, old: Path, tmp_path: Path) -> None:
    out, lines, folder = tmp_path / "out.db", tmp_path / "a.jsonl", tmp_path / "models"
    assert "schema 1 -> 2" in _run("migrate", str(old))
    assert "up to date" in _run("migrate", str(old))
    count = len({s.id for p in (small, old) for s in open_store(p).everything()})
    assert f"{count} segments of 10025" in _run("merge", str(small), str(old), "-o", str(out), "-q")
    assert f"segments                 {count}" in _run("info", "--segment-db", str(out))
    text = _run("export", "--segment-db", str(old), "-o", str(lines), "--onnx", str(folder), "-q")
    assert "13 segments" in text
    assert "13 models" in text
    exported = [json.loads(line) for line in lines.read_text().splitlines()]
    store = open_store(old)
    assert [e["id"] for e in exported] == [s.id for s in store.everything()]
    for entry in exported:
        graph = from_json(json.dumps(entry["graph"]))
        assert graph == store.segment(entry["id"]).graph
        assert sum(entry["families"].values()) == entry["count"]
        model = onnx.load(folder / f"{entry['id']}.onnx")
        onnx.checker.check_model(model, full_check=True)
        feeds = {
            i.name: np.ones(shape, np.float32)
            for i, shape in zip(model.graph.input, graph.input_shapes, strict=True)
        }
        results = runtime.run(runtime.open_session(model), None, feeds)
        shapes = tuple(array.shape for array in results)
        assert shapes == graph.output_shapes


def test_nothing_to_export_is_an_error(small: Path) -> None:
    result = CliRunner().invoke(database, ["export", "--segment-db", str(small)])
    assert result.exit_code == 2
    assert "nothing to write" in result.output


def test_an_empty_database_is_one(tmp_path: Path, small: Path) -> None:
    connection = empty()
    assert connection.execute("SELECT count(*) FROM segment").fetchone() == (0,)
    connection.close()
    store = open_store(small)
    assert not store.candidates(Demand(((1,),), ((1,),)))
