"""A report as one static page without scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from autogo_onnx.report import Report
from autogo_onnx.report_text import headline, remarks, tables
from autogo_onnx.tables import Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: .5em 0 1.5em; }
th, td { padding: .15em .8em; text-align: right; border-bottom: 1px solid #ccc; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
"""


def to_html(report: Report) -> str:
    """The whole report; names from the model are escaped."""
    body = "\n".join(table_html(table) for table in tables(report))
    return page(headline(report), remarks(report), body)


def page(headline: str, remarks: Sequence[str], body: str) -> str:
    """A whole page: a headline and some lines, which are escaped, then what is HTML already."""
    title = escape(headline)
    lines = "\n".join(f"<li>{escape(line)}</li>" for line in remarks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n<ul>\n{lines}\n</ul>\n"
        f"{body}\n</body>\n</html>\n"
    )


def table_html(table: Table) -> str:
    """A table with its title; cells are escaped."""
    title = f"<h2>{escape(table.title)}</h2>\n" if table.title else ""
    rows = "\n".join(_row(row, "td") for row in table.rows)
    return f"{title}<table>\n{_row(table.header, 'th')}\n{rows}\n</table>"


def _row(cells: tuple[str, ...], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
