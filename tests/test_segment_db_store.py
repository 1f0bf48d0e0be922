"""The database file: the same bytes every time, safe to open, to share and to add to."""

import hashlib
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from segment_db_cases import add_own, found_in_own, insert, outcome, own, small_mined, write_small

from autogo_onnx.errors import InputError
from autogo_onnx.files import write_bytes
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.segment_db.build import build
from autogo_onnx.segment_db.connection import explained
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.migration import migrate
from autogo_onnx.segment_db.schema import SCHEMA_VERSION
from autogo_onnx.segment_db.segment import Segment
from autogo_onnx.segment_db.segmentation import is_connected
from autogo_onnx.segment_db.store import Store, open_store, shipped
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.serialize import canonical_hash

ROOT = Path(__file__).parents[1]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small(tmp_path / "small.db")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_same_bytes_whatever_the_hash_seed(small: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from segment_db_cases import write_small;"
        "write_small(Path(sys.argv[1]))"
    )
    path = tmp_path / "again.db"
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
    assert _digest(path) == _digest(small)


@pytest.mark.slow
def test_shipped_file_is_rebuilt_bit_for_bit(tmp_path: Path) -> None:
    build(tmp_path / "again.db")
    assert _digest(tmp_path / "again.db") == _digest(shipped())


def test_shipped_file_is_small_and_sound() -> None:
    assert shipped().stat().st_size < 6_500_000
    connection = sqlite3.connect(shipped())
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    segments = open_store().with_boundary(1, 1)
    assert len(segments) > 100
    assert all(canonical_hash(s.graph) == s.id and is_connected(s.graph) for s in segments[:300])
    assert {1, 2, 3, 4, 5, 6} <= {len(s.graph.ops) for s in segments}


def _useful() -> dict[str, OpGraph]:
    def chain(*kernels: int, residual: bool = False, first: bool = False) -> OpGraph:
        net = Builder((1, 64, 16, 16))
        x = net.relu(0) if first else 0
        for n, kernel in enumerate(kernels):
            x = net.conv(net.relu(x) if n else x, 64, kernel=kernel)
        return net.graph(net.add(0, x) if residual else x)

    def bottleneck(kernel: int, residual: bool) -> OpGraph:
        net = Builder((1, 64, 16, 16))
        wide = net.relu(net.conv(0, 192))
        x = net.conv(net.relu(net.depthwise(wide, kernel=kernel)), 64)
        return net.graph(net.add(0, x) if residual else x)

    return {
        "one 1x1": chain(1),
        "one 3x3": chain(3),
        "two 3x3": chain(3, 3),
        "1x1 then 3x3": chain(1, 3),
        "3x3 then 1x1": chain(3, 1),
        "residual pair": chain(3, 3, residual=True, first=True),
        "MBConv k3": bottleneck(3, residual=False),
        "MBConv k5": bottleneck(5, residual=False),
        "residual MBConv k3": bottleneck(3, residual=True),
        "residual MBConv k5": bottleneck(5, residual=True),
    }


def test_shipped_file_has_what_sites_of_trained_networks_want() -> None:
    known = {segment.id for segment in open_store().with_boundary(1, 1)}
    missing = [name for name, graph in _useful().items() if canonical_hash(graph) not in known]
    assert missing == []


def test_candidates_have_the_boundary_asked_for(small: Path) -> None:
    store = open_store(small)
    for boundary in [(1, 1), (2, 1), (1, 2)]:
        segments = store.with_boundary(*boundary)
        assert segments
        assert {(s.graph.n_inputs, len(s.graph.outputs)) for s in segments} == {boundary}
        counts = [s.count for s in segments]
        assert counts == sorted(counts, reverse=True)
    assert not store.with_boundary(99, 1)


def test_what_is_stored_is_what_was_mined(small: Path) -> None:
    store, mined = open_store(small), small_mined()
    assert [s.id for s in store.everything()] == sorted(
        (s.id for s in mined.segments),
        key=lambda i: (-next(m.count for m in mined.segments if m.id == i), i),
    )
    for segment in mined.segments[::10]:
        stored = store.segment(segment.id)
        assert (stored.graph, stored.count) == (segment.graph, segment.count)
        assert dict(store.sightings(segment.id)) == segment.families
        assert store.boundaries(segment.id) == tuple(segment.boundaries()[:4])
    assert store.vocabulary() == mined.vocabulary


