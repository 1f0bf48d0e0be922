"""The latency of a device as a sum over operators, each class of operators at its own prices.

An operator of class c takes `constant_c + a_c * MACs + b_c * activation bytes + w_c * weight
bytes`, and a network as a whole an overhead. No price is negative, so the sum grows with a network
as latency does, also far beyond the networks that it was fitted to, where trees would stand still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autogo_onnx.devices.amounts import AMOUNTS, Amounts, amounts
from autogo_onnx.features.operators import CLASSES
from autogo_onnx.opgraph import OpGraph

_DOUBTFUL_SHARE = 0.1
_NOT_COUNTED = frozenset(
    "Attention ConvInteger DFT DeformConv Einsum GRU If LSTM Loop MatMulInteger QLinearConv"
    " QLinearMatMul RNN STFT Scan".split()
)
"""Kinds that do work which is not counted as multiply-accumulates; so do those of other domains."""
_NAMED_KINDS = 5


@dataclass(frozen=True)
class HeldOut:
    """How well networks of a family are predicted that were not fitted to.

    Attributes:
        networks: how many were held out.
        spearman: rank correlation of predicted with measured latency.
        error: median of |predicted / measured - 1|.
    """

    networks: int
    spearman: float
    error: float


@dataclass(frozen=True, eq=False)
class Device:
    """What is known of a device.

    Attributes:
        name: as `--target device:NAME` has it.
        prices: milliseconds per unit of each amount, float64[C,4], none negative.
        overhead_ms: of a network, whatever it is made of.
        range_ms: the least and the largest latency that was measured.
        classes: of operators that the networks measured have in different amounts; of others the
            prices are those that all operators have in common.
        held_out: by family of networks that were measured on it.
        tables: files of the published measurements.
        timed: what the milliseconds are of, where it is not one sample alone, as `a batch of 32`;
            the amounts are those of one sample all the same.
    """

    name: str
    prices: Amounts
    overhead_ms: float
    range_ms: tuple[float, float]
    classes: frozenset[str]
    held_out: Mapping[str, HeldOut]
    tables: tuple[str, ...] = ()
    timed: str = ""

    def milliseconds(self, graph: OpGraph) -> float:
        """What the operators of a network, or of a part of it, take.

        >>> import numpy as np
        >>> from autogo_onnx.opgraph import Op
        >>> relu = OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,))
        >>> prices = np.zeros_like(amounts(relu))
        >>> prices[:, 0] = 0.5
        >>> Device("toy", prices, 0.0, (1, 2), frozenset(), {}).milliseconds(relu)
        0.5
        """
        return float((amounts(graph) * self.prices).sum())

    @property
    def basis(self) -> str:
        """What its figures are worth, in a line."""
        parts = [
            f"{family}: rank correlation {one.spearman:.2f}, median error {one.error:.1%}"
            for family, one in self.held_out.items()
        ]
        told = f" (on networks held out, {'; '.join(parts)})" if parts else ""
        timed = f", as the time of {self.timed}" if self.timed else ""
        return f"predicted from published measurements of {self.name}, not measured{timed}{told}"

    def doubts(self, network: OpGraph) -> list[str]:
        """Why what is predicted of a network may be far off, a line each."""
        return [*self._doubtful_size(network), *self._doubtful_kinds(network)]

    def _doubtful_size(self, network: OpGraph) -> Iterator[str]:
        predicted, (least, largest) = self.overhead_ms + self.milliseconds(network), self.range_ms
        if not least <= predicted <= largest:
            yield (
                f"the latency predicted for {self.name}, {predicted:.3g} ms, is outside of what was"
                f" measured on it, {least:.3g} to {largest:.3g} ms"
            )

    def _doubtful_kinds(self, network: OpGraph) -> Iterator[str]:
        macs = dict(zip(CLASSES, amounts(network)[:, AMOUNTS.index("macs")], strict=True))
        unknown = [name for name in CLASSES if macs[name] and name not in self.classes]
        share = sum(macs[name] for name in unknown) / max(1, sum(macs.values()))
        if share > _DOUBTFUL_SHARE:
            yield (
                f"{share:.0%} of the multiply-accumulates are of kinds that were not measured on"
                f" {self.name}: {', '.join(unknown)}"
            )
        kinds = sorted({op.kind for op in network.ops})
        blind = [kind for kind in kinds if kind in _NOT_COUNTED or "::" in kind]
        if blind:
            more = ", ..." if len(blind) > _NAMED_KINDS else ""
            yield f"the work of {', '.join(blind[:_NAMED_KINDS])}{more} is not predicted"
