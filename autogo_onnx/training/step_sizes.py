"""How large the steps of each weight are, where they are to be a share of the weight itself.

Folding normalizations into kernels leaves layers of one network with weights of very different
sizes, so that no absolute learning rate suits all of them; Adam moves every weight by about the
rate (as the layer-wise rates of You et al., 2020, do for large batches).
"""

from __future__ import annotations

from autogo_onnx.torch_graph import TorchGraph

_SMALLEST = 1e-3


def relative_sizes(graph: TorchGraph) -> dict[str, float]:
    """Root mean square of each learnt weight; for biases and shifts, at least of their layer's.

    A bias may be zero and must move all the same.
    """
    sizes: dict[str, float] = {}
    of_layer: dict[str, float] = {}
    for name in graph.learnt.weights:
        node, _ = graph.learnt.uses[name]
        own = max(float(graph.value(name).detach().square().mean().sqrt()), _SMALLEST)
        sizes[name] = max(own, of_layer.setdefault(node.name, own))
    return sizes
