from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autogo_onnx import runtime, signature
from autogo_onnx.errors import InputError

DOUBLE = "agraph (float[N,4] x) => (float[N,4] y) { y = Add(x, x) }"


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>\n' + text)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_session_opens_from_a_model_its_bytes_and_its_path(
    tmp_path: Path, optimize: bool
) -> None:
    model = parse(DOUBLE)
    path = tmp_path / "double.onnx"
    path.write_bytes(model.SerializeToString())
    for source in (model, model.SerializeToString(), path):
        session = runtime.open_session(source, threads=1, optimize=optimize)
        (y,) = runtime.run(session, None, {"x": np.ones((2, 4), np.float32)})
        np.testing.assert_array_equal(y, np.full((2, 4), 2))


def test_a_session_uses_the_cpu_alone_and_the_threads_it_is_given() -> None:
    session = runtime.open_session(parse(DOUBLE), threads=2)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 2
    assert session.get_session_options().inter_op_num_threads == 1


LENT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,256] x, bool choice, float[256,256] listed) => (float[N,256] y, float[256,256] shown)
{
  wide = Cast <to = 1> (half)
  a = MatMul(x, wide)
  b = If (choice) <
    then_branch = t () => (float[N,256] p) { p = MatMul(a, caught) },
    else_branch = e () => (float[N,256] q) { q = MatMul(a, listed) }
  >
  y = Add(b, typed)
}
"""


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("choice", [True, False])
def test_large_weights_are_handed_over_wherever_they_are_read(optimize: bool, choice: bool) -> None:
    model = onnx.parser.parse_model(LENT)
    rng = np.random.default_rng(0)
    for name, kind in (
        ("half", np.float16),
        ("caught", np.float32),
        ("listed", np.float32),
        ("shown", np.float32),
        ("unread", np.float32),
        ("unread_bytes", np.uint8),
    ):
        values = rng.standard_normal((256, 256)) / 16
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(kind), name))
    model.graph.initializer.append(
        onnx.helper.make_tensor("typed", 1, (1, 256), rng.standard_normal(256))
    )
    feed = {"x": rng.standard_normal((2, 256), np.float32), "choice": np.array(choice)}
    plain = runtime.open_session(model.SerializeToString(), optimize=optimize)
    lent = runtime.open_session(model, optimize=optimize)
    for expected, got in zip(
        runtime.run(plain, None, feed), runtime.run(lent, None, feed), strict=True
    ):
        np.testing.assert_array_equal(expected, got)


def test_a_refused_model_is_one_line(tmp_path: Path) -> None:
    foreign = parse(DOUBLE)
    foreign.graph.node[0].op_type = "NoSuchOperator"
    for source in (foreign, b"no model", tmp_path / "missing.onnx"):
        with pytest.raises(InputError, match="ONNX Runtime does not load") as caught:
            runtime.open_session(source)
        assert "\n" not in str(caught.value)
        assert "[ONNXRuntimeError]" not in str(caught.value)


@pytest.mark.parametrize(
    "feed",
    [
        {"x": np.ones((2, 5), np.float32)},
        {"x": np.ones((2, 4), np.float64)},
        {"z": np.ones((2, 4), np.float32)},
    ],
)
def test_a_refused_feed_names_its_shape(feed: dict[str, np.ndarray]) -> None:
    name, array = next(iter(feed.items()))
    with pytest.raises(InputError, match="does not run on") as caught:
        runtime.run(runtime.open_session(parse(DOUBLE)), None, feed)
    assert f"{name} {list(array.shape)}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_initializers_listed_as_inputs_are_no_inputs() -> None:
    model = parse("agraph (float[N,4] x, float[4] w = {1, 2, 3, 4}) => (float y) { y = Add(x, w) }")
    assert [s.name for s in signature.inputs(model)] == ["x"]


def test_dimensions_are_static_named_or_unknown() -> None:
    model = parse("agraph (float[N,3,?,0] x) => (float y) { y = Identity(x) }")
    assert signature.inputs(model)[0].dims == ("N", 3, None, None)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert signature.inputs(model)[0].dims is None


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (DOUBLE, None),
        ("agraph (float[N,4] z) => (float[N,4] y) { y = Add(z, z) }", "inputs are ['z']"),
        ("agraph (float[N,4] x) => (float[N,4] z) { z = Add(x, x) }", "outputs are ['z']"),
        ("agraph (double[N,4] x) => (float[N,4] y) { y = Add(x, x) }", "'x' is double"),
        ("agraph (float[N,4] x) => (float[N,?] y) { y = Add(x, x) }", "('N', ?) instead of"),
        ("agraph (float[1,4] x) => (float[N,4] y) { y = Add(x, x) }", "declared (1, 4)"),
    ],
)
def test_signature_problems_are_what_a_caller_would_notice(
    changed: str, problem: str | None
) -> None:
    found = signature.problems(parse(DOUBLE), parse(changed))
    assert (len(found) == 1 and problem in found[0]) if problem else found == []


def test_another_operator_set_is_a_problem_but_its_second_spelling_is_not() -> None:
    changed = parse(DOUBLE)
    changed.opset_import[0].domain = "ai.onnx"
    assert signature.problems(parse(DOUBLE), changed) == []
    changed.opset_import[0].version = 18
    assert signature.problems(parse(DOUBLE), changed) == [
        "operator sets are {'ai.onnx': 18} instead of {'ai.onnx': 17}"
    ]
