"""TransNAS-Bench-101 is generated whole, and counts exactly as published, decoders included."""

import numpy as np
import onnx
import pytest
from published_tables import needs_tables, rows

from autogo_onnx.errors import InputError
from autogo_onnx.runtime import open_session
from autogo_onnx.segment_db.families.family import Family
from autogo_onnx.segment_db.families.four_nodes import EDGES
from autogo_onnx.segment_db.families.transnasbench101 import (
    FAMILY_MACRO,
    FAMILY_MICRO,
    LISTED_TASKS,
    build,
)
from autogo_onnx.segment_db.families.transnasbench101_decoders import TASKS
from autogo_onnx.segment_db.families.transnasbench101_encoders import (
    macro_encoders,
    micro_encoders,
    parse,
)

_MACRO = "transnasbench101/tnb101_macro.csv.gz"
_MICRO = "transnasbench101/tnb101_micro.csv.gz"
# Published parameters of whole networks: github.com/automl/NASLib, naslib/data/zc_transbench101_*.
PUBLISHED = {
    "64-1242-basic@class_scene": 11_218_783,
    "64-413331-basic@class_scene": 3_557_343,
    "64-213312-basic@class_object": 5_067_140,
    "64-3332-basic@class_object": 1_014_532,
    "64-213131-basic@room_layout": 3_533_737,
    "64-113141-basic@jigsaw": 2_885_000,
    "64-212413-basic@jigsaw": 35_384_072,
    "64-2123-basic@segmentsemantic": 14_327_889,
    "64-1244-basic@segmentsemantic": 22_210_641,
    "64-31334-basic@segmentsemantic": 8_634_833,
    "64-443112-basic@segmentsemantic": 29_212_753,
    "64-2223-basic@normal": 43_614_803,
    "64-111143-basic@normal": 21_077_331,
    "64-333221-basic@normal": 25_975_251,
    "64-33143-basic@autoencoder": 20_937_811,
    "64-41414-1_00_210@class_scene": 910_687,
    "64-41414-3_22_323@class_scene": 22_372_959,
}
# Parameters of encoders, as published, and MACs at 256 x 256.
ENCODERS = {
    "64-111114-basic": (1_284_896, 3_646_423_040),
    "64-41414-0_00_200": (704_544, 232_259_584),
    "64-41414-1_03_121": (8_897_056, 1_817_706_496),
}


@pytest.mark.parametrize("code", PUBLISHED)
def test_parameters_are_the_published(code: str) -> None:
    assert build(code).parameters() == PUBLISHED[code]


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_count_as_published(name: str) -> None:
    network = build(name)
    assert (network.parameters(), network.macs()) == ENCODERS[name]


def _check_macro(every: int) -> None:
    for row in rows(_MACRO, every):
        network = build(row["arch"])
        width, size = int(row["encoder_out_channels"]), int(row["encoder_out_hw_256"])
        assert network.graph.output_shapes == ((1, width, size, size),), row["arch"]
        assert network.parameters() == int(row["encoder_params"]), row["arch"]
        assert network.macs() == int(row["encoder_macs_256"]), row["arch"]


def _check_micro(every: int) -> int:
    """Compare; returns how many networks had no operator whose result goes nowhere."""
    whole = 0
    for row in rows(_MICRO, every):
        published = int(row["encoder_params"]), int(row["encoder_macs_256"])
        assert _with_dead_branches(row["arch"]) == published, row["arch"]
        if parse(row["arch"]).of_nodes().structure():
            network = build(row["arch"])
            counts = network.parameters(), network.macs()
            assert counts <= published, row["arch"]
            convolutions = sum(op.kind == "Conv" for op in network.graph.ops)
            if convolutions == _convolutions(row["arch"]):
                whole += 1
                assert counts == published, row["arch"]
    return whole


def _convolutions(name: str) -> int:
    """Convolutions of a micro encoder: three of its ten cells reduce."""
    cell = parse(name).cell
    from_input = sum(op == "1" for op, edge in zip(cell, EDGES, strict=True) if edge[0] == 0)
    return 2 + 10 * sum(op in "23" for op in cell) + 3 * 2 * from_input


