"""Narrower layers: channels that travel together are taken out of all layers that share them.

`spaces` finds the groups of layers, `prices` what a channel costs, `narrowing` which channels go
(`fitting.elimination`) and what their loss does to the outputs, `proposals` puts these together;
`base` is the model with some spaces narrowed, in which segments are replaced and everything behind
is fitted again;
`overlaps` is what changes of the same layers save twice.
"""

from autogo_onnx.widths.narrowing import Narrowing
from autogo_onnx.widths.proposals import propose_narrowings

__all__ = ["Narrowing", "propose_narrowings"]
