"""A segment of the graph -> another segment with the same boundary tensors.

Why: this is the one rewrite that may change what the model computes; every faster topology that
the search finds enters the graph here.
Safety: fitted. The boundary tensors keep their names, so nothing outside the segment changes; what
the new segment computes is as good as its weights, and is judged on held-out samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import onnx_graphsurgeon as gs

from autogo_onnx.errors import InputError
from autogo_onnx.liveness import all_names, disconnect
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import OpGraph


def replace_segment(
    graph: gs.Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    replacement: OpGraph,
    weights: Mapping[int, tuple[Any, ...]],
    prefix: str,
) -> None:
    """Put `replacement` between the boundary tensors; the old nodes die at the next clean-up.

    Args:
        graph: edited in place; not sorted or cleaned here, so that many replacements share one
            sweep.
        inputs, outputs: names of the boundary tensors, in the replacement's order.
        replacement: weight-free graph, and
        weights: its weights by operator index.
        prefix: of the names of all new nodes and tensors; the weights of operator `i` become
            `weight_name(prefix, i, k)`.

    Raises:
        InputError: the graph's opset cannot express the replacement, or the prefix is in use.
    """
    part = gs.import_onnx(to_onnx(replacement, weights, opset=graph.opset))
    tensors = graph.tensors()
    _rename(part, inputs, outputs, prefix)
    taken = part.tensors().keys() & tensors.keys() - {*inputs, *outputs}
    if taken:
        raise InputError(f"the model already has a tensor {min(taken)!r}: choose another prefix")
    for name in outputs:
        tensors[name].inputs.clear()
    for node in list(part.nodes):
        sources = [tensors.get(t.name, t) for t in node.inputs]
        targets = [tensors.get(t.name, t) for t in node.outputs]
        disconnect(node)
        node.inputs.extend(sources)
        node.outputs.extend(targets)
        graph.nodes.append(node)


def _rename(part: gs.Graph, inputs: Sequence[str], outputs: Sequence[str], prefix: str) -> None:
    """Boundary tensors get the names they have outside, everything else the prefix."""
    boundary = {id(t): n for t, n in zip(part.inputs, inputs, strict=True)}
    boundary.update({id(t): n for t, n in zip(part.outputs, outputs, strict=True)})
    for name, tensor in part.tensors().items():
        if isinstance(tensor, gs.Constant):
            # A lazily held value would be written under the name it was read with.
            tensor.values = tensor.values
        tensor.name = boundary.get(id(tensor), f"{prefix}/{name}")
    for node in part.nodes:
        node.name = f"{prefix}/{node.name}"


def weight_name(prefix: str, op: int, k: int) -> str:
    """Initializer name of the `k`-th weight of operator `op` of a replacement."""
    return f"{prefix}/t{op}.w{k}"


def free_prefix(graph: gs.Graph) -> str:
    """`autogo`, or `autogo2, autogo3, ...` where a tensor or node is already named so.

    A model may have been optimized before. Names inside of subgraphs count as well: ONNX wants
    them to differ from those outside.
    """
    taken = {name.partition("/")[0] for name in all_names(graph)}
    names = ("autogo" if n == 1 else f"autogo{n}" for n in count(1))
    return next(name for name in names if name not in taken)
