"""Which of several changes of a model saved what, by the times of its operators.

ONNX Runtime fuses operators, and adds some that put channels into blocks and back. A node that it
runs belongs to the change whose tensor it makes; where an activation is fused into a layer, the
node makes what the activation would. Added nodes belong to the nearest one that a change owns.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from autogo_onnx.node_times import NodeTime

_FUSED = "fused "
_ACTIVATIONS = ("Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh")
"""What ONNX Runtime fuses into a convolution."""
_SEPARATORS = "_/"
"""Before what ONNX Runtime puts behind a name; so is its end (an empty string)."""
_NUMBER = re.compile(r"(_token)?_\d+$")
"""Of a node that ONNX Runtime adds; it differs where other nodes were added before."""


@dataclass(frozen=True)
class Timed:
    """A model and what its operators take.

    Attributes:
        times: of the nodes, in the order in which they run.
        owners: the change that owns a tensor, by the tensor's name; all other tensors have none.
        tensors: names of all that the model computes.
    """

    times: Sequence[NodeTime]
    owners: Mapping[str, str]
    tensors: frozenset[str]

    @classmethod
    def of(
        cls, model: onnx.ModelProto, times: Sequence[NodeTime], owners: Mapping[str, str]
    ) -> Timed:
        """What a model computes, and to whom it belongs: activations belong to their layers.

        Args:
            model: named by `node_times.name_nodes`.
            times: of its nodes.
            owners: of the tensors of changed layers.
        """
        spread = dict(owners)
        for node in model.graph.node:
            if node.op_type in _ACTIVATIONS and node.input[0] in spread:
                spread.setdefault(node.output[0], spread[node.input[0]])
        made = frozenset(name for node in model.graph.node for name in node.output)
        return cls(times, spread, made)

    def by_change(self, other: Timed, overhead_us: float) -> dict[str, float]:
        """Microseconds of what belongs to each change; nodes that both models have do not count.

        Args:
            other: the model to compare with.
            overhead_us: what timing adds to every node.
        """
        both = {told for told, _ in other._told()}
        own = list(self._told())
        owned = [self.owners.get(made) for (made, _, _), _ in own]
        found: dict[str, float] = defaultdict(float)
        for i, (told, time) in enumerate(own):
            owner = owned[i] or (None if told in both else _nearest(owned, i))
            if owner is not None:
                found[owner] += time.us - overhead_us
        return found

    def _told(self) -> Iterator[tuple[tuple[str, str, int], NodeTime]]:
        """Every node with what tells it apart.

        That is what it makes, the last known tensor up to there, and how many alike came by then.
        """
        last, seen = "", Counter[tuple[str, str]]()
        for time in self.times:
            made = self._made(time.name)
            last = made if made in self.tensors else last
            seen[made, last] += 1
            yield (made, last, seen[made, last]), time

    def _made(self, name: str) -> str:
        """The tensor that a node makes: ONNX Runtime puts something before or behind its name."""
        name = name.removeprefix(_FUSED)
        ends = (i for i in range(len(name), 0, -1) if name[i : i + 1] in _SEPARATORS)
        made = next((name[:end] for end in ends if name[:end] in self.tensors), None)
        return _NUMBER.sub("", name) if made is None else made


def _nearest(owned: Sequence[str | None], i: int) -> str | None:
    """The owner nearest to a node; of two as near, that of the earlier one."""
    places = [(abs(k - i), k) for k, owner in enumerate(owned) if owner is not None]
    return owned[min(places)[1]] if places else None


def saved(before: Timed, after: Timed, overhead_us: float) -> dict[str, float]:
    """Microseconds that every change saved, by its name.

    Args:
        before, after: the model without and with the changes.
        overhead_us: what timing adds to every node.
    """
    old, new = before.by_change(after, overhead_us), after.by_change(before, overhead_us)
    return {
        change: old.get(change, 0.0) - new.get(change, 0.0) for change in old.keys() | new.keys()
    }
