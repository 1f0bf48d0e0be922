from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from fitting_cases import outputs_of
from hypothesis import given
from hypothesis import strategies as st
from net_cases import Net, pictures, reading_of, residual_net, run
from onnx import TensorProto, helper

from autogo_onnx import demo
from autogo_onnx import graph as graphs
from autogo_onnx.errors import InputError
from autogo_onnx.liveness import cleanup
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.rewriters import rewrite
from autogo_onnx.rewriters.replace_segment import free_prefix, replace_segment, weight_name
from autogo_onnx.segments import Site, op_weights
from autogo_onnx.sites import find_sites
from autogo_onnx.variants import chain, conv, variants
from autogo_onnx.weights import random_weights

Weights = dict[int, tuple[np.ndarray, ...]]


def replaced(model: onnx.ModelProto, steps: list[tuple[Site, OpGraph, Weights]]) -> onnx.ModelProto:
    graph = graphs.from_model(model)
    for k, (site, replacement, weights) in enumerate(steps):
        replace_segment(graph, site.inputs, site.outputs, replacement, weights, f"new/{k}")
    cleanup(graph)
    made = graphs.to_model(graph, model)
    onnx.checker.check_model(made, full_check=True)
    return made


def shape_of(model: onnx.ModelProto) -> tuple[int, ...]:
    return tuple(d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim)


def replaced_by_itself(model: onnx.ModelProto) -> None:
    """Each site alone, and as many as do not overlap together, by itself: nothing changes."""
    name, shape = model.graph.input[0].name, shape_of(model)
    reading = reading_of(model, **{name: shape})
    every = range(len(reading.opgraph.ops))
    sites = find_sites(reading, [every[i : i + 2] for i in every[::2]], fixed_size=True)
    assert sites
    own = {
        site: {k: op_weights(reading.nodes[i]) for k, i in enumerate(site.cut.ops)}
        for site in sites
    }
    steps = {site: (site, site.graph, {k: w for k, w in own[site].items() if w}) for site in sites}
    apart: list[Site] = []
    for site in sites:
        if not any(set(site.cut.ops) & set(other.cut.ops) for other in apart):
            apart.append(site)
    x = pictures(0, 2 * shape[0] if shape[0] == 1 else shape[0], *shape[1:])
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        x = x[: shape[0]]
    expected = run(model, {name: x})
    for chosen in (*([site] for site in sites[::3]), apart):
        made = replaced(model, [steps[site] for site in chosen])
        assert [i.name for i in made.graph.input] == [i.name for i in model.graph.input]
        assert list(made.graph.output) == list(model.graph.output)
        for a, b in zip(run(made, {name: x}), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(b).max()))


def mobile_net() -> onnx.ModelProto:
    """Inverted residuals with limited rectifiers, then a squeezed gate that stays outside."""
    net = Net("N", 3, 16, 16, seed=1)
    low, high = (net.constant(np.array(v, np.float32)) for v in (0, 6))
    x = net.op("Clip", net.conv("x", 3, 8, strides=(2, 2)), low, high)
    wide = net.op("Clip", net.conv(x, 8, 24, 1, bias=False), low, high)
    deep = net.op("Clip", net.conv(wide, 24, 24, group=24), low, high)
    x = net.op("Add", net.conv(deep, 24, 8, 1), x)
    gate = net.op("HardSigmoid", net.conv(net.op("GlobalAveragePool", x), 8, 8, 1))
    return net.model(net.classifier(net.op("Mul", x, gate), 8, 4))


