"""An ONNX graph in torch: it computes what ONNX Runtime does, and its weights are learnt."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autogo_onnx import calibration, model, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_text
from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.segment_db.families import FAMILIES

torch = pytest.importorskip("torch")

from autogo_onnx.torch_graph import TorchGraph, with_weights  # noqa: E402  # it needs torch
from autogo_onnx.torch_graph.operators import OPERATORS  # noqa: E402

Feed = Mapping[str, np.ndarray]
PICTURE = "float[2,4,9,7] x"

# Operators of one picture, with constants in braces where they need some.
ON_A_PICTURE = """
Abs(x) | Exp(x) | Neg(x) | Erf(x) | Floor(x) | Ceil(x) | Round(x) | Sign(x) | Sin(x) | Cos(x)
Relu(x) | LeakyRelu <alpha=0.2> (x) | Elu <alpha=0.7> (x) | Celu <alpha=0.7> (x) | Selu(x)
Sigmoid(x) | HardSigmoid <alpha=0.3> (x) | HardSwish(x) | Tanh(x) | Softplus(x) | Softsign(x)
Mish(x) | ThresholdedRelu <alpha=0.3> (x) | Identity(x) | Add(x, x) | Sub(x, x) | Sum(x, x, x)
Mean(x, x) | Max(x, x) | Min(x, x) | Softmax <axis=1> (x) | LogSoftmax <axis=-1> (x)
MaxPool <kernel_shape=[3,3]> (x) | MaxPool <kernel_shape=[2,3], strides=[2,2], pads=[1,0,0,1]> (x)
MaxPool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1, dilations=[2,1]> (x)
MaxPool <kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_LOWER"> (x)
AveragePool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)
AveragePool <kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2], count_include_pad=1> (x)
AveragePool <kernel_shape=[2,2], strides=[2,2], ceil_mode=1> (x)
AveragePool <kernel_shape=[3,2], strides=[2,2], pads=[0,1,1,0], ceil_mode=1> (x)
AveragePool <kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER"> (x)
GlobalAveragePool(x) | GlobalMaxPool(x) | DepthToSpace <blocksize=2> (x)
DepthToSpace <blocksize=2, mode="CRD"> (x) | LRN <size=3, alpha=0.1> (x)
LpNormalization <axis=1> (x) | Flatten(x) | Flatten <axis=-1> (x) | Flatten <axis=0> (x)
Transpose(x) | Transpose <perm=[0,2,3,1]> (x) | ReduceMean <axes=[2,3]> (x)
ReduceMax <axes=[1], keepdims=0> (x) | ReduceL2 <axes=[1]> (x) | ReduceSumSquare <axes=[-1]> (x)
ReduceMin(x) | ReduceL1 <axes=[2]> (x) | ReduceProd <axes=[3]> (x) | ReduceLogSumExp <axes=[1]> (x)
ArgMax <axis=1> (x) | ArgMin <axis=2, keepdims=0> (x) | Concat <axis=1> (x, x) | Shape(x) | Size(x)
Cast <to=7> (x) | Dropout(x) | Einsum <equation="nchw->nhc"> (x)
"""

CONSTANTS = "int64[8] pads = {0,0,1,2,0,0,0,1}, int64[2] two = {1,2}, int64[2] shape = {0,-1}"
WITH_CONSTANTS = """
y = Reshape(x, shape) | y = Pad(x, pads) | y = Pad <mode="reflect"> (x, pads)
y = Pad <mode="edge"> (x, pads) | y = Gather <axis=1> (x, two) | y = Unsqueeze(x, two)
y, z = Split <axis=1> (x, equal) | y = Slice(x, two, ends, two) | y = Slice(x, back, front, two, down)
y = Clip(x, low) | y = Clip(x, low, high) | y = Clip(x, , high) | y = Tile(x, many)
y = Expand(one, many) | y = Resize(x, , scales) | y = ReduceSum(x, two)
y = Resize <mode="linear"> (x, , scales) | y = Resize <mode="cubic"> (x, , scales)
y = Resize <mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5> (x, , shrink)
y = Resize <mode="linear", coordinate_transformation_mode="align_corners"> (x, , , sizes)
y = Resize <coordinate_transformation_mode="asymmetric", nearest_mode="floor"> (x, , scales)
y = Resize <mode="linear", coordinate_transformation_mode="pytorch_half_pixel"> (x, , shrink)
y = Resize <nearest_mode="ceil"> (x, , shrink) | y = Resize <nearest_mode="round_prefer_ceil"> (x, , shrink)
y = LayerNormalization(x, last, last) | y = CumSum(x, axis) | y = Pow(x, square) | y = Mul(x, channel)
y = InstanceNormalization(x, four, four) | y = PRelu(x, channel) | y = Div(x, channel)
y = MatMul(x, matrix) | y = Where(never, x, channel) | y = OneHot <axis=1> (two, depth, hot)
y = BatchNormalization <epsilon=0.01> (x, four, four, four, positive) | y = ConstantOfShape(two)
y = Range(zero, limit, step) | y = Mod(two, two)
"""  # noqa: E501
STORED = (
    CONSTANTS
    + """, int64[2] equal = {3,1}, int64[2] ends = {4,9}, int64[2] back = {-1,8}, int64[2] front = {-9,1},
