"""How any segment could be cheaper: every idea yields graphs with the segment's own boundary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from autogo_onnx.cost import macs
from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, Shape, cut
from autogo_onnx.segments import ACTIVATIONS
from autogo_onnx.shapes import Infeasible
from autogo_onnx.shapes.cutting import joins_constant
from autogo_onnx.shapes.interior import interior
from autogo_onnx.variants import forms
from autogo_onnx.variants.closed import is_convolution_pair, one_convolution
from autogo_onnx.variants.surgery import bypassed, substitute, without_operand

Idea = Callable[[OpGraph], Iterator[OpGraph]]
_Form = Callable[[Shape, Op, int], Iterator[OpGraph]]

_SHARES = (0.75, 0.5, 0.25)
_SUMS = frozenset({"Add", "Max", "Mean", "Min", "Sum"})
_WINDOWED = frozenset({"Conv", "ConvTranspose"})
_WEIGHTED = _WINDOWED | forms.PRODUCTS


def narrower(segment: OpGraph) -> Iterator[OpGraph]:
    """Fewer channels inside: all free widths together, then one by one."""
    inner = interior(segment, forms.WIDTH_STEP)
    if isinstance(inner, Infeasible):
        return
    for share in _SHARES if len(inner.free) > 1 else ():
        wanted = {n: forms.rounded_widths(w, (share,))[0] for n, w in inner.free.items()}
        yield from _feasible(inner.wished(wanted))
    for number, mined in inner.free.items():
        for width in forms.rounded_widths(mined, _SHARES):
            if width < mined:
                yield from _feasible(inner.fixed({number: width}))


def _feasible(graph: OpGraph | Infeasible) -> Iterator[OpGraph]:
    if not isinstance(graph, Infeasible):
        yield graph


def dropped_branch(segment: OpGraph) -> Iterator[OpGraph]:
    """A sum, a gate or a concatenation less one of its operands and of what only made that.

    Where the boundary fixes the width of a concatenation its other branches become wider. A gate is
    dropped together with its weights only: without weights it is an activation.
    """
    for index, op in enumerate(segment.ops):
        for position in range(len(op.inputs) if len(op.inputs) > 1 else 0):
            if op.kind == "Concat" and op.get("axis") == 1 and not joins_constant(segment, index):
                yield from _without_branch(segment, index, position)
            elif op.kind in _SUMS:
                yield from _without_term(segment, index, position)
            elif op.kind == "Mul":
                found = _without_term(segment, index, position)
                yield from (graph for graph in found if _weighted(graph) < _weighted(segment))


def _weighted(graph: OpGraph) -> int:
    return sum(op.kind in _WEIGHTED for op in graph.ops)


def _without_term(segment: OpGraph, index: int, position: int) -> Iterator[OpGraph]:
    """What is left must have the shape of the whole; smaller terms broadcast as before."""
    inputs = segment.ops[index].inputs
    rest = (*inputs[:position], *inputs[position + 1 :])
    made = segment.op_shapes[index]
    if not made or made not in map(segment.shape, rest):
        return
    if len(rest) == 1:
        yield bypassed(segment, index, rest[0])
    else:
        yield without_operand(segment, index, position)[0]


def _without_branch(segment: OpGraph, index: int, position: int) -> Iterator[OpGraph]:
    """A Concat of one operand is bypassed last: the shape problem widens its branch through it."""
    graph, index = without_operand(segment, index, position)
    inner = interior(graph, forms.WIDTH_STEP, is_whole=False)
    if isinstance(inner, Infeasible):
        return
    for fitted in _feasible(inner.fixed({})):
        inputs = fitted.ops[index].inputs
        yield bypassed(fitted, index, inputs[0]) if len(inputs) == 1 else fitted


def smaller_kernel(segment: OpGraph) -> Iterator[OpGraph]:
    """The middle of a window, where the pads allow it."""
    for form in (forms.cropped_by_two, forms.cropped_to_point):
        yield from _everywhere(segment, form, _windows(segment))


def depthwise_separable(segment: OpGraph) -> Iterator[OpGraph]:
    """Convolutions as one per channel and one of 1x1."""
    return _everywhere(segment, forms.depthwise_separable, _dense(segment))


def grouped(segment: OpGraph) -> Iterator[OpGraph]:
    """Convolutions in two or four groups."""
    return _everywhere(segment, forms.grouped, _dense(segment))


def low_rank(segment: OpGraph) -> Iterator[OpGraph]:
    """Convolutions and matrix products by way of few channels."""
    for share in (0.5, 0.25, 0.75):
        places = {**_dense(segment), **_products(segment)}
        yield from _everywhere(segment, partial(forms.low_rank_at, share), places)


def separable(segment: OpGraph) -> Iterator[OpGraph]:
    """Kernels as a column and a row."""
    places = {index: op for index, op in _dense(segment).items() if op.kind == "Conv"}
    for share in (1.0, 0.5):
        yield from _everywhere(segment, partial(forms.separable_at, share), places)


def linearized(segment: OpGraph) -> Iterator[OpGraph]:
    """Two convolutions as one, without the activation between them."""
    readers = segment.readers()

    def only_reader(index: int) -> int | None:
        tensor = segment.n_inputs + index
        is_inner = len(readers[tensor]) == 1 and tensor not in segment.outputs
        return readers[tensor][0] if is_inner else None

    for first, op in enumerate(segment.ops):
        middle = only_reader(first) if op.kind == "Conv" else None
        last = only_reader(middle) if middle is not None else None
        if middle is None or last is None or segment.ops[middle].kind not in ACTIVATIONS:
            continue
        chosen = (first, middle, last)
        pair = cut(segment, chosen).graph
        single = one_convolution(pair) if is_convolution_pair(pair) else None
        if single is not None:
            yield substitute(segment, {chosen: single})


def _windows(segment: OpGraph) -> dict[int, Op]:
    """Convolutions by their place, all attributes spelled out."""
    found: dict[int, Op] = {}
    for index, op in enumerate(segment.ops):
        if op.kind in _WINDOWED and len(op.inputs) == 1 and op.get("kernel_shape"):
            ones = (1,) * len(op.get("kernel_shape"))
            zeros = (0,) * 2 * len(ones)
            default: dict[str, AttributeValue] = {
                "strides": ones, "dilations": ones, "pads": zeros, "group": 1,
            }  # fmt: skip
            found[index] = op.with_attributes(**{**default, **dict(op.attributes)})
    return found


def _dense(segment: OpGraph) -> dict[int, Op]:
    """Convolutions without groups, by their place."""
    return {index: op for index, op in _windows(segment).items() if op.get("group") == 1}


def _products(segment: OpGraph) -> dict[int, Op]:
    """Products with constant matrices, by their place."""
    return {
        index: op
        for index, op in enumerate(segment.ops)
        if op.kind in forms.PRODUCTS and len(op.inputs) == 1
    }


def _everywhere(segment: OpGraph, form: _Form, places: dict[int, Op]) -> Iterator[OpGraph]:
    """A form at all operators that it makes cheaper together, then at one after the other."""
    found: dict[int, list[OpGraph]] = {}
    for index, op in places.items():
        parts = list(_cheaper_parts(segment, form, index, op))
        if parts:
            found[index] = parts
    if len(found) > 1:
        yield substitute(segment, {(i,): min(parts, key=macs) for i, parts in found.items()})
    for index, parts in found.items():
        yield from (substitute(segment, {(index,): part}) for part in parts)


def _cheaper_parts(segment: OpGraph, form: _Form, index: int, op: Op) -> Iterator[OpGraph]:
    """Forms of one operator that keep its shapes and save multiply-accumulates."""
    source, made = segment.shape(op.inputs[0]), segment.op_shapes[index]
    if len(made) < 2 or len(source) < 2 or 0 in (*source, *made):
        return  # A shape that is not known.
    channels = made[-1] if op.kind in forms.PRODUCTS else made[1]
    whole = forms.chain(source, [(op, channels)])
    if whole.output_shapes != (made,):
        return
    for part in form(source, op, channels):
        if part.output_shapes == (made,) and macs(part) < macs(whole):
            yield part


IDEAS: tuple[tuple[str, Idea], ...] = (
    ("narrower", narrower),
    ("dropped_branch", dropped_branch),
    ("smaller_kernel", smaller_kernel),
    ("low_rank", low_rank),
    ("depthwise_separable", depthwise_separable),
    ("grouped", grouped),
    ("separable", separable),
    ("linearized", linearized),
)
"""All ideas by the names that reports call them."""
