"""A Concat of channels before a Conv: which channels come from where, some of them enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.reading import producer
from autogo_onnx.rewriters.patterns.upsampling import channels_of, is_resize
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class Part:
    """One input of a Concat.

    Attributes:
        tensor: what the Concat reads.
        channels: their numbers in the result.
        maker: the node that makes the tensor, None for inputs and initializers.
    """

    tensor: gs.Tensor
    channels: range
    maker: gs.Node | None


def is_channel_concat(node: gs.Node | None, rank: int) -> bool:
    """Whether the node joins tensors of that rank along axis 1."""
    return node is not None and is_op(node, "Concat") and node.attrs["axis"] % rank == 1


def parts(view: View, concat: gs.Node, total: int) -> tuple[Part, ...] | str:
    """The inputs of a Concat of channels, `total` in all, or why they are not known."""
    counts = [_channels(view, tensor) for tensor in concat.inputs]
    known = sum(count for count in counts if count is not None)
    if counts.count(None) == 1:
        counts[counts.index(None)] = total - known
    ends = np.cumsum([count or 0 for count in counts])
    if None in counts or ends[-1] != total:
        return "it is not proven which channels of the Concat come from where"
    begins = [0, *ends[:-1]]
    return tuple(
        Part(tensor, range(int(begin), int(end)), producer(tensor))
        for tensor, begin, end in zip(concat.inputs, begins, ends, strict=True)
    )


def joined(view: View, chosen: Sequence[gs.Tensor], stem: str) -> gs.Tensor:
    """The Concat of channels of these tensors; a single one as it is."""
    if len(chosen) == 1:
        return chosen[0]
    return view.insert("Concat", chosen, stem, {"axis": 1})


def columns(weight: np.ndarray, chosen: Sequence[Part]) -> np.ndarray:
    """The weights, `[C_out, C_in, ...]`, for the channels of some parts alone."""
    return weight[:, [channel for part in chosen for channel in part.channels]]


def add_up(view: View, terms: Sequence[gs.Tensor], result: gs.Tensor) -> None:
    """Insert Add nodes from the first term to the last; nothing for a term that is the result."""
    total = terms[0]
    for index, term in enumerate(terms[1:], start=2):
        name = result if index == len(terms) else f"{result.name}.sum"
        total = view.insert("Add", [total, term], name)


def _channels(view: View, tensor: gs.Tensor) -> int | None:
    maker = producer(tensor)
    if maker is not None and is_resize(maker):
        return channels_of(view, maker)
    sizes = view.dimensions.of(tensor)
    count = None if sizes is None or len(sizes) < 2 else sizes[1]
    return count if isinstance(count, int) else None
