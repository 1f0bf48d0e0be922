"""Networks of every family as ONNX files: valid, runnable, read back as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from net_cases import reading_of, run

from autogo_onnx import cli
from autogo_onnx.operator_labels import structure_label
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.families import FAMILIES
from autogo_onnx.segment_db.families.naming import network
from autogo_onnx.segment_db.families.network import Network

QUICK_MACS = 50_000_000
SMALL = [
    "edsr_x2@6", "edsr_x3@6x5", "edsr_x4@6", "fsrcnn_x2@9x8", "fsrcnn_x3@9", "fsrcnn_s_x4@9",
    "mobilenet_v2@64", "mobilenet_v3_large@64", "mobilenet_v3_small@32x64", "unet_denoising@32",
]  # fmt: skip
MANY_WEIGHTS = ["resnet50@64", "resnet50_v1@32x64", "resnet101@32", "vgg16@32", "vgg16_bn@32"]
# To list a family takes longer than to build one of its networks.
LISTED_SLOWLY = {
    "nasbench201": "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|"
    "+|skip_connect~0|none~1|nor_conv_3x3~2|"
}


def first_code(family: str) -> str:
    return LISTED_SLOWLY.get(family) or next(FAMILIES[family].codes(1, 0))


def structure(graph: OpGraph) -> list[tuple[object, ...]]:
    operators = [
        (structure_label(graph, index), op.inputs, graph.op_shapes[index])
        for index, op in enumerate(graph.ops)
    ]
    return [(graph.input_shapes, graph.outputs), *operators]


def check_file(found: Network, seed: int = 0) -> onnx.ModelProto:
    """Valid by the strictest checks, and read as the network that was written."""
    model = found.to_onnx(seed)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    shapes = {f"x{n}": shape for n, shape in enumerate(found.graph.input_shapes)}
    assert structure(reading_of(model, **shapes).opgraph) == structure(found.graph)
    return model


def check_run(found: Network, model: onnx.ModelProto, batch: int) -> None:
    """It runs for several pictures at once, with the shapes it claims, and stays finite."""
    rng = np.random.default_rng(0)
    feeds = {
        f"x{n}": rng.standard_normal((batch, *shape[1:])).astype(np.float32)
        for n, shape in enumerate(found.graph.input_shapes)
    }
    results = run(model, feeds)
    assert [r.shape for r in results] == [(batch, *s[1:]) for s in found.graph.output_shapes]
    assert all(np.isfinite(result).all() and result.std() > 0 for result in results)


@pytest.mark.parametrize("code", SMALL)
def test_published_networks_run(code: str) -> None:
    found = network(code)
    check_run(found, check_file(found), batch=2)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "published"])
def test_the_first_networks_of_every_family_are_valid(family: str) -> None:
    found = FAMILIES[family].build(first_code(family))
    model = check_file(found)
    if found.macs() <= QUICK_MACS:
        check_run(found, model, batch=2)


@pytest.mark.slow
@pytest.mark.parametrize("code", MANY_WEIGHTS)
def test_published_networks_with_many_weights_run(code: str) -> None:
    found = network(code)
    check_run(found, check_file(found), batch=2)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "published"])
def test_networks_of_every_family_run(family: str) -> None:
    for code in FAMILIES[family].codes(3, 1):
        found = FAMILIES[family].build(code)
        check_run(found, check_file(found), batch=1)


def test_same_seed_same_weights() -> None:
    found = network("fsrcnn_s_x2@8")
    first, second, third = (found.to_onnx(seed).SerializeToString() for seed in (1, 1, 2))
    assert first == second != third


def test_network_writes_a_named_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    assert cli.run(["db", "network", "fsrcnn_x2@8", "-o", str(path), "--seed", "3"]) == 0
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.name == "fsrcnn_x2@8"
    assert [len(value.shape) for value in run(model, {"x0": np.zeros((1, 1, 8, 8), np.float32)})]
    assert "12,809 parameters, 797,696 MACs at 1x8x8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["resnet51", "-o", "{}/a.onnx"], "FAMILY:CODE"),
        (["resnet50@31", "-o", "{}/a.onnx"], "multiples of 32"),
        (["nasbench_macro:01", "-o", "{}/a.onnx"], "digits"),
        (["resnet50", "-o", "{}/missing/a.onnx"], "is not a folder"),
        (["resnet50"], "--output"),
    ],
)
def test_network_refuses_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["db", "network", *(a.format(tmp_path) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
