"""An ONNX graph as a torch module: the extra `[train]`.

Top to bottom: `node.py` reads a node, `operators/` computes it, `parameters.py` says which stored
tensors are learnt, `module.py` runs the graph, `writing.py` puts the weights back into the model.
"""

from autogo_onnx.torch_graph.module import TorchGraph
from autogo_onnx.torch_graph.writing import with_weights

__all__ = ["TorchGraph", "with_weights"]
