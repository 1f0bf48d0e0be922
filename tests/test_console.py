"""Progress for people: bars on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

from io import StringIO

from autogo_onnx.console import Bars, PlainLines, progress_on
from autogo_onnx.progress import Silent


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_stream_decides() -> None:
    assert isinstance(progress_on(Terminal(), quiet=False), Bars)
    assert isinstance(progress_on(StringIO(), quiet=False), PlainLines)
    with progress_on(Terminal(), quiet=True) as silent:
        assert isinstance(silent, Silent)


def test_bars_keep_finished_stages_and_print_notes_as_they_are() -> None:
    stream = Terminal()
    with Bars(stream) as progress:
        progress.advance()
        progress.stage("calibrate")
        progress.advance(5)
        progress.stage("fit [sites]", total=4)
        progress.advance()
        progress.note("conv [1] left alone")
    text = stream.getvalue()
    assert "calibrate" in text
    assert "5/5" in text
    assert "fit [sites]" in text
    assert "4/4" in text
    assert "conv [1] left alone" in text


def test_plain_lines_are_one_per_stage_and_note() -> None:
    stream = StringIO()
    with PlainLines(stream) as progress:
        progress.stage("fit", total=4)
        progress.advance()
        progress.note("a note")
    lines = stream.getvalue().splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["fit (4)", "  a note"]
