"""Drawings: nothing overlaps, everything is there, valid XML that needs nothing else."""

import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations, islice, pairwise
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import classifier

from autogo_onnx import cli, cost
from autogo_onnx.drawing.labels import LONGEST, shape_text, words
from autogo_onnx.drawing.layout import Box, Edge, Layout, arrange, spread
from autogo_onnx.drawing.rails import plain, rails
from autogo_onnx.drawing.svg import Colouring, draw
from autogo_onnx.drawing.widths import macs_formula
from autogo_onnx.opgraph import Op, OpGraph, to_json
from autogo_onnx.segment_db.families import FAMILIES
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.image import image
from autogo_onnx.segment_db.mining import mine
from autogo_onnx.segment_db.store import open_store

SVG = "{http://www.w3.org/2000/svg}"


def _chain(blocks: int) -> OpGraph:
    """Residual blocks with a skip over everything: long edges beside boxes."""
    net = Builder((1, 8, 16, 16))
    first = x = net.conv(0, 8)
    for _ in range(blocks):
        x = net.add(net.relu(net.conv(net.relu(net.conv(x, 8, kernel=3)), 8)), x)
    return net.graph(net.add(first, x))


NETWORKS = [
    FAMILIES[name].build(code).folded()
    for name, count in (("nasbench201", 3), ("nasbench_macro", 2))
    for code in islice(FAMILIES[name].codes(count, 1), count)
]
GRAPHS = [_chain(5), *NETWORKS]


@st.composite
def _random_graphs(draw_: st.DrawFn) -> OpGraph:
    """Operators that read any one or two tensors before them."""
    choice = random.Random(draw_(st.integers(0, 10_000)))
    inputs, ops = choice.randint(1, 3), choice.randint(1, 14)
    made = []
    for index in range(ops):
        some = range(inputs + index)
        operands = [choice.choice(some) for _ in range(choice.randint(1, 2))]
        made.append(Op("Add" if len(operands) > 1 else "Relu", tuple(operands)))
    read = {t for op in made for t in op.inputs}
    leaving = tuple(t for t in range(inputs, inputs + ops) if t not in read)
    return OpGraph(((1, 4, 8, 8),) * inputs, tuple(made), ((1, 4, 8, 8),) * ops, leaving)


def _are_apart(one: Box, other: Box) -> bool:
    across = one.left + one.width <= other.left or other.left + other.width <= one.left
    return across or one.bottom <= other.top or other.bottom <= one.top


def _crosses(box: Box, x: float, top: float, bottom: float) -> bool:
    inside = box.left < x < box.left + box.width
    return inside and top < box.bottom - 0.5 and bottom > box.top + 0.5


def _check(layout: Layout, edges: list[Edge]) -> None:
    assert all(_are_apart(a, b) for a, b in combinations(layout.boxes, 2))
    for box in layout.boxes:
        assert box.left >= 0
        assert box.left + box.width <= layout.width + 0.1
        assert box.bottom <= layout.height
    for (first, last), line in zip(edges, layout.lines, strict=True):
        heights = [y for _, y in line]
        assert heights == sorted(heights), "downward"
        (x, y), (to_x, to_y) = line[0], line[-1]
        assert (y, to_y) == (layout.boxes[first].bottom, layout.boxes[last].top)
        assert x == pytest.approx(layout.boxes[first].middle)
        assert to_x == pytest.approx(layout.boxes[last].middle)
        others = [b for n, b in enumerate(layout.boxes) if n not in (first, last)]
        upright = [(x, y, z) for (x, y), (w, z) in pairwise(line) if x == w]
        assert not any(_crosses(box, *part) for box in others for part in upright)


@given(_random_graphs())
def test_boxes_do_not_overlap_and_edges_go_down(graph: OpGraph) -> None:
    sizes = [(30.0 + 7 * (n % 5), 20.0 + 4 * (n % 3)) for n in range(graph.n_tensors)]
    edges = sorted(
        {(t, graph.n_inputs + i) for i, op in enumerate(graph.ops) for t in op.inputs},
        key=lambda edge: (edge[1], edge[0]),
    )
    _check(arrange(sizes, edges), edges)