def test_candidates_are_a_sequence(small: Path) -> None:
    segments = open_store(small).with_boundary(1, 1)
    everything = list(segments)
    assert len(everything) == len(segments) > 70
    assert segments[0] == everything[0]
    assert segments[-1] == everything[-1]
    assert list(segments[65:70]) == everything[65:70]
    with pytest.raises(IndexError):
        segments[len(segments)]


def test_segment_by_beginning_of_its_id(small: Path) -> None:
    store = open_store(small)
    segment = store.with_boundary(1, 1)[0]
    assert store.segment(segment.id) == store.segment(segment.id[:21]) == segment
    with pytest.raises(InputError, match="several"):
        store.segment("")
    for unknown in ("xyz", segment.id + ".1", segment.id + "00", "0.x", "\u00e9"):
        with pytest.raises(InputError, match="no segment"):
            store.segment(unknown)


def _with_hash(digest: str, graph: OpGraph, network: str) -> Segment:
    return Segment(digest, 0, Counter({network: 1}), Counter({to_json(graph): 1}))


def test_structures_of_one_hash_are_told_apart(small: Path) -> None:
    store, same = open_store(small, write=True), "ab" * 16
    assert insert(store, [_with_hash(same, own(9), "a")], "a") == 1
    assert insert(store, [_with_hash(same, own(11), "b")], "b") == 1
    assert insert(store, [_with_hash(same, own(9), "c")], "c") == 0
    assert store.segment(same).graph == own(9) == store.segment(same + ".0").graph
    assert store.segment(same + ".1").graph == own(11)
    assert store.sightings(same) == (("a", 1), ("c", 1))
    assert {same, same + ".1"} < {s.id for s in store.everything()}


def test_info_counts(small: Path) -> None:
    info = open_store(small).info()
    assert info["networks"] == 4
    assert info["segments"] == len(small_mined().segments)
    assert "nasbench201" in str(info["by family"])


