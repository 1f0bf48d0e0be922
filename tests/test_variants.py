from __future__ import annotations

import pytest
from fitting_cases import convolution, pair, windows
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx.cost import macs
from autogo_onnx.fitting.moments import Window
from autogo_onnx.materialize import to_onnx
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.variants import WORTHWHILE, chain, conv, fine_widths, variants
from autogo_onnx.weights import random_weights

SAME = (1, 1, 1, 1)
KERNEL = conv((3, 3), pads=SAME)


def names(segment: OpGraph) -> set[str]:
    return {v.name for v in variants(segment)}


def assert_sound(segment: OpGraph) -> None:
    """Same boundary, cheaper, no two alike, and the shapes are what ONNX infers."""
    found = variants(segment)
    assert len({v.graph for v in found}) == len(found)
    for variant in found:
        graph = variant.graph
        assert graph.input_shapes == segment.input_shapes
        assert graph.output_shapes == segment.output_shapes
        assert variant.macs == macs(graph) <= WORTHWHILE * macs(segment)
        model = to_onnx(graph, random_weights(graph, 0))
        inferred = tensor_shapes(model, {"x0": graph.input_shapes[0]})
        made = [inferred[node.output[0]] for node in model.graph.node]
        assert made == list(graph.op_shapes)


@given(windows(), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 1, 2, 8]))
def test_variants_of_any_convolution_are_sound(
    window: Window, channels: int, outputs: int, group: int
) -> None:
    assert_sound(convolution(8 * channels, 8 * outputs, (12, 11), window, group))


@given(windows(3), windows(3), st.tuples(*[st.sampled_from([3, 8, 16, 24, 40])] * 3))
def test_variants_of_any_pair_are_sound(
    first: Window, last: Window, widths: tuple[int, int, int]
) -> None:
    ops = [conv(w.kernel, w.strides, w.pads, w.dilations) for w in (first, last)]
    assert_sound(pair((1, widths[0], 12, 11), (ops[0], widths[1]), (ops[1], widths[2])))


def test_a_dense_kernel_has_every_kind() -> None:
    assert names(convolution(32, 32, (8, 8), Window((3, 3), pads=SAME))) == {
        "separable",
        "low_rank",
        "depthwise_separable",
        "grouped",
        "smaller_kernel",
    }


def test_points_can_only_lose_rank_or_be_grouped() -> None:
    assert names(convolution(32, 32, (8, 8), Window((1, 1)))) == {"low_rank", "grouped"}


def test_a_depthwise_convolution_can_only_be_cropped() -> None:
    assert names(convolution(32, 32, (8, 8), Window((3, 3), pads=SAME), group=32)) == {
        "smaller_kernel"
    }


def test_what_is_counted_has_finer_ranks_as_well() -> None:
    site = convolution(16, 16, (8, 8), Window((3, 3), pads=SAME))
    coarse, fine = ({v.graph for v in variants(site, *more)} for more in ((), (fine_widths,)))
    assert coarse < fine
    separable = {g for g in fine if len(g.ops) == 2 and g.ops[0].get("kernel_shape") == (3, 1)}
    assert {g.op_shapes[0][1] for g in separable} == {16, 12, 8, 4}


def test_a_pair_can_be_narrower_or_linear() -> None:
    found = variants(pair((1, 16, 8, 8), (KERNEL, 32), (KERNEL, 16)))
    assert {v.name for v in found} == {"narrower", "linearized"}
    assert [v.graph.op_shapes[0][1] for v in found if v.name == "narrower"] == [24, 16, 8]


@pytest.mark.parametrize(
    "middle", [Op.make("Add", (1,)), Op.make("Identity", (1,)), KERNEL], ids=lambda op: op.kind
)
def test_only_an_activation_counts_as_the_middle_of_a_pair(middle: Op) -> None:
    assert variants(chain((1, 16, 8, 8), [(KERNEL, 32), (middle, 32), (KERNEL, 16)])) == ()


def test_a_pair_with_a_branch_has_no_variants() -> None:
    whole = pair((1, 16, 8, 8), (KERNEL, 16), (KERNEL, 16))
    ops = (*whole.ops[:2], Op("Conv", (0,), whole.ops[2].attributes))
    assert variants(OpGraph(whole.input_shapes, ops, whole.op_shapes, whole.outputs)) == ()


def test_crops_cover_the_same_place() -> None:
    """Each smaller kernel starts where it lay in the large one."""
    site = convolution(8, 8, (9, 9), Window((3, 3), (2, 2), (2, 1, 0, 1), (1, 1)))
    crops = [v.graph.ops[0] for v in variants(site) if v.name == "smaller_kernel"]
    full = Window((3, 3), (2, 2), (2, 1, 0, 1))
    assert crops
    for op in crops:
        window = Window(op.get("kernel_shape"), op.get("strides"), op.get("pads"))
        assert window.offset_in(full) is not None
        assert min(op.get("pads")) >= 0


def test_a_large_kernel_is_cropped_to_its_middle() -> None:
    site = convolution(8, 8, (9, 9), Window((5, 5), pads=(2, 2, 2, 2)))
    crops = {
        (op.get("kernel_shape"), op.get("pads"))
        for op in (v.graph.ops[0] for v in variants(site) if v.name == "smaller_kernel")
    }
    assert {((1, 1), (0, 0, 0, 0)), ((3, 3), SAME), ((4, 5), (2, 2, 1, 2))} <= crops
    assert len(crops) < 40