float low = {-0.5}, float high = {0.4}, int64[4] many = {2,4,9,7}, float[1] one = {3}, int64[1] axis = {2},
float[4] scales = {1,1,2,1.5}, float[4] shrink = {1,1,0.6,0.7}, int64[4] sizes = {2,4,5,11},
int64[2] down = {-2,-1}, float[7] last = {1,2,3,4,5,6,7}, float square = {2}, float[4] four = {1,2,-3,0.5},
float[4,1,1] channel = {0.1,0.2,-0.3,0.4}, float[7,2] matrix = {1,2,3,4,5,6,7,8,9,1,2,3,4,5}, bool never = {0},
int64 depth = {5}, float[2] hot = {0,2}, float[4] positive = {1,2,3,0.1}, int64 zero = {0}, int64 limit = {9},
int64 step = {2}"""  # noqa: E501
)


def entries(text: str) -> list[str]:
    return [part.strip() for line in text.strip().splitlines() for part in line.split(" | ")]


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def in_torch(proto: onnx.ModelProto, feed: Feed) -> list[np.ndarray]:
    graph = TorchGraph(proto).eval()
    with torch.no_grad():
        values = graph({name: torch.from_numpy(array) for name, array in feed.items()})
    return [values[name].numpy() for name in graph.outputs]


def assert_alike(proto: onnx.ModelProto, feed: Feed, rtol: float = 1e-5) -> None:
    """Same types and shapes; values to 1e-5 of the largest."""
    session = runtime.open_session(proto, optimize=False)
    for ours, theirs in zip(in_torch(proto, feed), runtime.run(session, None, feed), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        scale = np.abs(theirs).max(initial=0) if theirs.dtype.kind == "f" else 1
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * max(scale, 1e-2))


def rounding_error(proto: onnx.ModelProto, feed: Feed) -> float:
    """How far torch's float32 is from its float64, of an output's largest value."""
    graph = TorchGraph(proto).eval().double()
    with torch.no_grad():
        values = graph({name: torch.from_numpy(array).double() for name, array in feed.items()})
    exact = [values[name].numpy() for name in graph.outputs]
    return max(
        float(np.abs(ours - wide).max() / np.abs(wide).max())
        for ours, wide in zip(in_torch(proto, feed), exact, strict=True)
    )


@pytest.mark.parametrize("entry", entries(ON_A_PICTURE))
def test_an_operator_computes_what_onnx_runtime_does(entry: str) -> None:
    opset = 20 if "Mish" in entry else 13 if "Reduce" in entry else 17
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({PICTURE}) => (y) {{ y = {entry} }}'
    assert_alike(from_text(text), {"x": picture(2, 4, 9, 7)})


@pytest.mark.parametrize("entry", entries(WITH_CONSTANTS))
def test_an_operator_with_constants_computes_what_onnx_runtime_does(entry: str) -> None:
    text = f"g ({PICTURE}) => (y) <{STORED}> {{ {entry} }}"
    assert_alike(from_text(text), {"x": picture(2, 4, 9, 7)})


@pytest.mark.parametrize(
    "attributes",
    [
        "group=2",
        "group=2, pads=[1,1,1,1]",
        "group=2, pads=[0,1,2,0], strides=[2,1]",
        "group=2, dilations=[2,2], pads=[2,2,2,2]",
        'group=2, auto_pad="SAME_UPPER", strides=[2,2]',
        'group=2, auto_pad="SAME_LOWER", strides=[2,2]',
        'group=2, auto_pad="VALID"',
    ],
)
def test_convolutions_compute_what_onnx_runtime_does(attributes: str) -> None:
    text = f"g ({PICTURE}) => (y) {{ y = Conv <{attributes}> (x, w, b) }}"
    assert_alike(with_stored(text, w=picture(6, 2, 3, 3), b=picture(6)), {"x": picture(2, 4, 9, 7)})


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]",
        "strides=[3,2], pads=[0,1,2,0], dilations=[2,1]",
        "strides=[2,2], output_shape=[18,14]",
        'strides=[2,2], auto_pad="SAME_UPPER"',
        'strides=[2,2], auto_pad="SAME_LOWER"',
    ],
)
def test_transposed_convolutions_compute_what_onnx_runtime_does(attributes: str) -> None:
    more = f", {attributes}" if attributes else ""
    text = f"g ({PICTURE}) => (y) {{ y = ConvTranspose <group=2{more}> (x, w, b) }}"
    stored = {"w": picture(4, 3, 3, 3), "b": picture(6)}
    assert_alike(with_stored(text, **stored), {"x": picture(2, 4, 9, 7)})


@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_of_other_ranks(rank: int) -> None:
    size = ",".join("5" * rank)
    text = f"g (float[2,4,{size}] x) => (y) {{ y = Conv(x, w) }}"
    proto = with_stored(text, w=picture(3, 4, *[2] * rank))
    assert_alike(proto, {"x": picture(2, 4, *[5] * rank)})


@pytest.mark.parametrize("attributes", ["transB=1", "alpha=0.5, beta=2.0, transB=1"])
def test_gemm(attributes: str) -> None:
    text = f"g (float[3,5] x) => (y) {{ y = Gemm <{attributes}> (x, w, b) }}"
    assert_alike(with_stored(text, w=picture(4, 5), b=picture(4)), {"x": picture(3, 5)})


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_older_opsets_say_it_otherwise(opset: int) -> None:
    says = {
        7: "a = Upsample <mode=\"nearest\", scales=[1.0,1.0,2.0,2.0]> (x) "
        "b = Pad <pads=[0,0,1,0,0,0,0,1]> (a) c = Clip <min=-0.5, max=0.7> (b) "
        "d = Slice <axes=[2], starts=[1], ends=[-1]> (c) y = Softmax(d)",
        9: "a = Squeeze <axes=[2]> (p) b = Unsqueeze <axes=[0]> (a) y = ReduceMean <axes=[1]> (b)",
        10: "a = Resize <mode=\"linear\"> (x, s) b, c = Split <axis=1> (a) y = Add(b, c)",
    }[opset]  # fmt: skip
    text = (
        f'<ir_version: 6, opset_import: ["": {opset}]> g ({PICTURE}) => (y) '
        f"<float[4] s = {{1,1,2,2}}> {{ p = GlobalAveragePool(x) {says} }}"
    )
    assert_alike(from_text(text), {"x": picture(2, 4, 9, 7)})


def test_batches_normalize_in_training_as_torch_does_and_move_the_statistics() -> None:
    text = f"g ({PICTURE}) => (y) {{ y = BatchNormalization <epsilon=0.001> (x, s, b, m, v) }}"
    stored = {"s": picture(4), "b": picture(4), "m": picture(4), "v": np.abs(picture(4))}
    graph = TorchGraph(with_stored(text, **stored)).train()
    reference = torch.nn.BatchNorm2d(4, eps=0.001)
    names = ("weight", "bias", "running_mean", "running_var")
    reference.load_state_dict(
        {n: torch.from_numpy(a) for n, a in zip(names, stored.values(), strict=True)}, strict=False
    )
    x = torch.from_numpy(picture(2, 4, 9, 7))
    assert torch.allclose(graph({"x": x})["y"], reference(x), atol=1e-6)
    assert torch.allclose(graph.value("m"), reference.running_mean)
    assert torch.allclose(graph.value("v"), reference.running_var)
    moved = graph.value("m").clone()
    graph.freezes_statistics = True
    graph({"x": x})
    assert torch.equal(graph.value("m"), moved)


def test_weights_are_found_behind_rearrangements_and_formulas_are_left_alone() -> None:
    text = """g (float[2,4,5,5] x) => (y) <float three = {3}, int64[3] per = {4,1,1}> {
        conv = Conv(x, w, b)
        slope = Unsqueeze(p, ends)
        act = PRelu(conv, slope)
        bias = Reshape(b2, per)
        sum = Add(act, bias)
        y = Add(sum, three)
    }"""
    stored = {"w": picture(4, 4, 1, 1), "b": picture(4), "p": picture(4), "b2": picture(4)}
    proto = with_stored(text, **stored, ends=np.array([1, 2]))
    graph = TorchGraph(proto)
    assert graph.learnt.weights == ("w", "b", "p", "b2")
    assert graph.learnt.statistics == ()
    graph({"x": torch.from_numpy(picture(2, 4, 5, 5))})["y"].square().sum().backward()
    assert all(graph.value(name).grad.abs().sum() > 0 for name in graph.learnt.weights)


def test_a_part_of_the_graph_runs_by_itself() -> None:
    text = f"g ({PICTURE}) => (y) {{ a = Conv(x, w) b = Relu(a) c = Neg(b) y = Exp(c) }}"
    graph = TorchGraph(with_stored(text, w=picture(3, 4, 1, 1)))
    a = torch.from_numpy(picture(2, 3, 9, 7))
    values = graph({"a": a}, ["c", "b"])
    assert torch.equal(values["c"], -a.relu())
    assert list(values) == ["c", "b"]
    with pytest.raises(InputError, match="tensor 'x' must be fed"):
        graph({"c": a}, ["b"])


def test_weights_go_back_where_they_came_from() -> None:
    text = """g (float[2,4,5,5] x) => (y) {
        w = Constant <value = float[4,4,1,1] {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1}> ()
        y = Conv(x, w, b)
    }"""
    proto = with_stored(text, b=picture(4))
    graph = TorchGraph(proto)
    proto = with_weights(proto, graph.arrays())  # now all of it as raw data
    assert with_weights(proto, graph.arrays()) == proto
    changed = with_weights(proto, {name: array + 1 for name, array in graph.arrays().items()})
    assert [n.op_type for n in changed.graph.node] == ["Constant", "Conv"]
    again = TorchGraph(changed)
    for name, array in graph.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array + 1)
    assert_alike(changed, {"x": picture(2, 4, 5, 5)})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("y = Det(x)", "node 'y': operator Det is not known to train"),
        ("y = other.Relu(x)", "node 'y': operator Relu of domain other is not known to train"),
        ("y, i = MaxPool <kernel_shape=[2,2]> (x)", "node 'y': MaxPool with indices"),
        ("y = Resize <antialias=1> (x, , s)", "node 'y': Resize with antialias cannot be trained"),
        ("y = Reshape(x, odd)", "node 'y' (Reshape) does not run in torch: shape '[5]' is invalid"),
        ("y = If <then_branch = t () => (a) { a = Relu(x) }, else_branch = e () => (b) "
         "{ b = Neg(x) }> (c)", "node 'y': operator If is not known to train"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(body: str, told: str) -> None:
    text = (
        f'<ir_version: 8, opset_import: ["": 18, "other": 1]> g ({PICTURE}) => (y) '
        f"<float[4] s = {{1,1,2,2}}, int64[1] odd = {{5}}, bool c = {{1}}> {{ {body} }}"
    )
    with pytest.raises(InputError) as caught:
        in_torch(from_text(text), {"x": picture(2, 4, 9, 7)})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sixteen_bits_are_refused() -> None:
    text = "g (float16[2,4,5,5] x) => (y) { y = Conv(x, w) }"
    proto = with_stored(text, w=picture(4, 4, 1, 1).astype(np.float16))
    with pytest.raises(InputError, match="'w' has 16 bits: convert the model to float32"):
        TorchGraph(proto)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_networks_of_every_family(name: str) -> None:
    """Random deep networks magnify rounding, so that 1e-5 cannot hold for all of them."""
    family = FAMILIES[name]
    published = ["edsr_x2", "unet_denoising@64"]
    for code in published if name == "published" else family.codes(1, 3):
        network = family.build(code).graph
        proto = to_onnx(network, random_weights(network, 0))
        feed = {f"x{i}": picture(*s) for i, s in enumerate(network.input_shapes)}
        rounding = rounding_error(proto, feed)
        assert rounding < 1e-2, code
        assert_alike(proto, feed, max(1e-5, 4 * rounding))


ZOO = {
    "cifar10_resnet20_bn": (2, 3, 32, 32),
    "fmnist_resnet8_bn": (2, 1, 28, 28),
    "mnist_cntk_8": (1, 1, 28, 28),
}
ZOO_SLOW = {
    "carvana_unet_upsample": (1, 4, 31, 47),
    "cifar10_resnet20_dynamo": (2, 3, 32, 32),
    "cifar10_resnet20_folded": (2, 3, 32, 32),
    "efficientnet_lite0_bn": (1, 3, 224, 224),
    "ppocr_v2_cls": (2, 3, 48, 192),
    "srgan_generator_x2_bn": (1, 3, 32, 32),
    "ultraface_version-RFB-320": (1, 3, 240, 320),
    "vit_pgd_2_3_16": (2, 3, 32, 32),
    "vnn_cifar10_large": (2, 32, 32, 3),
    "yolox_nano": (1, 3, 416, 416),
    "yunet_n_dynamic": (1, 3, 160, 160),
}


def zoo_agrees(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    proto = model.load(folder / "zoo" / f"{name}.onnx")
    picture = np.random.default_rng(0).random(shape, dtype=np.float32)
    feed = {next(iter(calibration.noise(proto, 1, seed=0).feeds)): picture}
    # On noise these two magnify rounding: ONNX Runtime too is that far from float64.
    is_delicate = name in ("yolox_nano", "srgan_generator_x2_bn")
    assert_alike(proto, feed, 4 * rounding_error(proto, feed) if is_delicate else 1e-5)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_models_of_the_zoo(shared: Path, name: str) -> None:
    zoo_agrees(shared, name, ZOO[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ZOO_SLOW))
def test_larger_models_of_the_zoo(shared: Path, name: str) -> None:
    zoo_agrees(shared, name, ZOO_SLOW[name])


@pytest.mark.slow
def test_onnx_own_tests_of_operators() -> None:
    """Whatever of them runs in both must agree; at least 500 do."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        found = [t for t in load_model_tests(kind="node") if t.model is not None and t.data_sets]
    agreed, wrong = 0, []
    for test in found:
        assert test.model is not None
        assert test.data_sets is not None
        nodes = test.model.graph.node
        arrays = list(test.data_sets[0][0])
        known = all(n.op_type in OPERATORS and not n.domain for n in nodes)
        if not known or not all(isinstance(a, np.ndarray) for a in arrays):
            continue
        outcome = agreement(test.model, arrays)
        agreed += outcome is True
        if outcome is False:
            wrong.append(test.name)
    assert wrong == []
    assert agreed >= 500


def agreement(proto: onnx.ModelProto, arrays: list[Any]) -> bool | None:
    """None where one of the two does not run it."""
    feed = {i.name: np.asarray(a) for i, a in zip(proto.graph.input, arrays, strict=False)}
    try:
        session = runtime.open_session(proto, optimize=False)
        theirs = runtime.run(session, None, feed)
        ours = in_torch(proto, feed)
    except (InputError, TypeError):  # of types that torch or NumPy does not have
        return None
    return all(
        a.dtype == b.dtype and np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def with_stored(text: str, **arrays: np.ndarray) -> onnx.ModelProto:
    proto = from_text(text)
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in arrays.items()
    )
    return proto
