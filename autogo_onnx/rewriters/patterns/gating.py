"""Where a tensor is multiplied by a gate made from itself: `scale * x * (a * f(p(x)) + b)`.

Hard-swish and GELU are of this form in all their spellings; so the spellings need no list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.scalars import Polynomial, polynomial, scaled
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class Gated:
    """One reading of a product as `x * (scale * f(argument of x) + shift)`.

    Attributes:
        x: the tensor that is gated.
        argument: what `f` is applied to, as a polynomial of `x`.
        scale, shift: as above; the scale of the whole product is in both.
        nodes: all of them, the last one last.
    """

    x: gs.Tensor
    argument: Polynomial
    scale: float
    shift: float
    nodes: tuple[gs.Node, ...]


def gated(view: View, source: gs.Tensor, core: tuple[gs.Node, ...]) -> Iterator[Gated]:
    """Every reading of what follows a function's nodes: the product alone, then with each scaling.

    Args:
        view: of the graph.
        source: what the function is applied to.
        core: the nodes of the function, the last one last.
    """
    scale, shift, nodes = 1.0, 0.0, list(core)
    product = only_reader(view, core[-1])
    while product is not None:
        step = scaled(view, product)
        if step is None:
            break
        scale, shift = scale * step.scale, shift * step.scale + step.shift
        nodes.append(product)
        product = only_reader(view, product)
    if product is None or not is_op(product, "Mul"):
        return
    gate = nodes[-1].outputs[0]
    other = product.inputs[1] if product.inputs[0] is gate else product.inputs[0]
    found = _shared_source(view, source, other)
    if found is None:
        return
    x, argument, factor, between = found
    nodes = [*argument.nodes, *between, *nodes, product]
    scale, shift = scale * factor, shift * factor
    yield Gated(x, argument, scale, shift, _distinct(nodes))
    follower = only_reader(view, product)
    while follower is not None:
        step = scaled(view, follower)
        if step is None or step.shift:
            return
        scale, shift = scale * step.scale, shift * step.scale
        nodes.append(follower)
        yield Gated(x, argument, scale, shift, _distinct(nodes))
        follower = only_reader(view, follower)


def only_reader(view: View, node: gs.Node) -> gs.Node | None:
    """The one node that reads the first output, once or more; None where others see it too."""
    tensor = node.outputs[0]
    if tensor.name in view.fixed or len({id(reader) for reader in tensor.outputs}) != 1:
        return None
    return tensor.outputs[0]


def _shared_source(
    view: View, argument: gs.Tensor, other: gs.Tensor
) -> tuple[gs.Tensor, Polynomial, float, list[gs.Node]] | None:
    """What one is a polynomial and the other a multiple of: it, both of them, the nodes between."""
    x, factor, nodes = other, 1.0, list[gs.Node]()
    while True:
        found = polynomial(view, argument, x)
        if found is not None:
            return x, found, factor, nodes
        step = scaled(view, x.inputs[0]) if len(x.inputs) == 1 else None
        if step is None or step.shift:
            return None
        nodes.append(x.inputs[0])
        x, factor = step.source, factor * step.scale


def _distinct(nodes: list[gs.Node]) -> tuple[gs.Node, ...]:
    """Each node once, in order of first appearance; the last one stays last."""
    *inner, last = nodes
    kept = {id(node): node for node in inner}
    kept.pop(id(last), None)
    return (*kept.values(), last)
