"""Training: it learns, from labels, pictures or a teacher; it repeats and resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from training_networks import (
    CLASSIFIER,
    DENOISER,
    ENLARGER,
    holding_a_batch_of,
    network,
    pictures,
    quick,
    save,
    stripes,
    weights,
)

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_text

torch = pytest.importorskip("torch")

from autogo_onnx.torch_graph import TorchGraph  # noqa: E402  # it needs torch
from autogo_onnx.training import checkpoint, tasks  # noqa: E402
from autogo_onnx.training.augmentation import augment  # noqa: E402
from autogo_onnx.training.preparation import draw, with_normalization  # noqa: E402
from autogo_onnx.training.workflow import train  # noqa: E402


@pytest.fixture
def striped(tmp_path: Path) -> Path:
    x, labels = stripes()
    np.savez(tmp_path / "stripes.npz", x=x, labels=labels)
    return tmp_path / "stripes.npz"


def test_a_classifier_learns_and_keeps_its_form(striped: Path) -> None:
    before = network()
    trained = train(before, quick(striped))
    assert trained.before < 0.6 < 0.9 < trained.after == trained.epochs[-1].figure
    assert trained.epochs[-1].loss < trained.epochs[0].loss / 2
    assert trained.difference < 1e-5
    assert (trained.samples, trained.held_out) == (86, 10)
    assert trained.model.graph.node == before.graph.node
    old, new = weights(before), weights(trained.model)
    assert {n: (a.shape, a.dtype) for n, a in old.items()} == {
        n: (a.shape, a.dtype) for n, a in new.items()
    }
    assert all((old[name] != new[name]).any() for name in old)
    x, labels = stripes()
    (scores,) = runtime.run(runtime.open_session(trained.model), None, {"x": x})
    assert (scores.argmax(1) == labels).mean() > 0.9


def test_same_seed_same_bytes(striped: Path) -> None:
    options = quick(striped, epochs=1, augment="both")
    first, again = (train(network(), options).model for _ in range(2))
    other = train(network(), replace(options, seed=1)).model
    assert first.SerializeToString() == again.SerializeToString() != other.SerializeToString()


def test_a_teacher_needs_no_labels(striped: Path, tmp_path: Path) -> None:
    onnx.save(train(network(), quick(striped)).model, tmp_path / "teacher.onnx")
    np.save(tmp_path / "x.npy", stripes()[0])
    options = quick(tmp_path / "x.npy", teacher=tmp_path / "teacher.onnx", from_scratch=True)
    student = train(network(), options)
    assert student.metric == "top-1 by the teacher's answers"
    assert student.after > 0.8
    assert "7 tensors inside are compared with the teacher's" in student.notes
    alone = replace(options, label_weight=0.0, data=striped)  # labels that count nothing
    assert train(network(), alone).epochs[0].loss == student.epochs[0].loss


def test_statistics_can_be_kept(striped: Path) -> None:
    frozen = weights(train(network(), quick(striped, epochs=1, normalization="freeze")).model)
    for name in ("m1", "v1"):
        np.testing.assert_array_equal(frozen[name], weights(network())[name])
    assert (frozen["s1"] != weights(network())["s1"]).any()


def test_normalizations_can_be_added_and_are_folded_away(striped: Path) -> None:
    before = network()
    prepared = with_normalization(before)
    kinds = [node.op_type for node in prepared.graph.node]
    assert kinds.count("BatchNormalization") == 2  # one behind the second convolution
    trained = train(before, quick(striped, normalization="insert", from_scratch=True))
    kinds = [node.op_type for node in trained.model.graph.node]
    assert kinds.count("BatchNormalization") == 0
    assert kinds.count("Conv") == 2
    assert trained.after > 0.8
    assert {o.name for o in trained.model.graph.output} == {"scores"}


def test_drawn_weights_forget_the_old_ones() -> None:
    graph = TorchGraph(network())
    draw(graph, 0)
    first = {name: array.copy() for name, array in graph.arrays().items()}
    assert not first["b1"].any()
    assert (first["v1"] == 1).all()
    assert first["w2"].std() == pytest.approx((2 / 32) ** 0.5, rel=0.15)
    draw(graph, 1)
    assert (graph.arrays()["w1"] != first["w1"]).all()


@pytest.mark.parametrize(
    ("text", "task"), [(ENLARGER, "super-resolution"), (DENOISER, "denoising")]
)
def test_clean_pictures_are_enough_for(text: str, task: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "clean.npy", pictures())
    trained = train(network(text), quick(tmp_path / "clean.npy", task=task, batch=4))
    assert trained.metric == "PSNR (dB)"
    assert trained.after > trained.before + 3
    assert trained.epochs[-1].loss < trained.epochs[0].loss


def test_targets_may_be_given(tmp_path: Path) -> None:
    x = pictures()
    np.savez(tmp_path / "pairs.npz", x=x, targets=x * 0.5)
    trained = train(network(DENOISER), quick(tmp_path / "pairs.npz", task="denoising", batch=4))
    assert trained.after > trained.before + 3


def test_segmentation_learns_pixels(tmp_path: Path) -> None:
    text = DENOISER.replace("y = Add(x, c)", "y = Sigmoid(c)")
    proto = from_text(text)
    proto.graph.initializer.extend(network(DENOISER).graph.initializer)
    x = pictures()
    labels = (x[:, 0] > 0.5).astype(np.uint8)
    labels[:, 0] = 255  # no one knows
    np.savez(tmp_path / "pixels.npz", x=x, labels=labels)
    trained = train(proto, quick(tmp_path / "pixels.npz", task="segmentation", batch=2))
    assert trained.metric == "mean IoU"
    assert trained.after > max(0.8, trained.before)


def test_folders_of_images_are_classes(tmp_path: Path) -> None:
    x, labels = stripes(30)
    for index, (picture, label) in enumerate(zip(x, labels, strict=True)):
        folder = tmp_path / "data" / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(picture[0] * 100 + 100, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    trained = train(network(), quick(tmp_path / "data", epochs=1))
    assert (trained.samples, trained.held_out) == (27, 3)


class Interrupting:
    """Progress that breaks off when an epoch begins."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.notes = epoch, list[str]()

    def stage(self, name: str, total: int | None = None) -> None:
        if name.startswith(f"epoch {self.epoch} "):
            raise KeyboardInterrupt

    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_an_interrupted_run_goes_on_to_the_same_bytes(striped: Path, tmp_path: Path) -> None:
    options = quick(striped, epochs=4, work_dir=tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        train(network(), options, Interrupting(3))
    other = quick(striped, epochs=3, work_dir=tmp_path / "work")
    progress = Interrupting(0)
    resumed = train(network(), options, progress)
    assert progress.notes[0] == "goes on after epoch 2, which an earlier run finished"
    whole = train(network(), replace(options, work_dir=None))
    assert resumed.model.SerializeToString() == whole.model.SerializeToString()
    assert resumed.epochs == whole.epochs
    assert not (tmp_path / "work").exists()
    assert len(train(network(), other).epochs) == 3


def test_another_run_does_not_go_on_from_a_checkpoint(striped: Path, tmp_path: Path) -> None:
    options = quick(striped, epochs=2, work_dir=tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        train(network(), options, Interrupting(2))
    progress = Interrupting(0)
    train(network(), replace(options, seed=3), progress)
    assert not any("goes on" in note for note in progress.notes)


def test_another_teacher_in_the_same_place_is_another_run(striped: Path, tmp_path: Path) -> None:
    taught = quick(striped, epochs=2, work_dir=tmp_path / "work", teacher=tmp_path / "teacher.onnx")
    onnx.save(network(), tmp_path / "teacher.onnx")
    with pytest.raises(KeyboardInterrupt):
        train(network(), taught, Interrupting(2))
    onnx.save(train(network(), quick(striped, epochs=1)).model, tmp_path / "teacher.onnx")
    progress = Interrupting(0)
    train(network(), taught, progress)
    assert not any("goes on" in note for note in progress.notes)


def test_seeds_may_be_of_any_size(striped: Path) -> None:
    assert train(network(), quick(striped, epochs=1, seed=2**70)).epochs


def test_checkpoints_hold_any_name() -> None:
    arrays: dict[str, np.ndarray] = {
        "a/b.c": np.arange(3),
        "ümlaut/../x": np.array([1.5], np.float32),
    }
    again = checkpoint.unpack(checkpoint.pack(arrays))
    assert list(again) == list(arrays)
    assert all((again[name] == array).all() for name, array in arrays.items())


def test_a_graph_with_a_batch_size_in_it_is_trained_one_by_one(striped: Path) -> None:
    proto = holding_a_batch_of(1)
    trained = train(proto, quick(striped, epochs=2))
    assert "samples run one by one" in trained.notes[0]
    np.testing.assert_array_equal(weights(trained.model)["m1"], weights(proto)["m1"])
    assert trained.epochs[1].loss < trained.epochs[0].loss


def test_softmax_is_judged_by_its_scores(striped: Path) -> None:
    proto = network()
    proto.graph.node[-1].output[0] = "logits"
    proto.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    ours, plain = train(proto, quick(striped, epochs=1)), train(network(), quick(striped, epochs=1))
    assert ours.epochs == plain.epochs


def test_a_teacher_with_a_batch_size_in_it_answers_one_by_one(
    striped: Path, tmp_path: Path
) -> None:
    onnx.save(holding_a_batch_of(1), tmp_path / "teacher.onnx")
    trained = train(network(), quick(striped, epochs=1, teacher=tmp_path / "teacher.onnx"))
    assert "one by one, with stored statistics: the teacher holds" in trained.notes[0]


def test_other_outputs_are_met_where_the_teacher_has_them(striped: Path, tmp_path: Path) -> None:
    proto = from_text(CLASSIFIER.replace("scores) {", "scores, float[N,12,1,1] f) {", 1))
    proto.graph.initializer.extend(network().graph.initializer)
    alone = train(proto, quick(striped, epochs=1))
    assert "only output 'scores' is trained: 'f' may change as well" in alone.notes
    onnx.save(proto, tmp_path / "teacher.onnx")
    options = quick(
        striped, teacher=tmp_path / "teacher.onnx", label_weight=0.0, from_scratch=True, epochs=12
    )
    taught = train(proto, options)
    assert not any("may change" in note for note in taught.notes)
    x, _ = stripes()

    def features(model: onnx.ModelProto) -> np.ndarray:
        return runtime.run(runtime.open_session(model), ["f"], {"x": x})[0]

    wanted = features(proto)
    assert np.square(features(taught.model) - wanted).sum() < 0.2 * np.square(wanted).sum()


def test_a_fall_is_told(striped: Path) -> None:
    good = train(network(), quick(striped)).model
    worse = train(good, quick(striped, epochs=1, learning_rate=1000.0, normalization="freeze"))
    assert worse.after < worse.before
    assert worse.notes == (
        "top-1 fell on the held-out samples: try another --learning-rate or --epochs",
    )


def test_pixels_without_a_label_cost_nothing(tmp_path: Path) -> None:
    scores = torch.zeros(2, 1, 4, 4, requires_grad=True)
    unknown = torch.full((2, 4, 4), 255)
    assert tasks.SEGMENTATION.loss(scores, unknown) == 0
    assert tasks.SEGMENTATION.figure(tasks.SEGMENTATION.counts(scores, unknown)) == 0
    x = pictures()
    data = save(tmp_path, x=x, labels=np.full(x[:, 0].shape, 255))
    with pytest.raises(InputError, match="are all 255: no pixel counts"):
        train(network(DENOISER), quick(data, task="segmentation"))


def test_pictures_are_mirrored_and_moved_within_bounds() -> None:
    x = torch.arange(2 * 16 * 16).reshape(2, 1, 16, 16).float() + 1
    generator = torch.Generator().manual_seed(0)
    mirrored, labels = augment(x.repeat(8, 1, 1, 1), torch.arange(16), "flip", generator)
    assert torch.equal(labels, torch.arange(16))
    same = (mirrored == x.repeat(8, 1, 1, 1)).flatten(1).all(1)
    back = (mirrored == x.flip(-1).repeat(8, 1, 1, 1)).flatten(1).all(1)
    assert (same ^ back).all()
    assert 0 < same.sum() < 16
    moved, _ = augment(x.repeat(8, 1, 1, 1), None, "shift", generator)
    for picture, original in zip(moved, x.repeat(8, 1, 1, 1), strict=True):
        centre = original[0, 4:12, 4:12]
        rolled = [
            torch.equal(torch.roll(picture[0], (y, x), (0, 1))[4:12, 4:12], centre)
            for y in range(-2, 3)
            for x in range(-2, 3)
        ]
        assert sum(rolled) == 1


@pytest.mark.parametrize("way", ["flip", "shift", "both"])
def test_what_is_wanted_of_every_pixel_moves_with_the_picture(way: Any) -> None:
    x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1)) + 1
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    pictures, targets = augment(x, large, way, torch.Generator().manual_seed(2))
    assert targets is not None
    assert torch.equal(targets[:, :, ::2, ::2], pictures)
    assert not torch.equal(pictures, x)
    labels = (x[:, 0] > 1.5).long()
    pictures, moved = augment(x, labels, way, torch.Generator().manual_seed(2))
    assert moved is not None
    beyond = pictures[:, 0] == 0
    assert torch.equal(beyond, moved == 255)
    assert torch.equal(moved[~beyond], (pictures[:, 0] > 1.5).long()[~beyond])


def test_figures_are_those_of_the_books() -> None:
    scores = torch.tensor([[[[2.0, 0.0]], [[0.0, 1.0]]]])  # found: class 0, class 1
    labels = torch.tensor([[[0, 0]]])
    counts = tasks.SEGMENTATION.counts(scores, labels)
    assert tasks.SEGMENTATION.figure(counts) == pytest.approx((1 / 2 + 0) / 2)
    dense = tasks.dense("denoising", 0, 255)
    clean = torch.full((1, 1, 4, 4), 100.0)
    assert dense.figure(dense.counts(clean + 5, clean)) == pytest.approx(34.15, abs=0.01)
    assert dense.counts(clean + 500, clean)[0] == dense.counts(clean + 155, clean)[0]  # clipped