def test_add_to_a_copy_of_the_shipped_database(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    write_bytes(path, shipped().read_bytes())
    if open_store().info()["schema"] != SCHEMA_VERSION:
        migrate(path)
    before = open_store(path).info()
    store = open_store(path, write=True)
    relu = next(s for s in store.with_boundary(1, 1) if s.graph.ops[0].kind == "Relu")
    assert add_own(store) >= 2, "the 7x7 convolution and Mish are new"
    after = store.info()
    assert int(str(after["networks"])) == int(str(before["networks"])) + 1
    assert "mine: " in str(after["by family"])
    assert store.segment(relu.id).count == relu.count + 1
    assert add_own(store, "another") == 0, "nothing is new the second time"


def test_a_network_counts_once(small: Path) -> None:
    store = open_store(small, write=True)
    segments = found_in_own(store, "mine")
    insert(store, segments, "mine")
    before = _digest(small)
    with pytest.raises(InputError, match="mine: is in the database already"):
        insert(store, segments, "mine")
    assert _digest(small) == before
    with store.writing() as writer:
        assert writer.known(["mine", "other"]) == {"mine"}


def test_vocabulary_is_replaced_with_what_it_found(small: Path) -> None:
    store = open_store(small, write=True)
    old = store.vocabulary()
    new = Vocabulary((*old.alphabet, "Mish"), old.pieces)
    with store.writing() as writer:
        writer.replace_vocabulary(new)
    assert open_store(small).vocabulary() == new


def test_only_a_file_opened_for_writing_is_added_to(small: Path) -> None:
    before = _digest(small)
    with pytest.raises(InputError, match="reading only"):
        insert(open_store(small), [], "mine")
    with pytest.raises(InputError, match="reading only"):
        open_store(small).record([])
    with pytest.raises(InputError, match="read-only"):
        open_store(write=True)
    store = open_store(small, write=True)
    assert store.with_boundary(1, 1)[0]
    assert _digest(small) == before


def _add_and_stop(store: Store) -> None:
    with store.writing() as writer:
        writer.insert(found_in_own(store, "digest"), {"digest": "mine"})
        raise KeyboardInterrupt


def test_a_failed_addition_leaves_the_file_as_it_was(small: Path) -> None:
    store = open_store(small, write=True)
    before = _digest(small)
    with pytest.raises(KeyboardInterrupt):
        _add_and_stop(store)
    assert _digest(small) == before


def test_a_file_that_cannot_be_written(small: Path) -> None:
    connection = sqlite3.connect(f"file:{small}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("DELETE FROM meta")
    connection.close()
    with pytest.raises(InputError, match="cannot be read or written"), explained(small):
        raise caught.value


def test_a_path_with_odd_characters(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "a ?#%20ü.db"
    path.write_bytes(small.read_bytes())
    assert open_store(path).with_boundary(1, 1)[0]


def test_write_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_bytes(tmp_path / "none" / "a.db", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_what_a_writer_adds(small: Path) -> None:
    reader, writer = open_store(small), open_store(small, write=True)
    before = list(reader.with_boundary(1, 1))
    add_own(writer)
    after = list(reader.with_boundary(1, 1))
    assert len(after) > len(before)
    counts = {s.id: s.count for s in after}
    assert any(counts[s.id] > s.count for s in before), "nothing old is remembered"


def test_a_reader_sees_another_file_that_takes_the_path(small: Path, tmp_path: Path) -> None:
    reader = open_store(small)
    before = len(reader.everything())
    other = write_small(tmp_path / "other.db")
    add_own(open_store(other, write=True))
    os.replace(other, small)
    assert len(reader.everything()) > before
    small.unlink()
    with pytest.raises(InputError, match="no such segment database"):
        reader.everything()


def test_another_process_opens_the_file_for_itself(small: Path) -> None:
    store = open_store(small, write=True)
    first = store.everything()[0]
    again = pickle.loads(pickle.dumps(store))
    assert again.everything()[0] == first
    assert again.writable
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(store.everything()[0]))
    child.start()
    assert receiver.poll(20)
    assert receiver.recv() == first
    child.join()
    assert store.everything()[0] == first


_WRITER = """
import sys
from pathlib import Path
from segment_db_cases import add_own
from autogo_onnx.segment_db.store import open_store
for kernel in range(9, 19, 2):
    add_own(open_store(Path(sys.argv[1]), write=True), f"{sys.argv[2]}-{kernel}", kernel)
"""
_READER = """
import sys
from pathlib import Path
from autogo_onnx.segment_db.store import open_store
store = open_store(Path(sys.argv[1]))
last = 0
for _ in range(100):
    networks = int(str(store.info()["networks"]))
    assert networks >= last
    assert sum(n for _, n in store.sightings(store.with_boundary(1, 1)[0].id)) > 0
    assert all(s.count > 0 for s in store.with_boundary(1, 2))
    last = networks
"""
_KILLED = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that pages are written before the commit
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE segment SET count = 0, graph = x''")
os.kill(os.getpid(), signal.SIGKILL)
"""


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_processes_read_while_two_others_write(small: Path) -> None:
    writers = [_start(_WRITER, str(small), name) for name in ("a", "b")]
    readers = [_start(_READER, str(small)) for _ in range(2)]
    for process in (*writers, *readers):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    store = open_store(small)
    assert store.info()["networks"] == 4 + 10, "no addition was lost"
    assert store.info()["sources"] == 1 + 10
    relu = next(s for s in store.with_boundary(1, 1) if s.graph.ops[0].kind == "Relu")
    assert dict(store.sightings(relu.id)).keys() > {"a-9", "b-17"}


def test_a_writer_that_died_is_undone(small: Path) -> None:
    reader = open_store(small)
    before = list(reader.everything())
    process = _start(_KILLED, str(small))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert small.with_name(small.name + "-journal").exists(), "it died in the middle"
    assert list(reader.everything()) == before
    assert list(open_store(small).everything()) == before


def test_one_waits_for_a_writer(small: Path) -> None:
    store = open_store(small, write=True)
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN EXCLUSIVE'); print(flush=True); time.sleep(0.5); c.execute('COMMIT')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(small)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        start = time.monotonic()
        store.record([outcome()])
        assert time.monotonic() - start > 0.2
