"""One form of attributes for all opsets: what a user's model says, and what a family writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from net_cases import Net, pictures, reading_of, run

from autogo_onnx.attribute_forms import TO_THE_END, one_form
from autogo_onnx.errors import InputError
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import Op, OpGraph

SHAPE = (1, 8, 6, 6)


def written(kind: str, opset: int, attributes: dict[str, Any], since: int, order: str) -> Net:
    """A model of one node, its values attributes or inputs as the opset has them."""
    net = Net(*SHAPE, opset=opset)
    if opset < since:
        net.op(kind, "x", **attributes)
        return net
    inputs = []
    for name in order.split():
        value = attributes.pop(name, None)
        dtype = np.int64 if isinstance(value, list) else np.float32
        inputs.append("" if value is None else net.constant(np.array(value, dtype)))
    while not inputs[-1]:
        inputs.pop()
    net.op(kind, "x", *inputs, **attributes)
    return net


SLICES = [
    (dict(starts=[0], ends=[7], axes=[1]), dict(axes=(1,), starts=(0,), ends=(-1,))),
    (dict(starts=[0], ends=[-1], axes=[1]), dict(axes=(1,), starts=(0,), ends=(-1,))),
    (dict(starts=[-2], ends=[8], axes=[1]), dict(axes=(1,), starts=(-2,), ends=(TO_THE_END,))),
    (dict(starts=[0], ends=[4], axes=[1]), dict(axes=(1,), starts=(0,), ends=(4,))),
]
# Axes from the back or in any order; onnx's inference at opset 9 knows neither.
LATER_SLICES = [
    (dict(starts=[0], ends=[-1], axes=[-3]), dict(axes=(1,), starts=(0,), ends=(-1,))),
    (
        dict(starts=[1, 1], ends=[6, 99], axes=[3, 2]),
        dict(axes=(2, 3), starts=(1, 1), ends=(TO_THE_END,) * 2),
    ),
]


@pytest.mark.parametrize(
    ("attributes", "form", "opset"),
    [
        *((*case, opset) for case in SLICES for opset in (9, 17)),
        *((*case, 17) for case in LATER_SLICES),
    ],
)
def test_slices_name_their_bounds_from_the_nearer_end(
    attributes: dict[str, Any], form: dict[str, Any], opset: int
) -> None:
    net = written("Slice", opset, dict(attributes), 10, "starts ends axes steps")
    check_form(net, Op.make("Slice", (0,), **form))


def test_steps_are_kept_where_they_skip() -> None:
    net = written(
        "Slice", 17, dict(starts=[0, 1], ends=[6, 6], axes=[2, 3], steps=[2, 1]), 10,
        "starts ends axes steps",
    )  # fmt: skip
    form = dict(axes=(2, 3), starts=(0, 1), ends=(TO_THE_END,) * 2, steps=(2, 1))
    check_form(net, Op.make("Slice", (0,), **form))


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize(
    ("attributes", "form"),
    [
        (dict(pads=[0, 0, 1, 2, 0, 0, 3, 0]), dict(pads=(0, 0, 1, 2, 0, 0, 3, 0), mode="constant")),
        (dict(pads=[0, 0, 1, 1] * 2, value=0.0), dict(pads=(0, 0, 1, 1) * 2, mode="constant")),
        (
            dict(pads=[0, 1, 0, 0] * 2, value=2.5),
            dict(pads=(0, 1, 0, 0) * 2, mode="constant", value=2.5),
        ),
        (dict(pads=[0, 0, 1, 1] * 2, mode="reflect"), dict(pads=(0, 0, 1, 1) * 2, mode="reflect")),
    ],
)
def test_pads_say_their_mode(attributes: dict[str, Any], form: dict[str, Any], opset: int) -> None:
    check_form(
        written("Pad", opset, dict(attributes), 11, "pads value"), Op.make("Pad", (0,), **form)
    )


def test_pads_of_some_axes_are_pads_of_all() -> None:
    net = written("Pad", 18, dict(pads=[1, 2, 3, 4], axes=[-1, 2]), 11, "pads value axes")
    check_form(net, Op.make("Pad", (0,), pads=(0, 0, 2, 1, 0, 0, 4, 3), mode="constant"))


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize(
    ("kind", "since", "axes", "form"),
    [
        ("ReduceMean", 18, [-1, -2], (2, 3)),
        ("ReduceMax", 18, [1], (1,)),
        ("ReduceSum", 13, [3], (3,)),
        ("Unsqueeze", 13, [2], (2,)),
    ],
)
def test_axes_count_from_the_front(
    kind: str, since: int, axes: list[int], form: tuple[int, ...], opset: int
) -> None:
    check_form(written(kind, opset, dict(axes=axes), since, "axes"), Op.make(kind, (0,), axes=form))


def test_squeezing_is_read_and_written() -> None:
    net = Net(*SHAPE, opset=17)
    pooled = net.op("GlobalAveragePool", "x")
    net.op("Squeeze", pooled, net.constant(np.array([-1, 2], np.int64)))
    reading = reading_of(net.model(net.nodes[-1].output[0]), x=SHAPE)
    assert reading.opgraph.ops[-1] == Op.make("Squeeze", (1,), axes=(2, 3))
    (made,) = run(to_onnx(reading.opgraph, {}), {"x0": pictures(0, 5, *SHAPE[1:])})
    assert made.shape == (5, 8)


def check_form(net: Net, wanted: Op) -> None:
    """The node reads as `wanted`, and so written it computes the same, also for more pictures."""
    model = net.model(net.nodes[-1].output[0])
    graph = reading_of(model, x=SHAPE).opgraph
    assert graph.ops == (wanted,)
    x = pictures(1, *SHAPE)
    expected = run(model, {"x": x})
    for opset in (11, 17):
        np.testing.assert_array_equal(run(to_onnx(graph, {}, opset=opset), {"x0": x}), expected)
    (several,) = run(to_onnx(graph, {}), {"x0": np.concatenate([x, x, x])})
    np.testing.assert_array_equal(several, np.concatenate([expected[0]] * 3))


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        (Op.make("Slice", (0,), axes=(0,), starts=(0,), ends=(1,)), SHAPE, "batch axis"),
        (Op.make("Slice", (0,), starts=(0,), ends=(1,)), SHAPE, "batch axis"),
        (Op.make("Unsqueeze", (0,), axes=(0,)), (1, *SHAPE), "batch axis"),
        (Op.make("Squeeze", (0,)), SHAPE[1:], "batch axis"),
        (Op.make("Slice", (0,), axes=(1,), ends=(1,)), SHAPE, "no constant 'starts'"),
        (Op.make("Pad", (0,), mode="constant"), SHAPE, "no constant 'pads'"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused(op: Op, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_onnx(OpGraph((SHAPE,), (op,), (shape,), (1,)), {})


def test_computed_bounds_are_operands_not_attributes() -> None:
    net = Net(*SHAPE, opset=17)
    total = net.op("ReduceSum", "x", keepdims=0)
    bound = net.op("Unsqueeze", net.op("Cast", total, to=7), net.constant(np.array([0], np.int64)))
    one = net.constant(np.array([1], np.int64))
    model = net.model(net.op("Slice", "x", bound, one, one))
    op = reading_of(model, x=SHAPE).opgraph.ops[-1]
    assert op.kind == "Slice"
    assert len(op.inputs) == 2
    assert op.get("starts") is None
    assert op.get("ends") == (1,)


def test_a_nearest_resize_says_nothing_of_cubic_weights() -> None:
    plain = {"mode": "nearest", "nearest_mode": "floor"}
    assert one_form("Resize", {**plain, "cubic_coeff_a": -0.75}, (), ()) == plain
    cubic = {"mode": "cubic", "cubic_coeff_a": -0.5}
    assert one_form("Resize", {**cubic, "nearest_mode": "floor"}, (), ()) == cubic


def test_unknown_shapes_leave_attributes_as_they_are() -> None:
    said = {"axes": (-1,), "starts": (0,), "ends": (3,)}
    assert one_form("Slice", said, (), ()) == said
    assert one_form("ReduceMean", {"axes": (-1,)}, (), ()) == {"axes": (-1,)}
    broken = {"axes": (1, 2), "starts": (0,), "ends": (3,)}
    assert one_form("Slice", broken, SHAPE, SHAPE) == broken
