"""Predictions of an opened file, what it says of itself, and files that are none of ours."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from predictor_files import COLUMNS, fitted, head, members, random_rows, written

from autogo_onnx import cli, devices, features, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.features import Context, Network
from autogo_onnx.features.operators import CLASSES
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import Predictor, open_predictor
from autogo_onnx.predictor.description import describe
from autogo_onnx.predictor.heads import Head
from autogo_onnx.segment_db.families.builder import Builder


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    heads = [head(spearman=0.97, families={"nasbench201": 4929}), head("error", count=1)]
    folder = tmp_path_factory.mktemp("predictor")
    return written(folder / "p.onnx", heads, command="train", tables={"a.csv": "0" * 64})


@pytest.fixture(scope="module")
def predictor(path: Path) -> Predictor:
    return open_predictor(path)


def chain(*channels: int, inputs: int = 3, kernel: int = 3) -> OpGraph:
    """A convolution and a Relu per entry."""
    net = Builder((1, inputs, 8, 8))
    x = 0
    for width in channels:
        x = net.relu(net.conv(x, width, kernel=kernel))
    return net.graph(x)


def test_mean_and_deviation_are_those_of_the_members(predictor: Predictor) -> None:
    rows = random_rows(400, seed=7)
    each = np.stack([m.predict(rows[:, COLUMNS]) for m in members(3)], axis=1)
    found = predictor.predict(rows)
    assert found.mean.dtype == found.deviation.dtype == np.float64
    np.testing.assert_allclose(found.mean, each.mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.deviation, each.std(axis=1), rtol=1e-4, atol=1e-6)
    assert found.deviation.max() > 0.01


def test_rows_of_a_batch_do_not_know_each_other(predictor: Predictor) -> None:
    rows = random_rows(150, seed=3)
    whole = predictor.predict(rows)
    for part in (slice(0, 1), slice(5, 60), slice(149, 150)):
        np.testing.assert_array_equal(predictor.predict(rows[part]).mean, whole.mean[part])


def test_one_member_has_no_deviation(predictor: Predictor) -> None:
    found = predictor.predict(random_rows(9), "error")
    assert not found.deviation.any()
    np.testing.assert_allclose(
        found.mean, members(1)[0].predict(random_rows(9)[:, COLUMNS]), rtol=1e-5, atol=1e-6
    )


def test_the_deviation_is_scaled_as_the_head_says(predictor: Predictor, tmp_path: Path) -> None:
    scaled = open_predictor(written(tmp_path / "p.onnx", [head(deviation_scale=2.5)]))
    rows = random_rows(50)
    plain, wider = predictor.predict(rows), scaled.predict(rows)
    np.testing.assert_array_equal(wider.mean, plain.mean)
    np.testing.assert_allclose(wider.deviation, 2.5 * plain.deviation)


def value_predictor(path: Path) -> Predictor:
    """Two members that know sizes of networks only: one weighs the last convolution by more."""
    columns = [
        features.COLUMNS.index(name) for name in ("network.macs_log2", "replacement.macs_log2")
    ]
    rows = np.random.default_rng(0).uniform(0, 30, (500, 2)).astype(np.float32)
    regressors = [
        fitted(rows, rows @ np.array(weights), max_iter=60, random_state=0)
        for weights in ((1.0, 0.1), (1.0, 0.3))
    ]
    return open_predictor(written(path, [Head("accuracy", "size", regressors, columns)]))


def test_a_comparison_is_with_the_segment_that_is_there(tmp_path: Path) -> None:
    predictor = value_predictor(tmp_path / "p.onnx")
    site: Context = Network(chain(8, 16, 8)).site([2, 3])
    same, larger, smaller = (chain(16, inputs=8, kernel=kernel) for kernel in (3, 5, 1))
    found = predictor.compare(site, [same, larger, smaller])
    assert found.mean[0] == found.deviation[0] == 0
    assert found.mean[2] < 0 < found.mean[1]
    assert found.deviation[1] > 0, "the members weigh the change differently"
    parts = np.stack([features.describe(graph) for graph in (same, larger, smaller)])
    np.testing.assert_array_equal(predictor.compare_parts(site, parts).mean, found.mean)
    values = predictor.predict(features.rows_of_parts(site, parts))
    np.testing.assert_allclose(found.mean, values.mean - values.mean[0], atol=1e-12)


def test_nothing_is_compared_and_nothing_predicted(predictor: Predictor) -> None:
    assert predictor.compare(Network(chain(8, 8)).site([0]), []).mean.shape == (0,)
    none = predictor.predict(np.empty((0, len(features.COLUMNS)), np.float32))
    assert none.mean.shape == none.deviation.shape == (0,)


def test_a_head_is_opened_when_it_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = runtime.open_session

    def counted(model: onnx.ModelProto) -> object:
        opened.append([output.name for output in model.graph.output])
        return real(model)

    monkeypatch.setattr(runtime, "open_session", counted)
    predictor = open_predictor(path)
    assert opened == []
    for _ in range(2):
        predictor.predict(random_rows(2), "error")
    assert opened == [["error"]]


def test_what_it_lacks_is_said(predictor: Predictor) -> None:
    assert predictor.heads() == ("accuracy", "error")
    assert predictor.facts("accuracy")["spearman"] == 0.97
    for ask in (predictor.facts, predictor.sizes, lambda h: predictor.predict(random_rows(1), h)):
        with pytest.raises(InputError, match=r"no head 'latency', only accuracy, error"):
            ask("latency")


@pytest.mark.parametrize("shape", [(2, 3), (len(features.COLUMNS),), (0, 3)])
def test_wrong_rows_are_refused(predictor: Predictor, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected"):
        predictor.predict(np.zeros(shape, np.float32))


def test_info_tells_heads_figures_and_provenance(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["predictor", "info", "--predictor", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        "format autogo-onnx predictor, version 2",
        f"columns {len(features.COLUMNS)}, version {features.VERSION}",
        "head accuracy accuracy in its unit",
        "members 3",
    ]
    for line in ("nasbench201 4,929", "spearman 0.97", "members 1", "command train"):
        assert line in lines
    assert f"a.csv {'0' * 64}" in lines


def test_info_lists_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = np.ones((len(CLASSES), len(devices.AMOUNTS)))
    phone = devices.Device("a-phone", prices, 0.5, (1.0, 9.0), frozenset(CLASSES), {})
    path = written(tmp_path / "p.onnx", devices=devices.to_json([phone]))
    assert cli.run(["predictor", "info", "--predictor", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    heading = next(number for number, line in enumerate(lines) if line.split()[0] == "devices")
    assert "rank correlation and median error" in lines[heading]
    assert lines[heading + 1].split() == ["a-phone"]


def test_a_long_or_deep_description_is_cut(tmp_path: Path) -> None:
    deep: object = 1
    for _ in range(50):
        deep = {"in": deep}
    many = {f"n{i:04}": i for i in range(5000)}
    path = written(tmp_path / "p.onnx", deep=deep, many=many, long="y" * 10_000, two="a\nhead b")
    lines = describe(open_predictor(path)).splitlines()
    assert len(lines) < 250
    assert max(map(len, lines)) < 500
    assert any(line.endswith("4900 more") for line in lines)
    assert any(line.split() == ["two", "a", "head", "b"] for line in lines)
    keys: dict[str, Any] = {f"key{number:03}": "x" for number in range(200)}
    assert "101 more" in describe(open_predictor(written(tmp_path / "q.onnx", **keys, z="z")))


def test_info_shows_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "p.onnx", note="a\x1b[31mred\x07")
    assert cli.run(["predictor", "info", "--predictor", str(path)]) == 0
    out = capsys.readouterr().out
    assert "red" in out
    assert "\x1b" not in out


def _set(model: onnx.ModelProto, key: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == key).value = value


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda m: _set(m, "format", "other"), "not a predictor"),
        (lambda m: m.ClearField("metadata_props"), "not a predictor"),
        (lambda m: _set(m, "format_version", "1"), "version '1'"),
        (lambda m: _set(m, "features_version", "99"), "version '99'"),
        (lambda m: _set(m, "columns", '["a"]'), "name and order"),
        (lambda m: _set(m, "columns", "{"), "not JSON"),
        (lambda m: _set(m, "heads", "[" * 100_000), "not JSON"),
        (lambda m: _set(m, "heads", "[]"), "does not describe"),
        (lambda m: _set(m, "heads", '{"accuracy": 1}'), "does not describe"),
        (lambda m: _set(m, "heads", '{"accuracy": {}}'), "other heads"),
        (lambda m: _set(m, "heads", r'{"\u001b[31m": {}}'), "cannot be named"),
        (lambda m: _set(m, "heads", '{"a": {"predicts": 1}}'), "not text"),
        (lambda m: _set(m, "heads", '{"a": {"deviation_scale": NaN}}'), "not a factor"),
        (lambda m: _set(m, "heads", '{"a": {"deviation_scale": true}}'), "no number"),
        (lambda m: m.graph.node.add(op_type="Identity", input=["rows"], output=["z"]), "alone"),
        (lambda m: m.graph.initializer.add(name="w"), "initializers"),
        (lambda m: m.functions.add(name="f"), "functions"),
        (lambda m: m.graph.input.add(name="more"), "one input"),
        (lambda m: m.graph.node[0].input.append("accuracy"), "something other"),
        (lambda m: m.graph.node[0].output.append("more"), "those of its heads"),
        (lambda m: m.graph.node.add().CopyFrom(m.graph.node[0]), "those of its heads"),
        (lambda m: m.opset_import.pop(), "alone"),
        (lambda m: m.graph.input[0].type.Clear(), "not float32"),
    ],
)
def test_a_foreign_or_damaged_predictor_is_refused(
    path: Path, tmp_path: Path, damage: Callable[[onnx.ModelProto], object], reason: str
) -> None:
    model = onnx.load(path)
    damage(model)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"damaged\.onnx") as caught:
        open_predictor(damaged)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_ordinary_model_is_refused() -> None:
    demo = Path(str(resources.files("autogo_onnx"))) / "demo"
    models = sorted(demo.glob("*.onnx"))
    assert models
    for model in models:
        with pytest.raises(InputError, match="not a predictor"):
            open_predictor(model)


def test_what_is_not_onnx_is_refused(path: Path, tmp_path: Path) -> None:
    for content in (b"", b"\x80\x04K\x01.", b"{}", path.read_bytes()[:5000]):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.onnx"):
            open_predictor(tmp_path / "x.onnx")
    with pytest.raises(InputError, match="missing"):
        open_predictor(tmp_path / "missing.onnx")
    with pytest.raises(InputError, match="cannot read"):
        open_predictor(tmp_path)
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(InputError, match="larger than 16 MiB"):
        open_predictor(tmp_path / "huge.onnx")
