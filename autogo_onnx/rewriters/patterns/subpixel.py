"""A convolution of repeated pixels, computed on the image as it was before.

Along one axis, with factor s, kernel W, and p zeros before: `y[j] = sum_t W[t] * up[j + t - p]`,
where up[m] = x[floor(m / s)], also beyond the border: m < 0 exactly where floor(m / s) < 0, and
m >= s * n exactly where floor(m / s) >= n, so both read zeros at the same places. For the phase
j = s * i + a this is a convolution of x at i, whose taps `floor((a + t - p) / s)` are fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.rewriters.view import View

# ONNX Runtime's blocked convolutions compute 16 output channels at a time, so four narrow ones
# waste more than ConvTranspose does by adding up overlaps (measured: they are on a par at 32).
_NARROW = 16
_IMAGE_RANK = 4


@dataclass(frozen=True)
class Repeated:
    """A convolution with stride 1 whose input pixels repeat, and whose size stays.

    Attributes:
        weight: float[C_out, C_in, k...].
        factors: how often pixels repeat, by axis.
        before: zeros before the first pixel, by axis; after the last there are `k - 1 - before`.
    """

    weight: np.ndarray
    factors: tuple[int, ...]
    before: tuple[int, ...]


def overflows(weight: np.ndarray) -> bool:
    """Whether a sum of taps may be infinite."""
    spatial = tuple(range(2, weight.ndim))
    with np.errstate(over="ignore"):
        return not np.isfinite(np.abs(weight).sum(spatial)).all()


def insert_subpixel(
    view: View, data: gs.Tensor, conv: Repeated, bias: list[gs.Tensor], result: gs.Tensor | str
) -> gs.Tensor:
    """Insert nodes that compute the convolution of the enlarged data from the data itself."""
    is_square = conv.weight.ndim == _IMAGE_RANK and len(set(conv.factors)) == 1
    insert = _insert_phases if is_square and conv.weight.shape[0] > _NARROW else _insert_transposed
    return insert(view, data, conv, bias, result)


def _insert_phases(
    view: View, data: gs.Tensor, conv: Repeated, bias: list[gs.Tensor], result: gs.Tensor | str
) -> gs.Tensor:
    """One convolution per phase, and DepthToSpace, whose channels go by row, column, channel."""
    stem = result if isinstance(result, str) else result.name
    made = []
    for phase in product(*(range(factor) for factor in conv.factors)):
        kernel, begins, ends = conv.weight.astype(np.float64), [], []
        for axis, (a, factor, before) in enumerate(
            zip(phase, conv.factors, conv.before, strict=True)
        ):
            kernel, begin, end = _of_phase(kernel, axis + 2, a - before, factor)
            begins.append(begin)
            ends.append(end)
        weight = view.constant(f"{stem}.phase_weight", kernel.astype(conv.weight.dtype))
        attributes = {"kernel_shape": list(kernel.shape[2:]), "pads": begins + ends}
        made.append(view.insert("Conv", [data, weight, *bias], f"{stem}.phase", attributes))
    phases = view.insert("Concat", made, f"{stem}.phases", {"axis": 1})
    return view.insert("DepthToSpace", [phases], result, {"blocksize": conv.factors[0]})


def _of_phase(
    kernel: np.ndarray, axis: int, first: int, factor: int
) -> tuple[np.ndarray, int, int]:
    """The kernel along one axis, `first` being where tap 0 reads; zeros needed before and after."""
    taps = (first + np.arange(kernel.shape[axis])) // factor
    lowest, highest = int(taps[0]), int(taps[-1])
    summed = np.zeros((highest - lowest + 1, *np.delete(kernel.shape, axis)))
    np.add.at(summed, taps - lowest, np.moveaxis(kernel, axis, 0))
    return np.moveaxis(summed, 0, axis), -lowest, highest


def _insert_transposed(
    view: View, data: gs.Tensor, conv: Repeated, bias: list[gs.Tensor], result: gs.Tensor | str
) -> gs.Tensor:
    """One ConvTranspose: the flipped kernel, convolved with the ones that repeat pixels."""
    stem = result if isinstance(result, str) else result.name
    kernel = np.flip(conv.weight.astype(np.float64), tuple(range(2, conv.weight.ndim)))
    for axis, factor in enumerate(conv.factors, start=2):
        size = kernel.shape[axis]
        spread = np.zeros((size + factor - 1, *np.delete(kernel.shape, axis)))
        for shift in range(factor):
            spread[shift : shift + size] += np.moveaxis(kernel, axis, 0)
        kernel = np.moveaxis(spread, 0, axis)
    weight = np.swapaxes(kernel, 0, 1).astype(conv.weight.dtype)
    begins = [k - 1 - p for k, p in zip(conv.weight.shape[2:], conv.before, strict=True)]
    attributes = {
        "kernel_shape": list(weight.shape[2:]),
        "strides": list(conv.factors),
        "pads": begins + list(conv.before),
    }
    constant = view.constant(f"{stem}.spread_weight", weight)
    return view.insert("ConvTranspose", [data, constant, *bias], result, attributes)
