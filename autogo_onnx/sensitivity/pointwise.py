"""Adjoints of operators that work on each position by itself."""

from __future__ import annotations

import numpy as np

from autogo_onnx.sensitivity.layer import Array, Layer, summed_to

STEP = 2e-4
"""Of a difference quotient, as a share of one plus the value."""


def elementwise(layer: Layer, gradient: Array) -> list[Array]:
    """Any function of single elements: its slope is taken from what it gives a step aside."""
    x = layer.source
    step = STEP * (1.0 + np.abs(x))
    above, below = layer.again([x + step]), layer.again([x - step])
    return [(gradient * (above - below) / (2.0 * step)).astype(np.float32)]


def clamp(layer: Layer, gradient: Array) -> list[Array]:
    """Only what is let through unchanged matters."""
    return [np.where(layer.result == layer.source, gradient, np.float32(0))]


def add(layer: Layer, gradient: Array) -> list[Array]:
    """Sum of tensors, broadcast."""
    return [summed_to(gradient, layer.operand(i).shape) for i in layer.varying]


def subtract(layer: Layer, gradient: Array) -> list[Array]:
    """The second operand counts against the first."""
    signed = [gradient, -gradient]
    return [summed_to(signed[i], layer.operand(i).shape) for i in layer.varying]


def multiply(layer: Layer, gradient: Array) -> list[Array]:
    """Each operand's slope is the other."""
    return [
        summed_to(gradient * layer.operand(1 - i), layer.operand(i).shape) for i in layer.varying
    ]


def divide(layer: Layer, gradient: Array) -> list[Array]:
    """The first operand's slope is one over the second."""
    divisor = layer.operand(1)
    slopes = [gradient / divisor, -gradient * layer.result / divisor]
    return [summed_to(slopes[i], layer.operand(i).shape) for i in layer.varying]


def softmax(layer: Layer, gradient: Array) -> list[Array]:
    """Over the last axis."""
    y = layer.result
    return [y * (gradient - (gradient * y).sum(axis=-1, keepdims=True))]
