"""How a single network of any family is named: `FAMILY:CODE`, or a published name alone."""

from __future__ import annotations

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families import FAMILIES, published
from autogo_onnx.segment_db.families.network import Network


def network(text: str) -> Network:
    """The network of `FAMILY:CODE`, or of a published name with or without a size.

    Raises:
        InputError: there is no such family or name, or the code is not one of the family.

    >>> network("nasbench_macro:00000000").parameters(), network("resnet50@160").parameters()
    (387882, 25557032)
    """
    family, colon, code = text.partition(":")
    if colon and family in FAMILIES:
        return FAMILIES[family].build(code)
    if not colon and text.partition("@")[0] in published.DESIGNS:
        return published.build(text)
    raise InputError(
        f"network {text!r} is not FAMILY:CODE with FAMILY one of {', '.join(FAMILIES)}, nor one of"
        f" {', '.join(published.DESIGNS)}"
    )
