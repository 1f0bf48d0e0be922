"""One operator at work on some samples: what it read, what it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.opgraph import Op

Array = NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """An operator with its operands and its result.

    Attributes:
        op: with its attributes in one form.
        operands: of the node, in its order, constants included; None for one that is left out.
        varying: places among the operands of those that are no constants.
        result: what it made of them.
        again: computes the result for other values of the varying operands.
    """

    op: Op
    operands: Sequence[Array | None]
    varying: Sequence[int]
    result: Array
    again: Callable[[Sequence[Array]], Array]

    @property
    def source(self) -> Array:
        """The first operand that is no constant."""
        return self.operand(self.varying[0])

    def operand(self, place: int) -> Array:
        """One that is not left out."""
        found = self.operands[place]
        assert found is not None, "adjoints only look at operands that their operators need"
        return found


Adjoint = Callable[[Layer, Array], list[Array]]
"""From the gradient of something by the result to those by the varying operands, in their order."""


def summed_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of broadcasting from a shape.

    >>> summed_to(np.ones((2, 3)), (3,))
    array([2., 2., 2.])
    """
    extra = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(extra)))
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and gradient.shape[i] != 1)
    return np.asarray(gradient.sum(axis=axes, keepdims=True) if axes else gradient)
