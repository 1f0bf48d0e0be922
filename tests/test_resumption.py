"""An interrupted run goes on from what it found, to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from net_cases import pictures, residual_net
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx import attempts, choices, given, kept_models, resumption
from autogo_onnx.activations import Activations
from autogo_onnx.attempts import Attempts
from autogo_onnx.candidates import Candidate
from autogo_onnx.checkpoints import Checkpoints
from autogo_onnx.deadline import Clock
from autogo_onnx.errors import InputError
from autogo_onnx.fidelity import Fidelity
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.gate import Verdict
from autogo_onnx.ground import Ground, survey
from autogo_onnx.job import rewritten
from autogo_onnx.kept_plans import is_remembered, remembered
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.options import Options
from autogo_onnx.progress import Silent
from autogo_onnx.samples import Samples
from autogo_onnx.select import Item
from autogo_onnx.sites import find_sites
from autogo_onnx.submodel import Parts
from autogo_onnx.tensor_data import place
from autogo_onnx.variants import variants
from autogo_onnx.work_folder import WorkFolder, work_folder


@pytest.fixture
def folder(tmp_path: Path) -> WorkFolder:
    path = tmp_path / "work"
    path.mkdir()
    return WorkFolder(path, b"key")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, samples())
    return path


def test_files_of_the_user_stay_in_the_folder(tmp_path: Path) -> None:
    theirs = tmp_path / "thesis.pdf.part"
    theirs.write_text("not ours")
    with work_folder(tmp_path, b"key") as opened:
        opened.put("ours", [b"1"])
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == [theirs]


def unasked() -> Any:
    raise AssertionError("what is known is not computed again")


def test_what_was_found_is_known_with_the_time_that_it_took(folder: WorkFolder) -> None:
    first = Checkpoints(Clock(), folder)
    first.clock.skip_to(1000.0)
    first.put("fit", "a", b"one ", b"two")
    again = Checkpoints(Clock(), folder)
    assert again.knows("fit", "a")
    assert not again.knows("fit", "b")
    assert not again.knows("score", "a")
    assert again.clock.elapsed() < 100.0
    assert again.get("fit", "a") == b"one two"
    assert 1000.0 <= again.clock.elapsed() < 1100.0
    assert again.get("fit", "b") is None


def test_without_a_folder_nothing_is_known() -> None:
    nowhere = Checkpoints()
    nowhere.put("fit", "a", b"x")
    assert not nowhere.knows("fit", "a")
    assert nowhere.value("fit", "a", lambda: 1) == 1
    assert nowhere.value("fit", "a", lambda: 2) == 2


@pytest.mark.parametrize("value", [0.1 + 0.2, float("inf"), "why not", [[1, 2], 0.5], None])
def test_values_come_back_as_they_were(folder: WorkFolder, value: object) -> None:
    assert Checkpoints(folder=folder).value("fit", "a", lambda: value) == value
    assert Checkpoints(folder=folder).value("fit", "a", unasked) == value


def test_a_full_disk_costs_the_checkpoints_and_not_the_run(
    folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: WorkFolder, name: str, pieces: Iterable[bytes]) -> None:
        raise InputError("no room")

    monkeypatch.setattr(WorkFolder, "put", full)
    told: list[str] = []
    checkpoints = Checkpoints(folder=folder, complain=told.append)
    for key in "ab":
        checkpoints.put("fit", key, b"x")
    assert told == ["an interrupted run would start anew: no room"]


def test_prices_of_an_interrupted_run_are_not_measured_again(folder: WorkFolder) -> None:
    first = LatencyTable("1", 1, checkpoints=Checkpoints(folder=folder))
    first.figures(["ratio", "noise"], lambda: [1 / 3, 0.1])
    again = LatencyTable("1", 1, {"ratio": 0.5}, Checkpoints(folder=folder))
    assert again.figures(["ratio", "noise"], unasked) == (0.5, 0.1)
    assert not again.knows("other")
    assert again.price("other", lambda: 2) == 2.0


def test_a_model_keeps_its_bytes_and_shares_the_weights_of_the_base() -> None:
    base = residual_net(width=64, blocks=1)
    changed = onnx.ModelProto()
    changed.CopyFrom(base)
    tensor = next(t for t in changed.graph.initializer if len(t.raw_data) > 100_000)
    tensor.raw_data = bytes(len(tensor.raw_data))
    data = kept_models.packed(changed, base)
    assert len(data) < 0.75 * changed.ByteSize()
    assert kept_models.unpacked(data, base) == changed
    assert len(kept_models.packed(base, base)) < 0.1 * base.ByteSize()
    assert kept_models.unpacked(kept_models.packed(base, base), base) == base


def test_weights_in_the_files_of_this_process_are_kept_with_the_model() -> None:
    from autogo_onnx.scratch import moved_aside

    base = residual_net(width=64, blocks=1)
    changed = onnx.ModelProto()
    changed.CopyFrom(base)
    large = max(changed.graph.initializer, key=lambda t: len(t.raw_data))
    raw = large.raw_data
    large.CopyFrom(moved_aside(large))
    assert place(large) is not None
    restored = kept_models.unpacked(kept_models.packed(changed, onnx.ModelProto()), base)
    assert next(t for t in restored.graph.initializer if t.name == large.name).raw_data == raw


FIDELITY = Fidelity("psnr", 8, None, None, None, 1 / 3, 30.0, 29.0)


def test_realized_plans_are_remembered_with_their_verdict(folder: WorkFolder) -> None:
    def ground() -> Ground:
        job = SimpleNamespace(checkpoints=Checkpoints(folder=folder))
        made = SimpleNamespace(job=job, digest="d", fit=[1], held_out=[2], model=classifier())
        return cast(Ground, made)

    verdict = Verdict(FIDELITY, None, True)
    other = classifier(seed=1)
    assert remembered(ground(), "plan", lambda: (other, verdict)) == (other, verdict)
    assert remembered(ground(), "plan", unasked) == (other, verdict)
    assert is_remembered(ground(), "plan")
    assert not is_remembered(ground(), "another")
    assert remembered(ground(), "another", lambda: Refused("no")) == Refused("no")
    assert remembered(ground(), "another", unasked) == Refused("no")


def start(model: onnx.ModelProto, options: Options) -> given.Given:
    return given.read(model, options, Silent())


def test_the_key_tells_all_that_matters_and_nothing_else(data: Path, tmp_path: Path) -> None:
    options = Options(data, target="macs")
    key = resumption.key(start(classifier(), options))
    same = replace(options, budget_s=5.0, work_dir=tmp_path, latency_table=tmp_path / "t")
    moved = tmp_path / "moved.npy"
    moved.write_bytes(data.read_bytes())
    assert resumption.key(start(classifier(), same)) == key
    assert resumption.key(start(classifier(), replace(options, calibration=moved))) == key
    np.save(data, samples(seed=3))
    metric = tmp_path / "metric.py"
    metric.write_text("def f(path): return 0.0")
    judged = replace(options, calibration=moved, evaluate=f"{metric}:f")
    keys = [
        key,
        resumption.key(start(classifier(), options)),
        resumption.key(start(classifier(seed=1), replace(options, calibration=moved))),
        resumption.key(start(classifier(), replace(options, calibration=moved, seed=1))),
        resumption.key(start(classifier(), replace(options, calibration=moved, max_drop=0.5))),
        resumption.key(start(classifier(), judged)),
    ]
    metric.write_text("def f(path): return 1.0")
    keys.append(resumption.key(start(classifier(), judged)))
    assert len(set(keys)) == len(keys)


def test_activations_do_not_depend_on_the_order_of_questions() -> None:
    model = residual_net(width=8, blocks=2)
    given_samples = Samples({"x": pictures(0, 5, 3, 12, 12)})
    names = [name for node in model.graph.node for name in node.output]

    def values(order: list[str], together: list[str]) -> dict[str, np.ndarray[Any, Any]]:
        known = Activations(Parts(model), given_samples, together=together)
        return {name: known.get(name) for name in order}

    some = names[2:-1:3]
    forth, back = values(some, names), values(some[::-1], names)
    assert all(np.array_equal(forth[name], back[name]) for name in some)
    forth, back = values(some, []), values(some[::-1], [])
    assert not all(np.array_equal(forth[name], back[name]) for name in some)


def test_fits_and_scores_are_remembered(
    folder: WorkFolder, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(data, target="macs")

    def attempted() -> list[float]:
        job = rewritten(start(classifier(), options), Checkpoints(folder=folder))
        assert job.samples is not None
        ground = survey(job, job.samples)
        sites = find_sites(ground.reading, [], fixed_size=False)
        trials = Attempts(ground, ground.activations(ground.fit), 16, sites)
        wanted = [Candidate(s, variants(s.graph)[0].graph, "") for s in sites[:2]]
        errors = [trials.error(candidate) for candidate in wanted]
        trials.forget()
        scores = [trials.score(trials.trial(candidate)) for candidate in wanted]
        trials.keep_scores()
        return [*(e for e in errors if not isinstance(e, Refused)), *scores]

    first = attempted()
    assert len(first) == 4
    monkeypatch.setattr(attempts, "fit", None)
    monkeypatch.setattr(attempts, "score", None)
    assert attempted() == first


def greedy(items: Sequence[Item], score: float, *_: object, **__: object) -> tuple[int, ...]:
    """Stands in for the solver, which takes most of such a run."""
    chosen: list[int] = []
    order = sorted(range(len(items)), key=lambda i: items[i].score / max(1e-9, items[i].saving))
    for i in order:
        taken = {op for k in chosen for op in items[k].ops}
        if sum(items[k].score for k in (*chosen, i)) <= score and not taken & items[i].ops:
            chosen.append(i)
    return tuple(sorted(chosen))


@pytest.fixture
def without_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "select_within", greedy)
    monkeypatch.setattr(choices, "largest_saving", lambda *_, **__: 1.0)


class Killed(BaseException):
    """The process would be gone."""


@pytest.fixture
def puts_until_death(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many more findings can be kept, as the only element."""
    left = [0]
    put = WorkFolder.put

    def dying(self: WorkFolder, name: str, pieces: Iterable[bytes]) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        put(self, name, pieces)

    monkeypatch.setattr(WorkFolder, "put", dying)
    return left


