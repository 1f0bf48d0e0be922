"""Reports as JSON, text and HTML."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from example_report import full_report, unchanged_report

from autogo_onnx.report import installed_versions, to_json
from autogo_onnx.report_html import to_html
from autogo_onnx.report_text import latency_line, to_text

TOP_LEVEL = [
    "schema",
    "model",
    "level",
    "target",
    "seed",
    "before",
    "after",
    "latency_ratio",
    "latency_noise",
    "latency_is",
    "fidelity",
    "metric",
    "samples",
    "rewrites",
    "plan",
    "pareto",
    "skipped",
    "seconds",
    "versions",
    "warnings",
    "notes",
    "quantized",
]


def test_json_has_the_fields_of_schema_1_in_a_fixed_order() -> None:
    body = json.loads(to_json(full_report()))
    assert list(body) == TOP_LEVEL
    assert body["schema"] == 1
    assert body["model"]["path"] == "in.onnx"
    assert set(body["before"]) == {"macs", "params", "nodes", "latency_ms"}
    metric = {"name": "top-1", "before": 0.81, "after": 0.806, "drop_bound": None}
    assert body["metric"] == metric
    assert body["samples"] == {"fit": 384, "held_out": 128}
    assert body["rewrites"][0] == {
        "rule": "fuse_conv_bn",
        "count": 20,
        "nodes_saved": 20,
        "macs_delta": None,
        "latency_ratio": None,
        "latency_noise": None,
    }
    assert body["plan"][0] == {
        "site": ["conv1", "relu1"],
        "segment": "separable",
        "macs_delta": -786432,
        "latency_delta_ms": -0.01,
        "nmse": 0.02,
        "score": 0.001,
        "params_delta": -2048,
    }
    assert body["skipped"][0] == {"nodes": ["if1"], "reason": "control flow", "rule": ""}
    assert body["fidelity"]["agreement"] == 0.96
    assert body["quantized"]["models"][2]["precision"] == "int8"


def test_json_holds_no_models_and_no_infinity() -> None:
    pareto = json.loads(to_json(full_report()))["pareto"]
    assert pareto[1] == {
        "file": "rank_01.onnx",
        "latency_ratio": 0.75,
        "macs": 30_000_000,
        "drop": 0.004,
        "drop_bound": None,
        "psnr_db": None,
    }


def test_what_is_missing_is_null_in_json() -> None:
    body = json.loads(to_json(unchanged_report()))
    assert list(body) == TOP_LEVEL
    assert body["fidelity"] is None
    assert body["metric"] is None
    assert body["quantized"] is None
    assert body["before"]["latency_ms"] is None


def test_equal_reports_give_equal_text_in_every_form() -> None:
    for render in (to_json, to_text, to_html):
        assert render(full_report()) == render(full_report())


def test_text_says_when_nothing_was_found() -> None:
    assert "nothing could be improved" in to_text(unchanged_report())
    assert "nothing could be improved" not in to_text(full_report())


def test_text_groups_reasons_and_explain_names_the_nodes() -> None:
    short, long = to_text(full_report()), to_text(full_report(), explain=True)
    assert "left alone (3, all with --explain)" in short
    assert "if2 .. y (3)" in long
    assert "if2" not in short


def test_text_shows_a_long_plan_in_part() -> None:
    report = full_report()
    report = replace(report, plan=report.plan * 10)
    assert "8 more with --explain" in to_text(report)
    assert to_text(report, explain=True).count("separable") == 10


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.97, "no difference"), (0.9, "faster"), (1.1, "slower")]
)
def test_a_ratio_within_the_noise_is_no_gain(ratio: float, verdict: str) -> None:
    assert verdict in latency_line(ratio, 0.05)


def test_parameters_stand_where_they_are_the_target() -> None:
    report = replace(full_report(), target="params", latency_is="counted")
    text = to_text(report)
    assert "parameters ratio: 0.750, nothing was measured" in text
    assert "-2048" in text
    assert "-0.0100" not in text
    assert "-2048" not in to_text(full_report())


@pytest.mark.parametrize(
    ("ratio", "is_kept", "verdict"),
    [
        (0.85, True, "0.850, noise bound 0.040: the gain is kept"),
        (0.97, False, "0.970, noise bound 0.040: no gain beyond the noise"),
        (1.20, False, "1.200, noise bound 0.040: the optimized model is the slower one"),
    ],
)
def test_text_says_what_is_left_of_the_gain_in_int8(
    ratio: float, is_kept: bool, verdict: str
) -> None:
    found = full_report().quantized
    assert found is not None
    check = replace(found, latency_ratio=ratio, latency_noise=0.04, keeps_gain=is_kept)
    assert f"both in int8: latency ratio {verdict}" in to_text(
        replace(full_report(), quantized=check)
    )


def test_text_shows_both_precisions_by_the_figures_that_they_have() -> None:
    text = to_text(full_report())
    rows = [line.split() for line in text.splitlines() if " int8 " in f"{line} "]
    assert ["optimized", "int8", "0.255", "0.510", "0.020", "0.0060", "0.0110"] in rows
    assert "quantize check: 1 of 22 convolutions" in text
    assert "PSNR" not in text


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_balanced_and_escaped_and_needs_nothing_from_elsewhere() -> None:
    page = to_html(full_report())
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    assert "if2 .. y (3)" in page


def test_versions_name_everything_that_computes() -> None:
    assert {"autogo-onnx", "python", "mip", "numpy", "onnx", "onnxruntime"} <= set(
        installed_versions()
    )
