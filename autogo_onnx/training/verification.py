"""Whether ONNX Runtime computes with the trained model what torch computed while training it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch

from autogo_onnx import runtime, signature
from autogo_onnx.errors import InputError, PromiseError
from autogo_onnx.samples import Samples
from autogo_onnx.torch_graph import TorchGraph

TOLERANCE = 1e-4
"""How far apart the two may be, of an output's largest value."""
_NOTHING = 1e-2
"""Smaller outputs are measured as if they were this large: a sigmoid near 0 has few digits."""
_ROUNDINGS = 10
"""How often the network's own rounding error they may be apart, where that is more."""

Feed = Mapping[str, np.ndarray]


def verify(model: onnx.ModelProto, graph: TorchGraph, inputs: Mapping[str, np.ndarray]) -> float:
    """Run samples in ONNX Runtime and in torch; their largest difference.

    A badly conditioned network magnifies the rounding of float32, and neither of the two is right
    then. What torch itself changes by in float64 says how much.

    Args:
        model: as it will be written.
        graph: with the same weights; it is moved to the CPU.
        inputs: by name, samples along the leading axis.

    Raises:
        InputError: the first output is not finite: the training went wrong.
        PromiseError: an output is too far off.
    """
    session = runtime.open_session(model, optimize=False)
    declared = signature.inputs(model)[0].dims
    fixed = declared[0] if declared and isinstance(declared[0], int) else None
    graph.eval().cpu()
    largest = 0.0
    for feed in Samples(inputs, batch=fixed).batches(1):
        ours, theirs = _in_torch(graph, feed), runtime.run(session, None, feed)
        if not np.isfinite(ours[graph.outputs[0]]).all():
            raise InputError("the trained model answers NaN or infinity: lower --learning-rate")
        for name, value in zip(graph.outputs, theirs, strict=True):
            if value.dtype.kind == "f" and value.size:
                off = _distance(ours[name], value)
                if not off <= TOLERANCE and not off <= _ROUNDINGS * _rounding(graph, feed, name):
                    raise PromiseError(
                        f"output {name!r} of the trained model differs by {off:.1e} of its largest "
                        f"value between ONNX Runtime and torch (at most {TOLERANCE:g}); nothing "
                        "was written, please report it"
                    )
                largest = max(largest, off)
    return largest


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    if np.array_equal(ours, theirs, equal_nan=True):
        return 0.0
    return float(np.abs(ours - theirs).max()) / max(float(np.abs(theirs).max()), _NOTHING)


def _in_torch(graph: TorchGraph, feed: Feed) -> dict[str, np.ndarray]:
    with torch.no_grad():
        values = graph({name: torch.from_numpy(array) for name, array in feed.items()})
    return {name: value.numpy() for name, value in values.items()}


def _rounding(graph: TorchGraph, feed: Feed, name: str) -> float:
    """How far float32 is from float64; 0 where the graph insists on float32."""
    single = _in_torch(graph, feed)[name]
    graph.double()
    try:
        wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in feed.items()}
        return _distance(single, _in_torch(graph, wide)[name])
    except InputError:
        return 0.0
    finally:
        graph.float()