@pytest.mark.slow
@pytest.mark.usefixtures("without_solver")
@pytest.mark.parametrize("each", [1, 7, 40])
def test_a_run_killed_again_and_again_gives_the_same_models(
    data: Path, tmp_path: Path, puts_until_death: list[int], each: int
) -> None:
    fields: dict[str, Any] = {"target": "macs", "max_drop": 0.05, "budget_s": 3600.0}
    whole = autogo_onnx.optimize(classifier(), data, **fields)
    work = tmp_path / "work"
    deaths = 0
    while True:
        puts_until_death[0] = each if deaths < 12 else 10**6
        try:
            report = autogo_onnx.optimize(classifier(), data, work_dir=work, **fields)
            break
        except Killed:
            deaths += 1
    assert deaths > 2
    assert not work.exists()
    assert report.model == whole.model
    assert [p.model for p in report.pareto] == [p.model for p in whole.pareto]
    assert report.plan == whole.plan


@pytest.mark.slow
@pytest.mark.usefixtures("without_solver")
def test_another_model_in_the_same_folder_is_not_misled(
    data: Path, tmp_path: Path, puts_until_death: list[int]
) -> None:
    fields: dict[str, Any] = {"target": "macs", "max_drop": 0.05, "budget_s": 3600.0}
    puts_until_death[0] = 60
    with pytest.raises(Killed):
        autogo_onnx.optimize(classifier(), data, work_dir=tmp_path / "work", **fields)
    puts_until_death[0] = 10**6
    other = classifier(seed=1)
    report = autogo_onnx.optimize(other, data, work_dir=tmp_path / "work", **fields)
    assert report.model == autogo_onnx.optimize(other, data, **fields).model


