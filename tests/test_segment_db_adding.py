"""The user's own models in a database: structure only, each once, bad files named."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_models import classifier

from autogo_onnx import cli
from autogo_onnx.errors import InputError
from autogo_onnx.inspection import read_rewritten
from autogo_onnx.model import load
from autogo_onnx.opgraph import Op, OpGraph, cut
from autogo_onnx.segment_db.adding import Networks, add, digest, model_files, read_networks
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.families import FAMILIES
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.image import image
from autogo_onnx.segment_db.mining import mine
from autogo_onnx.segment_db.segmentation import pieces
from autogo_onnx.segment_db.store import Store, open_store
from autogo_onnx.serialize import canonical_hash

MINED = [
    (name, FAMILIES[name].build(code).folded())
    for name in ("nasbench201", "nasbench_macro")
    for code in FAMILIES[name].codes(4, 0)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return image(mine(MINED, 300))


@pytest.fixture
def database(base: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "own.db"
    path.write_bytes(base)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(classifier(), path)
    return path


def _unlike_any_family(blocks: int) -> OpGraph:
    """A block of Mish and 7x1 convolutions, over and over."""
    net = Builder((1, 8, 32, 32))
    x = 0
    for _ in range(blocks):
        wide = net.op("Mish", (net.conv(x, 16, kernel=7),), (1, 16, 32, 32))
        x = net.add(x, net.op("Softplus", (net.conv(wide, 8, kernel=5),), (1, 8, 32, 32)))
    return net.graph(x)


def _read(path: Path) -> OpGraph:
    return read_rewritten(load(path)).opgraph


def _covered(graph: OpGraph, store: Store) -> float:
    """Share of the operators in pieces of several that are stored."""
    parts = [part for part in pieces(graph, store.vocabulary()) if len(part) > 1]
    return sum(len(p) for p in parts if _is_stored(cut(graph, p).graph, store)) / len(graph.ops)


def _hash_of_its_head(model: Path) -> str:
    """Of the last operator, a Gemm."""
    graph = _read(model)
    return canonical_hash(cut(graph, [len(graph.ops) - 1]).graph)


def _is_stored(graph: OpGraph, store: Store) -> bool:
    try:
        return store.segment(canonical_hash(graph)).id == canonical_hash(graph)
    except InputError:
        return False


def test_a_model_falls_into_stored_segments_once_it_is_added(database: Path) -> None:
    graph, store = _unlike_any_family(6), open_store(database, write=True)
    assert _covered(graph, store) == 0.0
    addition = add(store, Networks({digest(graph): ("own", graph)}))
    assert addition.names == ("own",)
    assert addition.segments > 10
    assert addition.symbols > 4
    assert addition.pieces > 2
    assert _covered(graph, open_store(database)) > 0.8
    assert _covered(_unlike_any_family(9), open_store(database)) > 0.8, "one not added, but alike"


def test_mined_networks_are_cut_as_before(database: Path) -> None:
    before = [pieces(graph, open_store(database).vocabulary()) for _, graph in MINED]
    graph = _unlike_any_family(5)
    add(open_store(database, write=True), Networks({digest(graph): ("own", graph)}))
    assert [pieces(graph, open_store(database).vocabulary()) for _, graph in MINED] == before


def test_a_network_counts_once_whatever_its_name_and_weights(database: Path) -> None:
    store = open_store(database, write=True)
    graph = _unlike_any_family(3)
    one = Networks({digest(graph): ("own", graph)})
    add(store, one)
    written = database.read_bytes()
    assert add(store, one).names == ()
    assert add(store, Networks({digest(graph): ("other name", graph)})).segments == 0
    assert database.read_bytes() == written


def test_a_known_structure_may_come_with_other_ranks(database: Path) -> None:
    vectors = OpGraph(((7,),), (Op("Relu", (0,)), Op("Erf", (1,))), ((7,), (7,)), (2,))
    store = open_store(database, write=True)
    add(store, Networks({digest(vectors): ("vectors", vectors)}))
    relu = canonical_hash(cut(vectors, [0]).graph)
    assert dict(store.sightings(relu))["vectors"] == 1
    # It stays where it is found: among the maps.
    maps = Demand(((1, 8, 4, 4),), ((1, 8, 4, 4),), makers=("Relu",), most_ops=1)
    assert relu in {segment.id for segment in store.candidates(maps)}


def test_new_weights_are_no_new_network(tmp_path: Path) -> None:
    for seed in range(2):
        onnx.save(classifier(seed), tmp_path / f"{seed}.onnx")
    networks = read_networks(model_files([tmp_path]), _read)
    assert [name for name, _ in networks.graphs.values()] == ["0"]
    onnx.save(classifier(0, width=24), tmp_path / "2.onnx")
    assert len(read_networks(model_files([tmp_path]), _read).graphs) == 2


def test_no_weight_is_in_the_file(database: Path, model: Path) -> None:
    networks = read_networks([model], _read)
    add(open_store(database, write=True), networks)
    content = database.read_bytes()
    arrays = [numpy_helper.to_array(t) for t in onnx.load(model).graph.initializer]
    weights = np.concatenate([a.ravel() for a in arrays])
    weights = weights[weights != 0]
    assert len(weights) > 1000
    # Four bytes may occur by accident, the eight of two neighbours may not.
    some = weights[::9]
    assert sum(weight.tobytes() in content for weight in some) <= 2
    assert not any(f"{weight:.6g}".encode() in content for weight in some)
    pairs = (array.ravel()[n : n + 2] for array in arrays for n in range(0, array.size - 1, 5))
    assert not any(pair.any() and pair.tobytes() in content for pair in pairs)


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.onnx", "a.onnx", "deep/er/c.onnx", "readme.md"):
        (tmp_path / name).write_bytes(b"")
    a, b, c = (tmp_path / name for name in ("a.onnx", "b.onnx", "deep/er/c.onnx"))
    assert model_files([b, tmp_path]) == (b, a, c)
    assert model_files([tmp_path / "none.onnx"]) == (tmp_path / "none.onnx",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no \.onnx file"):
        model_files([tmp_path / "empty"])


def test_a_bad_file_is_left_out_and_named(
    database: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    to = ["--quiet", "--segment-db", str(database)]
    assert cli.run(["db", "add", str(tmp_path), *to]) == 0
    output = capsys.readouterr().out
    assert output.startswith("1 new networks, 0 known before\n")
    assert f"left out: {bad}: not an ONNX file" in output
    assert cli.run(["db", "add", str(model), *to]) == 0
    output = capsys.readouterr().out
    assert output.startswith("0 new networks, 1 known before\n0 new segments, 0 new tokens")
    assert ("tiny", 1) in open_store(database).sightings(_hash_of_its_head(model))


def test_nothing_but_bad_files_is_an_error(database: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    before = database.read_bytes()
    with pytest.raises(InputError, match=r"bad\.onnx: not an ONNX file.*none of 1"):
        read_networks([bad], _read)
    assert cli.run(["db", "add", str(bad), "--segment-db", str(database)]) == 2
    assert database.read_bytes() == before


def test_a_model_without_operators_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no operators"):
        read_networks([tmp_path / "a.onnx"], lambda _: OpGraph(((1,),), (), (), (0,)))


def test_a_database_opened_for_reading_stays_as_it_is(database: Path) -> None:
    graph, before = _unlike_any_family(2), database.read_bytes()
    with pytest.raises(InputError, match="reading only"):
        add(open_store(database), Networks({digest(graph): ("own", graph)}))
    assert database.read_bytes() == before


_CODE = """
import sys
from pathlib import Path
from autogo_onnx.inspection import read_rewritten
from autogo_onnx.model import load
from autogo_onnx.segment_db.adding import add, read_networks
from autogo_onnx.segment_db.store import open_store

