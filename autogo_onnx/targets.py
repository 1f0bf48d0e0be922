"""What a run minimizes where it is computed: MACs, parameters, or the latency of a device.

A target is one function from a graph to a cost. It must be additive (a replacement is priced by its
segment alone), not negative, and the same for equal graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import attrgetter

import onnx

from autogo_onnx import cost
from autogo_onnx.devices import Device, read
from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.options import DEVICE, Options
from autogo_onnx.report import Size
from autogo_onnx.sizes import read_model, size

_SHOWN_DEVICES = 5
"""Of those that a wrong name is most like."""


@dataclass(frozen=True)
class Counted:
    """A target that is computed from the graph.

    Attributes:
        cost: of a network or a part of one.
        overhead: of a network as a whole, on top of its parts.
        device: whose latency in milliseconds that is; None where something is counted.
        of_size: the count of a whole model; it knows weights that no operator of a graph holds.
    """

    cost: Callable[[OpGraph], float] = field(repr=False)
    overhead: float = 0.0
    device: Device | None = None
    of_size: Callable[[Size], int] | None = field(default=None, repr=False)

    def of_network(self, graph: OpGraph) -> float:
        """Cost of a whole network."""
        return self.overhead + self.cost(graph)

    def of_model(
        self,
        model: onnx.ModelProto,
        input_shapes: Mapping[str, Shape] | None = None,
        known: Size | None = None,
    ) -> float:
        """Cost of a whole model; 0 where its shapes are not known.

        Args:
            model: any model.
            input_shapes: full shapes by input name; by default a batch of one.
            known: the model's size on these, where it has been counted already.
        """
        if self.of_size is not None:
            return self.of_size(known or size(model, input_shapes))
        try:
            return self.of_network(read_model(model, input_shapes).opgraph)
        except InputError:
            return 0.0

    def doubts(
        self, model: onnx.ModelProto, input_shapes: Mapping[str, Shape] | None = None
    ) -> list[str]:
        """Why what is predicted of a model may be far off, a line each; arguments as above."""
        if self.device is None:
            return []
        try:
            return self.device.doubts(read_model(model, input_shapes).opgraph)
        except InputError as error:
            return [f"nothing is predicted for {self.device.name}: {error}"]


def counted(options: Options) -> Counted | None:
    """How the options' target is computed; None where it is measured.

    Raises:
        InputError: there is no such device, or the predictor cannot be read.
    """
    if options.target == "cpu":
        return None
    if options.target == "macs":
        return Counted(cost.macs, of_size=attrgetter("macs"))
    if options.target == "params":
        return Counted(cost.parameters, of_size=attrgetter("params"))
    if not options.target.startswith(DEVICE):
        raise InputError(
            f"target {options.target!r} is not 'cpu', 'macs', 'params' or '{DEVICE}NAME'"
        )
    device = _device(options, options.target.removeprefix(DEVICE))
    return Counted(device.milliseconds, device.overhead_ms, device)


def _device(options: Options, name: str) -> Device:
    # The predictor brings ONNX Runtime with it, which counting does not need.
    from autogo_onnx.predictor import open_predictor

    devices = read(open_predictor(options.predictor).info)
    if not devices:
        raise InputError("the predictor knows no devices; take the shipped one, or train one")
    if name not in devices:
        near = get_close_matches(name, devices, _SHOWN_DEVICES, cutoff=0.0)
        others = f"; `autogo-onnx predictor info` lists all {len(devices)}"
        raise InputError(
            f"the predictor knows no device {name!r}, but {', '.join(near)}"
            + others * (len(devices) > len(near))
        )
    return devices[name]
