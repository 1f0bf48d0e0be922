"""A report with something in every field, for the tests of what is made from reports."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import helper

from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.report import (
    Metric,
    ModelInfo,
    ParetoPoint,
    PrecisionFigures,
    QuantizeCheck,
    Replacement,
    Report,
    Rewrite,
    SampleCounts,
    Size,
    Skipped,
)
from autogo_onnx.verify import Fidelity


def relu_model() -> onnx.ModelProto:
    """`y = Relu(x)` on float[N,4]."""
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], "relu")],
        "g",
        [helper.make_tensor_value_info("x", kind, ["N", 4])],
        [helper.make_tensor_value_info("y", kind, ["N", 4])],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def unchanged_report() -> Report:
    """What a run tells that found nothing to do."""
    size = Size(macs=1000, params=20, nodes=3)
    return Report(
        model=relu_model(),
        source=ModelInfo("in.onnx", 8, 17, ("x",), ("y",)),
        level="exact",
        target="cpu",
        seed=0,
        before=size,
        after=size,
    )


def quantize_check() -> QuantizeCheck:
    """Both models could be quantized, one of them but for a layer."""
    close = Fidelity("expected_drop", 128, 0.001, 0.002, 0.99, 0.001, None, None)
    far = replace(close, drop=0.006, drop_bound=0.011)
    return QuantizeCheck(
        samples=128,
        models=(
            PrecisionFigures("original", "float", 0.5, 1.0, 0.0),
            PrecisionFigures("optimized", "float", 0.375, 0.75, 0.02, close),
            PrecisionFigures("original", "int8", 0.3, 0.6, 0.02, close),
            PrecisionFigures("optimized", "int8", 0.255, 0.51, 0.02, far),
        ),
        latency_ratio=0.85,
        latency_noise=0.04,
        keeps_gain=True,
        problems=(
            "1 of 22 convolutions and matrix products of the optimized model stay in float32",
        ),
    )


def full_report() -> Report:
    """What a run tells that did everything."""
    model = relu_model()
    return replace(
        unchanged_report(),
        level="fitted",
        before=Size(40_813_184, 272_474, 52, 0.5),
        after=Size(30_000_000, 200_000, 40, 0.375),
        latency_ratio=0.75,
        latency_noise=0.02,
        fidelity=Fidelity("expected_drop", 128, 0.004, 0.007, 0.96, 0.0123, None, None),
        metric=Metric("top-1", 0.81, 0.806),
        samples=SampleCounts(384, 128),
        rewrites=(
            Rewrite("fuse_conv_bn", 20, 20),
            Rewrite("eliminate_identity", 1, 1),
            Rewrite("fuse_slice_pad_conv", 2, 4, 65536, 0.94, 0.01),
        ),
        plan=(
            Replacement(("conv1", "relu1"), "separable", -786_432, -0.01, 0.02, 0.001, -2048),
            Replacement(("conv2",), "low_rank_16", -9_999, None, 0.5, 0.0),
        ),
        pareto=(
            ParetoPoint("rank_00.onnx", 0.7, 28_000_000, 0.012, 0.02, model),
            ParetoPoint("rank_01.onnx", 0.75, 30_000_000, 0.004, float("inf"), model),
        ),
        skipped=(
            Skipped(("if1",), "control flow"),
            Skipped(("if2", "x", "y"), "control flow"),
            Skipped((), "<script>"),
        ),
        seconds={"load": 0.1, "fit": 12.34},
        versions={"onnx": "1.23.2"},
        warnings=("few samples",),
        notes=("more samples give better fits",),
        quantized=quantize_check(),
        latency_table=LatencyTable("1.31.1", 1, {"key": 0.5}),
    )
