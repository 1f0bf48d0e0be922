"""Training plans back: students come closer to the original, in the time there is, repeatably."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_distillation import ground, save_labels
from tiny_models import classifier
from tiny_models import samples as tiny_samples
from training_networks import CLASSIFIER, DENOISER, holding_a_batch_of, network, stripes, weights

from autogo_onnx import runtime
from autogo_onnx.choices import Seen
from autogo_onnx.class_drop import log_posterior
from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation import Lessons, distil, read_lessons
from autogo_onnx.errors import InputError
from autogo_onnx.fidelity import error_unit
from autogo_onnx.gate import Gate
from autogo_onnx.ground import Ground
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.plans import Point
from autogo_onnx.progress import Silent
from autogo_onnx.quantities import Quantities
from autogo_onnx.samples import Samples
from autogo_onnx.views import AS_IT_IS, MIRRORED, MOVED, View

torch = pytest.importorskip("torch")

from autogo_onnx.distillation import learning, pace  # noqa: E402  # they need torch
from autogo_onnx.distillation.imitation import Goal, distance, goals  # noqa: E402
from autogo_onnx.distillation.learning import School, learn  # noqa: E402
from autogo_onnx.distillation.sights import Sights, alike, sights  # noqa: E402
from autogo_onnx.distillation.student import Student  # noqa: E402
from autogo_onnx.distillation.teacher import Teacher  # noqa: E402
from autogo_onnx.training.loop import Trainer  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """More would wait for each other on a busy machine."""
    monkeypatch.setattr(pace, "cores", lambda: 1)


def blurred(model: onnx.ModelProto, share: float = 0.3, seed: int = 0) -> onnx.ModelProto:
    """The model with noise in its weights, as a plan in need of training."""
    changed, rng = onnx.ModelProto(), np.random.default_rng(seed)
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.ndim > 1:
            noise = rng.standard_normal(values.shape) * share * values.std()
            tensor.CopyFrom(numpy_helper.from_array((values + noise).astype("f"), tensor.name))
    return changed


def confident() -> onnx.ModelProto:
    """A classifier whose scores tell how sure it is."""
    model = network()
    for tensor in model.graph.initializer:
        if tensor.name == "w3":
            values = numpy_helper.to_array(tensor) * 15
            tensor.CopyFrom(numpy_helper.from_array(values, "w3"))
    return model


def school(
    model: onnx.ModelProto, feeds: np.ndarray, labels: np.ndarray | None = None, **given: Any
) -> School:
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or None
    learnt = Samples({"x": feeds}, labels, batch)
    teacher = Teacher(model, Sights(learnt), memory_bytes=10**8, threads=1)
    table = LatencyTable("", 1)
    return School(Lessons(learnt, learnt), teacher, given.get("epochs", 6), 0, table, Silent())


def divergence(one: onnx.ModelProto, other: onnx.ModelProto, x: np.ndarray) -> float:
    """Of the classes: scores may all move together."""
    sessions = [runtime.open_session(model) for model in (one, other)]
    p, q = (log_posterior(runtime.run(s, None, {"x": x})[0]) for s in sessions)
    return float((np.exp(p) * (p - q)).sum(1).mean())


def error(one: onnx.ModelProto, other: onnx.ModelProto, x: np.ndarray) -> float:
    """Of the first outputs, over the variance."""
    size = one.graph.input[0].type.tensor_type.shape.dim[0].dim_value or len(x)
    a, b = (
        np.concatenate(
            [runtime.run(session, None, {"x": x[i : i + size]})[0] for i in range(0, len(x), size)]
        )
        for session in map(runtime.open_session, (one, other))
    )
    return float(((a - b) ** 2).mean() / a.var())


@pytest.mark.parametrize("text", [CLASSIFIER, DENOISER])
def test_a_student_comes_close_to_the_original_on_what_it_has_not_seen(text: str) -> None:
    original = confident() if text is CLASSIFIER else network(text)
    student, (x, _) = blurred(original), stripes(640)
    distance = divergence if text is CLASSIFIER else error
    before = distance(original, student, x[512:])
    trained = learn(student, school(original, x[:512], epochs=12), Deadline(60))
    assert distance(original, trained, x[512:]) < before / 4
    assert trained.graph.input == student.graph.input
    assert trained.graph.output == student.graph.output
    kinds = [node.op_type for node in student.graph.node if node.op_type != "BatchNormalization"]
    assert [node.op_type for node in trained.graph.node] == kinds
    shapes = {n: a.shape for n, a in weights(trained).items()}
    assert shapes.items() >= {n: weights(student)[n].shape for n in ("w1", "w2")}.items()


def test_probabilities_are_learnt_as_scores() -> None:
    original = confident()
    original.graph.output[0].name = "p"
    original.graph.node.append(onnx.helper.make_node("Softmax", ["scores"], ["p"], axis=1))
    x, _ = stripes(512)
    student = blurred(original)
    before = error(original, student, x)
    assert error(original, learn(student, school(original, x), Deadline(60)), x) < before / 4


def test_labels_are_heeded() -> None:
    x, labels = stripes(256)
    wrong = (labels + 1) % 3
    told, untold = (
        learn(confident(), school(confident(), x, given, epochs=12), Deadline(60))
        for given in (wrong, None)
    )
    sessions = [runtime.open_session(model) for model in (told, untold)]
    right = [float((runtime.run(s, None, {"x": x})[0].argmax(1) == wrong).mean()) for s in sessions]
    assert right[0] > 0.6 > right[1]


def test_same_seed_same_bytes() -> None:
    x, _ = stripes(256)
    first, again = (
        learn(blurred(confident()), school(confident(), x, epochs=2), Deadline(60))
        for _ in range(2)
    )
    assert first.SerializeToString() == again.SerializeToString()


def test_inserted_normalizations_change_nothing_before_a_step() -> None:
    x, _ = stripes(256)
    place = school(confident(), x)
    student = Student(blurred(confident()), place.teacher)
    assert sum(n.kind == "BatchNormalization" for n in student.graph.nodes) == 2
    assert error(blurred(confident()), student.model(), x) < 1e-9


def test_a_batch_size_in_the_graph_is_kept() -> None:
    original, (x, _) = holding_a_batch_of(1), stripes(128)
    student = blurred(original)
    trained = learn(student, school(original, x, epochs=2), Deadline(60))
    assert error(original, trained, x) < error(original, student, x) / 2


def test_a_short_time_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = stripes(512)
    now, steps = [0.0], []

    class Slow(Deadline):
        def elapsed(self) -> float:
            now[0] += 1.0
            return now[0]

    original_step = Trainer.step

    def counted(self: Any, chosen: Any, done: float, *rest: Any) -> float:
        steps.append(done)
        return original_step(self, chosen, done, *rest)

    monkeypatch.setattr(Trainer, "step", counted)
    place = school(network(), x, epochs=10)
    learn(blurred(network()), place, Slow(12))
    assert 8 <= len(steps) <= 12 < place.steps == 80
    assert steps == sorted(steps)
    assert steps[-1] > 65  # the learning rate has fallen with the time


def test_a_run_that_diverges_starts_again_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = stripes(128)
    rates: list[float] = []
    original_run = learning._run

    def noted(model: Any, place: Any, deadline: Any, rate: float) -> onnx.ModelProto:
        rates.append(rate)
        return original_run(model, place, deadline, rate)

    monkeypatch.setattr(learning, "_run", noted)
    broken = network()
    for tensor in broken.graph.initializer:
        if tensor.name == "w2":
            array = np.full(tensor.dims, np.inf, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, "w2"))
    with pytest.raises(InputError, match="diverged"):
        learn(broken, school(network(), x), Deadline(60))
    assert rates == list(learning.RATES)


def test_a_student_that_is_thrown_back_is_told_early() -> None:
    begun, grown = [1.0] * 5, [1.0] * 5 + [2.5] * 10
    learning._check([*begun, *[1.9] * 10], is_early=True)
    learning._check(grown[:-1], is_early=True)
    learning._check(grown, is_early=False)
    with pytest.raises(learning.Diverged, match=r"the loss grew from 1.000 to 2.500"):
        learning._check(grown, is_early=True)
    with pytest.raises(learning.Diverged, match="diverged"):
        learning._check([math.nan], is_early=False)


def test_smaller_steps_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = stripes(128)
    told: list[str] = []

    class Listener(Silent):
        def note(self, text: str) -> None:
            told.append(text)

    def run(model: onnx.ModelProto, place: Any, deadline: Any, rate: float) -> onnx.ModelProto:
        if rate > learning.RATES[2]:
            raise learning.Diverged("too fast")
        return model

    monkeypatch.setattr(learning, "_run", run)
    place = replace(school(network(), x), progress=Listener())
    model = network()
    assert learn(model, place, Deadline(60)) is model
    assert told == ["too fast: it starts again with smaller steps"] * 2


def test_threads_are_as_many_as_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(pace, "cores", lambda: 2)
    for seconds, wanted in (({1: 1.0, 2: 0.6}, 2), ({1: 1.0, 2: 3.0}, 1)):
        monkeypatch.setattr(pace, "_seconds", lambda _, count, told=seconds: told[count])
        table = LatencyTable("", 1)
        assert pace.fastest_threads(lambda: seen.append(1), table) == wanted
        monkeypatch.delattr(pace, "_seconds")
        assert pace.fastest_threads(lambda: seen.append(1), table) == wanted  # it is known
        monkeypatch.undo()
        monkeypatch.setattr(pace, "cores", lambda: 2)
    assert not seen


def test_moved_pictures_are_seen_with_the_originals_answers_to_them() -> None:
    x, original = np.kron(stripes(96)[0], np.ones((4, 4), np.float32)), confident()
    for axis in (2, 3):
        original.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 32
    generator = torch.Generator().manual_seed(0)
    seen = sights(original, Samples({"x": x}), threads=1)
    assert len(seen.views) == 5  # One colour is never mirrored.
    assert len(seen) == 5 * 96
    teacher = Teacher(original, seen, memory_bytes=10**8, threads=1)
    drawn = np.concatenate([seen.drawn(np.arange(96), generator) for _ in range(20)])
    np.testing.assert_array_equal(drawn % 96, np.tile(np.arange(96), 20))
    assert np.bincount(drawn // 96)[0] / len(drawn) == pytest.approx(0.5, abs=0.05)
    some = drawn[:96]
    shown = seen.take(some).feeds["x"]
    for row, sight in zip(shown, some, strict=True):
        view = seen.views[sight // 96].of(Samples({"x": x[sight % 96][None]}))
        assert view is not None
        np.testing.assert_array_equal(row, view.feeds["x"][0])
    asked = runtime.run(runtime.open_session(original), None, {"x": shown})[0]
    np.testing.assert_allclose(teacher.answers(some)[0], asked, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(teacher.answers(some)[0], teacher.answers(some)[0])


def test_answers_that_leave_no_room_are_asked_for_each_time() -> None:
    x, original = np.kron(stripes(96)[0], np.ones((4, 4), np.float32)), confident()
    for axis in (2, 3):
        original.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 32
    seen = Sights(Samples({"x": x}), (AS_IT_IS, *MOVED))
    chosen = np.random.default_rng(0).integers(len(seen), size=64)
    asked = runtime.run(runtime.open_session(original), None, seen.take(chosen).feeds)[0]
    for memory in (0, 2 * asked.nbytes // 64 * 96, 10**8):
        teacher = Teacher(original, seen, memory_bytes=memory, threads=1)
        for _ in range(2):
            np.testing.assert_allclose(teacher.answers(chosen)[0], asked, rtol=1e-4, atol=1e-4)


def scores(noise: float, view: View) -> np.ndarray:
    """Class scores of a view; what is in the picture all have in common."""
    common = 3 * np.random.default_rng(0).standard_normal((500, 8))
    own = np.random.default_rng([view.is_mirrored, view.down + 1, view.right + 1])
    return np.asarray(common + noise * own.standard_normal(common.shape))


def test_a_classifier_is_shown_what_it_takes_for_nearly_the_same() -> None:
    every = alike(lambda view: scores(0.2, view))
    assert every[:5] == (AS_IT_IS, *MOVED)
    assert len(set(every)) == 10
    assert MIRRORED in every
    assert alike(lambda v: None if v.is_mirrored else scores(0.2, v)) == (AS_IT_IS, *MOVED)
    assert alike(lambda v: scores(3.0 if v in MOVED else 0.2, v)) == (AS_IT_IS, MIRRORED)
    assert alike(lambda view: scores(3.0, view)) == (AS_IT_IS,)
    # Of few samples per class none tells whether it turns when it is mirrored.
    assert alike(lambda view: scores(0.2, view)[:20]) == (AS_IT_IS, *MOVED)
    assert alike(lambda view: 1e-3 * scores(0.2, view)) == (AS_IT_IS,)  # No posterior.
    assert alike(lambda view: scores(0.2, view)[:, :1]) == (AS_IT_IS,)  # No classes.


def test_mirrored_and_moved_are_drawn_by_themselves() -> None:
    views = alike(lambda view: scores(0.2, view))
    seen = Sights(Samples({"x": np.zeros((1000, 3, 16, 16), "f")}), views)
    counts = np.bincount(seen.drawn(np.arange(1000), torch.Generator().manual_seed(1)) // 1000)
    shares = dict(zip(views, counts / 1000, strict=True))
    assert sum(s for v, s in shares.items() if v.is_mirrored) == pytest.approx(0.5, abs=0.06)
    still = shares[AS_IT_IS] + shares[MIRRORED]
    assert still == pytest.approx(0.5, abs=0.06)


def test_trying_out_changes_nothing() -> None:
    x, _ = stripes(128)
    student = Student(blurred(confident()), school(confident(), x).teacher)
    before = student.model().SerializeToString()
    student.try_out(64)
    assert student.model().SerializeToString() == before
    assert all(p.grad is None for p in student.graph.parameters())


def test_operators_that_cannot_be_trained_are_refused() -> None:
    x, _ = stripes(64)
    model = network()
    model.graph.node[2].op_type = "ImageDecoder"
    with pytest.raises(InputError, match="not known to train"):
        Student(model, school(network(), x).teacher)


def test_what_is_imitated_is_what_the_gate_judges() -> None:
    from autogo_onnx.torch_graph import TorchGraph

    graph = TorchGraph(network())
    scores = np.eye(3, dtype=np.float32)[np.arange(9) % 3] * 8
    assert goals(graph, ["scores"], [scores])[0].is_classes
    flat = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32) * 0.01
    (goal,) = goals(graph, ["scores"], [flat])
    assert not goal.is_classes
    assert goal.weights.item() == pytest.approx(1 / (3 * error_unit(flat)), rel=1e-5)


def test_every_quantity_of_an_output_counts_alike() -> None:
    from autogo_onnx.torch_graph import TorchGraph

    rng = np.random.default_rng(0)
    graph = TorchGraph(network())
    theirs = (rng.standard_normal((50, 1, 4)) * [300, 300, 300, 0.1]).astype(np.float32)
    errors = (rng.standard_normal(theirs.shape) * [30, 30, 30, 0.02]).astype(np.float32)
    quantities = Quantities({"scores": np.array([[0, 0, 0, 1]])})
    (goal,) = goals(graph, ["scores"], [theirs], quantities)
    found = distance(
        {"scores": torch.from_numpy(theirs + errors)}, [torch.from_numpy(theirs)], [goal]
    )
    told = [np.mean(errors[..., of] ** 2) / error_unit(theirs[..., of]) for of in ([0, 1, 2], [3])]
    assert found.item() == pytest.approx(sum(told), rel=1e-4)


def class_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    goal = Goal("scores", True, False, False, torch.zeros(()))
    found = distance({"scores": torch.from_numpy(ours)}, [torch.from_numpy(theirs)], [goal])
    return float(found)


def test_what_all_classes_share_is_no_distance() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.standard_normal((20, 4)).astype(np.float32) * 5
    assert class_distance(theirs + 3, theirs) == pytest.approx(0, abs=1e-6)
    errors = rng.standard_normal(theirs.shape).astype(np.float32) / 10
    found = class_distance(theirs + errors, theirs)
    p, q = log_posterior(theirs / 2), log_posterior((theirs + errors) / 2)
    softer = (np.exp(p) * (p - q)).sum(1).mean() * 4
    centred = errors - errors.mean(1, keepdims=True)
    assert found == pytest.approx(softer + (centred**2).mean() / 2, rel=1e-3)


def test_a_class_that_the_teacher_rules_out_decides_nothing() -> None:
    theirs = np.array([[2, 0, -1e9], [0, 1, -1e9]], np.float32)
    ours = theirs + np.array([[0.5, 0, 3e8], [0, 0.5, -3e8]], np.float32)
    assert class_distance(ours, theirs) < 1


class Offered:
    """Plans that save the more the noisier they are, as `plans.Plans` offers them."""

    def __init__(self, place: Ground, savings: Sequence[float]) -> None:
        self.ground, self.gate, self.savings = place, Gate(place), savings
        self.made: dict[tuple[int, ...], Point | None] = {}
        self.realized((0,))

    @property
    def choices(self) -> Offered:
        return self

    def saving(self, chosen: tuple[int, ...]) -> float:
        return self.savings[chosen[0]]

    def seen(self) -> list[Seen]:
        return []

    def hopeful(self, seen: list[Seen], loss: float, seed: int | None) -> tuple[int, ...]:
        """The last whose outputs are no further off, found by trying; what is drawn is any."""
        if seed is not None:
            return (seed % len(self.savings),)
        near = [i for i, s in enumerate(self.savings) if self._error(s) <= loss]
        return (near[-1],) if near else ()

    def _error(self, saving: float) -> float:
        model = blurred(self.ground.job.original, saving)
        return self.gate.judge_unfitted(model).fidelity.nmse

    def has_time(self, chosen: tuple[int, ...], deadline: Deadline) -> bool:
        return deadline.has(0)

    def realized(self, chosen: tuple[int, ...]) -> Point | None:
        if chosen not in self.made:
            model = blurred(self.ground.job.original, self.saving(chosen))
            verdict = self.gate.judge_unfitted(model)
            self.made[chosen] = Point(model, (), 1 - self.saving(chosen), verdict)
        return self.made[chosen]


def trained_back(offered: Offered) -> list[Point]:
    plans: Any = offered
    return distil(plans, read_lessons(offered.ground))


def quick(folder: Path, **given: Any) -> Ground:
    return ground(folder, max_drop=0.06, budget_s=600.0, epochs=8, **given)


@pytest.fixture
def distilled(tmp_path: Path) -> tuple[Ground, Offered, list[Point]]:
    place = quick(tmp_path)
    offered = Offered(place, (0.02, 0.1, 0.2, 0.3))
    return place, offered, trained_back(offered)


def test_plans_beyond_the_gate_are_trained_until_they_pass(
    distilled: tuple[Ground, Offered, list[Point]],
) -> None:
    place, offered, points = distilled
    untrained = {p.ratio: p for p in offered.made.values() if p is not None}
    gained = [p for p in points if p.passes and not untrained[p.ratio].passes]
    assert gained
    assert all(p.verdict.fidelity.samples == 35 + 32 for p in points)
    assert len({p.ratio for p in points}) == len(points) <= 4
    assert "trained back on 141 samples and judged on 67 others" in place.job.notes[-1]


def test_an_interrupted_run_trains_no_plan_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autogo_onnx.checkpoints import Checkpoints
    from autogo_onnx.work_folder import work_folder

    place = quick(tmp_path)
    results: list[list[bytes]] = []
    with work_folder(tmp_path / "work", b"key") as folder:
        for _ in range(2):
            kept = replace(place, job=replace(place.job, checkpoints=Checkpoints(folder=folder)))
            points = trained_back(Offered(kept, (0.02, 0.2, 0.4)))
            results.append([p.model.SerializeToString(deterministic=True) for p in points])
            monkeypatch.setattr(learning, "learn", None)
    assert results[0] == results[1] != []


def test_labels_of_the_user_reach_the_judge(tmp_path: Path) -> None:
    labels = save_labels(tmp_path / "more.npy", 192)
    place = quick(tmp_path, distill_labels=labels)
    points = trained_back(Offered(place, (0.02, 0.2)))
    assert {p.verdict.fidelity.gate for p in points} == {"accuracy"}


def test_the_models_of_these_tests_are_good_enough() -> None:
    x = tiny_samples(32)
    assert 0 < error(classifier(), blurred(classifier(), 0.1), x) < 0.3
