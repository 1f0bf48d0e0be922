"""A report of `evolve` as one static page, with pictures of what changed."""

from __future__ import annotations

from html import escape

from autogo_onnx.drawing.svg import draw
from autogo_onnx.evolved.report import ChangedSegment, EvolvedModel, EvolveReport
from autogo_onnx.evolved.text import changes_table, headline, remarks, tables, title_of
from autogo_onnx.report_html import page, table_html

_STYLE = """<style>
figure { margin: 0 1em 1.5em 0; }
.pair { display: flex; flex-wrap: wrap; align-items: flex-start; }
.pair svg { max-width: 100%; height: auto; }
</style>"""


def to_html(report: EvolveReport) -> str:
    """The whole report; names from the model are escaped."""
    parts = [_STYLE, *(table_html(table) for table in tables(report))]
    parts += map(_section, report.models)
    return page(headline(report), remarks(report), "\n".join(parts))


def _section(model: EvolvedModel) -> str:
    """One model: what changed as a table, then in pictures."""
    predicted = f"{model.predicted_change:+.3f} ± {model.deviation:.3f}"
    pictures = "\n".join(map(_pictures, model.changes))
    return (
        f"<h2>{escape(model.file)}: predicted {predicted}</h2>\n"
        f"{table_html(changes_table(model))}\n{pictures}"
    )


def _pictures(change: ChangedSegment) -> str:
    """A segment as it was, beside what stands there now."""
    sides = "\n".join(
        f"<figure>{draw(graph, (name,))}</figure>"
        for name, graph in (("before", change.before), ("after", change.after))
    )
    title = escape(title_of(change))
    return (
        f'<details open><summary>{title}</summary>\n<div class="pair">\n{sides}\n</div></details>'
    )
