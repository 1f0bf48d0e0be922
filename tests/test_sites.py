from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from net_cases import Net, reading_of, residual_net
from onnx import helper, numpy_helper
from segment_cases import random_segment

from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.segments import Site, is_convex
from autogo_onnx.sites import find_sites


def kinds(site: Site) -> list[str]:
    return [op.kind for op in site.graph.ops]


def sites(
    model: onnx.ModelProto, pieces: list[list[int]] | None = None, *, fixed_size: bool = True
) -> tuple[Site, ...]:
    shape = tuple(d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim)
    return find_sites(reading_of(model, x=shape), pieces or [], fixed_size=fixed_size)


def comes_back(graph: OpGraph, inside: set[int]) -> bool:
    """Whether some path leaves the operators and returns, by following every edge."""
    readers = graph.readers()
    stack = [r for i in inside for r in readers[graph.n_inputs + i] if r not in inside]
    seen: set[int] = set()
    while stack:
        index = stack.pop()
        if index not in seen:
            seen.add(index)
            following = readers[graph.n_inputs + index]
            if inside & set(following):
                return True
            stack.extend(following)
    return False


@given(st.integers(0, 500))
def test_convexity_by_brute_force(seed: int) -> None:
    graph = random_segment(seed)
    n = len(graph.ops)
    for size in range(1, min(n, 4) + 1):
        for ops in combinations(range(n), size):
            assert is_convex(graph, ops) == (not comes_back(graph, set(ops)))


def test_single_convolutions_and_pairs_are_sites() -> None:
    found = sites(residual_net(blocks=1))
    assert [(s.names, kinds(s)) for s in found] == [
        (("node0",), ["Conv"]),
        (("node2",), ["Conv"]),
        (("node4",), ["Conv"]),
        (("node2", "node3", "node4"), ["Conv", "Relu", "Conv"]),
    ]


def test_a_pair_whose_middle_is_read_elsewhere_is_no_site() -> None:
    """The activation in the stem of a residual net also feeds the shortcut."""
    found = sites(residual_net(blocks=2))
    assert ("node0", "node1", "node2") not in [s.names for s in found]
    net = Net(1, 3, 8, 8)
    middle = net.relu(net.conv("x", 3, 4))
    model = net.model(middle, net.conv(middle, 4, 4))
    assert [kinds(s) for s in sites(model)] == [["Conv"], ["Conv"]]


def test_joined_pieces_lose_the_activations_at_their_ends() -> None:
    model = residual_net(blocks=1)
    # conv relu | conv relu conv | add relu | ...
    found = sites(model, [[0, 1], [2, 3, 4], [5, 6]])
    joined = [s.names for s in found if "Add" in kinds(s)]
    assert joined == [("node2", "node3", "node4", "node5"), tuple(f"node{i}" for i in range(6))]


def test_a_site_ends_where_everything_inside_ends() -> None:
    """A piece with two results, or whose result is needed half way, is no site."""
    model = residual_net(blocks=1)
    assert not [s for s in sites(model, [[1, 2, 3]]) if "node1" in s.names]


def test_sites_come_once_and_in_order_of_their_ends() -> None:
    model = residual_net(blocks=2)
    found = sites(model, [[2, 3], [4], [5], [6]] * 2)
    ops = [s.cut.ops for s in found]
    assert len(set(ops)) == len(ops)
    assert [o[-1] for o in ops] == sorted(o[-1] for o in ops)


@given(st.integers(0, 300))
def test_every_site_has_one_input_and_one_output_and_is_convex(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Net(1, 8, 8, 8, seed=seed)
    tensors = ["x"]
    for _ in range(int(rng.integers(3, 12))):
        a, b = (tensors[-1 - int(rng.integers(min(3, len(tensors))))] for _ in range(2))
        choice = rng.random()
        if choice < 0.5:
            tensors.append(net.conv(a, 8, 8, int(rng.choice([1, 3]))))
        else:
            tensors.append(net.relu(a) if choice < 0.75 else net.op("Add", a, b))
    reading = reading_of(net.model(tensors[-1], tensors[-2]), x=(1, 8, 8, 8))
    graph = reading.opgraph
    pieces = np.split(np.arange(len(graph.ops)), sorted(rng.integers(0, len(graph.ops), 3)))
    for site in find_sites(reading, [p.tolist() for p in pieces], fixed_size=True):
        assert len(site.inputs) == len(site.outputs) == 1
        assert not comes_back(graph, set(site.cut.ops))
        assert cut(graph, site.cut.ops) == site.cut
        assert "Conv" in kinds(site)


def test_pads_that_depend_on_the_size_are_left_alone_unless_it_is_fixed() -> None:
    net = Net(1, 3, 9, 9)
    first = net.conv("x", 3, 4, auto_pad="SAME_UPPER", strides=(2, 2))
    model = net.model(net.conv(first, 4, 4, auto_pad="SAME_UPPER"))
    assert [s.names for s in sites(model)] == [("node0",), ("node1",)]
    assert [s.names for s in sites(model, fixed_size=False)] == [("node1",)]


def test_what_no_fit_can_stand_for_is_no_site() -> None:
    net = Net(1, 3, 8, 8)
    normed = net.op(
        "InstanceNormalization", net.conv("x", 3, 4), *(net.random(4) for _ in range(2))
    )
    model = net.model(net.conv(normed, 4, 4))
    assert [kinds(s) for s in sites(model, [[0, 1, 2]])] == [["Conv"], ["Conv"]]
    flat = Net(1, 3, 8)
    weight = flat.random(4, 3, 3)
    assert sites(flat.model(flat.op("Conv", "x", weight))) == ()


def test_maps_that_mix_samples_are_left_alone() -> None:
    """Frames folded into the batch axis: samples could not be told apart."""
    net = Net(1, 2, 3, 8, 8)
    target = net.constant(np.array([-1, 3, 8, 8], np.int64))
    folded = net.op("Reshape", "x", target)
    assert sites(net.model(net.conv(folded, 3, 4))) == ()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_are_left_alone(dtype: type) -> None:
    """A replacement is written in float32."""
    net = Net(1, 3, 8, 8)
    out = net.conv("x", 3, 4)
    model = net.model(out)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name)
        )
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = kind
    assert sites(model) == ()
    assert [kinds(s) for s in sites(net.model(out))] == [["Conv"]]


def test_computed_weights_are_left_alone() -> None:
    net = Net(1, 3, 8, 8)
    weight = net.op("ReduceMean", "x", axes=[0], keepdims=1)
    assert sites(net.model(net.op("Conv", "x", weight))) == ()