def inception_net() -> onnx.ModelProto:
    net = Net("N", 4, 10, 10, seed=2)
    x = net.relu(net.conv("x", 4, 8, auto_pad="SAME_UPPER"))
    pooled = net.op("MaxPool", x, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    parts = [
        net.conv(x, 8, 4, 1),
        net.conv(net.relu(net.conv(x, 8, 4, 1)), 4, 8),
        net.conv(pooled, 8, 4, 1),
    ]
    joined = net.relu(net.op("Concat", *parts, axis=1))
    slope = net.constant(np.full((16, 1, 1), 0.1, np.float32))
    up = net.op("PRelu", net.conv(joined, 16, 16, dilations=(2, 2), pads=(2,) * 4), slope)
    return net.model(net.op("DepthToSpace", up, blocksize=2), joined)


@pytest.mark.parametrize("make", [residual_net, mobile_net, inception_net])
def test_every_site_replaced_by_itself_changes_nothing(make: object) -> None:
    assert callable(make)
    replaced_by_itself(make())


def test_the_demo_replaced_by_itself_is_the_demo() -> None:
    replaced_by_itself(onnx.load(Path(demo.__file__).parent / "digits.onnx"))


@pytest.mark.parametrize(
    "name", ["cifar10_resnet20_folded", "fmnist_resnet8_bn", "srgan_generator_x2_bn"]
)
def test_real_networks_replaced_by_themselves(shared: Path, name: str) -> None:
    model = onnx.load(shared / "zoo" / f"{name}.onnx")
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = dim.dim_value or 24
    replaced_by_itself(rewrite(model).model)


@given(st.integers(0, 200))
def test_a_replacement_computes_what_its_weights_say(seed: int) -> None:
    """In its place, from the boundary tensor on."""
    model = residual_net(seed=seed)
    reading = reading_of(model, x=(1, 3, 12, 12))
    sites = find_sites(reading, [[0, 1], [2, 3, 4], [5, 6]], fixed_size=True)
    site = sites[seed % len(sites)]
    found = variants(site.graph)
    if not found:
        return
    graph = found[seed % len(found)].graph
    made = replaced(model, [(site, graph, {**random_weights(graph, seed)})])
    for name in (*site.inputs, *site.outputs):
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        if name not in {v.name for v in (*made.graph.output, *made.graph.input)}:
            made.graph.output.append(info)
    results = dict(
        zip(
            [o.name for o in made.graph.output],
            run(made, {"x": pictures(seed, 2, 3, 12, 12)}),
            strict=True,
        )
    )
    results["x"] = pictures(seed, 2, 3, 12, 12)
    expected = outputs_of(graph, {**random_weights(graph, seed)}, results[site.inputs[0]])
    np.testing.assert_allclose(results[site.outputs[0]], expected, rtol=1e-3, atol=1e-4)


def test_names_of_what_is_new_and_of_what_stays() -> None:
    model = residual_net(blocks=1)
    reading = reading_of(model, x=(1, 3, 12, 12))
    site = next(s for s in find_sites(reading, [], fixed_size=True) if s.names == ("node2",))
    graph = chain(site.graph.input_shapes[0], [(conv((1, 1)), 4), (conv((1, 1)), 8)])
    weights: Weights = {**random_weights(graph, 0)}
    made = replaced(model, [(site, graph, weights)])
    new = [node for node in made.graph.node if node.name.startswith("new/0/")]
    assert [node.op_type for node in new] == ["Conv", "Conv"]
    assert list(new[0].input)[:1] == list(site.inputs)
    assert list(new[1].output) == list(site.outputs)
    before, after = ({n.name for n in m.graph.node} for m in (model, made))
    assert before - after == {"node2"}
    values = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    for op, arrays in weights.items():
        for k, array in enumerate(arrays):
            np.testing.assert_array_equal(values[weight_name("new/0", op, k)], array)
    old = {t.name for t in model.graph.initializer} - set(values)
    assert old == {reading.nodes[2].inputs[k].name for k in (1, 2)}


def test_what_the_old_segment_shared_with_others_stays() -> None:
    """A weight that two convolutions share survives the replacement of one of them."""
    net = Net("N", 4, 8, 8)
    weight, bias = net.random(4, 4, 3, 3), net.random(4)
    first = net.op("Conv", "x", weight, bias, pads=(1, 1, 1, 1))
    model = net.model(net.op("Conv", net.relu(first), weight, bias, pads=(1, 1, 1, 1)))
    replaced_by_itself(model)


def test_a_segment_between_graph_input_and_graph_output() -> None:
    net = Net("N", 4, 8, 8)
    model = net.model(net.conv("x", 4, 4))
    replaced_by_itself(model)


def test_the_identity_can_stand_for_a_segment() -> None:
    net = Net("N", 4, 8, 8)
    model = net.model(net.conv("x", 4, 4))
    reading = reading_of(model, x=(1, 4, 8, 8))
    (site,) = find_sites(reading, [], fixed_size=True)
    nothing = OpGraph(((1, 4, 8, 8),), (), (), (0,))
    made = replaced(model, [(site, nothing, {})])
    x = pictures(0, 2, 4, 8, 8)
    np.testing.assert_array_equal(run(made, {"x": x})[0], x)


def test_what_the_opset_cannot_say_is_an_input_error() -> None:
    net = Net("N", 4, 8, 8, opset=9)
    model = net.model(net.conv("x", 4, 4))
    (site,) = find_sites(reading_of(model, x=(1, 4, 8, 8)), [], fixed_size=True)
    mish = OpGraph(((1, 4, 8, 8),), (Op.make("Mish", (0,)),), ((1, 4, 8, 8),), (1,))
    with pytest.raises(InputError, match="Mish"):
        replaced(model, [(site, mish, {})])


def test_a_prefix_that_is_taken_is_refused() -> None:
    """Names would clash silently, for instance in a model that was optimized before."""
    net = Net("N", 4, 8, 8)
    model = net.model(net.conv(net.conv("x", 4, 4), 4, 4))
    first, last = find_sites(reading_of(model, x=(1, 4, 8, 8)), [], fixed_size=True)
    weights: Weights = {**random_weights(first.graph, 0)}
    once = replaced(model, [(first, first.graph, weights)])
    with pytest.raises(InputError, match="new/0"):
        replaced(once, [(last, last.graph, weights)])


def test_a_free_prefix_is_one_that_no_tensor_has() -> None:
    net = Net("N", 4, 8, 8)
    model = net.model(net.relu(net.conv("x", 4, 4)))
    for expected in ("autogo", "autogo2", "autogo3"):
        graph = graphs.from_model(model)
        assert free_prefix(graph) == expected
        (site,) = find_sites(reading_of(model, x=(1, 4, 8, 8)), [], fixed_size=True)
        split = chain((1, 4, 8, 8), [(conv((1, 1)), 4), (Op.make("Relu", (0,)), 4)])
        weights: Weights = {**random_weights(split, 0)}
        replace_segment(graph, site.inputs, site.outputs, split, weights, f"{expected}/0")
        cleanup(graph)
        model = graphs.to_model(graph, model)
