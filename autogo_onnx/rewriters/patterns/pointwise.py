"""1x1 convolutions: the same affine map of the channels at every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.reading import is_given
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class Pointwise:
    """The geometry of a 1x1 convolution that visits every pixel once.

    Attributes:
        node: the Conv.
        rank: of its input.
        channels_in, channels_out: how many there are.
        groups: into which the channels are divided.
    """

    node: gs.Node
    rank: int
    channels_in: int
    channels_out: int
    groups: int

    @property
    def has_bias(self) -> bool:
        """Whether it adds something."""
        return is_given(self.node, "", 2)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per pixel."""
        return self.channels_in * self.channels_out // self.groups


def read_pointwise(view: View, node: gs.Node) -> Pointwise | None:
    """The 1x1 convolution that the node is; None when it is anything else."""
    if not is_op(node, "Conv"):
        return None
    shape = view.shape(node.inputs[1])
    if shape is None or None in shape or any(d != 1 for d in shape[2:]):
        return None
    outputs, per_group = int(shape[0] or 0), int(shape[1] or 0)
    moves = any(s != 1 for s in node.attrs.get("strides", ()))
    pads = any(node.attrs.get("pads", ()))
    if moves or pads or not outputs or not per_group:
        return None  # `auto_pad` never pads a 1x1 kernel without stride
    groups = int(node.attrs.get("group", 1))
    return Pointwise(node, len(shape), per_group * groups, outputs, groups)


def sole_readers(view: View, tensor: gs.Tensor) -> list[Pointwise] | str | None:
    """The 1x1 convolutions that read a tensor, if nobody else does; why not; None if none does."""
    found = [read_pointwise(view, node) for node in tensor.outputs]
    convs = [conv for conv in found if conv is not None]
    if not convs:
        return None
    if tensor.name in view.fixed:
        return "the tensor in between is a graph output or read by a subgraph"
    if len(convs) < len(found) or any(tensor in conv.node.inputs[1:] for conv in convs):
        return "the tensor in between has another reader"
    return convs
