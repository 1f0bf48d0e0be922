"""The command `evolve`, its files, and the same as a function."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from net_cases import Net

import autogo_onnx
from autogo_onnx import cli
from autogo_onnx.commands.evolve import evolve as command
from autogo_onnx.demo import copy_to
from autogo_onnx.errors import InputError
from autogo_onnx.evolved import EvolveOptions, workflow
from autogo_onnx.evolved.report import EvolveReport
from autogo_onnx.evolved.text import to_text
from autogo_onnx.predictor import open_predictor
from autogo_onnx.sizes import size

SMALL = "--iterations 2 --parents 2 --children 6 --keep 3 --target macs --quiet"
"""The search takes a second of computing, and nothing is measured."""
FEW: dict[str, Any] = {"iterations": 2, "parents": 2, "children": 6, "keep": 3, "target": "macs"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_to(tmp_path_factory.mktemp("digits"))[0]


@pytest.fixture(scope="module")
def evolved(digits: Path) -> EvolveReport:
    return autogo_onnx.evolve(digits, **FEW)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.run(["evolve", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_option_has_the_default_of_the_library() -> None:
    given = command.make_context("evolve", ["m.onnx", "-o", "out"]).params
    others = {"model", "output", "quiet"}
    chosen = {name: value for name, value in given.items() if name not in others}
    assert EvolveOptions(**{**chosen, "jobs": chosen["jobs"] or 1}) == EvolveOptions()


def test_models_table_and_reports_are_written(
    digits: Path, evolved: EvolveReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, digits, "-o", tmp_path / "new" / "out", *SMALL.split())
    assert (code, err) == (0, "")
    folder = tmp_path / "new" / "out"
    names = [model.file for model in evolved.models]
    assert names[:2] == ["rank_01.onnx", "rank_02.onnx"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*names, "base.onnx", "front.csv", "report.html", "report.json"]
    )
    without_times = [line for line in out.splitlines() if "seconds" not in line]
    assert set(to_text(evolved).splitlines()) > set(without_times[:6])
    rows = list(csv.DictReader((folder / "front.csv").read_text().splitlines()))
    told = json.loads((folder / "report.json").read_text())
    assert [row["file"] for row in rows] == [one["file"] for one in told["models"]] == names
    for row, model in zip(rows, evolved.models, strict=True):
        written = onnx.load(folder / row["file"])
        assert written == model.model
        onnx.checker.check_model(written, full_check=True)
        assert int(row["macs"]) == size(written).macs == model.size.macs


def test_the_report_says_what_changed_and_draws_it(
    digits: Path, evolved: EvolveReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, digits, "-o", tmp_path, *SMALL.split())[0] == 0
    told = json.loads((tmp_path / "report.json").read_text())
    nodes = {node.name for node in onnx.load(tmp_path / "base.onnx").graph.node}
    for model in told["models"]:
        assert model["deviation"] >= 0
        for change in model["changes"]:
            assert nodes.issuperset(change["nodes"])
            assert change["before"][0].startswith("○ input")
            assert change["after"][-1].endswith("◇ output")
        deltas = sum(change["macs_delta"] for change in model["changes"])
        assert told["base"]["macs"] + deltas == model["size"]["macs"]
    page = (tmp_path / "report.html").read_text()
    changes = sum(len(model.changes) for model in evolved.models)
    assert page.count("<svg") == page.count("</svg>") == 2 * changes > 0


def test_the_front_is_sorted_within_the_limits_and_none_beats_another(
    evolved: EvolveReport,
) -> None:
    changes = [model.predicted_change for model in evolved.models]
    assert changes == sorted(changes, reverse=True)
    assert all(-0.2 <= model.macs_change <= 0.1 for model in evolved.models)
    costs = [model.size.macs for model in evolved.models]
    assert costs == sorted(costs, reverse=True)
    assert len({model.key for model in evolved.models}) == len(costs)


def test_weights_that_did_not_change_are_the_files_own(digits: Path, evolved: EvolveReport) -> None:
    before = {t.name: t for t in evolved.base_model.graph.initializer}
    for model in evolved.models:
        after = {t.name: t for t in model.model.graph.initializer}
        shared = before.keys() & after.keys()
        assert shared
        assert all(before[name] == after[name] for name in shared)
        own = sum(after[name].raw_data != b"" for name in shared)
        assert own == len(shared)
        assert 0 < model.inherited < 1


def test_the_same_seed_gives_the_same_and_another_one_another(
    digits: Path, evolved: EvolveReport
) -> None:
    again = autogo_onnx.evolve(str(digits), **FEW)
    assert [model.key for model in again.models] == [model.key for model in evolved.models]
    assert [m.model.SerializeToString() for m in again.models] == [
        m.model.SerializeToString() for m in evolved.models
    ]
    other = autogo_onnx.evolve(digits, **{**FEW, "seed": 1})
    assert [model.key for model in other.models] != [model.key for model in evolved.models]


def test_a_published_network_needs_no_file() -> None:
    report = autogo_onnx.evolve("nasbench_macro:00000000", **{**FEW, "iterations": 1})
    assert report.source == "nasbench_macro:00000000"
    assert "BatchNormalization" not in {n.op_type for n in report.base_model.graph.node}
    assert report.models


def test_an_interrupted_run_goes_on_and_comes_to_the_same(
    digits: Path, evolved: EvolveReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt dies after an iteration; the second does only the other."""

    class Interrupted(Exception):
        pass

    done: list[int] = []

    def tell(stop: int, progress: object, found: Any) -> None:
        done.append(len(found.counts))
        if len(found.counts) == stop:
            raise Interrupted

    folder = tmp_path / "work"
    monkeypatch.setattr(workflow, "_tell", partial(tell, 1))
    with pytest.raises(Interrupted):
        autogo_onnx.evolve(digits, work_dir=str(folder), **FEW)
    assert any(folder.iterdir())
    monkeypatch.setattr(workflow, "_tell", partial(tell, 0))
    report = autogo_onnx.evolve(digits, work_dir=folder, **FEW)
    assert done == [1, 2]
    assert [model.key for model in report.models] == [model.key for model in evolved.models]
    assert not folder.exists()


