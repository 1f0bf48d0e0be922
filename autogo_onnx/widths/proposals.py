"""Every narrowing that saves something, with its price and its score."""

from __future__ import annotations

from functools import partial
from math import prod

from autogo_onnx.activations import Activations
from autogo_onnx.cost import op_macs
from autogo_onnx.graph import from_model
from autogo_onnx.ground import Ground
from autogo_onnx.planning import scored_samples
from autogo_onnx.savings import LEAST_SAVING
from autogo_onnx.weights import weight_shapes
from autogo_onnx.widths.kept import is_remembered, remembered
from autogo_onnx.widths.narrowing import Narrowing, Workbench
from autogo_onnx.widths.prices import savings_per_channel, widths
from autogo_onnx.widths.spaces import Space, find_spaces

SHARE = 0.3  # of the time that is left,
PRICING_SHARE = 0.25  # and of this


def propose_narrowings(ground: Ground, original: Activations) -> list[Narrowing]:
    """Narrowings of every space of the model, of each those that no other beats.

    Args:
        ground: the model.
        original: its activations on the samples to fit on.
    """
    counted = ground.job.counted
    in_blocks = counted is None or counted.device is not None
    spaces = find_spaces(from_model(ground.model), ground.reading)
    spaces = tuple(space for space in spaces if widths(space.size, in_blocks=in_blocks))
    if not spaces:
        return []
    ground.progress.stage("narrow", len(spaces))
    deadline = ground.job.deadline.part(SHARE)
    per_channel = savings_per_channel(ground, spaces, deadline.part(PRICING_SHARE))
    tries = sum(len(widths(space.size, in_blocks=in_blocks)) for space in spaces)
    bench = Workbench(ground, original, spaces, scored_samples(ground, tries, original))
    samples = (bench.learning.count, bench.jury.activations.count)
    found: list[Narrowing] = []
    for done, space in enumerate(spaces):
        if deadline.is_past() and not is_remembered(ground, space, samples):
            ground.job.notes.append(
                f"{len(spaces) - done} of {len(spaces)} groups of layers were not narrowed: the "
                "budget (--budget) was too short"
            )
            break
        sizes = widths(space.size, in_blocks=in_blocks)
        compute = partial(bench.candidates, space, sizes)
        for kept, nmse, score in remembered(ground, space, samples, compute):
            lost = space.size - len(kept)
            saving = per_channel[space] * lost
            if saving >= LEAST_SAVING:
                macs, params = _deltas(ground, space, lost)
                found.append(
                    Narrowing(space, kept, saving, score, nmse, _names(ground, space), macs, params)
                )
        ground.progress.advance()
    return found


def _names(ground: Ground, space: Space) -> tuple[str, ...]:
    ops = sorted(space.outputs() | space.inputs(ground.reading.opgraph).keys())
    return tuple(ground.reading.nodes[i].name for i in ops)


def _deltas(ground: Ground, space: Space, lost: int) -> tuple[int, int]:
    """Changes of multiply-accumulates and parameters by losing some channels."""
    graph, share = ground.reading.opgraph, lost / space.size
    macs, shapes = op_macs(graph), weight_shapes(graph)
    outputs, inputs = space.outputs(), space.inputs(graph)
    less_macs = less_params = 0.0
    for op in outputs | inputs.keys():
        kept = (1.0 - share * (op in outputs)) * (1.0 - share * inputs.get(op, 0.0))
        weight, *bias = (prod(shape) for shape in shapes[op])
        less_macs += (1.0 - kept) * macs[op]
        less_params += (1.0 - kept) * weight + share * (op in outputs) * sum(bias)
    return -round(less_macs), -round(less_params)
