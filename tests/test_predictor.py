from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx import features, predictor_labels, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.features import Rows
from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.predictor import SHIPPED, open_predictor
from autogo_onnx.predictor_labels import Labels, macro_network, nasbench201_network, read
from autogo_onnx.predictor_pairs import Sites, draw
from autogo_onnx.predictor_training import Pairs, Recipe, fit, main, pairs_of, train
from autogo_onnx.segment_db.families import nasbench201
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.tree_ensemble import float32_at_most, to_onnx

SMALL = Recipe(neighbours=4, others=4, trees=20, leaves=7, column_share=1.0)
CONVOLUTION = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
IDENTITY = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
NB201, MACRO = (table.file for table in predictor_labels._TABLES)


def write_table(path: Path, header: str, rows: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *(f"{arch},{accuracy}" for arch, accuracy in rows.items()), ""])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def write_tables(folder: Path) -> None:
    """Made-up accuracies that rise with the weights: a predictor can learn them from a few rows."""
    operations = ("nor_conv_1x1", "nor_conv_3x3", "skip_connect")
    worth = {"nor_conv_1x1": 1.0, "nor_conv_3x3": 3.0}
    cells = {}
    for a in operations:
        for b in operations:
            for c in nasbench201.OPERATIONS:
                arch = nasbench201.encode((a, "none", b, c, "none", "skip_connect"))
                cells[arch] = 80 + worth.get(a, 0) + worth.get(b, 0) + worth.get(c, 0)
    write_table(folder / NB201, "arch_str,c10_test_mean_200ep", cells)
    chains = {f"1{a}2{b}01{c}0": 0.0 for a in "012" for b in "012" for c in "012"}
    chains = {arch: 70 + sum(map(int, arch)) for arch in chains}
    write_table(folder / MACRO, "arch,mean_acc", chains)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tables: Path) -> Path:
    train(tables, tables / "predictor.onnx", recipe=SMALL)
    return tables / "predictor.onnx"


