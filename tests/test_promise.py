"""Verification itself: what is fed, what is seen, what is forgiven."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_text
from autogo_onnx.rewriters.verification import runs
from autogo_onnx.rewriters.verification.agreement import mismatch, relative
from autogo_onnx.rewriters.verification.arbiter import Arbiter, NotFeasible
from autogo_onnx.rewriters.verification.feeds import Noise
from autogo_onnx.rewriters.verification.promise import Witness


def shapes(witness: Witness, name: str = "x") -> list[tuple[int, ...]]:
    return [run.feed[name].shape for run in witness.runs]


def conv(weight: np.ndarray, bias: np.ndarray | None = None) -> onnx.ModelProto:
    """Conv, Relu, mean: every output value sums many rounded products."""
    names = ["x", "w", *(["b"] if bias is not None else [])]
    nodes = [
        helper.make_node("Conv", names, ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    stored = [numpy_helper.from_array(weight.astype(np.float32), "w")]
    if bias is not None:
        stored.append(numpy_helper.from_array(bias.astype(np.float32), "b"))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", 1, ["N", weight.shape[1], "H", "W"])],
        [info("y", 1, ["N", weight.shape[0], "H", "W"])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_open_dimension_takes_several_values_by_itself() -> None:
    model = from_text("g (float[N,2,H,W] x) => (float[N,2,H,W] y) { y = Relu(x) }")
    seen = shapes(Witness.of(model))
    assert {shape[0] for shape in seen} >= {0, 1, 2, 3}
    assert {h for n, _, h, w in seen if w == 32 and n == 1} >= {0, 1, 2, 32, 45}
    assert {w for n, _, h, w in seen if h == 32 and n == 1} >= {0, 1, 2, 32, 45}
    assert seen == sorted(seen, key=lambda shape: int(np.prod(shape)))


def test_dimensions_of_one_name_stay_equal_and_question_marks_do_not() -> None:
    same = from_text("g (float[N,S,S] x) => (float[N,S,S] y) { y = Relu(x) }")
    assert all(h == w for _, h, w in shapes(Witness.of(same)))
    model = from_text("g (float[N,H,W] x) => (float[N,H,W] y) { y = Relu(x) }")
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = "?"
    assert any(h != w for _, h, w in shapes(Witness.of(model)))


def test_dimensions_that_must_agree_vary_together() -> None:
    model = from_text("g (float[A,3] a, float[B,3] b) => (float[C,3] y) { y = Add(a, b) }")
    witness = Witness.of(model)
    assert (3, 3) in shapes(witness, "a")
    assert 0 in {len(run.feed["b"]) for run in witness.runs}


def test_indices_stay_within_their_table() -> None:
    model = from_text(
        """
        g (int64[N,S] ids, int64[N] kind) => (float[N,S,2] y)
        <float[3,2] table = {1,2,3,4,5,6}, float[1,2] other = {1,2}>
        {
          i = Cast<to=7>(ids)
          e = Gather(table, i)
          t = Gather(other, kind)
          axis = Constant<value_ints=[1]>()
          u = Unsqueeze(t, axis)
          y = Add(e, u)
        }
        """
    )
    witness = Witness.of(model)
    assert max(run.feed["ids"].max(initial=0) for run in witness.runs) == 2
    assert max(run.feed["kind"].max(initial=0) for run in witness.runs) == 0
    assert witness.objection(model) is None


def test_unknown_integers_are_made_smaller_until_the_model_runs() -> None:
    model = from_text(
        """
        g (float[1,4] x, int64[1] k) => (float[N,M] v, int64[N,M] i)
        { v, i = TopK(x, k) }
        """
    )
    assert Witness.of(model).runs


def test_float64_sees_what_a_relative_tolerance_hides() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 3, 3, 3))
    model, wrong = conv(weight), conv(weight * (1 + 2e-5))
    witness = Witness.of(model)
    assert witness.remark == ""
    assert "float64" in str(witness.objection(wrong)) or "differs" in str(witness.objection(wrong))
    assert witness.objection(conv(weight * (1 + 3e-8))) is None


def test_a_tiny_part_of_a_large_output_is_seen_in_float64() -> None:
    """A bias of 1e-5 of the largest value: five digits down, where float32 still has two."""
    weight = np.random.default_rng(1).standard_normal((4, 3, 3, 3))
    model = conv(weight, np.zeros(4))
    assert Witness.of(model).objection(conv(weight, np.full(4, 3e-4))) is not None


def test_rounding_of_folded_weights_is_forgiven() -> None:
    """A scale folded into the weights of a long chain, as every batch norm is."""
    info = helper.make_tensor_value_info

    def chain(fold: bool) -> onnx.ModelProto:
        nodes, stored, name = [], [], "x"
        local = np.random.default_rng(3)
        for i in range(12):
            weight = local.standard_normal((8, 8, 3, 3)).astype(np.float32) / 8
            scale = local.standard_normal((8, 1, 1)).astype(np.float32)
            if fold:
                scaled = weight.astype(np.float64) * scale[:, None].astype(np.float64)
                weight = scaled.astype(np.float32)
            stored += [numpy_helper.from_array(weight, f"w{i}")]
            nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], pads=[1] * 4))
            name = f"c{i}"
            if not fold:
                stored.append(numpy_helper.from_array(scale, f"s{i}"))
                nodes.append(helper.make_node("Mul", [name, f"s{i}"], [f"m{i}"]))
                name = f"m{i}"
            nodes.append(helper.make_node("Relu", [name], [f"r{i}"]))
            name = f"r{i}"
        nodes[-1].output[0] = "y"
        shape: list[int | str | None] = ["N", 8, 9, 9]
        graph = helper.make_graph(nodes, "g", [info("x", 1, shape)], [info("y", 1, shape)], stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    assert Witness.of(chain(False)).objection(chain(True)) is None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ("{ y = Neg(x) }", "differs"),
        ("{ l = Log(x) y = Add(l, x) }", "finite"),
        ("{ a = Constant<value_ints=[-1]>() y = Reshape(x, a) }", "declared|instead"),
    ],
)
def test_other_outputs_are_refused(changed: str, complaint: str) -> None:
    model = from_text("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
    head = "g (float[N,4] x) => (float[N,4] y) "
    found = Witness.of(model).objection(from_text(head + changed))
    assert found is not None
    assert any(part in found for part in complaint.split("|")), found


def test_outputs_declared_otherwise_are_refused() -> None:
    model = from_text("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
    renamed = from_text("g (float[N,4] x) => (float[N,4] z) { z = Relu(x) }")
    narrower = from_text("g (float[N,4] x) => (float[1,4] y) { y = Relu(x) }")
    for changed in (renamed, narrower):
        assert Witness.of(model).objection(changed) == "the outputs are declared otherwise"


def test_sequences_strings_and_nothing_at_all_are_compared() -> None:
    sequence = from_text("g (float[N,2] x) => (seq(float[N,2]) y) { y = SequenceConstruct(x, x) }")
    other = from_text(
        "g (float[N,2] x) => (seq(float[N,2]) y) { z = Neg(x) y = SequenceConstruct(x, z) }"
    )
    assert Witness.of(sequence).objection(sequence) is None
    assert "differs" in str(Witness.of(sequence).objection(other))
    text = from_text("g (string[N] x) => (string[N] y) { y = Identity(x) }")
    assert Witness.of(text).objection(text) is None
    assert mismatch(np.zeros((0, 3)), np.zeros((0, 4)), 1.0) is not None
    assert mismatch(np.zeros((0, 3)), np.zeros((0, 3)), 0.0) is None
    assert mismatch(None, None, 0.0) is None
    assert mismatch([np.ones(2)], [np.ones(2), np.ones(2)], 0.0) is not None


@pytest.mark.parametrize("offset", [100_000, 2**60])
def test_integers_are_compared_to_the_last_digit(offset: int) -> None:
    def plus(value: int) -> onnx.ModelProto:
        head = f"g (int64[N] x) => (int64[N] y) <int64 c = {{{value}}}> "
        return from_text(head + "{ y = Add(x, c) }")

    witness = Witness.of(plus(offset))
    assert witness.objection(plus(offset)) is None
    assert "differs" in str(witness.objection(plus(offset + 1)))


def test_feeds_that_fill_the_memory_are_not_drawn() -> None:
    fixed = from_text("g (float[70000,70000] x) => (float[70000,70000] y) { y = Relu(x) }")
    with pytest.raises(InputError, match="no shapes"):
        Witness.of(fixed)
    wide = from_text("g (float[N,3000,3000] x) => (float[N,3000,3000] y) { y = Relu(x) }")
    noise = Noise.of(wide)
    assert noise.is_bearable({"N": 1})
    assert not noise.is_bearable({"N": 2})


def test_nan_and_infinity_must_stay_where_they_are() -> None:
    nan, inf = np.nan, np.inf
    assert relative(np.array([nan, 1.0]), np.array([nan, 1.0])) == 0
    assert relative(np.array([nan, 1.0]), np.array([1.0, nan])) == inf
    assert relative(np.array([inf, 1.0]), np.array([-inf, 1.0])) == inf
    assert relative(np.array([2.0, 1.0]), np.array([nan, 1.0])) == inf


def test_random_outputs_are_told() -> None:
    model = from_text("g (float[N,4] x) => (float[N,4] y) { y = RandomNormalLike(x) }")
    with pytest.raises(InputError, match="random"):
        Witness.of(model)


def test_a_loop_without_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LOOP_LIMIT_S", 0.3)
    model = from_text(
        """
        g (float[2] x) => (float[2] y)
        <int64 count = {4611686018427387904}, bool on = {1}>
        {
          y = Loop(count, on, x) <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w)
            { d = Identity(c) w = Relu(v) }>
        }
        """
    )
    with pytest.raises(InputError, match=r"more than 0\.3 seconds"):
        Witness.of(model)


def test_inputs_that_cannot_be_fed_are_told() -> None:
    for kind, reason in (("bfloat16[2]", "bfloat16"), ("seq(float[2])", "no tensor")):
        model = from_text(f"g ({kind} x) => ({kind} y) {{ y = Identity(x) }}")
        with pytest.raises(InputError, match=reason):
            Witness.of(model)


def arbiter_outputs(model: onnx.ModelProto, **feed: Any) -> list[Any]:
    return Arbiter.of(model).run(feed)


def test_the_arbiter_is_exact_where_onnx_is_not() -> None:
    """Batch norms of all opsets, and Erf, which onnx 1.23 gets wrong."""
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(1, 2, 2, 3)
    for opset in (8, 9, 14, 15):
        model = from_text(
            f"""
            <ir_version: 8, opset_import: ["" : {opset}]>
            g (float[1,2,2,3] x) => (float[1,2,2,3] y)
            <float[2] s = {{2,3}}, float[2] b = {{1,0}}, float[2] m = {{0,1}}, float[2] v = {{4,9}}>
            {{ y = BatchNormalization<epsilon=0.0>(x, s, b, m, v) }}
            """
        )
        (y,) = arbiter_outputs(model, x=x)
        wide = x.astype(np.float64)
        expected = np.concatenate([wide[:, :1] + 1, wide[:, 1:] - 1], axis=1)
        np.testing.assert_allclose(y, expected, rtol=1e-15)
    (y,) = arbiter_outputs(
        from_text("g (float[1] x) => (float[1] y) { y = Erf(x) }"), x=np.array([0.5], np.float32)
    )
    assert y[0] == pytest.approx(0.5204998778130465, rel=1e-15)


def test_an_arbiter_that_errs_on_the_changed_model_is_not_believed() -> None:
    """ONNX 1.23's ConvTranspose adds a bias wrongly to a second sample."""
    rng = np.random.default_rng(0)
    weight, bias = (rng.standard_normal(s).astype(np.float32) for s in ((2, 2, 2, 2), (2,)))

    def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
        info = helper.make_tensor_value_info
        shape: list[int | str | None] = [2, 2, 5, 5]
        stored = [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(bias, "b"),
            numpy_helper.from_array(bias.reshape(2, 1, 1), "c"),
        ]
        graph = helper.make_graph(
            nodes, "g", [info("x", 1, shape)], [info("y", 1, [2, 2, 6, 6])], stored
        )
        imports = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    apart = model(
        helper.make_node("ConvTranspose", ["x", "w"], ["t"]),
        helper.make_node("Add", ["t", "c"], ["y"]),
    )
    folded = model(helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"]))
    assert Witness.of(apart).objection(folded) is None


def test_what_is_too_much_for_the_arbiter_is_not_run() -> None:
    model = from_text(
        "g (float[N,1,H,W] x) => (float[N,1,H,W] y) { y = MaxPool<kernel_shape=[1,1]>(x) }"
    )
    with pytest.raises(NotFeasible, match="too long"):
        arbiter_outputs(model, x=np.zeros((1, 1, 1000, 1000), np.float32))
    foreign = from_text(
        '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
        "g (float[2] x) => (float[2] y) { y = com.microsoft.Gelu(x) }"
    )
    assert "other domains" in Witness.of(foreign).remark
