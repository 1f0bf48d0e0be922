"""The hand-designed networks count exactly as they were published."""

from math import prod

import pytest
from published_tables import needs_tables, rows

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families import published
from autogo_onnx.segment_db.families.naming import network
from autogo_onnx.segment_db.families.network import Network

# Parameters, and GMACs at 224x224 as torchvision lists them for its models of these names.
TORCHVISION = {
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "vgg16": (138_357_544, 15.470),
    "vgg16_bn": (138_365_992, 15.470),
    "mobilenet_v2": (3_504_872, 0.301),
    "mobilenet_v3_large": (5_483_032, 0.217),
    "mobilenet_v3_small": (2_542_856, 0.057),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_classifiers_count_as_torchvision_lists_them(name: str) -> None:
    parameters, giga_macs = TORCHVISION[name]
    found = published.build(name)
    assert found.parameters() == parameters
    assert round(found.macs() / 1e9, 3) == giga_macs
    assert found.graph.output_shapes == ((1, 1000),)


def test_resnet_v1_strides_where_the_paper_does() -> None:
    """Table 1 of He et al. gives 3.8 and 7.6 billion multiply-adds."""
    for name, billions in (("resnet50", 3.8), ("resnet101", 7.6)):
        first, later = published.build(f"{name}_v1"), published.build(name)
        assert first.parameters() == later.parameters()
        assert first.macs() / 1e9 == pytest.approx(billions, abs=0.06)
        halving = [op.get("kernel_shape") for op in first.graph.ops if op.get("strides") == (2, 2)]
        assert halving == [(7, 7), (3, 3)] + [(1, 1), (1, 1)] * 3  # stem, pool; branch, shortcut
        halving = [op.get("kernel_shape") for op in later.graph.ops if op.get("strides") == (2, 2)]
        assert halving == [(7, 7), (3, 3)] + [(3, 3), (1, 1)] * 3


@pytest.mark.parametrize(
    ("name", "blocks", "layers"), [("resnet50", 16, 50), ("resnet101", 33, 101)]
)
def test_resnet_has_as_many_layers_as_its_name_says(name: str, blocks: int, layers: int) -> None:
    kinds = [op.kind for op in published.build(name).graph.ops]
    assert kinds.count("Add") == blocks
    assert kinds.count("Conv") + kinds.count("Gemm") == layers + 4  # and four projections


@pytest.mark.parametrize(
    ("scale", "small", "parameters", "giga_macs"),
    [
        (2, (360, 640), 1_369_859, 316.3),
        (3, (240, 427), 1_554_499, 160.2),
        (4, (180, 320), 1_517_571, 114.0),
    ],
)
def test_edsr_counts_for_a_picture_of_720_lines(
    scale: int, small: tuple[int, int], parameters: int, giga_macs: float
) -> None:
    """The literature lists 1,370 K, 1,555 K, 1,518 K and these multi-adds at 1280x720.

    Of multi-adds it is not said what is counted beside convolutions.
    """
    found = published.build(f"edsr_x{scale}@{small[0]}x{small[1]}")
    assert found.parameters() == parameters
    at_1280 = found.macs() * (1280 / scale) / small[1]  # no whole number of pixels for x3
    assert at_1280 / 1e9 == pytest.approx(giga_macs, rel=0.003)
    assert found.graph.output_shapes == ((1, 3, small[0] * scale, small[1] * scale),)


@pytest.mark.parametrize(
    ("name", "weights"), [("fsrcnn", 12_464), ("fsrcnn_m3", 11_168), ("fsrcnn_s", 3_937)]
)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_fsrcnn_counts_as_in_the_paper(name: str, weights: int, scale: int) -> None:
    """Weights alone are listed there, and the cost is one multiply-add each per small pixel."""
    found = published.build(f"{name}_x{scale}@10x11")
    ops, shapes = found.graph.ops, found.graph.op_shapes
    biases = sum(shape[1] for op, shape in zip(ops, shapes, strict=True) if "Conv" in op.kind)
    slopes = sum(shape[1] for op, shape in zip(ops, shapes, strict=True) if op.kind == "PRelu")
    assert found.parameters() == weights + biases + slopes
    assert found.macs() == weights * 110
    assert found.graph.output_shapes == ((1, 1, 10 * scale, 11 * scale),)


# Noise2Noise's appendix, table 2: channels in and out of every convolution.
UNET_CONVOLUTIONS = [
    *[(3, 48), *[(48, 48)] * 6],
    *[(48 + 48, 96), (96, 96), *[(96 + 48, 96), (96, 96)] * 3],
    *[(96 + 3, 64), (64, 32), (32, 3)],
]


def test_unet_has_the_layers_of_its_table() -> None:
    found = published.build("unet_denoising")
    graph = found.graph
    convolutions = [
        (graph.shape(op.inputs[0])[1], shape[1])
        for op, shape in zip(graph.ops, graph.op_shapes, strict=True)
        if op.kind == "Conv"
    ]
    assert convolutions == UNET_CONVOLUTIONS
    assert found.parameters() == sum(9 * a * b + b for a, b in UNET_CONVOLUTIONS) == 991_203
    lowest = min(shape[2] for shape in graph.op_shapes)
    assert lowest == 256 // 32
    assert sum(op.kind == "Concat" for op in graph.ops) == 5
    assert graph.ops[-1].kind == "Conv"


def convolution_outputs(found: Network) -> int:
    """Activations as fvcore counts them: values that convolutions and linear layers make."""
    pairs = zip(found.graph.ops, found.graph.op_shapes, strict=True)
    return sum(prod(shape) for op, shape in pairs if op.kind in ("Conv", "Gemm"))


@needs_tables
def test_classifiers_count_as_timm_lists_them_at_every_size() -> None:
    names = {
        "resnet50": "resnet50",
        "resnet101": "resnet101",
        "vgg16": "vgg16",
        "vgg16_bn": "vgg16_bn",
        "mobilenetv2_100": "mobilenet_v2",
        "mobilenetv3_large_100": "mobilenet_v3_large",
        "mobilenetv3_small_100": "mobilenet_v3_small",
    }
    compared = set()
    for row in rows("timm_imagenet/timm_imagenet.csv.gz"):
        size = int(row["img_size"])
        if row["base"] not in names or (row["base"], size) in compared or size % 32:
            continue
        found = published.build(f"{names[row['base']]}@{size}")
        compared.add((row["base"], size))
        assert found.parameters() / 1e6 == pytest.approx(float(row["param_count"]), abs=0.0051)
        if row["infer_macts"]:
            made = convolution_outputs(found) / 1e6
            assert made == pytest.approx(float(row["infer_macts"]), abs=0.0051), row["base"]
    assert len(compared) > 10
    assert {base for base, _ in compared} == names.keys()


@needs_tables
def test_classifiers_count_as_imgclsmob_lists_them() -> None:
    names = {
        "ResNet-50": "resnet50_v1",
        "ResNet-50b": "resnet50",
        "ResNet-101": "resnet101_v1",
        "ResNet-101b": "resnet101",
        "VGG-16": "vgg16",
        "BN-VGG-16b": "vgg16_bn",
    }
    listed = {
        row["model"]: row
        for row in rows("imgclsmob/imgclsmob_gluon.csv.gz")
        if row["dataset"] == "ImageNet-1K"
    }
    for model, name in names.items():
        found = published.build(name)
        assert found.parameters() == int(listed[model]["params"])
        # It counts activations, normalizations and pools too.
        assert 1 < float(listed[model]["macs_M"]) * 1e6 / found.macs() < 1.006


def test_codes_are_the_names_and_all_of_them_build() -> None:
    codes = list(published.FAMILY.codes(100, 0))
    assert codes == list(published.DESIGNS)
    assert all(published.build(code).folded().ops for code in codes)
    some = list(published.FAMILY.codes(5, 3))
    assert len(some) == 5
    assert some == list(published.FAMILY.codes(5, 3)) != list(published.FAMILY.codes(5, 4))


def test_folding_leaves_no_normalization_and_no_dropout() -> None:
    for name in ("resnet50", "vgg16_bn", "mobilenet_v3_large"):
        kinds = {op.kind for op in published.build(name).folded().ops}
        assert not kinds & {"BatchNormalization", "Identity"}


def test_sizes_are_free_within_reason() -> None:
    assert published.build("resnet50@64x96").graph.input_shapes == ((1, 3, 64, 96),)
    assert published.build("edsr_x3@7").graph.output_shapes == ((1, 3, 21, 21),)
    assert published.build("unet_denoising@32").graph.output_shapes == ((1, 3, 32, 32),)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("resnet34", "is not NAME"),
        ("resnet50@", "is not NAME"),
        ("resnet50@0", "is not NAME"),
        ("resnet50@224x", "is not NAME"),
        ("resnet50@224 ", "is not NAME"),
        ("resnet50@225", "multiples of 32"),
        ("unet_denoising@64x40", "multiples of 32"),
        ("edsr_x2@9000", "sizes up to 8192"),
    ],
)
def test_what_is_no_code_is_refused(code: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        published.build(code)


def test_a_network_of_any_family_has_one_name() -> None:
    assert network("published:vgg16@32") == network("vgg16@32")
    assert network("nasbench_macro:00000000").parameters() == 387_882
    for text in ("unknown:0", "unknown", "", ":", "nasbench_macro"):
        with pytest.raises(InputError, match="FAMILY:CODE"):
            network(text)
    with pytest.raises(InputError, match="digits"):
        network("nasbench_macro:3")
