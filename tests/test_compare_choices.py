"""The comparison with what a user could pick instead, on small networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from tiny_models import classifier, samples

from autogo_onnx import verify
from autogo_onnx.gate import Gate, Verdict
from autogo_onnx.options import Options
from autogo_onnx.runtime import open_session, run
from benchmarks import compare_choices, rivals
from benchmarks.cases import CASES, TRAINED, Case, chosen
from benchmarks.in_turns import ratios_of
from benchmarks.quality import Faithful, Figures, Top1
from benchmarks.rivals import Arena, Choice
from benchmarks.uniform import SHARES, WAYS, Trials


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    source, given = tmp_path / "tiny.onnx", tmp_path / "tiny.npy"
    onnx.save(classifier(width=32), source)
    # A layer that is to be fitted again must see enough of them.
    np.save(given, samples(320))
    return Arena(source, given, tmp_path, Options(calibration=given, target="macs"))


@pytest.mark.parametrize("name", WAYS)
def test_a_share_of_all_layers_is_cheaper_and_keeps_the_face(arena: Arena, name: str) -> None:
    ground = arena.ground
    way = WAYS[name](ground)
    costs = [way.macs(share) for share in SHARES]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] <= ground.macs
    made = way.make(0.5, ground.activations(ground.fit))
    assert made is not None
    assert verify.signature_problems(ground.model, made) == []
    assert arena.ground.job.size(made).macs == way.macs(0.5)
    feed = next(ground.held_out.batches(8))
    before, after = (run(open_session(m), None, feed)[0] for m in (ground.model, made))
    # Fitted: what is left says much of what the whole said.
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.8


@dataclass(frozen=True)
class _Counted:
    """Costs its share of a thousand, and notes what it is asked for."""

    asked: list[float]

    def macs(self, share: float) -> int:
        return round(1000 * share)

    def make(self, share: float, original: object) -> onnx.ModelProto:
        self.asked.append(share)
        model = onnx.ModelProto()
        model.model_version = self.macs(share)
        return model


@dataclass(frozen=True)
class _PassesFrom:
    """Lets models through that cost so much."""

    least: int

    def judge(self, models: list[onnx.ModelProto]) -> Verdict:
        passes = all(model.model_version >= self.least for model in models)
        return Verdict(cast(verify.Fidelity, None), None, passes)


def _trials(least: int) -> tuple[Trials, list[float]]:
    asked: list[float] = []
    return Trials(_Counted(asked), cast(Gate, _PassesFrom(least)), [cast(Any, None)]), asked


@pytest.mark.parametrize("least", [0, 62, 63, 300, 500, 937])
def test_the_smallest_share_that_passes_is_found_in_few_tries(least: int) -> None:
    trials, asked = _trials(least)
    found = trials.cheapest_passing(60.0)
    assert found is not None
    assert found.share == min(s for s in SHARES if round(1000 * s) >= least)
    assert len(asked) <= 4


def test_nothing_is_delivered_where_no_share_passes_or_there_is_no_time() -> None:
    assert _trials(1000)[0].cheapest_passing(60.0) is None
    trials, asked = _trials(0)
    assert trials.cheapest_passing(0.0) is None
    assert asked == []


def test_the_nearest_cost_is_taken() -> None:
    trials, _ = _trials(0)
    found = trials.at_macs(510)
    assert found is not None
    assert found.share == 0.5


def test_tools_that_fail_are_named_and_tools_that_work_are_judged(
    arena: Arena, tmp_path: Path
) -> None:
    copies, fails = tmp_path / "copies", tmp_path / "fails"
    copies.write_text('#!/bin/sh\ncp "$1" "$2"\n')
    fails.write_text("#!/bin/sh\nexit 1\n")
    for tool in (copies, fails):
        tool.chmod(0o755)
    same, failed = rivals.simplified(arena, {"copies": copies, "fails": fails})
    assert (same.passes, same.bound) == (True, "0.00 points")
    assert (failed.model, failed.bound, failed.passes) == (None, "failed", False)


def test_int8_is_made_of_the_original_and_on_top_of_another(arena: Arena) -> None:
    plain = rivals.in_int8(arena, None)
    base = Choice("ours", arena.source, "-", True, 0.0)
    on_top = rivals.in_int8(arena, base)
    assert (plain.name, on_top.name) == ("int8", "ours + int8")
    for one in (plain, on_top):
        assert one.model is not None
        assert "QuantizeLinear" in {node.op_type for node in onnx.load(one.model).graph.node}


def test_latency_of_all_is_of_one_measurement(arena: Arena, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    onnx.save(classifier(width=8), small)
    feed = next(arena.ground.held_out.batches(1))
    ratios, noise = ratios_of(arena.source, [small], feed, 0.2)
    assert ratios[small] < 1.0
    assert noise >= 0.0


def test_a_table_has_a_row_per_choice(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Choice("copy", arena.source, "0.00 points", True, 1.0)]
    found += [Choice("nothing", None, "none", False, 2.0)]
    monkeypatch.setattr(compare_choices, "choices", lambda *_: iter(found))
    case = Case("tiny", lambda seed: samples(seed=seed), Faithful(lambda: samples(seed=9)))
    settings = compare_choices.Settings({}, {}, 1.0, 0.1)
    *_, copied, nothing, _ = compare_choices.table(case, arena, settings)
    assert copied.startswith("| copy | ")
    assert copied.endswith(" | 1.000 | 0.00 points | yes | 1.0000 -> 1.0000 fidelity | 1 |")
    assert nothing == "| nothing | - | - | none | no | - | 2 |"


@pytest.mark.slow
def test_every_choice_is_made(arena: Arena) -> None:
    runs = {"ours": ["--budget", "20s", "--target", "macs"]}
    found = list(compare_choices.choices(arena, compare_choices.Settings({}, runs, 20.0, 1.0)))
    names = [one.name for one in found]
    assert names[0] == "exact rewrites"
    assert names[-3:] == ["int8", "ours", "ours + int8"]
    assert len(names) == 4 + 2 * len(WAYS)


def test_labels_tell_what_is_lost(tmp_path: Path) -> None:
    source, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(classifier(), source)
    onnx.save(classifier(seed=5), other)
    given = samples()
    session = open_session(source)
    labels = run(session, None, {"x": given})[0].argmax(axis=1)
    judged = Top1(lambda: (given, labels)).against(source)
    assert judged(source) == Figures(100.0, 100.0, "% top-1", expected=0.0)
    assert judged(other).lost > 10.0
    faithful = Faithful(lambda: given).against(source)
    assert faithful(source).after == 1.0
    assert faithful(other).after < 0.9


def test_models_trained_here_are_left_out_until_they_are_there(tmp_path: Path) -> None:
    (tmp_path / f"{TRAINED[0].model}.onnx").touch()
    assert TRAINED[0] in chosen((), tmp_path)
    assert TRAINED[1] not in chosen((), tmp_path)
    assert chosen([CASES[0].model], None) == [CASES[0]]
