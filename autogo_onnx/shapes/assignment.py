"""Which demand every boundary tensor may serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autogo_onnx.shapes.problem import Infeasible, Port, Problem
from autogo_onnx.shapes.windows import Size

_MOST_ASSIGNMENTS = 24
_MOST_STEPS = 2000


@dataclass(frozen=True)
class Assignment:
    """The demand of every input and output port, and the sizes and widths that they set."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    sizes: Mapping[int, Size]
    widths: Mapping[int, int]


class TooMany(Exception):
    """More assignments than are worth trying one by one."""


def assignments(problem: Problem) -> list[Assignment] | Infeasible:
    """All that agree with what the ports share, those in the given order first.

    Equal demands change places only where nothing else would be equal: the first ports take the
    first of them, which is the cheapest.

    Raises:
        TooMany: it would take too long.
    """
    search = _Search(problem)
    found = []
    for assignment in search.run():
        found.append(assignment)
        if len(found) > _MOST_ASSIGNMENTS:
            raise TooMany
    if found:
        return found
    cause = "sizes" if search.met_no_size else "pins"
    return Infeasible("boundary tensors contradict each other", cause, problem)


class _Search:
    """Backtracking over the ports, inputs first.

    Attributes:
        met_no_size: whether a demand failed for its size being out of reach.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        sides = (problem.inputs, problem.outputs)
        self.places = [(side, port) for side in sides for port in range(len(side.ports))]
        self.chosen: list[int] = []
        self.sizes: dict[int, Size] = {}
        self.widths: dict[int, int] = dict(problem.widths.fixed)
        self.met_no_size = False
        self.steps = 0

    def run(self) -> Iterator[Assignment]:
        """All complete assignments.

        Raises:
            TooMany: the search takes too many steps.
        """
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise TooMany
        at, first = len(self.chosen), len(self.problem.inputs.ports)
        if at == len(self.places):
            chosen = tuple(self.chosen)
            yield Assignment(chosen[:first], chosen[first:], dict(self.sizes), dict(self.widths))
            return
        side, number = self.places[at]
        port, taken = side.ports[number], self.chosen[first if at >= first else 0 :]
        seen = set()
        for demand, (asked, cost) in enumerate(
            zip(side.demands[number], side.costs[number], strict=True)
        ):
            if cost is None or demand in taken or asked in seen:
                continue
            seen.add(asked)
            if self._agrees(port, asked.size, asked.width):
                yield from self._with(port, demand, asked.size, asked.width)

    def _agrees(self, port: Port, size: Size, width: int) -> bool:
        if size not in self.problem.domains[port.size]:
            self.met_no_size = True
            return False
        same_size = self.sizes.get(port.size, size) == size
        return same_size and self.widths.get(port.width, width) == width

    def _with(self, port: Port, demand: int, size: Size, width: int) -> Iterator[Assignment]:
        """Everything that follows from one choice, which is taken back afterwards."""
        new_size, new_width = port.size not in self.sizes, port.width not in self.widths
        self.sizes[port.size], self.widths[port.width] = size, width
        self.chosen.append(demand)
        yield from self.run()
        self.chosen.pop()
        if new_size:
            del self.sizes[port.size]
        if new_width:
            del self.widths[port.width]
