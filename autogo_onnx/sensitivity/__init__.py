"""How much errors inside a model matter to its outputs, by going backwards through it once.

| module | what it does |
| --- | --- |
| `layer.py` | one operator at work on some samples |
| `pointwise.py`, `linear.py`, `windows.py` | gradients from an operator's result to its inputs |
| `adjoints.py` | which operators are known |
| `backward.py` | a whole graph, last operator first |
| `sensitivity.py` | the importance of every tensor that fits aim at, from all samples |
"""

from autogo_onnx.sensitivity.sensitivity import Sensitivity

__all__ = ["Sensitivity"]
