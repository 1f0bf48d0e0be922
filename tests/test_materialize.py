"""OpGraph -> ONNX: valid, strictly inferable, runs with the shapes that the graph claims."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from autogo_onnx.errors import InputError
from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.opgraph import Op, OpGraph

ONE = (1, 8, 6, 6)


def run(graph: OpGraph, *, opset: int = 17, batch: int = 2) -> list[np.ndarray]:
    """Check, infer strictly, run; the shapes must be the graph's, with the batch replaced."""
    model = to_onnx(graph, random_weights(graph, seed=0), opset=opset)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    feed = {
        f"x{i}": rng.standard_normal((batch, *shape[1:])).astype(np.float32)
        for i, shape in enumerate(graph.input_shapes)
    }
    results: list[np.ndarray] = session.run(None, feed)
    wanted = [(batch, *shape[1:]) for shape in graph.output_shapes]
    assert [r.shape for r in results] == wanted
    return results


def chain(*ops_and_shapes: tuple[Op, tuple[int, ...]], given: tuple[int, ...] = ONE) -> OpGraph:
    ops, shapes = zip(*ops_and_shapes, strict=True)
    return OpGraph((given,), ops, shapes, (len(ops),))


UNARY = [
    Op.make("Relu", (0,)),
    Op.make("Clip", (0,), min=0.0, max=6.0),
    Op.make("Clip", (0,), max=1.0),
    Op.make("Sigmoid", (0,)),
    Op.make("HardSigmoid", (0,), alpha=0.25, beta=0.5),
    Op.make("HardSwish", (0,)),
    Op.make("Tanh", (0,)),
    Op.make("LeakyRelu", (0,), alpha=0.1),
    Op.make("PRelu", (0,)),
    Op.make("Add", (0,)),
    Op.make("Mul", (0,)),
    Op.make("BatchNormalization", (0,), epsilon=1e-3),
    Op.make("Identity", (0,)),
    Op.make("Softmax", (0,), axis=3),
]


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 22])
@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.kind)
def test_element_wise(op: Op, opset: int) -> None:
    run(chain((op, ONE)), opset=opset)


SPATIAL = [
    (Op.make("Conv", (0,), kernel_shape=(3, 3), strides=(2, 1), pads=(0, 1, 1, 1), group=4,
             dilations=(1, 1)), (1, 12, 3, 6)),
    (Op.make("ConvTranspose", (0,), kernel_shape=(3, 3), strides=(2, 2), pads=(1,) * 4,
             output_padding=(1, 1)), (1, 4, 12, 12)),
    (Op.make("MaxPool", (0,), kernel_shape=(3, 3), strides=(2, 2), ceil_mode=0), (1, 8, 2, 2)),
    (Op.make("AveragePool", (0,), kernel_shape=(2, 2), strides=(2, 2)), (1, 8, 3, 3)),
    (Op.make("GlobalAveragePool", (0,)), (1, 8, 1, 1)),
    (Op.make("DepthToSpace", (0,), blocksize=2), (1, 2, 12, 12)),
    (Op.make("SpaceToDepth", (0,), blocksize=2), (1, 32, 3, 3)),
    (Op.make("Flatten", (0,), axis=1), (1, 288)),
    (Op.make("Reshape", (0,)), (1, 4, 72)),
    (Op.make("ReduceMean", (0,), axes=(2, 3), keepdims=0), (1, 8)),
    (Op.make("Upsample", (0,), mode="nearest"), (1, 8, 12, 12)),
]  # fmt: skip


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 22])
@pytest.mark.parametrize(("op", "shape"), SPATIAL, ids=lambda v: getattr(v, "kind", ""))
def test_shape_changing(op: Op, shape: tuple[int, ...], opset: int) -> None:
    run(chain((op, shape)), opset=opset)


def test_resize_to_a_size_that_is_no_multiple() -> None:
    run(chain((Op.make("Resize", (0,), mode="linear"), (1, 8, 13, 7))))


def test_ceil_mode_needs_an_opset_that_has_it() -> None:
    pool = Op.make("MaxPool", (0,), kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1)
    odd = chain((pool, (1, 8, 4, 4)), given=(1, 8, 7, 7))
    run(odd, opset=11)
    with pytest.raises(InputError, match="ceil_mode"):
        run(odd, opset=9)