def _with_dead_branches(name: str) -> tuple[int, int]:
    """Parameters and MACs of a micro encoder as published: of all its operators."""
    parameters, macs = 9 * 3 * 32 + 2 * 32, 9 * 3 * 32 * 128**2
    parameters, macs = parameters + 9 * 32 * 64 + 2 * 64, macs + 9 * 32 * 64 * 64**2
    width, size = 64, 64
    for layer in parse(name).layers:
        for block in range(2):
            reduces = layer == "4" and block == 0
            before = width
            width, size = (2 * width, size // 2) if reduces else (width, size)
            for operation, (begin, _) in zip(parse(name).cell, EDGES, strict=True):
                area = {"2": 1, "3": 9, "1": int(reduces and begin == 0)}.get(operation, 0)
                weights = area * (width if begin else before) * width
                parameters += weights + 2 * width * bool(area)
                macs += weights * size**2
    return parameters, macs


@needs_tables
def test_macro_counts_equal_table() -> None:
    _check_macro(67)


@needs_tables
def test_micro_counts_equal_table() -> None:
    assert _check_micro(61) > 20


@needs_tables
@pytest.mark.slow
def test_all_counts_equal_table() -> None:
    _check_macro(1)
    assert _check_micro(1) > 1500


@needs_tables
def test_macro_names_are_the_published() -> None:
    assert set(macro_encoders()) == {row["arch"] for row in rows(_MACRO, 1)}


def test_there_are_3256_macro_encoders() -> None:
    names = list(macro_encoders())
    assert len(names) == len(set(names)) == 3256


def test_micro_encoders_are_listed_once_per_network() -> None:
    names = micro_encoders()
    assert len(names) == len(set(names)) == 1791
    # A zero edge and one into a dead node are the same; so are paths with their nodes exchanged.
    assert build("64-41414-3_00_100") == build("64-41414-0_00_100")
    assert build("64-41414-0_30_002") == build("64-41414-3_00_020")
    assert "64-41414-3_00_100" not in names
    assert "64-41414-3_00_020" not in names


@pytest.mark.parametrize("family", [FAMILY_MACRO, FAMILY_MICRO])
def test_codes_are_a_choice_that_the_seed_decides(family: Family) -> None:
    first = list(family.codes(30, 0))
    assert first == list(family.codes(30, 0))
    assert len(set(first)) == 30
    assert {code.partition("@")[2] for code in first} == set(LISTED_TASKS)
    for code in first:
        assert family.build(code).graph.outputs


@pytest.mark.parametrize("layers", ["2113", "2133", "2333", "23333"])
@pytest.mark.parametrize("task", ["segmentsemantic", "normal"])
def test_decoders_reach_the_images_resolution(layers: str, task: str) -> None:
    network = build(f"64-{layers}-basic@{task}")
    channels = {"segmentsemantic": 17, "normal": 3}[task]
    assert network.graph.output_shapes == ((1, channels, 256, 256),)


def test_tiles_go_through_one_encoder() -> None:
    network, single = build("64-1242-basic@jigsaw"), build("64-1242-basic")
    assert network.graph.input_shapes == ((1, 9, 3, 64, 64),)
    assert network.graph.output_shapes == ((1, 1000),)
    assert network.parameters() == single.parameters() + 9 * 512 * 1000 + 1000
    # Nine tiles of a sixteenth of the image.
    assert network.macs() == single.macs() * 9 // 16 + 9 * 512 * 1000


def test_identity_of_a_reducing_cell_reads_every_pixel() -> None:
    graph = build("64-41414-0_00_100").graph
    reduction = [op.kind for op in graph.ops[5:12]]
    assert reduction == ["Relu", "Pad", "Slice", "Conv", "Conv", "Concat", "BatchNormalization"]
    pad, shift = graph.ops[6], graph.ops[7]
    assert pad.get("pads") == (0, 0, 0, 0, 0, 0, 1, 1)
    assert (shift.get("axes"), shift.get("starts")) == ((2, 3), (1, 1))
    assert graph.op_shapes[7] == graph.op_shapes[5]
    # The two convolutions read the tensor and the tensor shifted by a pixel.
    assert [graph.ops[n].inputs for n in (8, 9)] == [(6,), (8,)]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "reads neither"),
        ("64-111-basic", "reads neither"),
        ("64-1111-basic", "reads neither"),
        ("64-3333-basic", "reads neither"),
        ("64-2222-basic", "reads neither"),
        ("64-41414-1_00_21", "reads neither"),
        ("64-41414-1_00_214", "reads neither"),
        ("64-41414-3_33_000", "no path"),
        ("64-1242-basic@", "none of"),
        ("64-1242-basic@depth", "none of"),
    ],
)
def test_refuses(code: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(code)


@pytest.mark.parametrize("code", ["64-41414-0_00_100@segmentsemantic", "64-3334-basic@normal"])
def test_runs_as_onnx(code: str) -> None:
    network = build(code)
    model = network.to_onnx(0)
    onnx.checker.check_model(model, full_check=True)
    image = np.random.default_rng(0).standard_normal((1, 3, 256, 256)).astype(np.float32)
    [made] = open_session(model).run(None, {"x0": image})
    assert made.shape == network.graph.output_shapes[0]
    assert np.isfinite(made).all()


def test_each_family_refuses_the_others_codes() -> None:
    with pytest.raises(InputError, match="micro encoder"):
        FAMILY_MACRO.build("64-41414-1_00_210@class_scene")
    with pytest.raises(InputError, match="macro encoder"):
        FAMILY_MICRO.build("64-1242-basic@class_scene")


def test_every_task_can_be_built() -> None:
    outputs = {task: build(f"64-1242-basic@{task}").graph.output_shapes[0][1] for task in TASKS}
    assert outputs == {
        "class_object": 100,
        "class_scene": 63,
        "room_layout": 9,
        "jigsaw": 1000,
        "segmentsemantic": 17,
        "normal": 3,
        "autoencoder": 3,
    }
