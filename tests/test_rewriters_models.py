"""`rewrite` as a whole: real models, traps, broken promises, random networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from autogo_onnx import cli, job, runtime, signature
from autogo_onnx.graph import from_model, from_text
from autogo_onnx.rewriters import RULES, Match, Rule, Skip, rewrite
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.rewriters.verification.promise import Witness
from autogo_onnx.rewriters.view import View

# By the rules that are not on trial; more rules, fewer nodes.
ZOO_NODES = {
    "carvana_unet_upsample": 28,
    "cifar10_resnet20_bn": 54,
    "cifar10_resnet20_dynamo": 54,
    "cifar10_resnet20_folded": 54,
    "efficientnet_lite0_bn": 94,
    "espcn_x3_nnresize_quant": 22,
    "fmnist_resnet8_bn": 22,
    "mnist_cntk_8": 8,
    "ppocr_v2_cls": 179,
    "silero_vad": 5,
    "srgan_generator_x2_bn": 32,
    "ultraface_version-RFB-320": 120,
    "vit_pgd_2_3_16": 66,
    "vnn_cifar10_large": 12,
    "yolox_nano": 365,
    "yunet_n_dynamic": 109,
}


@pytest.mark.parametrize("name", ZOO_NODES)
def test_real_models_keep_their_outputs(name: str, shared: Path) -> None:
    model = onnx.load(shared / "zoo" / f"{name}.onnx")
    before = model.SerializeToString()
    plain = rewrite(model, rules=[rule for rule in RULES if not rule.on_trial])
    assert len(plain.model.graph.node) <= ZOO_NODES[name]
    result = rewrite(model)
    assert model.SerializeToString() == before
    assert not any("broke its promise" in skip.reason for skip in result.skips), result.skips
    assert signature.problems(model, result.model) == []
    if not result.counts:
        assert result.model is model
        return
    onnx.checker.check_model(result.model, full_check=True)
    layers = {o for node in result.model.graph.node if node.op_type == "Conv" for o in node.output}
    assert not any(
        node.op_type == "BatchNormalization" and node.input[0] in layers
        for node in result.model.graph.node
    )
    # Feeds that the rewriter has not seen.
    assert Witness.of(model, seed=1).objection(result.model) is None


@pytest.mark.parametrize("name", ["espcn_x3_nnresize_quant", "silero_vad"])
def test_models_that_cannot_be_verified_are_left_alone(name: str, shared: Path) -> None:
    model = onnx.load(shared / "zoo" / f"{name}.onnx")
    result = rewrite(model)
    assert result.model is model
    assert "left exactly as it is" in result.skips[0].reason
    assert any("domain" in s.reason or "control flow" in s.reason for s in result.skips[1:])


def test_traps(shared: Path) -> None:
    """The conformance models, judged by their stored outputs."""
    for path in sorted((shared / "conformance").glob("*.onnx")):
        model = onnx.load(path)
        changed = rewrite(model).model
        assert signature.problems(model, changed) == [], path.name
        if "random" in path.name or path.stem == "dropout_training":
            assert changed is model, path.name
            continue
        stored = np.load(path.with_suffix(".npz"), allow_pickle=path.stem == "string_tensor")
        for run in sorted({key.split(".")[0][2:] for key in stored if key.startswith("in")}):
            session = runtime.open_session(changed, optimize=False)
            prefix = f"in{run}."
            feed = {k.removeprefix(prefix): stored[k] for k in stored if k.startswith(prefix)}
            for index, got in enumerate(runtime.run(session, None, feed)):
                if f"out{run}.{index}" in stored:
                    _assert_close(stored[f"out{run}.{index}"], got, path.name)


def _assert_close(expected: np.ndarray, got: np.ndarray, name: str) -> None:
    if expected.dtype.kind in "biuf":
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    else:
        np.testing.assert_array_equal(got.astype(str), expected.astype(str), err_msg=name)


CONV_RELU = from_text(
    """
    g (float[N,1,2,2] x) => (float[N,1,2,2] y)
    <float[1,1,1,1] w = {2}, float half = {0.5}>
    {
      c = Conv(x, w)
      m = Mul(c, half)
      y = Relu(m)
    }
    """
)


def _lying_rule() -> Rule:
    """Claims that Relu is Neg."""

    def find(view: View) -> Iterator[Match | Skip]:
        yield from (Match((node,)) for node in view.graph.nodes if node.op == "Relu")

    def apply(view: View, match: Match) -> None:
        match.nodes[0].op = "Neg"  # so it is found once

    return replace(RULES[0], name="lie", find=find, apply=apply)


@pytest.mark.parametrize("position", [0, 3, len(RULES)])
def test_a_rule_that_breaks_its_promise_is_dropped_and_named(position: int) -> None:
    rules = (*RULES[:position], _lying_rule(), *RULES[position:])
    result = rewrite(CONV_RELU, rules=rules)
    assert [node.op_type for node in result.model.graph.node] == ["Conv", "Relu"]
    assert result.counts == {"fuse_mul_add": 1}
    assert result.skips[0].rule == "lie"
    assert "broke its promise" in result.skips[0].reason


def test_what_a_broken_rule_made_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = (*RULES, _lying_rule())
    monkeypatch.setattr(job, "rewrite", partial(rewrite, rules=rules))
    onnx.save(CONV_RELU, tmp_path / "in.onnx")
    out = tmp_path / "out.onnx"
    arguments = [str(tmp_path / "in.onnx"), "-o", str(out), "--target", "macs", "--explain"]
    assert cli.run(["optimize", *arguments, "--quiet"]) == 0
    assert "broke its promise" in capsys.readouterr().out
    assert [node.op_type for node in onnx.load(out).graph.node] == ["Conv", "Relu"]


def test_rewriting_is_idempotent_and_deterministic() -> None:
    first, second = rewrite(CONV_RELU), rewrite(CONV_RELU)
    assert first.model.SerializeToString() == second.model.SerializeToString()
    assert rewrite(first.model).counts == {}


def test_samples_of_the_user_are_verified_on() -> None:
    sample = {"x": np.ones((5, 1, 2, 2), np.float32)}
    witness = Witness.of(CONV_RELU, [sample])
    feeds = [run.feed["x"] for run in witness.runs]
    assert feeds[0] is sample["x"]
    assert {feed.shape[0] for feed in feeds} == {0, 1, 2, 3, 5}
    assert min(feed.min(initial=0) for feed in feeds[1:]) < -10


def test_overridden_initializers_are_verified_on() -> None:
    model = from_text(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1,2,2] x, float[1] b) => (float[N,1,2,2] y)
        <float[1,1,1,1] w = {2}, float[1] b = {1}>
        { y = Conv(x, w, b) }
        """
    )
    ignoring = from_text(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1,2,2] x, float[1] b) => (float[N,1,2,2] y)
        <float[1,1,1,1] w = {2}, float[1] b = {1}, float[1] frozen = {1}>
        { y = Conv(x, w, frozen) }
        """
    )
    assert Witness.of(model).objection(model) is None
    assert "differs" in str(Witness.of(model).objection(ignoring))


def test_sequences_and_models_without_inputs_do_not_stop_it() -> None:
    sequence = from_text("g (seq(float[2]) x) => (int64 y) { y = SequenceLength(x) }")
    result = rewrite(sequence)
    assert result.model is sequence
    assert "is no tensor" in result.skips[0].reason
    alone = from_text(
        "g () => (float[2] y) { c = Constant <value_floats = [1.0, 2.0]> () y = Neg(c) }"
    )
    assert rewrite(alone).counts == {"fold_constants": 1}


def test_long_chains_take_one_sort_per_sweep() -> None:
    """2,000 copies vanish in two sweeps; sorting after each would take minutes."""
    nodes = [onnx.helper.make_node("Identity", [f"t{i}"], [f"t{i + 1}"]) for i in range(2000)]
    nodes.append(onnx.helper.make_node("Relu", ["t2000"], ["y"]))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [value("t0", 1, [1])], [value("y", 1, [1])])
    model = onnx.helper.make_model(graph, ir_version=8)
    edited = from_model(model)
    assert to_fixed_point(edited, RULES).counts["eliminate_identity"] == 2000
    assert [node.op for node in edited.nodes] == ["Relu"]