def random_rows(count: int, columns: int, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    return generator.choice([0, 1, 2, 0.1, 0.3, 1e-3, 7], (count, columns)).astype(np.float32)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_rounding_down_keeps_every_comparison(threshold: float) -> None:
    rounded = float32_at_most(np.array([threshold]))[0]
    above = np.nextafter(rounded, np.float32(np.inf))
    assert float(rounded) <= threshold < float(above)


def test_exported_trees_equal_scikit_learn() -> None:
    rows = random_rows(3000, 5)
    changes = rows[:, 0] * 0.1 + np.sin(rows[:, 1]) - rows[:, 2] * rows[:, 3]
    regressor = fit(Pairs(rows, changes.astype(np.float64)), replace(SMALL, trees=60), seed=0)
    session = runtime.open_session(to_onnx(regressor, 5, {}))
    thresholds = [
        float(node["num_threshold"])
        for (tree,) in regressor._predictors
        for node in tree.nodes
        if not node["is_leaf"]
    ]
    near = float32_at_most(np.array(thresholds))
    edges = np.concatenate([near, np.nextafter(near, np.float32(np.inf))])
    probes = np.concatenate([rows, np.repeat(edges[:, None], 5, axis=1), random_rows(500, 5, 1)])
    probes[::7, 2] = np.nan
    (found,) = session.run(None, {"rows": probes})
    np.testing.assert_allclose(found[:, 0], regressor.predict(probes), rtol=1e-6, atol=1e-6)


def test_encodings_of_one_network_are_one() -> None:
    with_a_dead_edge = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
    assert nasbench201_network(IDENTITY) == nasbench201_network(with_a_dead_edge) == "x"
    nothing = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
    assert nasbench201_network(nothing) == ""
    assert macro_network("00101010") == macro_network("00110010")
    assert macro_network("10000000") != macro_network("01000000"), "a first block is never dropped"


def test_labels_count_networks_and_know_their_neighbours(tables: Path) -> None:
    cells, chains = read(tables)
    assert (cells.family, chains.family) == ("nasbench201", "nasbench_macro")
    networks = [nasbench201_network(arch) for arch in cells.archs]
    assert len(set(networks)) == len(networks) < 45
    assert cells.standardized().mean() == pytest.approx(0)
    assert cells.standardized().std() == pytest.approx(1)
    for index, near in enumerate(chains.neighbours):
        assert index not in near
        assert near == tuple(sorted(set(near)))
    first = chains.archs.index("10200100")
    assert chains.archs.index("11200100") in chains.neighbours[first]


def test_pairs_are_drawn_from_the_given_networks_only(tables: Path) -> None:
    labels = read(tables)[1]
    chosen = range(0, len(labels.archs), 2)
    drawn = draw(labels, chosen, neighbours=2, others=3, seed=1)
    assert [parent for parent, _ in drawn] == list(chosen)
    assert all(c in chosen and c != parent for parent, children in drawn for c in children)
    assert drawn == draw(labels, chosen, neighbours=2, others=3, seed=1)


def test_rows_of_a_pair_of_macro_networks() -> None:
    sites = Sites("nasbench_macro")
    smaller, wider = sites.rows("11201110", ["11200110", "11201120"])
    columns = features.COLUMNS
    assert smaller[columns.index("change.macs_log2")] < 0 < wider[columns.index("change.macs_log2")]
    assert smaller[columns.index("replacement.ops")] == 0, "an identity"
    assert smaller[columns.index("network.depth")] < wider[columns.index("network.depth")]
    assert smaller[columns.index("network.macs_log2_change")] < 0


def test_every_family_is_cut_at_its_blocks() -> None:
    row = Sites("nasbench201").rows(CONVOLUTION, [IDENTITY])[0]
    found = dict(zip(features.COLUMNS, row.tolist(), strict=True))
    assert (found["segment.ops"], found["segment.conv3x3_ops"]) == (2, 1)
    assert found["replacement.ops"] == 0
    assert found["segment.in_channels_log2"] == pytest.approx(np.log2(33))
    assert found["predecessor.conv3x3_ops"] == 1 + 7 + 2, "stem, seven cells, one reduction"
    assert found["successor.conv3x3_ops"] == 7 + 2


def test_training_ranks_what_it_has_seen(tables: Path, trained: Path) -> None:
    predictor = open_predictor(trained)
    labels: Labels = read(tables)[1]
    pairs = pairs_of(labels, Sites(labels.family), range(len(labels.archs)), SMALL, seed=5)
    predicted = predictor.predict(pairs.rows)
    assert predicted.dtype == np.float64
    assert np.corrcoef(predicted, pairs.changes)[0, 1] > 0.95


def test_training_twice_gives_the_same_bytes(tables: Path, trained: Path, tmp_path: Path) -> None:
    train(tables, tmp_path / "again.onnx", recipe=SMALL)
    assert (tmp_path / "again.onnx").read_bytes() == trained.read_bytes()


def test_metadata_says_where_it_comes_from(trained: Path) -> None:
    info = open_predictor(trained).info
    assert json.loads(info["families"]) == {"nasbench201": 32, "nasbench_macro": 27}
    assert all(len(digest) == 64 for digest in json.loads(info["tables_sha256"]).values())
    assert "predictor_training" in info["command"]


def test_wrong_rows_are_refused(trained: Path) -> None:
    predictor = open_predictor(trained)
    with pytest.raises(InputError, match="expected"):
        predictor.predict(np.zeros((2, 3), np.float32))
    assert predictor.predict(np.empty((0, len(features.COLUMNS)), np.float32)).shape == (0,)


def _set(model: onnx.ModelProto, key: str, value: str) -> None:
    entry = next(p for p in model.metadata_props if p.key == key)
    entry.value = value


def _set_ints(model: onnx.ModelProto, name: str, value: int) -> None:
    attribute = next(a for a in model.graph.node[0].attribute if a.name == name)
    attribute.ints[0] = value


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda m: _set(m, "format", "other"), "not a predictor"),
        (lambda m: m.ClearField("metadata_props"), "not a predictor"),
        (lambda m: _set(m, "features_version", "99"), "version '99'"),
        (lambda m: _set(m, "columns", '["a"]'), "name and order"),
        (lambda m: _set(m, "columns", "{"), "not JSON"),
        (lambda m: m.graph.node.add(op_type="Identity", input=["rows"], output=["z"]), "is one"),
        (lambda m: m.graph.initializer.add(name="w"), "initializers"),
        (lambda m: m.graph.input.add(name="more"), "one input"),
        (lambda m: _set_ints(m, "nodes_featureids", 1 << 22), "columns that do not exist"),
        (lambda m: _set_ints(m, "nodes_featureids", -1), "columns that do not exist"),
        (lambda m: _set_ints(m, "target_ids", 5), "more than one number"),
        (lambda m: m.graph.node[0].attribute[0].CopyFrom(onnx.AttributeProto()), "does not load"),
    ],
)
def test_a_foreign_or_damaged_predictor_is_refused(
    trained: Path, tmp_path: Path, damage: Callable[[onnx.ModelProto], object], reason: str
) -> None:
    model = onnx.load(trained)
    damage(model)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="damaged") as caught:
        open_predictor(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_onnx_is_refused(trained: Path, tmp_path: Path) -> None:
    for content in (b"\x80\x04K\x01.", b"{}", trained.read_bytes()[:5000]):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.onnx"):
            open_predictor(tmp_path / "x.onnx")
    with pytest.raises(InputError, match="missing"):
        open_predictor(tmp_path / "missing.onnx")
    with pytest.raises(InputError, match="cannot read"):
        open_predictor(tmp_path)


def test_bad_tables_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="cannot read the table"):
        read(tmp_path)
    write_tables(tmp_path)
    write_table(tmp_path / NB201, "arch,accuracy", {"a": 1.0})
    with pytest.raises(InputError, match="arch_str"):
        read(tmp_path)
    (tmp_path / NB201).write_bytes(b"plain text")
    with pytest.raises(SystemExit) as stopped:
        main(["--tables", str(tmp_path), "-o", str(tmp_path / "out.onnx")])
    assert stopped.value.code == 2
    assert "cannot read the table" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_the_shipped_predictor_opens_and_prefers_more_convolution() -> None:
    predictor = open_predictor()
    assert json.loads(predictor.info["families"]) == {"nasbench201": 4929, "nasbench_macro": 3969}
    rows = Sites("nasbench201").rows(CONVOLUTION, [IDENTITY, CONVOLUTION])
    worse, same = predictor.predict(rows)
    assert worse < -0.5
    assert abs(same) < 0.3


