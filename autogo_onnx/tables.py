"""Tables of text, figures as people read them, and the lines that end a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# From which count on, the unit's size and name, decimals.
_UNITS = ((10**9, 10**9, "G", 2), (10**6, 10**6, "M", 2), (10**4, 10**3, "k", 1))


@dataclass(frozen=True)
class Table:
    """A title, a header and rows of cells; the first column is text, the others are figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def align(table: Table) -> str:
    """A table in columns, the first to the left, the others to the right.

    >>> print(align(Table("sizes", ("", "MACs"), (("before", "10"), ("after", "9")))))
    sizes
              MACs
      before    10
      after      9
    """
    cells = [table.header, *table.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.header))]
    lines = [table.title] if table.title else []
    for row in cells:
        aligned = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(aligned).rstrip())
    return "\n".join(lines)


def amount(count: int) -> str:
    """A count that can be read at a glance.

    >>> amount(981), amount(-12_345), amount(40_813_184)
    ('981', '-12.3 k', '40.81 M')
    """
    for start, unit, name, digits in _UNITS:
        if abs(count) >= start:
            return f"{count / unit:.{digits}f} {name}"
    return str(count)


def percent(share: float, form: str = ".1f") -> str:
    """A share of 1 as per cent."""
    return f"{100 * share:{form}} %"


def figure(value: float | None, form: str) -> str:
    """A figure, or nothing where there is none."""
    return "" if value is None else format(value, form)


def span(names: Sequence[str]) -> str:
    """The only name, or the first and the last of several and their number.

    >>> span(["conv1", "relu1", "conv2"])
    'conv1 .. conv2 (3)'
    """
    if len(names) <= 1:
        return "".join(names)
    return f"{names[0]} .. {names[-1]} ({len(names)})"


def closing(
    warnings: Sequence[str], notes: Sequence[str], seconds: Mapping[str, float]
) -> list[str]:
    """The lines that end a report: warnings, notes, seconds by stage.

    >>> closing(["too few samples"], [], {"fit": 1.25, "verify": 0.5})
    ['warning: too few samples', 'seconds: fit 1.2, verify 0.5']
    """
    lines = [f"warning: {line}" for line in warnings] + [f"note: {line}" for line in notes]
    if seconds:
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
        lines.append(f"seconds: {stages}")
    return lines
