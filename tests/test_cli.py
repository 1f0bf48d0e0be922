"""The command line: options become one value, errors one line and an exit code, results files."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from example_report import full_report, relu_model, unchanged_report

import autogo_onnx
from autogo_onnx import cli
from autogo_onnx.deadline import Clock
from autogo_onnx.errors import InputError, PromiseError
from autogo_onnx.options import Options
from autogo_onnx.progress import Progress
from autogo_onnx.report import Report

SNAPSHOTS = Path(__file__).parent / "cli"
Fake = Callable[[Path, Options, Progress], Report]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "in.onnx"
    onnx.save(relu_model(), path)
    return path


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], list[Options]]:
    """Put a function in the place of the main workflow; the options of every call are noted."""

    def install(fake: Fake) -> list[Options]:
        seen: list[Options] = []

        def optimize(
            model: Path,
            *,
            options: Options,
            progress: Progress,
            clock: Clock | None = None,
            deliver: Callable[[Report], None] | None = None,
        ) -> Report:
            seen.append(options)
            report = fake(model, options, progress)
            if deliver is not None:
                deliver(report)
            return report

        module = types.ModuleType("autogo_onnx.optimization")
        module.__dict__["optimize"] = optimize
        monkeypatch.setitem(sys.modules, "autogo_onnx.optimization", module)
        return seen

    return install


@pytest.mark.parametrize("given", [2**20, resource.RLIM_INFINITY])
def test_memory_is_bounded_but_no_wider_than_it_was(
    given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (given, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda what, pair: limits.append(pair))
    cli._bound_memory()
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert limits == ([] if given == 2**20 else [(there, resource.RLIM_INFINITY)])


def returning(report: Report) -> Fake:
    return lambda model, options, progress: report


def failing(error: Exception) -> Fake:
    def fake(model: Path, options: Options, progress: Progress) -> Report:
        raise error

    return fake


def masked(text: str) -> str:
    """The text without times, and without the blanks that align them."""
    text = re.sub(r"\[ *\d+\.\d s\]", "[TIME]", text)
    return re.sub(r"(?m)^seconds: .*$", "seconds: TIMES", text)


def snapshot(name: str, text: str) -> None:
    """Compare with a stored text; a missing one is written, and fails this once."""
    path = SNAPSHOTS / f"{name}.txt"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and has been written; read it, then run again")
    assert text == path.read_text(encoding="utf-8")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_every_choice_reaches_the_options(
    run: Run, model: Path, tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    seen = pretend(returning(unchanged_report()))
    table = tmp_path / "prices.json"
    table.write_text("{}")
    arguments = (
        "optimize {model} -o {out} --calibration images --mean 0.5,0.4,0.3 --std 0.2 --scale 1 "
        "--layout nhwc --labels labels.npy --evaluate metric.py:f --max-drop 0.02 --min-psnr 40 "
        "--gate agreement --target macs --threads 2 --budget 1h30m --seed 7 --level unverified "
        "--memory 1.5G --latency-table {table} --segment-db s.db --predictor p.onnx "
        "--quantize-check --work-dir work --distill more --distill-labels more.npy --epochs 3 "
        "--quiet"
    ).format(model=model, out=tmp_path / "out.onnx", table=table)
    assert run(*arguments.split())[0] == 0
    assert seen == [
        Options(
            calibration=Path("images"),
            mean=(0.5, 0.4, 0.3),
            std=(0.2,),
            scale=1.0,
            layout="nhwc",
            labels=Path("labels.npy"),
            evaluate="metric.py:f",
            gate="agreement",
            max_drop=0.02,
            min_psnr=40.0,
            target="macs",
            threads=2,
            budget_s=5400.0,
            memory_bytes=1_500_000_000,
            seed=7,
            level="unverified",
            latency_table=table,
            segment_db=Path("s.db"),
            predictor=Path("p.onnx"),
            quantize_check=True,
            work_dir=Path("work"),
            distill=Path("more"),
            distill_labels=Path("more.npy"),
            epochs=3,
        )
    ]


def test_without_choices_the_options_are_the_defaults(
    run: Run, model: Path, tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    seen = pretend(returning(unchanged_report()))
    assert run("optimize", model, "-o", tmp_path / "out.onnx")[0] == 0
    assert seen == [Options()]


def test_a_run_writes_the_model_and_its_prices_and_prints_the_table(
    run: Run, model: Path, tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    def fake(model: Path, options: Options, progress: Progress) -> Report:
        progress.stage("fit", 3)
        progress.advance()
        progress.note("a note")
        return full_report()

    pretend(fake)
    code, out, err = run("optimize", model, "-o", tmp_path / "out.onnx")
    assert code == 0
    assert onnx.load(tmp_path / "out.onnx") == relu_model()
    assert json.loads((tmp_path / "out.latency.json").read_text())["entries"] == {"key": 0.5}
    snapshot("optimize_stdout", masked(out))
    snapshot("optimize_stderr", masked(err))


def test_explain_lists_everything(
    run: Run, model: Path, tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    pretend(returning(full_report()))
    _, out, err = run("optimize", model, "-o", tmp_path / "out.onnx", "--explain", "--quiet")
    assert err == ""
    snapshot("optimize_explain", masked(out))


def test_pareto_folder_and_report_files(
    run: Run, model: Path, tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    pretend(returning(full_report()))
    for suffix, start in ((".json", '{\n "schema": 1'), (".html", "<!doctype"), (".txt", "in.")):
        report = tmp_path / f"report{suffix}"
        places = ("--pareto", tmp_path / "front", "--report", report)
        assert run("optimize", model, "-o", tmp_path / "out.onnx", *places)[0] == 0
        assert report.read_text().startswith(start)
    assert sorted(p.name for p in (tmp_path / "front").iterdir()) == [
        "front.csv",
        "rank_00.onnx",
        "rank_01.onnx",
    ]
    lines = (tmp_path / "front" / "front.csv").read_text().splitlines()
    assert lines[0] == "file,latency_ratio,macs,drop,drop_bound,psnr_db"
    assert lines[1] == "rank_00.onnx,0.7,28000000,0.012,0.02,"


def test_a_latency_table_is_written_where_it_does_not_exist_yet(
    run: Run, model: Path, tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    seen = pretend(returning(full_report()))
    table = tmp_path / "prices.json"
    arguments = ("optimize", model, "-o", tmp_path / "out.onnx", "--latency-table", table)
    assert run(*arguments)[0] == 0
    first = table.read_bytes()
    assert run(*arguments)[0] == 0
    assert [options.latency_table for options in seen] == [None, table]
    assert table.read_bytes() == first
    assert not (tmp_path / "out.latency.json").exists()


@pytest.mark.parametrize(("report", "code"), [(full_report(), 1), (unchanged_report(), 0)])
def test_check_writes_no_model_and_tells_by_the_exit_code(
    run: Run,
    model: Path,
    tmp_path: Path,
    pretend: Callable[[Fake], list[Options]],
    report: Report,
    code: int,
) -> None:
    pretend(returning(report))
    before = sorted(tmp_path.iterdir())
    assert run("optimize", model, "-o", tmp_path / "out.onnx", "--check")[0] == code
    assert run("optimize", model, "--check")[0] == code
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("in.onnx: not an ONNX file"), 2, "error: in.onnx: not an ONNX file\n"),
        (PromiseError("rule x\nbroke its promise"), 3, "error: rule x broke its promise\n"),
        (
            KeyError("surprise"),
            3,
            "error: internal fault, please report it with --debug: KeyError: 'surprise'\n",
        ),
        (KeyboardInterrupt(), 130, "\nerror: interrupted\n"),  # after the terminal's ^C
    ],
)
def test_errors_are_one_line_and_nothing_is_written(
    run: Run,
    model: Path,
    tmp_path: Path,
    pretend: Callable[[Fake], list[Options]],
    error: Exception,
    code: int,
    line: str,
) -> None:
    pretend(failing(error))
    assert run("optimize", model, "-o", tmp_path / "out.onnx") == (code, "", line)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.onnx"]


@pytest.mark.parametrize("place", [("--debug", "optimize"), ("optimize", "--debug")])
def test_debug_shows_the_traceback(
    model: Path,
    tmp_path: Path,
    pretend: Callable[[Fake], list[Options]],
    place: tuple[str, str],
) -> None:
    pretend(failing(InputError("no")))
    with pytest.raises(InputError):
        cli.run([*place, str(model), "-o", str(tmp_path / "out.onnx")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("optimize", "in.onnx"), "give the new model a place: -o OUTPUT"),
        (("optimize", "in.onnx", "-o", "missing/out.onnx"), "missing is not a folder"),
        (("optimize", "in.onnx", "-o", "."), "is a directory"),
        (("optimize", "in.onnx", "-o", "o.onnx", "--report", "r.pdf"), "unknown report format"),
        (("optimize", "in.onnx", "-o", "o.onnx", "--pareto", "in.onnx/x"), "cannot be made"),
        (("optimize", "in.onnx", "-o", "o.onnx", "--budget", "soon"), "write 90s, 10m or 1h30m"),
        (("optimize", "in.onnx", "-o", "o.onnx", "--memory", "much"), "write 2G or 500M"),
        (("optimize", "in.onnx", "-o", "o.onnx", "--memory", "0"), "'0' is 0 bytes: too few"),
        (("optimize", "in.onnx", "-o", "o.onnx", "--mean", "a,b"), "no list of numbers"),
        (("optimize", "in.onnx", "-o", "o.onnx", "--target", "gpu"), "'cpu', 'macs'"),
        (("optimise",), "No such command 'optimise'"),
        (("optimize", "--what"), "No such option"),
        (("optimize",), "Missing argument 'MODEL'"),
    ],
)
def test_bad_usage_is_refused_before_any_work(
    run: Run,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    pretend: Callable[[Fake], list[Options]],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    seen = pretend(returning(full_report()))
    monkeypatch.chdir(model.parent)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert seen == []


def test_demo_runs_the_main_job_and_tests_it(
    run: Run, tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    def fake(model: Path, options: Options, progress: Progress) -> Report:
        assert options == Options(model.with_name("calibration.npz"), budget_s=120.0)
        return replace(unchanged_report(), model=onnx.load(model))

    pretend(fake)
    code, out, _ = run("demo", "--into", tmp_path / "d", "--quiet")
    assert code == 0
    assert "top-1 on 397 samples that nobody has seen: 0.9924 -> 0.9924" in out
    assert (tmp_path / "d" / "digits.optimized.onnx").exists()


def test_help_of_every_command(run: Run) -> None:
    names = [command.name for command in cli.COMMANDS]
    assert names == [
        "optimize", "evolve", "inspect", "compare", "segments", "rules", "db", "predictor", "train",
        "demo",
    ]  # fmt: skip
    for name in names:
        code, out, _ = run(name, "--help")
        assert code == 0
        assert out.startswith(f"Usage: autogo-onnx {name}")
    snapshot("help", run("--help")[1])


def test_rules_are_listed_in_their_order(run: Run) -> None:
    code, out, _ = run("rules")
    assert code == 0
    snapshot("rules", out)


def test_help_and_package_import_nothing_heavy() -> None:
    script = "import sys, autogo_onnx.cli; autogo_onnx.cli.run(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "click" in loaded
    assert not loaded & {
        "mip", "networkx", "numpy", "onnx", "onnxruntime", "rich", "scipy", "sentencepiece",
        "sklearn",
    }  # fmt: skip


def test_module_runs_as_a_program_and_a_closed_pipe_leaves_no_traceback() -> None:
    command = [sys.executable, "-m", "autogo_onnx", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"autogo-onnx, version {autogo_onnx.__version__}\n"
    reader, writer = os.pipe()
    os.close(reader)
    piped = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert piped.stderr == b""


def test_python_function_takes_fields_of_options(
    tmp_path: Path, pretend: Callable[[Fake], list[Options]]
) -> None:
    seen = pretend(returning(unchanged_report()))
    report = autogo_onnx.optimize("m.onnx", "images", labels="l.npy", seed=3)
    assert report.model == relu_model()
    assert seen == [Options(calibration=Path("images"), labels=Path("l.npy"), seed=3)]
    assert callable(autogo_onnx.optimize)
    with pytest.raises(TypeError, match="sead"):
        autogo_onnx.optimize("m.onnx", sead=3)
