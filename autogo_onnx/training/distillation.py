"""A teacher: the answers a student is to give, and the tensors inside it that it is to resemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.torch_graph import TorchGraph

_NOTHING = 1e-12
MOST_MATCHED = 8
"""Tensors inside that are compared; more cost memory and say little more."""


def matched(student: TorchGraph, teacher: TorchGraph, feeds: Mapping[str, Tensor]) -> list[str]:
    """Names of inner tensors that both networks have, of one shape; some, evenly spaced.

    A network that `optimize` made from its teacher has the names of all that was not replaced.

    Args:
        student, teacher: on one device.
        feeds: a batch that both run on.
    """
    known = set(teacher.tensors()) - {*teacher.outputs, *student.outputs}
    names = [name for name in student.tensors() if name in known]
    alike = _comparable(names, student, teacher, feeds)
    if len(alike) <= MOST_MATCHED:
        return alike
    step = len(alike) / MOST_MATCHED
    return [alike[int((number + 0.5) * step)] for number in range(MOST_MATCHED)]


def shared_outputs(
    student: TorchGraph, teacher: TorchGraph, feeds: Mapping[str, Tensor]
) -> list[str]:
    """Names of the outputs behind the first that both networks have, of one shape."""
    names = [name for name in student.outputs[1:] if name in teacher.outputs[1:]]
    return _comparable(names, student, teacher, feeds)


def relative_error(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], names: Sequence[str]
) -> Tensor | float:
    """Mean over tensors of the squared error by the teacher's squared values."""
    if not names:
        return 0.0
    total = sum(
        (ours[n] - theirs[n]).square().sum() / theirs[n].square().sum().clamp_min(_NOTHING)
        for n in names
    )
    return total / len(names)


def dissimilarity(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], names: Sequence[str]
) -> Tensor | float:
    """Mean over tensors and samples of one minus the cosine between student and teacher."""
    if not names:
        return 0.0
    total = sum(
        1 - functional.cosine_similarity(ours[n].flatten(1), theirs[n].flatten(1)).mean()
        for n in names
    )
    return total / len(names)


def _comparable(
    names: Sequence[str], student: TorchGraph, teacher: TorchGraph, feeds: Mapping[str, Tensor]
) -> list[str]:
    """Those that are of one shape in both networks, and several numbers per sample."""
    with torch.no_grad():
        ours, theirs = student(feeds, names), teacher(feeds, names)
    return [
        name
        for name in names
        if ours[name].shape == theirs[name].shape
        and ours[name].dtype.is_floating_point
        and ours[name].dim() > 1
        and ours[name][:1].numel() > 1
    ]