def test_the_shipped_predictor_ranks_replacements_in_an_unknown_network() -> None:
    net = Builder((1, 3, 32, 32))
    x = net.relu(net.conv(0, 16, kernel=3))
    for _ in range(6):
        x = net.relu(net.add(x, net.conv(net.relu(net.conv(x, 16, kernel=3)), 16, kernel=3)))
    whole = net.graph(net.classifier(x, 10))
    before, segment, after = (
        cut(whole, ops).graph for ops in (range(10), range(10, 14), range(14, len(whole.ops)))
    )
    half = Builder((1, 16, 32, 32))
    y = half.conv(half.relu(half.conv(0, 8, kernel=3)), 16, kernel=3)
    narrower = half.graph(half.relu(half.add(0, y)))
    nothing = OpGraph(((1, 16, 32, 32),), (), (), (0,))
    site = features.context(before, segment, after)
    same, less, least = open_predictor().compare(site, [segment, narrower, nothing])
    assert same == 0
    assert least < -0.5
    assert least < less


def test_the_shipped_predictor_is_small() -> None:
    path = Path(predictor_labels.__file__).parent / "data" / SHIPPED
    assert path.stat().st_size < 5e6
    model = onnx.load(path)
    assert model.ir_version == 8
    assert {o.domain: o.version for o in model.opset_import} == {"": 17, "ai.onnx.ml": 3}


def test_published_tables_hold_the_known_networks(shared: Path) -> None:
    cells, chains = read(shared / "nas")
    assert (len(cells.archs), len(chains.archs)) == (4929, 3969)


@pytest.mark.slow
def test_the_shipped_predictor_is_reproduced_bit_for_bit(shared: Path, tmp_path: Path) -> None:
    train(shared / "nas", tmp_path / SHIPPED)
    shipped = Path(predictor_labels.__file__).parent / "data" / SHIPPED
    assert (tmp_path / SHIPPED).read_bytes() == shipped.read_bytes()