def test_nothing_to_arrange() -> None:
    assert arrange([], []) == Layout((), (), 0.0, 0.0)
    assert arrange([(10, 5)], []).boxes == (Box(0.0, 0.0, 10, 5),)


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(1, 50)), min_size=1))
def test_spread_keeps_order_and_gaps_and_moves_no_more_than_it_must(
    items: list[tuple[float, float]],
) -> None:
    wanted, widths = (list(column) for column in zip(*items, strict=True))
    middles = spread(wanted, widths)
    for (a, w), (b, v) in pairwise(zip(middles, widths, strict=True)):
        assert b - a > (w + v) / 2
    # In the optimum the shifts balance, or the whole row could be moved for the better.
    assert sum(middles) == pytest.approx(sum(wanted), abs=1e-6)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_picture_holds_every_operator_and_edge(graph: OpGraph) -> None:
    picture = ET.fromstring(draw(graph, ("a graph",)))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    for index in range(len(graph.ops)):
        assert words(graph, index) in texts
    edges = sum(len(set(op.inputs)) for op in graph.ops) + len(graph.outputs)
    assert len(list(picture.iter(f"{SVG}polyline"))) == edges
    boxes = graph.n_inputs + len(graph.ops) + len(graph.outputs)
    assert len(list(picture.iter(f"{SVG}rect"))) == boxes


def test_a_picture_needs_nothing_else() -> None:
    text = draw(_chain(2), ("heading",))
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|@import|url\(|href|<image|<foreignObject", text)


def test_names_from_a_model_are_only_text() -> None:
    graph = _chain(1)
    nasty = '"><script>&\x00\x1b\ud800\ufffe]]>'
    hints = [nasty] * len(graph.ops)
    picture = ET.fromstring(draw(graph, (nasty,), Colouring((), hints)).encode())
    assert not list(picture.iter(f"{SVG}script"))
    assert any("<script>&" in (title.text or "") for title in picture.iter(f"{SVG}title"))
    op = Op("Ev<il" * 20, (0,))
    assert len(words(OpGraph(((1,),), (op,), ((1,),), (1,)), 0)) == LONGEST


def test_text_is_legible_on_its_ground_and_lines_on_black_and_white() -> None:
    text = draw(_chain(3), ("heading",), Colouring([(0, 1), (2, 3, 4), (5,), (6, 7)]))
    fills = set(re.findall(r'fill="(#[0-9a-f]{6})"', text))
    assert len(fills) == 5, "three segments, single operators, inputs and outputs"
    assert all(_contrast("#111111", fill) > 10 for fill in fills)
    assert min(_contrast("#767676", "#ffffff"), _contrast("#767676", "#000000")) > 4.5
    assert set(re.findall(r"stroke:(#\w+)", text)) == {"#767676"}


def _contrast(one: str, other: str) -> float:
    """As the Web Content Accessibility Guidelines define it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_segments_have_numbers_and_neighbours_other_colours() -> None:
    graph = _chain(4)
    groups = [(0,), (1, 2), (3, 4, 5), (6, 7)]
    picture = ET.fromstring(draw(graph, (), Colouring(groups)))
    fills = [rect.get("fill") for rect in picture.iter(f"{SVG}rect")][1:]
    assert fills[1] == fills[2] != fills[3] == fills[5] != fills[6]
    texts = [text.text or "" for text in picture.iter(f"{SVG}text")]
    assert sum(text.endswith("· 3") for text in texts) == 3
    assert not any(text.endswith("· 1") for text in texts), (
        "one operator is no segment to point out"
    )


def test_the_same_graph_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import sys; from autogo_onnx.drawing.rails import rails;"
        "from autogo_onnx.drawing.svg import draw; from autogo_onnx.opgraph import from_json;"
        "graph = from_json(sys.stdin.read());"
        "sys.stdout.buffer.write((draw(graph) + rails(graph)).encode())"
    )
    graph = NETWORKS[0]
    made = subprocess.run(
        [sys.executable, "-c", code],
        input=to_json(graph).encode(),
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=True,
    )
    assert made.stdout.decode() == draw(graph) + rails(graph)


def test_a_network_of_500_operators_is_drawn_at_its_size() -> None:
    graph = _chain(100)
    assert len(graph.ops) > 500
    picture = ET.fromstring(draw(graph))
    rects = list(picture.iter(f"{SVG}rect"))
    assert len(rects) == len(graph.ops) + 2
    assert all(float(rect.get("height", 0)) >= 30 for rect in rects)
    assert float(picture.get("width", 0)) < 400, "one path and two skips need no more"


@given(_random_graphs())
def test_rails_lead_from_every_operand_to_its_readers(graph: OpGraph) -> None:
    assert _followed(rails(graph)) == _expected(graph)


def _expected(graph: OpGraph) -> list[tuple[int, ...]]:
    """For every operator and output in the order drawn, the lines' numbers of what it reads."""
    order: dict[int, int] = {}
    read = {t for op in graph.ops for t in op.inputs} | set(graph.outputs)
    for tensor in range(graph.n_inputs):
        if tensor not in read:
            order[tensor] = len(order)
    found = []
    for index, op in enumerate(graph.ops):
        for tensor in dict.fromkeys(op.inputs):
            order.setdefault(tensor, len(order))
        order[graph.n_inputs + index] = len(order)
        found.append(tuple(sorted({order[t] for t in op.inputs})))
    return found + [(order[t],) for t in graph.outputs]


def _followed(text: str) -> list[tuple[int, ...]]:
    """The same, by following the rails of the drawing with a finger."""
    carried: dict[int, int] = {}
    waiting: list[str] = []
    found: list[tuple[int, ...]] = []
    marks = 0
    for line in text.splitlines():
        mark = re.match(r"[│ ]*([●○◇])", line)
        if mark is None:
            waiting.append(line)
            continue
        place = (mark.end() - 1) // 2
        if mark[1] != "○":
            found.append(tuple(sorted(_arriving(place, waiting, carried))))
            waiting = []
        if mark[1] != "◇":
            carried[place] = marks
            marks += 1
    return found


def _arriving(place: int, lines: list[str], carried: dict[int, int]) -> set[int]:
    """What comes to the mark below some joining lines; rails that end are taken off."""
    arriving: set[int] = set()
    is_new = False
    for line in lines:
        ends = {n // 2: c for n, c in enumerate(line) if c in "├┤╭╮╰╯"}
        assert len(ends) == 2, "a line joins two rails and crosses the others"
        assert place in ends
        is_new = (ends.pop(place) in "╭╮") or is_new
        [(source, joint)] = ends.items()
        arriving.add(carried[source])
        if joint in "╰╯":
            del carried[source]
    return arriving if is_new else arriving | {carried[place]}


@pytest.mark.parametrize("graph", GRAPHS)
def test_formula_gives_what_is_counted(graph: OpGraph) -> None:
    formula = macs_formula(graph)
    assert formula.value() == cost.macs(graph) > 0


def test_formula_of_a_bottleneck() -> None:
    net = Builder((1, 64, 16, 16))
    wide = net.relu(net.conv(0, 192))
    x = net.conv(net.relu(net.depthwise(wide, kernel=3, stride=2)), 96)
    text = str(macs_formula(net.graph(x)))
    assert text == "(a·b + 9/4·b + 1/4·b·c)·P with a=64, b=192, c=96, P=256 pixels"
    residual = Builder((1, 64, 16, 16))
    graph = residual.graph(residual.add(0, residual.conv(0, 64, kernel=3)))
    assert str(macs_formula(graph)) == "9·a²·P with a=64, P=256 pixels"


def test_formula_of_a_concatenation_has_both_widths() -> None:
    net = Builder((1, 8, 4, 4))
    graph = net.graph(net.conv(net.concat(net.conv(0, 16), 0), 32))
    assert str(macs_formula(graph)) == ("(a·b + a·c + b·c)·P with a=8, b=16, c=32, P=16 pixels")


def test_formula_without_macs() -> None:
    relu = OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,))
    assert str(macs_formula(relu)) == "0"
    product = OpGraph(((1, 2, 4), (1, 4, 3)), (Op("MatMul", (0, 1)),), ((1, 2, 3),), (2,))
    assert str(macs_formula(product)) == "24"


