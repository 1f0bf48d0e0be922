"""Multiply-accumulates of a segment as a formula of its widths.

Channel counts that the structure makes equal have one letter; pixels are counted at the first
input. What depends on neither (a product of two activations) stands as the number that was mined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from string import ascii_lowercase

from autogo_onnx.cost import op_macs
from autogo_onnx.opgraph import Op, OpGraph, Shape

_CONVOLUTIONS = ("Conv", "ConvTranspose")
# Widths of a product: the letters, sorted, with repetition.
Monomial = tuple[int, ...]
# A channel count: the sum of some letters (a concatenation has several).
Sum = tuple[int, ...]


@dataclass(frozen=True)
class Formula:
    """MACs as a polynomial.

    Attributes:
        per_pixel: factor of every product of widths, to be multiplied by `pixels`.
        widths: channels of every letter, as mined.
        pixels: of the first input, as mined.
        rest: MACs that no width decides.
    """

    per_pixel: Mapping[Monomial, Fraction]
    widths: tuple[int, ...]
    pixels: int
    rest: int

    def value(self) -> int:
        """MACs with the mined widths."""
        sums = (f * prod(self.widths[n] for n in m) for m, f in self.per_pixel.items())
        return int(self.pixels * sum(sums, Fraction())) + self.rest

    def __str__(self) -> str:
        terms = [_term(f, m) for m, f in sorted(self.per_pixel.items())]
        rest = [str(self.rest)] if self.rest else []
        if not terms:
            return rest[0] if rest else "0"
        product = f"({' + '.join(terms)})·P" if len(terms) > 1 else f"{terms[0]}·P"
        used = sorted({n for monomial in self.per_pixel for n in monomial})
        known = ", ".join(f"{_letter(n)}={self.widths[n]}" for n in used)
        return f"{' + '.join((product, *rest))} with {known}, P={self.pixels} pixels"


def macs_formula(graph: OpGraph) -> Formula:
    """The formula of a segment; `value()` is what `cost.macs` counts.

    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    >>> str(macs_formula(OpGraph(((1, 8, 4, 4),), (conv,), ((1, 16, 4, 4),), (1,))))
    '9·a·b·P with a=8, b=16, P=16 pixels'
    """
    widths = _Widths(graph)
    pixels = max(1, prod(graph.input_shapes[0][2:])) if graph.input_shapes else 1
    per_pixel: dict[Monomial, Fraction] = {}
    rest = 0
    for index, macs in enumerate(op_macs(graph)):
        products = widths.products(index) if macs else []
        total = sum(prod(widths.counts[n] for n in product) for product in products)
        if not total:
            rest += macs
        for product in products:
            share = Fraction(macs, total * pixels)
            per_pixel[product] = per_pixel.get(product, Fraction()) + share
    return Formula(per_pixel, tuple(widths.counts), pixels, rest)


class _Widths:
    """A letter, or a sum of letters, for the channels of every tensor."""

    def __init__(self, graph: OpGraph) -> None:
        self._graph = graph
        self._same: dict[int, int] = {}
        first: list[Sum] = []
        self._channels: list[int] = []
        for shape in graph.input_shapes:
            first.append(self._new(shape))
        for index, op in enumerate(graph.ops):
            first.append(self._made(op, index, first))
        letters: dict[int, int] = {}
        self.counts: list[int] = []
        for root in (self._root(n) for tensor in first for n in tensor):
            if root not in letters:
                letters[root] = len(letters)
                self.counts.append(self._channels[root])
        self._tensors = [tuple(letters[self._root(n)] for n in tensor) for tensor in first]

    def products(self, index: int) -> list[Monomial]:
        """The products of widths, one for each pair of summands, that an operator's MACs grow by.

        A depthwise convolution grows by its width alone. Empty where no widths are known.
        """
        op = self._graph.ops[index]
        if op.kind not in (*_CONVOLUTIONS, "Gemm") or len(op.inputs) != 1:
            return []
        operand, result = self._tensors[op.inputs[0]], self._tensors[self._graph.n_inputs + index]
        if operand == result and op.get("group", 1) > 1:
            return [(n,) for n in result]
        return [tuple(sorted((a, b))) for a in operand for b in result]

    def _new(self, shape: Shape) -> Sum:
        self._channels.append(shape[1] if len(shape) > 1 else 1)
        return (len(self._channels) - 1,)

    def _made(self, op: Op, index: int, known: list[Sum]) -> Sum:
        graph = self._graph
        shape, operands = graph.op_shapes[index], [known[t] for t in op.inputs]
        counts = [graph.shape(t)[1] if len(graph.shape(t)) > 1 else 1 for t in op.inputs]
        if op.kind == "Concat" and op.get("axis") == 1:
            return tuple(n for operand in operands for n in operand)
        is_dense = op.kind in (*_CONVOLUTIONS, "Gemm", "MatMul")
        is_depthwise = is_dense and bool(operands) and op.get("group", 1) == counts[0] > 1
        channels = shape[1] if len(shape) > 1 else 1
        alike = [o for o, count in zip(operands, counts, strict=True) if count == channels]
        if not alike or (is_dense and not is_depthwise):
            return self._new(shape)
        for other in alike[1:]:
            self._unite(alike[0], other)
        return alike[0]

    def _unite(self, one: Sum, other: Sum) -> None:
        if len(one) == len(other):
            for a, b in zip(one, other, strict=True):
                roots = sorted((self._root(a), self._root(b)))
                if roots[0] != roots[1] and self._channels[roots[0]] == self._channels[roots[1]]:
                    self._same[roots[1]] = roots[0]

    def _root(self, number: int) -> int:
        while number in self._same:
            number = self._same[number]
        return number


def _term(factor: Fraction, monomial: Monomial) -> str:
    powers = Counter(monomial)
    letters = [_letter(n) + ("²" if powers[n] == 2 else "") for n in sorted(powers)]
    return "·".join(([str(factor)] if factor != 1 else []) + letters)


def _letter(number: int) -> str:
    turn, place = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[place] + (str(turn) if turn else "")
