"""Conv(Pad(x)) -> Conv(x) with larger pads; AveragePool likewise.

Why: TensorFlow exports spell asymmetric padding as a Pad of its own, a copy of the whole tensor.
Safety: exact. Conv pads with zeros; AveragePool does too when it counts the padding in. MaxPool
pads with minus infinity and is never touched.
Skips: padding that is not constant, not by zeros, negative, or of the batch or channel axis;
`auto_pad`, whose pads depend on the shape; AveragePool that leaves the padding out of its mean,
rounds up, or would be padded by a whole kernel, which ONNX Runtime refuses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import is_given, producer, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Conv", "AveragePool"):
            continue
        pad = producer(node.inputs[0])
        if pad is None or not is_op(pad, "Pad"):
            continue
        reason = _pad_refusal(pad) or _reader_refusal(pad, node)
        yield Match((pad, node)) if reason is None else Skip((pad, node), reason)


def apply(view: View, match: Match) -> None:
    pad, node = match.nodes
    added = _spatial_pads(pad)
    assert added is not None, "find() refused"
    node.attrs["pads"] = [int(p) for p in _own_pads(node, added.size) + added]
    if node.op == "AveragePool":
        node.attrs["count_include_pad"] = 1
    node.attrs.pop("auto_pad", None)  # VALID or NOTSET, both of which mean "no other pads"
    padded = node.inputs[0]
    node.inputs[0] = pad.inputs[0]
    if not padded.outputs and padded.name not in view.fixed:
        disconnect(pad)


def _pad_refusal(pad: gs.Node) -> str | None:
    if pad.attrs.get("mode", "constant") != "constant":
        return f"padding by {pad.attrs['mode']}"
    if is_given(pad, "value", 2):
        value = setting(pad, "value", 2)
        if value is None or value.any():
            return "padding by a value other than zero"
    pads = _spatial_pads(pad)
    if pads is None:
        return "padding is not constant, or not of spatial axes alone"
    return "negative padding" if (pads < 0).any() else None


def _reader_refusal(pad: gs.Node, node: gs.Node) -> str | None:
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return f"auto_pad {node.attrs['auto_pad']} of {node.op}"
    if node.op == "Conv":
        return None
    added = _spatial_pads(pad)
    assert added is not None
    own = _own_pads(node, added.size)
    if own.any() and not node.attrs.get("count_include_pad", 0):
        return "AveragePool leaves its own padding out of the mean"
    if node.attrs.get("ceil_mode", 0):
        return "AveragePool rounds its output size up"
    if np.any(own + added >= np.tile(node.attrs["kernel_shape"], 2)):
        return "padding as large as the kernel of AveragePool"
    return None


def _own_pads(node: gs.Node, size: int) -> np.ndarray:
    return np.asarray(node.attrs.get("pads", [0] * size), np.int64)


def _spatial_pads(pad: gs.Node) -> np.ndarray | None:
    """int64[2 * spatial axes], begins then ends; None unless constant and spatial only."""
    pads = setting(pad, "pads", 1)
    if pads is None:
        return None
    begins, ends = pads.astype(np.int64).reshape(2, -1)
    if is_given(pad, "axes", 3):
        axes = constant_value(pad.inputs[3])
        rank = _rank(pad)
        if axes is None or rank is None:
            return None
        full = np.zeros((2, rank), np.int64)
        full[:, axes.reshape(-1)] = begins, ends
        begins, ends = full
    if begins[:2].any() or ends[:2].any():
        return None
    return np.concatenate([begins[2:], ends[2:]])


def _rank(pad: gs.Node) -> int | None:
    """Rank of the padded tensor, told by the weights or kernel of whoever reads it."""
    for reader in pad.outputs[0].outputs:
        if is_op(reader, "Conv") and reader.inputs[1].shape is not None:
            return len(reader.inputs[1].shape)
        if is_op(reader, "AveragePool"):
            return len(reader.attrs["kernel_shape"]) + 2
    return None


RULE = Rule("fuse_pad", Safety.EXACT, find, apply)
