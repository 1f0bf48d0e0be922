"""Weights listed as graph inputs -> plain initializers.

Why: exporters of the IR 3 time listed every initializer as an input, and some kept doing so when IR
4 gave the listing a meaning: "the caller may override this weight". ONNX Runtime then treats no
weight as constant: it neither fuses BatchNormalization nor uses its blocked convolutions.
Safety: exact for every caller who feeds the inputs that must be fed. The listing is taken for a
habit only where it covers *all* initializers, and one of them is the weight of a Conv,
ConvTranspose, Gemm or MatMul. An override is then refused by name, rather than ignored in silence.
Skips: initializers of a model that lists only some: its author meant those to be overridable, so
they are treated as inputs by every rule.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs
from onnx_graphsurgeon.ir.tensor import LazyValues

from autogo_onnx.graph import DefaultedInput
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.reading import redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def find(view: View) -> Iterator[Match | Skip]:
    listed = [t for t in view.graph.inputs if isinstance(t, DefaultedInput)]
    habit = any(t.listed_by_habit and _is_weight(t) for t in listed)
    for tensor in listed:
        if tensor.outputs and not habit:
            yield Skip(tuple(tensor.outputs), "the caller may override a weight")
    if habit:
        yield Match(tuple(reader for tensor in listed for reader in tensor.outputs))


def apply(view: View, match: Match) -> None:
    for tensor in [t for t in view.graph.inputs if isinstance(t, DefaultedInput)]:
        redirect_readers(tensor, gs.Constant(tensor.name, LazyValues(tensor.default)))
    view.graph.inputs = [t for t in view.graph.inputs if not isinstance(t, DefaultedInput)]


def _is_weight(tensor: gs.Tensor) -> bool:
    return any(
        is_op(reader, *_WEIGHTED) and any(t is tensor for t in reader.inputs[1:2])
        for reader in tensor.outputs
    )


RULE = Rule("freeze_initializers", Safety.EXACT, find, apply)