def test_unknown_shapes_are_drawn_too() -> None:
    graph = OpGraph(((),), (Op("Conv", (0,)),), ((),), (1,))
    assert shape_text(()) == "?"
    assert "● Conv  ?" in rails(graph)
    assert "Conv" in draw(graph)
    assert macs_formula(graph).value() == 0


def test_commands_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database, model = tmp_path / "own.db", tmp_path / "tiny.onnx"
    database.write_bytes(image(mine([("mined", _chain(3)), ("mined", _chain(4))], 60)))
    onnx.save(classifier(), model)
    segment = next(s for s in open_store(database).with_boundary(2, 1) if len(s.graph.ops) > 3)
    to = ["--segment-db", str(database)]
    assert cli.run(["db", "show", segment.id, "--svg", str(tmp_path / "s.svg"), *to]) == 0
    text = capsys.readouterr().out
    for part in (segment.id, "·P with a=", "├", "seen in", "boundary shapes", "t0 [", "mined"):
        assert part in text
    assert ET.parse(tmp_path / "s.svg").getroot().tag == f"{SVG}svg"
    assert cli.run(["segments", str(model), "--svg", str(tmp_path / "m.svg"), *to]) == 0
    assert "second\tConv:" in capsys.readouterr().out
    content = (tmp_path / "m.svg").read_text()
    assert "tiny.onnx" in content
    assert "second" in content
    assert cli.run(["segments", str(model), "--svg", str(tmp_path / "no" / "m.svg"), *to]) == 2


def test_plain_text_has_ascii_only() -> None:
    square = Op.make("Conv", (0,), kernel_shape=(1, 1))
    graph = OpGraph(((1, 8, 4, 4),), (square, Op("Add", (0, 1))), ((1, 8, 4, 4),) * 2, (2,))
    text = plain(rails(NETWORKS[0]) + str(macs_formula(graph)))
    assert text.isascii()
    assert "^2" in text