def test_the_state_is_kept_until_everything_is_written(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the very end costs no search."""
    from autogo_onnx.evolved import folder

    def full(report: EvolveReport, place: Path) -> None:
        raise InputError(f"{place}: no space left")

    work, told = tmp_path / "work", [*SMALL.split(), "--work-dir", str(tmp_path / "work")]
    with monkeypatch.context() as patched:
        patched.setattr(folder, "write", full)
        assert cli.run(["evolve", str(digits), "-o", str(tmp_path / "out"), *told]) == 2
    assert any(work.iterdir())
    searched: list[object] = []
    monkeypatch.setattr(workflow, "_tell", lambda *given: searched.append(given))
    assert cli.run(["evolve", str(digits), "-o", str(tmp_path / "out"), *told]) == 0
    assert not searched
    assert not work.exists()


def test_limits_and_operators_are_kept(digits: Path) -> None:
    report = autogo_onnx.evolve(
        digits,
        **FEW,
        max_macs_change=(-0.5, 0.0),
        max_params_change=0.0,
        allow_ops=("Conv", "Relu"),
    )
    assert report.models
    for model in report.models:
        assert -0.5 <= model.macs_change <= 0
        assert model.params_change <= 0
        new = {op.kind for change in model.changes for op in change.after.ops}
        assert new <= {"Conv", "Relu"} | {
            op.kind for change in model.changes for op in change.before.ops
        }


def test_a_device_is_predicted_for_and_limits_the_search(digits: Path) -> None:
    device = next(iter(json.loads(open_predictor().info["devices"])))
    chosen = {**FEW, "target": f"device:{device}", "max_latency_change": 0.0}
    report = autogo_onnx.evolve(digits, **chosen)
    assert report.latency_is == "predicted"
    assert report.models
    for model in report.models:
        assert model.latency is not None
        assert model.latency.noise is None
        assert model.latency.ratio <= 1.0001
        assert model.size.latency_ms == model.latency.ms


def test_latency_is_measured_on_the_cpu(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on it leaves out what does not keep it, and says nothing is left."""
    from autogo_onnx.evolved import timing

    monkeypatch.setattr(timing, "MEASURED_S", 0.02)
    chosen = {**FEW, "iterations": 1, "keep": 1, "target": "cpu"}
    report = autogo_onnx.evolve(digits, **chosen)
    (model,) = report.models
    assert report.latency_is == "measured"
    assert model.latency is not None
    assert model.latency.noise is not None
    assert report.base.latency_ms == model.latency.ms_base
    none = autogo_onnx.evolve(digits, **chosen, max_latency_change=-0.99)
    assert none.models == ()
    assert "only the base is left" in to_text(none)


def test_what_is_no_classifier_is_warned_of(evolved: EvolveReport) -> None:
    net = Net(1, 3, 12, 12)
    pictures = net.model(net.conv(net.relu(net.conv(net.relu(net.conv("x", 3, 8)), 8, 8)), 8, 3))
    assert "learnt from classifiers" in autogo_onnx.evolve(pictures, **FEW).warnings[0]
    assert not any("classifiers" in line for line in evolved.warnings)


def test_models_of_an_earlier_run_do_not_stay(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rank_mine.onnx").write_bytes(b"not ours")
    assert run(capsys, digits, "-o", tmp_path, *SMALL.split())[0] == 0
    assert (tmp_path / "rank_02.onnx").exists()
    assert run(capsys, digits, "-o", tmp_path, *SMALL.split(), "--keep", 1)[0] == 0
    assert (tmp_path / "rank_01.onnx").exists()
    assert not (tmp_path / "rank_02.onnx").exists()
    assert (tmp_path / "rank_mine.onnx").exists()


def test_a_budget_that_is_over_gives_what_there_is(digits: Path) -> None:
    report = autogo_onnx.evolve(digits, **{**FEW, "iterations": 50, "budget_s": 0.1})
    assert len(report.iterations) < 50
    # Whether all models of what was found are built in time depends on the machine.
    assert any("the budget ended the search after" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{tmp}/none.onnx -o {tmp}/out", "none.onnx: No such file"),
        ("resnet51 -o {tmp}/out", "resnet51: is no file, and network 'resnet51' is not"),
        ("{model} -o {model}", "is a file"),
        ("{model} -o {tmp}/out --max-macs-change 0.3", "write -0.2..0.1"),
        ("{model} -o {tmp}/out --max-macs-change 0.1..0.3", "write -0.2..0.1"),
        ("{model} -o {tmp}/out --allow-ops Conv,LSTM", "operator 'LSTM' is none that"),
        ("{model} -o {tmp}/out --target macs --max-latency-change 0", "a limit on it needs"),
        ("{model} -o {tmp}/out --target device:none", "none"),
        ("{model} -o {tmp}/out --jobs 2 --scheduler tcp://x:1", "not by both"),
        ("{model} -o {tmp}/out --segment-db {model}", "digits.onnx"),
        ("{model} -o {tmp}/out --predictor {model}", "digits.onnx"),
        ("{model} -o {tmp}/out --consecutive 4", "'--consecutive': 4 is not in the range"),
    ],
)
def test_bad_input_is_one_line(
    arguments: str, told: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments.format(tmp=tmp_path, model=digits).split()
    code, out, err = run(capsys, *given, "-q")
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("rank_*"))


@pytest.mark.parametrize("name", ["base.onnx", "rank_07.onnx"])
def test_the_input_is_never_written_over(
    name: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / name
    model.write_bytes(digits.read_bytes())
    code, _, err = run(capsys, model, "-o", tmp_path, *SMALL.split())
    assert (code, model.read_bytes()) == (2, digits.read_bytes())
    assert "would be written over: choose another folder than its own" in err


def test_a_report_without_models_has_a_line_for_it(evolved: EvolveReport) -> None:
    text = to_text(replace(evolved, models=()))
    assert "only the base is left" in text


@pytest.mark.slow
def test_several_processes_give_the_same(digits: Path, evolved: EvolveReport) -> None:
    report = autogo_onnx.evolve(digits, **FEW, jobs=2)
    assert [model.key for model in report.models] == [model.key for model in evolved.models]
