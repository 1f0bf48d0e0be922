"""The network that an evolution starts from: a trained file, or a published network by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx

from autogo_onnx import model as model_file
from autogo_onnx import signature
from autogo_onnx.errors import InputError
from autogo_onnx.evolved.inheritance import Values, initial_weights
from autogo_onnx.evolved.untouchable import untouchable
from autogo_onnx.inspection import nominal_shapes
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.rewriters import rewrite
from autogo_onnx.rewriters.rules import RULES
from autogo_onnx.segment_db.families.naming import network
from autogo_onnx.segments import Reading, op_weights
from autogo_onnx.sizes import read_model

_REWRITES_LAYERS = frozenset(
    {
        *("fuse_affine_conv", "fuse_affine_chain", "fuse_depth_to_space", "fuse_linear_tail"),
        *("fuse_nearest_conv", "fuse_slice_pad_conv", "merge_consecutive_layers"),
        *("merge_duplicate_channels", "merge_parallel_layers", "push_selection_up"),
        *("remove_dead_channels", "split_concat_conv", "swap_conv_average_pool"),
        *("swap_resize_conv", "expand_swish", "fuse_mul_add_bn"),
    }
)
"""Rules that leave other layers to train than the user's, which is more than cleaning up: the last
two of EDSR became one, pixel shuffle included, and fifty operators for the picture's border."""
_CLEANING = tuple(rule for rule in RULES if rule.name not in _REWRITES_LAYERS)


@dataclass(frozen=True)
class Base:
    """A network as a model, without normalizations that a convolution can take up.

    Attributes:
        name: its file, or its published name; empty for a model in memory.
        path: of the file; None where it has none.
        model: after the exact rules that leave every layer what it is, or with fresh weights.
        shapes: full shapes of the inputs by name: a batch of one, pictures of open size 224 pixels.
        reading: of the model with these shapes.
    """

    name: str
    path: Path | None
    model: onnx.ModelProto
    shapes: Mapping[str, Shape]
    reading: Reading

    @cached_property
    def untouchable(self) -> frozenset[int]:
        """Numbers of the operators that no change may touch."""
        return untouchable(self.model, self.reading, self.shapes)

    @property
    def graph(self) -> OpGraph:
        """The network itself."""
        return self.reading.opgraph

    def weights(self, op: int) -> Values:
        """The constant operands of an operator, in order."""
        return op_weights(self.reading.nodes[op])


def base_of(source: onnx.ModelProto | Path | str, seed: int) -> Base:
    """The network to start from.

    Args:
        source: a model, the path of its file, or what `db network` calls a published network:
            `resnet50`, `edsr_x2@360x640`, `nasbench201:...`. A file comes before a name.
        seed: of a published network's weights.

    Raises:
        InputError: there is no such file or network, or the shapes of its tensors are not known.
    """
    if isinstance(source, onnx.ModelProto):
        if model_file.has_unread_data(source):
            raise InputError("the model's external data was not read: give its path instead")
        model_file.check(source)
        return _read("", None, _cleaned(source, seed))
    path = Path(source)
    if path.exists() or path.suffix == ".onnx":
        return _read(str(path), path, _cleaned(model_file.load(path), seed))
    try:
        graph = network(str(source)).folded()
    except InputError as error:
        raise InputError(f"{source}: is no file, and {error}") from None
    model = to_onnx(graph, initial_weights(graph, seed))
    model.graph.name = str(source)
    return _read(str(source), None, model)


def _cleaned(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    return rewrite(model, rules=_CLEANING, seed=seed).model


def _read(name: str, path: Path | None, model: onnx.ModelProto) -> Base:
    what = name or "the model"
    shapes = nominal_shapes(model)
    missing = [spec.name for spec in signature.inputs(model) if spec.name not in shapes]
    if missing:
        raise InputError(f"{what}: the shape of input {missing[0]!r} is open: give it a fixed one")
    reading = read_model(model, shapes)
    if not any(op.kind == "Conv" for op in reading.opgraph.ops):
        raise InputError(f"{what}: has no convolution, so nothing in it would be replaced")
    return Base(name, path, model, shapes, reading)
