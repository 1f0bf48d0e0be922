"""AutoGO's own way to adapt a segment, for comparison: its formulation in pyomo.

Written from a description of the formulation, not from its code. Every tensor has a height, a
width and a number of channels, integers from 2 to 10,000, and every edge carries them as a flow:

- the edges into an operator carry its input's extents, those out of it its output's;
- convolutions without groups and pools choose: along height and width the extent r that sizes
  spread forward from the inputs give, r/2 or r/4 (rounded down), not above the input's; along
  channels a convolution chooses 2r, r or r/2. All else keeps its extents;
- the extents at the boundary are given, with inputs and outputs assigned at random;
- what is minimized is, with the number of successors as weight, the change of channels, the change
  of the sum of extents and the shrinkage of each choosing operator, and the extents of the others.

Windows padded otherwise than SAME, computed weights, means and matrix products are refused, and so
is every concatenation of channels, by a guard that wants two extents to differ; `joins` leaves that
guard out. Where the description leaves something open, the reading is taken that accepts more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from typing import Any

import pyomo.environ as pyo

from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.segments import ACTIVATIONS
from benchmarks.pyomo_solving import Refused

_AXES = range(3)  # channels, height, width
_SMALLEST, _LARGEST = 2, 10_000
_POOLS = frozenset({"AveragePool", "MaxPool"})
_KEEPING = ACTIVATIONS | {"Add", "BatchNormalization", "Identity", "Mul"}

Extents = tuple[int, int, int]


def model(
    segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape], *, joins: bool = False
) -> Any:
    """The reference's program for a segment and the shapes of a site.

    Raises:
        Refused: it does not come to a program.
    """
    rng = random.Random(0)
    given, wanted = list(inputs), list(outputs)
    rng.shuffle(given)
    rng.shuffle(wanted)
    if not joins and any(op.kind == "Concat" for op in segment.ops):
        raise Refused("a concatenation of channels")
    if any(len(shape) != 4 for shape in (*given, *wanted, *segment.op_shapes)):
        raise Refused("not a two-dimensional map")
    spread = _spread(segment, [_extents(shape) for shape in given])
    program = pyo.ConcreteModel()
    ops = range(len(segment.ops))
    program.given = pyo.Var(ops, _AXES, domain=pyo.Integers, bounds=(_SMALLEST, _LARGEST))
    program.made = pyo.Var(ops, _AXES, domain=pyo.Integers, bounds=(_SMALLEST, _LARGEST))
    program.rules = pyo.ConstraintList()
    _add_flows(program, segment, [_extents(shape) for shape in given])
    for tensor, shape in zip(segment.outputs, wanted, strict=True):
        if tensor < segment.n_inputs:
            raise Refused("an output that is an input")
        for axis, extent in zip(_AXES, _extents(shape), strict=True):
            program.rules.add(program.made[tensor - segment.n_inputs, axis] == extent)
    _add_choices(program, segment, spread)
    _add_objective(program, segment)
    return program


def _extents(shape: Shape) -> Extents:
    return shape[1], shape[2], shape[3]


def _spread(segment: OpGraph, given: Sequence[Extents]) -> list[Extents]:
    """The extents of every operator's output with the mined strides and ratios of channels."""
    extents = list(given)
    for index, op in enumerate(segment.ops):
        if op.kind not in _KEEPING | _POOLS | {"Concat", "Conv"} or not op.inputs:
            raise Refused(f"{op.kind} is not known")
        channels, height, width = extents[op.inputs[0]]
        if op.kind == "Concat":
            channels = sum(extents[tensor][0] for tensor in op.inputs)
        if op.kind in _POOLS | {"Conv"}:
            down, across = _strides(segment, index, op)
            mined = segment.shape(op.inputs[0])[1], segment.op_shapes[index][1]
            extents.append((channels * mined[1] // mined[0], height // down, width // across))
        else:
            extents.append((channels, height, width))
    return extents[len(given) :]


def _strides(segment: OpGraph, index: int, op: Op) -> tuple[int, int]:
    strides: tuple[int, int] = op.get("strides")
    before, after = segment.shape(op.inputs[0])[2:], segment.op_shapes[index][2:]
    if any(-(-a // s) != b for a, b, s in zip(before, after, strides, strict=True)):
        raise Refused("padded otherwise than SAME")
    return strides


def _add_flows(program: Any, segment: OpGraph, given: Sequence[Extents]) -> None:
    """A flow per edge and axis: what the producer makes is what the reader is given."""
    edges = [(reader, t) for reader, op in enumerate(segment.ops) for t in op.inputs]
    program.flow = pyo.Var(range(len(edges)), _AXES, domain=pyo.NonNegativeReals)
    for (number, (reader, tensor)), axis in product(enumerate(edges), _AXES):
        flow, producer = program.flow[number, axis], segment.producer(tensor)
        source = given[tensor][axis] if producer is None else program.made[producer, axis]
        program.rules.add(flow == source)
        if axis > 0 or segment.ops[reader].kind != "Concat":
            program.rules.add(flow == program.given[reader, axis])
    for reader, op in enumerate(segment.ops):
        if op.kind == "Concat":
            parts = [program.flow[n, 0] for n, (r, _) in enumerate(edges) if r == reader]
            program.rules.add(program.given[reader, 0] == sum(parts))


def _is_choosing(op: Op) -> bool:
    return op.kind in _POOLS or (op.kind == "Conv" and op.get("group", 1) == 1)


def _add_choices(program: Any, segment: OpGraph, spread: Sequence[Extents]) -> None:
    """One-hot choices of the extents that an operator may make; all others keep them."""
    program.chosen = pyo.Var(range(len(segment.ops)), _AXES, range(3), domain=pyo.Binary)
    for (index, op), axis in product(enumerate(segment.ops), _AXES):
        made, given = program.made[index, axis], program.given[index, axis]
        is_channel = axis == 0
        if not _is_choosing(op) or (is_channel and op.kind in _POOLS):
            program.rules.add(made == given)
            continue
        extent = spread[index][axis]
        choices = (2 * extent, extent, extent // 2) if is_channel else _shrunk(extent)
        chosen = [program.chosen[index, axis, number] for number in range(3)]
        program.rules.add(sum(chosen) == 1)
        program.rules.add(made == sum(c * b for c, b in zip(choices, chosen, strict=True)))
        if not is_channel:
            program.rules.add(made <= given)


def _shrunk(extent: int) -> tuple[int, int, int]:
    return extent, extent // 2, extent // 4


def _add_objective(program: Any, segment: OpGraph) -> None:
    ops, weights = range(len(segment.ops)), _successors(segment)
    program.channels = pyo.Var(ops, domain=pyo.NonNegativeReals)
    program.total = pyo.Var(ops, domain=pyo.NonNegativeReals)
    terms = []
    for index, op in enumerate(segment.ops):
        made, given = ([v[index, a] for a in _AXES] for v in (program.made, program.given))
        if not _is_choosing(op):
            terms.append(weights[index] * sum(made))
            continue
        for size, change in (
            (program.channels[index], made[0] - given[0]),
            (program.total[index], sum(made) - sum(given)),
        ):
            program.rules.add(size >= change)
            program.rules.add(size >= -change)
            terms.append(weights[index] * size)
        terms.append(weights[index] * (sum(given[1:]) - sum(made[1:])))
    program.objective = pyo.Objective(expr=sum(terms))


def _successors(segment: OpGraph) -> list[int]:
    """How many operators lie downstream of each, itself included."""
    reached, readers = [0] * len(segment.ops), segment.readers()
    for index in reversed(range(len(segment.ops))):
        reached[index] = 1 << index
        for reader in readers[segment.n_inputs + index]:
            reached[index] |= reached[reader]
    return [mask.bit_count() for mask in reached]
