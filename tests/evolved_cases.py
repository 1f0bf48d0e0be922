"""Networks and edits for the tests of what an evolution gives back."""

from __future__ import annotations

import random

import onnx
from net_cases import Net
from segment_cases import Segment

from autogo_onnx.evolution import Edit
from autogo_onnx.evolved.base import Base, base_of
from autogo_onnx.opgraph import Op, OpGraph, Shape, cut
from autogo_onnx.segments import is_convex
from autogo_onnx.variants import self_variants

MAP: Shape = (1, 8, 12, 12)


def conv(kernel: int = 3) -> OpGraph:
    """One convolution of maps of 8 channels."""
    s = Segment(MAP)
    return s.graph(s.conv(0, 8, kernel))


def two(kernel: int = 3, width: int = 8) -> OpGraph:
    """Convolution, rectifier, convolution."""
    s = Segment(MAP)
    return s.graph(s.conv(s.relu(s.conv(0, width, kernel)), 8, kernel))


IDENTITY = OpGraph((MAP,), (), (), (0,))


def trained(opset: int = 17) -> onnx.ModelProto:
    """A residual classifier of pictures float[N,3,12,12]; its operators: see `Net.block`.

    0 conv, 1 relu; twice: conv, relu, conv, add, relu (2 to 6, 7 to 11); pool, flatten, gemm.
    """
    net = Net("N", 3, 12, 12, opset=opset)
    x = net.relu(net.conv("x", 3, 8))
    for _ in range(2):
        x = net.block(x, 8)
    return net.model(net.classifier(x, 8, 5))


def base() -> Base:
    """The trained network as an evolution sees it."""
    return base_of(trained(), 0)


def random_edits(graph: OpGraph, seed: int, most: int = 4) -> tuple[Edit, ...]:
    """Edits one after the other that replace runs of operators by variants or nothing at all."""
    rng = random.Random(seed)
    edits: list[Edit] = []
    for _ in range(rng.randint(1, most)):
        found = _random_edit(graph, rng)
        if found is not None:
            edits.append(found)
            graph = found.applied(graph).graph
    return tuple(edits)


def _random_edit(graph: OpGraph, rng: random.Random) -> Edit | None:
    start = rng.randrange(1, len(graph.ops))
    ops = tuple(range(start, min(start + rng.randint(1, 5), len(graph.ops) - 3)))
    if not ops or not is_convex(graph, ops):
        return None
    part = cut(graph, ops)
    found = [part.graph, *(variant.graph for variant in self_variants(part.graph))][:12]
    if part.graph.n_inputs == len(part.outputs) == 1:
        shapes = part.graph.input_shapes
        if shapes == part.graph.output_shapes:
            found.append(OpGraph(shapes, (), (), (0,)))
            relu = OpGraph(shapes, (Op("Relu", (0,)),), shapes, (1,))
            found.append(relu)
    return Edit(ops, rng.choice(found), "made up")