def test_gemm_stores_weights_out_by_in() -> None:
    flat, gemm = Op.make("Flatten", (0,), axis=1), Op.make("Gemm", (1,))
    graph = chain((flat, (1, 288)), (gemm, (1, 10)))
    weight, bias = random_weights(graph, seed=0)[1]
    assert (weight.shape, bias.shape) == ((10, 288), (10,))
    x = np.random.default_rng(0).standard_normal((2, *ONE[1:])).astype(np.float32)
    np.testing.assert_allclose(run(graph)[0], x.reshape(2, -1) @ weight.T + bias, atol=1e-4)
    for opset in (7, 11):
        model = to_onnx(graph, {1: (weight,)}, opset=opset)
        onnx.checker.check_model(model, full_check=True)


def test_two_operands_and_concat() -> None:
    ops = (Op.make("Add", (0, 1)), Op.make("Mul", (2, 1)), Op.make("Concat", (2, 3, 0), axis=1))
    graph = OpGraph((ONE, ONE), ops, (ONE, ONE, (1, 24, 6, 6)), (4, 2))
    run(graph)


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_a_split_is_one_node_whose_parts_may_stand_in_any_order(opset: int) -> None:
    parts = ((2, (1, 3, 6, 6)), (0, (1, 1, 6, 6)), (1, (1, 4, 6, 6)))
    ops = [Op.make("Split", (0,), axis=1, **({"output": n} if n else {})) for n, _ in parts]
    graph = OpGraph(
        (ONE,), (*ops, Op.make("Relu", (2,))), (*(s for _, s in parts), parts[1][1]), (1, 3, 4)
    )
    last, middle, relu = run(graph, opset=opset)
    assert (last.shape[1], middle.shape[1], relu.shape[1]) == (3, 4, 1)


def test_equal_splits_are_a_node_each() -> None:
    half = (1, 4, 6, 6)
    ops = [Op.make("Split", (0,), axis=1, **({"output": 1} if n % 2 else {})) for n in range(4)]
    results = run(OpGraph((ONE,), tuple(ops), (half,) * 4, (1, 2, 3, 4)))
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])
    assert not np.array_equal(results[0], results[1])


def test_a_split_without_its_other_parts_is_refused() -> None:
    for axis, said in ((1, "elsewhere"), (0, "batch axis")):
        part = Op.make("Split", (0,), axis=axis, output=1)
        with pytest.raises(InputError, match=said):
            to_onnx(chain((part, (1, 4, 6, 6))), {})


def test_inputs_as_outputs_and_repeated_outputs_get_identities() -> None:
    graph = OpGraph((ONE, ONE), (Op.make("Relu", (0,)),), (ONE,), (2, 1, 2, 1))
    results = run(graph)
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])
    assert not np.array_equal(results[0], results[1])


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Op.make("LSTM", (0,)), "operator 0: LSTM"),
        (Op.make("Sub", (0,)), "no known side"),
        (Op.make("Conv", (0, 0), kernel_shape=(1, 1)), "computed weights"),
        (Op.make("Gemm", (0, 0)), "Gemm of one operand"),
    ],
)
def test_what_is_not_known_is_refused(op: Op, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_onnx(chain((op, ONE)), {})


def test_a_concat_with_a_constant_is_refused() -> None:
    longer = (ONE[0], ONE[1] + 1, *ONE[2:])
    with pytest.raises(InputError, match="a Concat with a constant"):
        to_onnx(chain((Op.make("Concat", (0,), axis=1), longer)), {})


def test_missing_weights_are_refused() -> None:
    conv = Op.make("Conv", (0,), kernel_shape=(1, 1))
    with pytest.raises(InputError, match="operator 0: Conv has no weights"):
        to_onnx(chain((conv, ONE)), {})


def test_an_opset_without_the_operator_is_named() -> None:
    with pytest.raises(InputError, match="opset 17 has no Gelu"):
        to_onnx(chain((Op.make("Gelu", (0,)), ONE)), {})


def test_same_graph_same_bytes() -> None:
    graph = chain((Op.make("PRelu", (0,)), ONE), (Op.make("Clip", (1,), min=0.0), ONE))
    first, second = (to_onnx(graph, random_weights(graph, 5)) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()
