"""The database file: the same bytes every time, safe to open, one line when it cannot be."""

import hashlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from autogo_onnx.errors import InputError
from autogo_onnx.files import write_bytes as write
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.build import build
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.segmentation import is_connected
from autogo_onnx.segment_db.store import Store, open_store, shipped
from autogo_onnx.serialize import canonical_hash

EVERY = 500


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "small.db"
    build(path, every=EVERY)
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_rebuilt_bit_for_bit_whatever_the_hash_seed(small: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from autogo_onnx.segment_db.build import build;"
        f"build(Path(sys.argv[1]), every={EVERY})"
    )
    path = tmp_path / "again.db"
    root = str(Path(__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": root},
    )
    assert _digest(path) == _digest(small)


@pytest.mark.slow
def test_shipped_file_is_rebuilt_bit_for_bit(tmp_path: Path) -> None:
    build(tmp_path / "again.db")
    assert _digest(tmp_path / "again.db") == _digest(shipped())


def test_shipped_file_is_small_and_sound() -> None:
    assert shipped().stat().st_size < 2_000_000
    connection = sqlite3.connect(shipped())
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    segments = open_store().candidates(1, 1)
    assert len(segments) > 100
    assert all(canonical_hash(s.graph) == s.id and is_connected(s.graph) for s in segments)
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
    known = {segment.id for segment in open_store().candidates(1, 1)}
    missing = [name for name, graph in _useful().items() if canonical_hash(graph) not in known]
    assert missing == []


def test_candidates_have_the_boundary_asked_for(small: Path) -> None:
    store = open_store(small)
    for boundary in [(1, 1), (2, 1), (1, 2)]:
        segments = store.candidates(*boundary)
        assert segments
        assert {(s.graph.n_inputs, len(s.graph.outputs)) for s in segments} == {boundary}
        counts = [s.count for s in segments]
        assert counts == sorted(counts, reverse=True)
    assert store.candidates(99, 1) == ()


def test_boundaries_are_those_of_the_segment(small: Path) -> None:
    store = open_store(small)
    segment = store.candidates(1, 1)[0]
    shapes = store.boundaries(segment.id)
    assert shapes[0][0] == (segment.graph.input_shapes, segment.graph.output_shapes)
    assert sum(count for _, count in shapes) <= segment.count


def test_segment_by_beginning_of_its_id(small: Path) -> None:
    store = open_store(small)
    segment = store.candidates(1, 1)[0]
    assert store.segment(segment.id) == store.segment(segment.id[:20]) == segment
    with pytest.raises(InputError, match="several"):
        store.segment("")
    with pytest.raises(InputError, match="no segment 'xyz'"):
        store.segment("xyz")


def test_info_counts(small: Path) -> None:
    info = open_store(small).info()
    assert info["networks"] == 22
    assert "nasbench201" in str(info["by family"])
    assert int(str(info["segments"])) > 100


def _own() -> OpGraph:
    net = Builder((1, 8, 32, 32))
    x = net.op("Mish", (net.conv(0, 16, kernel=7),), (1, 16, 32, 32))
    return net.graph(net.conv(net.relu(x), 16, kernel=3))


def test_add_to_a_copy_of_the_shipped_database(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    before = open_store().info()
    store = open_store(path, write=True)
    assert store.add([("mine", _own())]) >= 2, "the 7x7 convolution and Mish are new"
    after = open_store(path).info()
    assert int(str(after["networks"])) == int(str(before["networks"])) + 1
    assert "mine: " in str(after["by family"])
    relu = next(s for s in open_store().candidates(1, 1) if s.graph.ops[0].kind == "Relu")
    assert open_store(path).segment(relu.id).count == relu.count + 1
    assert store.add([("mine", _own())]) == 0, "nothing is new the second time"


def test_only_a_file_opened_for_writing_is_added_to(small: Path) -> None:
    before = _digest(small)
    with pytest.raises(InputError, match="reading only"):
        open_store(small).add([])
    with pytest.raises(InputError, match="read-only"):
        open_store(write=True)
    assert _digest(small) == before


def test_a_failed_addition_leaves_the_file_as_it_was(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    path.write_bytes(small.read_bytes())
    connection = sqlite3.connect(path)
    connection.execute("UPDATE segment SET graph = '{}'")
    connection.commit()
    connection.close()
    before = _digest(path)
    with pytest.raises(InputError, match=r"copy\.db: broken"):
        open_store(path, write=True).add([("mine", _own())])
    assert _digest(path) == before


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such segment database"):
        open_store(tmp_path / "none.db")
    with pytest.raises(InputError, match="no such segment database"):
        open_store(tmp_path)


def test_foreign_broken_and_future_files(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"a\.db: broken or no segment database") as caught:
        open_store(path)
    assert "\n" not in str(caught.value)
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    with pytest.raises(InputError, match="not a segment database"):
        open_store(tmp_path / "foreign.db")
    future = bytearray(small.read_bytes())
    future[60:64] = (9).to_bytes(4, "big")
    path.write_bytes(future)
    with pytest.raises(InputError, match="schema 9"):
        open_store(path)
    path.write_bytes(small.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"a\.db: broken"):
        open_store(path).candidates(1, 1)


def test_a_path_with_odd_characters(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "a ?#%20ü.db"
    path.write_bytes(small.read_bytes())
    assert open_store(path).candidates(1, 1)


def test_write_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "none" / "a.db", b"")
    assert list(tmp_path.iterdir()) == []


def test_readers_and_a_writer_at_once(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    path.write_bytes(small.read_bytes())
    reader, writer = Store(path), open_store(path, write=True)
    before = reader.candidates(1, 1)
    writer.add([("mine", _own())])
    assert len(reader.candidates(1, 1)) > len(before)
