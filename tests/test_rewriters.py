"""Every rule on its case files: golden text, valid, stable, promise kept.

A case is `cases/<rule>/<case>.txt`: a comment, a graph in ONNX text, a line `# output` and the
expected graph; without that part the rule must change nothing. `# skips: TEXT` demands a refusal
whose reason contains the text; `# random` says that the outputs cannot be compared.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from autogo_onnx.graph import from_model, from_text, to_model, to_text
from autogo_onnx.rewriters import RULES, Rule, Safety, Skip
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.rewriters.verification.promise import Witness

CASES = Path(__file__).parent / "cases"
BY_NAME = {rule.name: rule for rule in RULES}


def cases() -> list[str]:
    return sorted(str(path.relative_to(CASES).with_suffix("")) for path in CASES.rglob("*.txt"))


def read_case(case: str) -> tuple[onnx.ModelProto, onnx.ModelProto | None, dict[str, str]]:
    """The input, the expected output if the case has one, and the settings in its comments."""
    lines = (CASES / f"{case}.txt").read_text().splitlines()
    comments = [line[2:].partition(": ") for line in lines if line.startswith("# ")]
    settings = {key: text for key, _, text in comments if key in ("skips", "random")}
    end = lines.index("# output") if "# output" in lines else len(lines)
    before, after = ("\n".join(part) for part in (lines[:end], lines[end:]))
    expected = from_text(_uncommented(after)) if end < len(lines) else None
    return from_text(_uncommented(before)), expected, settings


def _uncommented(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def apply(rule: Rule, model: onnx.ModelProto) -> tuple[onnx.ModelProto, int, tuple[Skip, ...]]:
    graph = from_model(model)
    swept = to_fixed_point(graph, [rule])
    return to_model(graph, model), swept.counts[rule.name], swept.skips


@pytest.mark.parametrize("case", cases())
def test_case(case: str) -> None:
    rule = BY_NAME[case.split("/")[0]]
    model, expected, settings = read_case(case)

    changed, count, skips = apply(rule, model)

    assert to_text(changed) == to_text(expected or model)
    assert (count > 0) == (expected is not None)
    if "skips" in settings:
        assert any(settings["skips"] in skip.reason for skip in skips), skips
        assert all(skip.names for skip in skips)
    onnx.checker.check_model(changed, full_check=True)
    again, count, _ = apply(rule, changed)
    assert count == 0
    assert again == changed
    if "random" not in settings:
        assert Witness.of(model).objection(changed) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_is_documented_and_has_cases(rule: Rule) -> None:
    module = __import__(rule.find.__module__, fromlist=["RULE"])
    assert module.RULE is rule
    assert rule.safety is Safety.EXACT
    text = str(module.__doc__)
    assert " -> " in text.split("\n\n")[0]
    for part in ("Why: ", "Safety: ", "Skips: "):
        assert part in text
    names = [case.split("/")[1] for case in cases() if case.startswith(f"{rule.name}/")]
    assert any(name.startswith("noop_") for name in names)
    assert any(not name.startswith("noop_") for name in names)


def test_rule_names_are_those_of_their_modules() -> None:
    assert [rule.name for rule in RULES] == [r.find.__module__.rpartition(".")[2] for r in RULES]
