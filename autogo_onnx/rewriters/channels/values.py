"""What is known of channels before anything runs: which are constant, and which are equal.

A filter of zeros makes a channel of its bias; two equal filters make two equal channels. Both facts
travel through activations, additions, pools and further layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.channels.arithmetic import COMBINED, FUNCTIONS
from autogo_onnx.rewriters.channels.channels import (
    ELEMENTWISE,
    POOLS,
    REDUCTIONS,
    UNARY,
    Spaces,
)
from autogo_onnx.rewriters.channels.trace import is_depthwise
from autogo_onnx.rewriters.patterns.affine import read_affine
from autogo_onnx.rewriters.patterns.layout import Channels
from autogo_onnx.rewriters.patterns.linear import (
    bias_of,
    groups,
    is_linear,
    pads,
    refusal,
    weight_of,
)
from autogo_onnx.rewriters.patterns.reading import is_given, setting
from autogo_onnx.rewriters.view import View

# Rows that differ at all mostly differ in a few of their elements.
_PEEKED = 8


@dataclass(frozen=True)
class Known:
    """What is known of the channels of one tensor.

    Attributes:
        value: float64[channels], the value of constant ones, NaN for the others.
        label: int64[channels]; channels of one tensor with the same label are equal.
    """

    value: np.ndarray
    label: np.ndarray

    @classmethod
    def nothing(cls, size: int) -> Known:
        """Channels that are neither constant nor equal."""
        return cls(np.full(size, np.nan), np.arange(size))


def known(view: View, spaces: Spaces) -> dict[str, Known]:
    """By the names of all tensors whose channels are followed."""
    facts: dict[str, Known] = {}
    for node in view.graph.nodes:
        if is_linear(node) and node.outputs[0].name in spaces.makers and refusal(node) is None:
            facts[node.outputs[0].name] = _made(node, facts.get(node.inputs[0].name))
        elif any(t.name in spaces.places for t in node.outputs):
            _step(view, spaces, node, facts)
    return facts


def rows(node: gs.Node) -> np.ndarray:
    """The weight of a layer with one group as [output channels, input channels, taps]."""
    weight = weight_of(node)
    if node.op == "ConvTranspose" or (
        is_op(node, "Gemm", "MatMul") and not node.attrs.get("transB", 0)
    ):
        weight = weight.swapaxes(0, 1)
    return weight.reshape(*weight.shape[:2], -1)


def groups_of_equal(*columns: np.ndarray) -> np.ndarray:
    """int64[n] that are equal where the entries of all columns are.

    >>> groups_of_equal(np.array([5, 5, 6]), np.array([1.0, 1.0, 1.0])).tolist()
    [0, 0, 1]
    """
    table = np.column_stack([np.unique(c, axis=0, return_inverse=True)[1].ravel() for c in columns])
    return np.unique(table, axis=0, return_inverse=True)[1].ravel()


def equal_rows(table: np.ndarray) -> np.ndarray:
    """int64[n] that are equal where the rows are, bit for bit: the number of the first such row."""
    flat = table.reshape(len(table), -1)
    columns = np.linspace(0, flat.shape[1] - 1, min(_PEEKED, flat.shape[1]), dtype=int)
    alike: dict[bytes, list[int]] = {}
    for i, some in enumerate(np.ascontiguousarray(flat[:, columns])):
        alike.setdefault(some.tobytes(), []).append(i)
    label = np.arange(len(flat))
    for group in alike.values():
        seen: dict[bytes, int] = {}
        for i in group if len(group) > 1 else ():
            label[i] = seen.setdefault(flat[i].tobytes(), i)
    return label


def _made(node: gs.Node, before: Known | None) -> Known:
    """The output of a layer that sums over channels."""
    bias = bias_of(node)
    if groups(node) != 1:
        return Known.nothing(len(bias))
    weight = rows(node)
    value = np.zeros(weight.shape[1])
    open_inputs = np.ones(weight.shape[1], bool)
    if before is not None and before.value.size == value.size:
        open_inputs = np.isnan(before.value)
        if pads(node):
            open_inputs |= before.value != 0
        value = np.where(open_inputs, 0, before.value)
    result = np.full(len(bias), np.nan)
    constant = ~weight[:, open_inputs].any(axis=(1, 2))
    if constant.any():
        sums = weight[constant].astype(np.float64).sum(axis=2) @ value
        result[constant] = bias[constant] + sums * node.attrs.get("alpha", 1.0)
    return Known(result, groups_of_equal(equal_rows(weight), bias))


def _step(view: View, spaces: Spaces, node: gs.Node, facts: dict[str, Known]) -> None:
    result = node.outputs[0].name
    place = spaces.places[result]
    if is_op(node, "Split"):
        _split(spaces, node, facts)
        return
    inputs = [facts.get(tensor.name) for tensor in node.inputs]
    rule = next((compute for kinds, compute in _STEPS if is_op(node, *kinds)), None)
    made = None
    if rule is not None and any(fact is not None for fact in inputs):
        made = rule(view, spaces, node, inputs)
    facts[result] = made if made is not None else Known.nothing(place.size)


def _split(spaces: Spaces, node: gs.Node, facts: dict[str, Known]) -> None:
    source = node.inputs[0].name
    whole = facts.get(source, Known.nothing(spaces.places[source].size))
    offset = {link.small: link.offset for link in spaces.links.get(source, ())}
    for tensor in node.outputs:
        size, begin = spaces.places[tensor.name].size, offset.get(tensor.name, 0)
        part = slice(begin, begin + size)
        facts[tensor.name] = Known(whole.value[part], whole.label[part])


_Inputs = Sequence[Known | None]


def _unary(view: View, spaces: Spaces, node: gs.Node, inputs: _Inputs) -> Known | None:
    (before, *_) = inputs
    assert before is not None
    function = FUNCTIONS.get(node.op)
    if function is None:
        return Known(np.full_like(before.value, np.nan), before.label)
    with np.errstate(all="ignore"):
        value = function(before.value, node)
    return Known(np.where(np.isfinite(value), value, np.nan), before.label)


def _elementwise(view: View, spaces: Spaces, node: gs.Node, inputs: _Inputs) -> Known | None:
    place = spaces.places[node.outputs[0].name]
    operands = [_operand(t, fact, place) for t, fact in zip(node.inputs, inputs, strict=True)]
    label = groups_of_equal(*(operand.label for operand in operands))
    function = COMBINED.get(node.op)
    value = np.full(place.size, np.nan)
    if function is not None:
        with np.errstate(all="ignore"):
            value = operands[0].value
            for operand in operands[1:]:
                value = function(value, operand.value)
    if is_op(node, "Mul"):
        value = np.where((operands[0].value == 0) | (operands[1].value == 0), 0, value)
    return Known(np.where(np.isfinite(value), value, np.nan), label)


def _operand(tensor: gs.Tensor, fact: Known | None, place: Channels) -> Known:
    """Facts about a constant or a tensor without channels, as if it had them."""
    if fact is not None:
        return fact
    value = constant_value(tensor)
    nothing = np.full(place.size, np.nan)
    if value is None:
        return Known(nothing, np.zeros(place.size, np.int64))
    vector = Channels(place.size, place.after, max(value.ndim, place.after + 1)).vector(value)
    if vector is not None:
        return Known(vector, groups_of_equal(vector))
    axis = value.ndim - 1 - place.after
    if axis < 0 or value.shape[axis] == 1:
        return Known(nothing, np.zeros(place.size, np.int64))
    return Known(nothing, equal_rows(np.moveaxis(value, axis, 0)))


def _norm(view: View, spaces: Spaces, node: gs.Node, inputs: _Inputs) -> Known | None:
    (before, *_) = inputs
    affine = read_affine(view, node, 2)
    if before is None or isinstance(affine, str):
        return None
    scale, shift = affine.scale.reshape(-1), affine.shift.reshape(-1)
    value = np.where(scale == 0, 0, scale * before.value) + shift
    return Known(value, groups_of_equal(before.label, scale, shift))


def _depthwise(view: View, spaces: Spaces, node: gs.Node, inputs: _Inputs) -> Known | None:
    before = inputs[0]
    if before is None or not is_depthwise(node):
        return None
    weight, bias = weight_of(node).astype(np.float64), bias_of(node)
    taps = weight.reshape(len(weight), -1)
    value = taps.sum(axis=1) * before.value
    if pads(node):
        value = np.where(before.value == 0, 0, np.nan)
    value = np.where(taps.any(axis=1), value, 0) + bias
    return Known(value, groups_of_equal(before.label, equal_rows(taps), bias))


def _same(view: View, spaces: Spaces, node: gs.Node, inputs: _Inputs) -> Known | None:
    """Pools, reductions and moves: of equal elements they make the same element."""
    before = inputs[0]
    if before is None:
        return None
    size = spaces.places[node.outputs[0].name].size
    if size != before.value.size:
        repeat = size // before.value.size
        order = np.tile(np.arange(repeat), before.value.size)
        return Known(before.value.repeat(repeat), before.label.repeat(repeat) * repeat + order)
    dilutes = is_op(node, "AveragePool") and node.attrs.get("count_include_pad", 0)
    if dilutes or is_op(node, "Pad"):
        return Known(_unless_zeros_enter(node, before.value), before.label)
    return before


def _unless_zeros_enter(node: gs.Node, value: np.ndarray) -> np.ndarray:
    """A constant stays one where what enters from outside is the same: zero."""
    filled = np.zeros(1)
    if is_op(node, "Pad") and is_given(node, "value", 2):
        given = setting(node, "value", 2)
        filled = np.ones(1) if given is None else given
    by_zeros = node.attrs.get("mode", "constant") == "constant" and not filled.any()
    return np.where(value == 0, value, np.nan) if by_zeros else np.full_like(value, np.nan)


def _concat(view: View, spaces: Spaces, node: gs.Node, inputs: _Inputs) -> Known | None:
    result = node.outputs[0].name
    size = spaces.places[result].size
    begins: dict[str, list[int]] = {}
    for link in spaces.links.get(result, ()):
        begins.setdefault(link.small, []).append(link.offset)
    if not begins:  # along another axis: constant where all are, equal where all are
        facts = [fact for fact in inputs if fact is not None]
        first = facts[0].value
        agree = np.all([fact.value == first for fact in facts], axis=0)
        label = groups_of_equal(*(fact.label for fact in facts))
        return Known(np.where(agree, first, np.nan), label)
    value, label = np.full(size, np.nan), np.arange(size)
    for tensor, fact in zip(node.inputs, inputs, strict=True):
        for begin in begins.get(tensor.name, ()) if fact is not None else ():
            assert fact is not None
            part = slice(begin, begin + fact.value.size)
            value[part] = fact.value
            label[part] = begin + groups_of_equal(fact.label)
    return Known(value, label)


_STEPS: tuple[
    tuple[tuple[str, ...], Callable[[View, Spaces, gs.Node, _Inputs], Known | None]], ...
] = (
    (UNARY, _unary),
    (ELEMENTWISE, _elementwise),
    (("BatchNormalization",), _norm),
    (("Conv",), _depthwise),
    (("Concat",), _concat),
    (
        (*POOLS, *REDUCTIONS, "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Flatten"),
        _same,
    ),
    (("Slice", "Pad", "Resize", "Upsample"), _same),
)
