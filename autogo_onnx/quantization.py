"""A model in int8, as ONNX Runtime's own static quantizer makes it: QDQ, weights per channel.

Activations are uint8, as ONNX Runtime advises for x86; the quantizer's default, int8, runs there
slower than float32. All else is its default, behind the preparation that it asks for.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from autogo_onnx import opset, scratch
from autogo_onnx.errors import InputError
from autogo_onnx.messages import opset_of, refers_to_files
from autogo_onnx.runtime import one_line
from autogo_onnx.samples import Samples

OLDEST_OPSET = 13
"""The first whose DequantizeLinear has a scale per channel."""

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_FATAL, _WARNING = 4, 2


@dataclass(frozen=True)
class Quantized:
    """A model with weights and activations in eight bits.

    Attributes:
        model: with QuantizeLinear and DequantizeLinear round what runs in int8.
        layers: its convolutions and matrix products.
        float_layers: how many of them the quantizer left in float32.
    """

    model: onnx.ModelProto
    layers: int
    float_layers: int


def quantize(model: onnx.ModelProto, samples: Samples) -> Quantized:
    """Quantize a model; it is not changed, and no file is left behind.

    Models of opsets before 13 are converted first.

    Args:
        model: in float32.
        samples: from which the ranges of tensors are taken.

    Raises:
        InputError: it cannot be quantized.
    """
    if refers_to_files(model):
        raise InputError("its weights are too large to be quantized here")
    if opset_of(model) < OLDEST_OPSET:
        model = opset.convert(model, OLDEST_OPSET, [next(samples.batches(1))])
    try:
        with scratch.short_lived() as folder:
            made = _by_onnxruntime(model, samples, Path(folder))
    except Exception as error:  # It raises whatever its code comes across: KeyError, TypeError.
        why = one_line(error) or type(error).__name__
        raise InputError(f"ONNX Runtime's quantizer fails: {why}") from error
    layers = [node for node in made.graph.node if node.op_type in _LAYERS]
    left = len(layers) - _count_quantized(made, layers)
    if left == len(layers):
        raise InputError("it holds no convolution or matrix product that can be quantized")
    return Quantized(made, len(layers), left)


def _by_onnxruntime(model: onnx.ModelProto, samples: Samples, folder: Path) -> onnx.ModelProto:
    given, prepared, made = (folder / f"{name}.onnx" for name in ("given", "prepared", "made"))
    # Paths, because a model in memory would be changed: its weights are moved to files.
    onnx.save(model, given)
    with _quiet():
        from onnxruntime.quantization import QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        # Symbolic shapes would need sympy.
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            made,
            _Reader(samples),
            per_channel=True,
            activation_type=QuantType.QUInt8,
        )
        return onnx.load(made)


class _Reader:
    """Feeds one by one, as the quantizer asks for them."""

    def __init__(self, samples: Samples) -> None:
        self._feeds = samples.batches(1)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """The next feed; None after the last."""
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, neither the quantizer nor the sessions that it opens say anything."""
    root, before = logging.getLogger(), logging.root.manager.disable
    # A root logger without handlers would be given one for good by the first warning.
    handler = logging.NullHandler()
    root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    ort.set_default_logger_severity(_FATAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        ort.set_default_logger_severity(_WARNING)
        logging.disable(before)
        root.removeHandler(handler)


def _count_quantized(model: onnx.ModelProto, layers: Sequence[onnx.NodeProto]) -> int:
    """How many of the layers compute with integers alone."""
    whole = {
        name
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
    }
    return sum(whole.issuperset(node.input[:2]) for node in layers)
