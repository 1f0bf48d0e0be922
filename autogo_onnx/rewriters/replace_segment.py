"""A segment of the graph -> another segment with the same boundary tensors.

Why: this is the one rewrite that may change what the model computes; every faster topology that
the search finds enters the graph here.
Safety: fitted. The boundary tensors keep their names, so nothing outside the segment changes; what
the new segment computes is as good as its weights, and is judged on held-out samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_graphsurgeon as gs

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
        InputError: the graph's opset cannot express the replacement.
    """
    part = gs.import_onnx(to_onnx(replacement, weights, opset=graph.opset))
    tensors = graph.tensors()
    boundary = {
        **{id(t): tensors[name] for t, name in zip(part.inputs, inputs, strict=True)},
        **{id(t): tensors[name] for t, name in zip(part.outputs, outputs, strict=True)},
    }
    for name, tensor in part.tensors().items():
        if id(tensor) not in boundary:
            if isinstance(tensor, gs.Constant):
                # A lazily held value would be written under the name it was read with.
                tensor.values = tensor.values
            tensor.name = f"{prefix}/{name}"
    for name in outputs:
        tensors[name].inputs.clear()
    for node in list(part.nodes):
        sources = [boundary.get(id(t), t) for t in node.inputs]
        targets = [boundary.get(id(t), t) for t in node.outputs]
        node.inputs.clear()
        node.outputs.clear()
        node.inputs.extend(sources)
        node.outputs.extend(targets)
        node.name = f"{prefix}/{node.name}"
        graph.nodes.append(node)


def weight_name(prefix: str, op: int, k: int) -> str:
    """Initializer name of the `k`-th weight of operator `op` of a replacement."""
    return f"{prefix}/t{op}.w{k}"
