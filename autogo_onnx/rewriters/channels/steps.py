"""How channels pass through operators other than layers, or why they cannot be followed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value, is_constant
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.channels.channels import (
    ELEMENTWISE,
    POOLS,
    REDUCTIONS,
    UNARY,
    Link,
    Spaces,
)
from autogo_onnx.rewriters.patterns.affine import trains
from autogo_onnx.rewriters.patterns.layout import Channels, moved
from autogo_onnx.rewriters.patterns.reading import is_given, operand, other_outputs_used, setting
from autogo_onnx.rewriters.view import View


def follow(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    """Enter into `spaces` what a node that reads followed channels makes of them.

    Returns:
        Why that cannot be said; None where it was done.
    """
    handler = next((handle for kinds, handle in _HANDLERS if is_op(node, *kinds)), None)
    if handler is None or (node.op != "Split" and other_outputs_used(node, view.fixed)):
        return f"{node.op} reads the channels"
    return handler(view, spaces, node)


def _same(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    source, result = node.inputs[0].name, node.outputs[0].name
    spaces.places[result] = spaces.places[source]
    spaces.join([source, result])
    return None


def _unary(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    if node.inputs[0].name not in spaces.places:
        return f"{node.op} takes a channel for a parameter"
    return _same(view, spaces, node)


def _elementwise(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    followed = [t.name for t in node.inputs if t.name in spaces.places]
    place = spaces.places[followed[0]]
    if any(
        (spaces.places[n].size, spaces.places[n].after) != (place.size, place.after)
        for n in followed
    ):
        return f"{node.op} combines different axes"
    ranks = [spaces.places[name].rank for name in followed]
    for tensor in node.inputs:
        if tensor.name in spaces.places:
            continue
        value = constant_value(tensor)
        shape = view.shape(tensor) if value is None else value.shape
        if shape is None:
            return f"{node.op} combines the channels with a tensor of unproven shape"
        ranks.append(len(shape))
        along = shape[-1 - place.after] if len(shape) > place.after else 1
        if along != 1 and (value is None or along != place.size):
            return f"{node.op} combines the channels with others"
    known = [rank for rank in ranks if rank is not None]
    rank = max(known) if len(known) == len(ranks) else None
    spaces.places[node.outputs[0].name] = Channels(place.size, place.after, rank)
    spaces.join([*followed, node.outputs[0].name])
    return None


def _is_second_axis(place: Channels) -> bool:
    return place.rank is not None and place.after == place.rank - 2


def _norm(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    place = spaces.places.get(node.inputs[0].name)
    if place is None or not _is_second_axis(place) or trains(view, node):
        return "a BatchNormalization in training mode or along another axis"
    if not all(is_constant(tensor) for tensor in node.inputs[1:]):
        return "a parameter of BatchNormalization is not constant"
    return _same(view, spaces, node)


def _pool(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    if not _is_second_axis(spaces.places[node.inputs[0].name]):
        return f"{node.op} takes another axis for the channels"
    return _same(view, spaces, node)


def _reduction(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    place = spaces.places.get(node.inputs[0].name)
    axes = setting(node, "axes", 1)
    if place is None or place.rank is None or axes is None or not axes.size:
        return f"{node.op} along unproven axes"  # none at all may stand for all
    along = {int(a) % place.rank for a in axes.reshape(-1)}
    axis = place.rank - 1 - place.after
    if axis in along:
        return f"{node.op} along the channels"
    if node.attrs.get("keepdims", 1):
        return _same(view, spaces, node)
    after = place.after - sum(a > axis for a in along)
    result = node.outputs[0].name
    spaces.places[result] = Channels(place.size, after, place.rank - len(along))
    spaces.join([node.inputs[0].name, result])
    return None


def _move(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    source, result = node.inputs[0].name, node.outputs[0].name
    place = spaces.places.get(source)
    if place is None:
        return f"the channels say how {node.op} moves elements"
    if is_op(node, "Reshape") and constant_value(node.inputs[1]) is None:
        return "the target of Reshape is not constant"
    after = moved(view, node, place)
    merged = after or _merged(view.shape(node.inputs[0]), view.shape(node.outputs[0]), place)
    if merged is None:
        return f"{node.op} breaks the channels up"
    if is_op(node, "Reshape") and _copies_channels(node, place, merged):
        return "the target of Reshape takes one number of channels for another size"
    spaces.places[result] = merged
    if after is not None:
        spaces.join([source, result])
        return None
    spaces.link(Link(source, result, 0, merged.size // place.size))
    return None


def _copies_channels(reshape: gs.Node, before: Channels, after: Channels) -> bool:
    """Whether a 0 in the target copies the channels to another axis, or another axis to them."""
    target = constant_value(reshape.inputs[1])
    assert target is not None, "_move() asked"
    assert before.rank is not None, "nothing can be said of the result otherwise"
    ends = {before.rank - 1 - before.after, target.size - 1 - after.after}
    return len(ends) > 1 and any(target[axis] == 0 for axis in ends if axis < target.size)


def _merged(
    before: tuple[int | None, ...] | None, after: tuple[int | None, ...] | None, place: Channels
) -> Channels | None:
    """The axis that holds the channels and all axes behind them, if there is one."""
    if before is None or after is None:
        return None
    behind = before[len(before) - place.after :]
    if any(d is None for d in behind) or not after or after[-1] is None:
        return None
    size = place.size * int(np.prod([d for d in behind if d is not None], dtype=np.int64))
    return Channels(size, 0, len(after)) if after[-1] == size and size > place.size else None


def _concat(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    followed = [t.name for t in node.inputs if t.name in spaces.places]
    place, result = spaces.places[followed[0]], node.outputs[0].name
    others = [spaces.places[name] for name in followed]
    if place.rank is None or any((o.after, o.rank) != (place.after, place.rank) for o in others):
        return "Concat joins different axes"
    axis = place.rank - 1 - place.after
    if int(node.attrs["axis"]) % place.rank != axis:
        if len(followed) != len(node.inputs) or any(o.size != place.size for o in others):
            return "Concat along another axis takes in other tensors"
        spaces.places[result] = place
        spaces.join([*followed, result])
        return None
    offset = 0
    links: list[Link] = []
    foreign: list[tuple[str, int, int]] = []
    for tensor in node.inputs:
        own = spaces.places.get(tensor.name)
        value = constant_value(tensor)
        shape = view.shape(tensor) if value is None else value.shape
        size = own.size if own is not None else None if shape is None else shape[axis]
        if size is None:
            return "Concat takes in a tensor of unproven shape"
        if own is not None:
            links.append(Link(tensor.name, result, offset, 1))
        else:
            foreign.append((result, offset, offset + size))
        offset += size
    spaces.places[result] = Channels(offset, place.after, place.rank)
    for link in links:
        spaces.link(link)
    spaces.foreign.extend(foreign)
    return None


def _split(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    source = node.inputs[0].name
    place = spaces.places.get(source)
    if place is None or place.rank is None:
        return "the channels say how Split splits"
    axis = place.rank - 1 - place.after
    if int(node.attrs.get("axis", 0)) % place.rank != axis:
        for tensor in node.outputs:
            spaces.places[tensor.name] = place
        spaces.join([source, *(t.name for t in node.outputs)])
        return None
    sizes = [(view.shape(t) or (None,) * place.rank)[axis] for t in node.outputs]
    if any(size is None or size < 2 for size in sizes):
        return "Split into parts of unproven size"
    offset = 0
    for tensor, size in zip(node.outputs, sizes, strict=True):
        assert size is not None
        spaces.places[tensor.name] = Channels(size, place.after, place.rank)
        spaces.link(Link(tensor.name, source, offset, 1))
        offset += size
    return None


def _spatial(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    """Slice, Pad and Resize of axes other than the channels."""
    place = spaces.places.get(node.inputs[0].name)
    if place is None or place.rank is None or not _touches_others_only(node, place):
        return f"{node.op} of unproven axes"
    return _same(view, spaces, node)


def _touches_others_only(node: gs.Node, place: Channels) -> bool:
    assert place.rank is not None
    axis = place.rank - 1 - place.after
    if is_op(node, "Slice"):
        axes, starts = setting(node, "axes", 3), setting(node, "starts", 1)
        if axes is None and not is_given(node, "axes", 3) and starts is not None:
            axes = np.arange(starts.size)
        return axes is not None and axis not in {int(a) % place.rank for a in axes.reshape(-1)}
    if is_op(node, "Pad"):
        pads = setting(node, "pads", 1)
        if pads is None or is_given(node, "axes", 3) or pads.size != 2 * place.rank:
            return False
        return not pads.reshape(2, -1)[:, axis].any()
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return False
    scales = setting(node, "scales", 1 if is_op(node, "Upsample") or len(node.inputs) == 2 else 2)
    plain = operand(node, 3) is None and "axes" not in node.attrs
    return plain and scales is not None and scales.size == place.rank and scales[axis] == 1


def _shape(view: View, spaces: Spaces, node: gs.Node) -> str | None:
    """Shape is harmless where only other dimensions are taken out of it."""
    place, sizes = spaces.places[node.inputs[0].name], node.outputs[0]
    if place.rank is None or node.attrs.get("start", 0) or "end" in node.attrs:
        return "Shape reads the number of channels"
    if sizes.name in view.fixed:
        return "the number of channels leaves the graph"
    axis = place.rank - 1 - place.after
    for reader in sizes.outputs:
        taken = constant_value(reader.inputs[1]) if is_op(reader, "Gather") else None
        if taken is None or any(int(i) % place.rank == axis for i in taken.reshape(-1)):
            return "Shape reads the number of channels"
    return None


_Handler = Callable[[View, Spaces, gs.Node], str | None]
_HANDLERS: tuple[tuple[tuple[str, ...], _Handler], ...] = (
    (UNARY, _unary),
    (ELEMENTWISE, _elementwise),
    (("BatchNormalization",), _norm),
    (POOLS, _pool),
    (REDUCTIONS, _reduction),
    (("Transpose", "Unsqueeze", "Squeeze", "Reshape", "Flatten"), _move),
    (("Concat",), _concat),
    (("Split",), _split),
    (("Slice", "Pad", "Resize", "Upsample"), _spatial),
    (("Shape",), _shape),
)