networks = read_networks([Path(sys.argv[2])], lambda path: read_rewritten(load(path)).opgraph)
add(open_store(Path(sys.argv[1]), write=True), networks)
"""


def test_same_models_same_contents_whatever_the_hash_seed(
    base: bytes, database: Path, model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(base)
    subprocess.run(
        [sys.executable, "-c", _CODE, str(other), str(model)],
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    add(open_store(database, write=True), read_networks([model], _read))
    contents = []
    for path in (database, other):
        connection = sqlite3.connect(path)
        contents.append(list(connection.iterdump()))
        connection.close()
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_processes_that_add_at_once_lose_nothing(base: bytes, tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    path.write_bytes(base)
    for width in (8, 16, 24, 32):
        onnx.save(classifier(width=width), tmp_path / f"w{width}.onnx")
    root = str(Path(__file__).parents[1])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _CODE, str(path), str(file)], env={"PYTHONPATH": root}
        )
        for file in sorted(tmp_path.glob("*.onnx"))
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    info = open_store(path).info()
    assert info["networks"] == len(MINED) + 4
    assert all(f"w{width}: " in str(info["by family"]) for width in (8, 16, 24, 32))


@pytest.mark.slow
def test_the_zoo_is_covered_after_adding(shared: Path, database: Path) -> None:
    path = shared / "zoo" / "yolox_nano.onnx"
    networks = read_networks([path], _read)
    ((_, (_, graph)),) = networks.graphs.items()
    before = _covered(graph, open_store(database))
    add(open_store(database, write=True), networks)
    assert before < 0.1
    assert _covered(graph, open_store(database)) > 0.9
