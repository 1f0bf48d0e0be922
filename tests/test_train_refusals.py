"""What training refuses: in one line, before an epoch is spent where that is possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from training_networks import (
    CLASSIFIER,
    DENOISER,
    holding_a_batch_of,
    network,
    quick,
    save,
    stripes,
)

from autogo_onnx.errors import InputError, PromiseError
from autogo_onnx.graph import from_text

torch = pytest.importorskip("torch")

from autogo_onnx.training import workflow  # noqa: E402  # it needs torch
from autogo_onnx.training.data import TrainingData  # noqa: E402
from autogo_onnx.training.preparation import with_normalization  # noqa: E402
from autogo_onnx.training.workflow import train  # noqa: E402

X, LABELS = stripes(16)
HELD_OUT = ~np.isin(np.arange(16), TrainingData({"x": np.arange(16)}).split(0.1, 0)[0].inputs["x"])
BAD: dict[str, tuple[dict[str, np.ndarray], dict[str, Any], str]] = {
    "no truth": ({"x": X}, {}, "says nothing of the wanted outputs: give labels"),
    "too few": ({"x": X[:4], "labels": LABELS[:4]}, {}, "holds 4 samples: at least 8"),
    "one label less": ({"x": X, "labels": LABELS[1:]}, {}, "15 for 16 samples"),
    "beyond": ({"x": X, "labels": LABELS + 1}, {}, "labels run to 3, output 'scores' has 3"),
    "negative": ({"x": X, "labels": LABELS - 1}, {}, "class indices begin at 0"),
    "no numbers": ({"x": X, "labels": LABELS * 0.5}, {}, "class indices [N] are needed"),
    "not finite": ({"x": X * np.nan, "labels": LABELS}, {}, "holds NaN or infinity"),
    "other size": ({"x": X[:, :, :4], "labels": LABELS}, {}, "the model needs [N, 1, 8, 8]"),
    "other task": ({"x": X, "targets": X}, {"task": "denoising"}, "targets are [1, 1, 8, 8]"),
    "pixels": ({"x": X, "labels": LABELS}, {"task": "segmentation"}, "[N,H,W] are needed"),
    "too fast": ({"x": X, "labels": LABELS}, {"learning_rate": 1e30}, "lower --learning-rate"),
    "beyond, held out": ({"x": X, "labels": np.where(HELD_OUT, 7, LABELS)}, {}, "labels run to 7"),
    "no factor": ({"x": X}, {"task": "super-resolution"}, "no super-resolution by a whole factor"),
}


@pytest.fixture
def striped(tmp_path: Path) -> Path:
    x, labels = stripes()
    return save(tmp_path, x=x, labels=labels)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    arrays, given, told = BAD[case]
    with pytest.raises(InputError) as caught:
        train(network(), quick(save(tmp_path, **arrays), **given))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_teacher_must_fit(striped: Path, tmp_path: Path) -> None:
    other = network(DENOISER)
    onnx.save(other, tmp_path / "teacher.onnx")
    with pytest.raises(InputError, match=r"the teacher answers \[1, 1, 8, 8\], the model \[1, 3\]"):
        train(network(), quick(striped, teacher=tmp_path / "teacher.onnx"))
    other.graph.input[0].name = other.graph.node[0].input[0] = other.graph.node[3].input[0] = "z"
    onnx.save(other, tmp_path / "teacher.onnx")
    with pytest.raises(InputError, match=r"its inputs are \['z'\], the model's are \['x'\]"):
        train(network(), quick(striped, teacher=tmp_path / "teacher.onnx"))


def test_a_teacher_whose_answers_are_no_numbers_is_refused(striped: Path, tmp_path: Path) -> None:
    teacher = network()
    teacher.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((8, 1, 3, 3), np.nan, np.float32), "w1")
    )
    assert teacher.graph.initializer[0].name == "w1"
    onnx.save(teacher, tmp_path / "teacher.onnx")
    with pytest.raises(InputError, match="the teacher's answers to the data are no finite"):
        train(network(), quick(striped, teacher=tmp_path / "teacher.onnx"))
    with pytest.raises(InputError, match="output 'scores' of the model holds NaN"):
        train(teacher, quick(striped))


def test_a_batch_size_above_one_in_the_graph_is_refused(striped: Path) -> None:
    with pytest.raises(InputError, match="the graph holds a batch size of 4: export it with 1"):
        train(holding_a_batch_of(4), quick(striped))


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("flag = Greater(scores, scores)", "'flag' depends on no weight by a gradient"),
        ("flag = ReduceMean <keepdims=0> (scores)", r"'flag' is \[\]: it has no batch"),
    ],
)
def test_outputs_that_cannot_be_judged_are_refused(last: str, told: str, striped: Path) -> None:
    kind = "bool[N,3]" if "Greater" in last else "float"
    text = CLASSIFIER.replace("float[N,3] scores", f"{kind} flag").replace("\n}", f"\n{last} }}")
    proto = from_text(text)
    proto.graph.initializer.extend(network().graph.initializer)
    with pytest.raises(InputError, match=told):
        train(proto, quick(striped))


def test_only_pictures_are_changed_at_random(tmp_path: Path) -> None:
    proto = from_text("g (float[N,64] x) => (float[N,3] y) { y = Gemm(x, w) }")
    kernel = np.zeros((64, 3), np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(kernel, "w"))
    data = save(tmp_path, x=X.reshape(16, 64), labels=LABELS)
    with pytest.raises(InputError, match=r"--augment changes one input of pictures \[N,C,H,W\]"):
        train(proto, quick(data, augment="flip"))


def test_weights_that_became_infinite_are_refused(
    striped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infinite(parameters: Any, largest: float) -> None:
        for weight in parameters:
            weight.grad.fill_(np.inf)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", infinite)
    with pytest.raises(InputError, match="weights became infinite in epoch 1, step 1: lower"):
        train(network(), quick(striped, epochs=1, batch=96))


def test_a_model_without_weights_is_refused(striped: Path) -> None:
    proto = from_text("g (float[N,1,8,8] x) => (float[N,64] y) { y = Flatten(x) }")
    with pytest.raises(InputError, match="no weights that could be trained"):
        train(proto, quick(striped))


def test_normalizations_of_an_old_opset_are_not_added() -> None:
    old = network()
    old.opset_import[0].version = 8
    with pytest.raises(InputError, match="inserted from opset 9 on, the model has 8"):
        with_normalization(old)


def test_nothing_is_given_back_that_onnx_runtime_disagrees_with(
    striped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
        return model

    monkeypatch.setattr(workflow, "with_weights", wrong)
    with pytest.raises(PromiseError, match="'scores' of the trained model differs by"):
        train(network(), quick(striped, epochs=1))