_RUN = """
    import os, signal, sys
    from autogo_onnx.cli import run
    from autogo_onnx.work_folder import WorkFolder

    left, put = [int(sys.argv.pop(1))], WorkFolder.put

    def dying(self, name, pieces):
        left[0] -= 1
        if left[0] == 0:  # in the midst of a file
            pieces = (piece if k == 0 else os.kill(os.getpid(), signal.SIGKILL)
                      for k, piece in enumerate((*pieces, b"")))
        put(self, name, pieces)

    WorkFolder.put = dying
    sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
def test_sigkill_in_the_midst_of_a_file_loses_that_file_only(data: Path, tmp_path: Path) -> None:
    model, work = tmp_path / "model.onnx", tmp_path / "work"
    onnx.save(classifier(), model)

    def run(out: Path, dies_at: int, *more: str) -> int:
        fixed = ["--target", "macs", "--max-drop", "0.05", "--budget", "1h", "--quiet", *more]
        command = [sys.executable, "-c", textwrap.dedent(_RUN), str(dies_at), "optimize", model]
        done = subprocess.run(
            [*map(str, command), "-o", str(out), "--calibration", str(data), *fixed],
            check=False,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return done.returncode

    assert run(tmp_path / "whole.onnx", -1) == 0
    out = tmp_path / "resumed.onnx"
    for dies_at in (1, 30, 100, 45):
        assert run(out, dies_at, "--work-dir", str(work)) == -signal.SIGKILL
        assert not out.exists()
        assert any(work.iterdir())
    assert run(out, -1, "--work-dir", str(work)) == 0
    assert out.read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert not work.exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path, data: Path) -> None:
    with (
        work_folder(tmp_path / "work", b"key"),
        pytest.raises(InputError, match="another process works"),
    ):
        autogo_onnx.optimize(classifier(), data, work_dir=tmp_path / "work")
