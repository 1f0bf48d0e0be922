from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx import class_drop, fidelity, runtime, verify
from autogo_onnx.calibration import Samples
from autogo_onnx.errors import InputError

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def samples(count: int, *shape: int, **fields: object) -> Samples:
    x = np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32)
    return Samples({"x": x}, **fields)  # type: ignore[arg-type]


def run(text: str, given: Samples, batch: int = 4) -> dict[str, np.ndarray]:
    session = runtime.open_session(onnx.parser.parse_model(HEAD + text))
    return verify.run(session, given, batch=batch)


# Running


def test_batches_are_joined() -> None:
    given = samples(10, 3)
    y = run("g (float[N,3] x) => (float[N,3] y) { y = Add(x, x) }", given)["y"]
    np.testing.assert_array_equal(y, 2 * given.feeds["x"])


def test_only_the_outputs_asked_for_are_given_in_that_order() -> None:
    text = "g (float[N,3] x) => (float[N,3] y, float[N,3] z) { y = Neg(x) z = Abs(x) }"
    session = runtime.open_session(onnx.parser.parse_model(HEAD + text))
    assert list(verify.run(session, samples(3, 3), ["z", "y"])) == ["z", "y"]
    assert list(verify.run(session, samples(3, 3), ["z"])) == ["z"]


def test_a_static_batch_of_one_is_run_singly() -> None:
    given = samples(10, 3)
    y = run("g (float[1,3] x) => (float[1,3] y) { y = Neg(x) }", given)["y"]
    np.testing.assert_array_equal(y, -given.feeds["x"])


def test_the_repeated_samples_of_a_static_batch_are_cut_off() -> None:
    given = samples(10, 3, batch=4)
    y = run("g (float[4,3] x) => (float[4,3] y) { y = Neg(x) }", given)["y"]
    np.testing.assert_array_equal(y, -given.feeds["x"])


def test_an_output_without_the_batch_is_stacked() -> None:
    given = samples(6, 3)
    y = run("g (float[N,3] x) => (float y) { y = ReduceSum<keepdims = 0>(x) }", given)["y"]
    np.testing.assert_allclose(y, given.feeds["x"].sum(axis=1), rtol=1e-5)


def test_whole_entries_lose_their_leading_axis() -> None:
    given = samples(6, 2, 3, whole=frozenset({"x"}))
    y = run("g (float[2,3] x) => (float[2,3] y) { y = Neg(x) }", given)["y"]
    np.testing.assert_array_equal(y, -given.feeds["x"])


def test_an_output_whose_shape_depends_on_the_data_is_refused() -> None:
    text = "g (float[N,3] x) => (int64[1,M] y) { p = Relu(x) f = Flatten<axis = 0>(p) "
    text += "n = NonZero(f) y = ReduceMax<axes = [0], keepdims = 1>(n) }"
    with pytest.raises(InputError, match=r"output 'y' changes its shape .*cannot be judged"):
        run(text, samples(6, 3))


def test_a_sample_that_does_not_run_is_an_error() -> None:
    with pytest.raises(InputError, match="does not run"):
        run("g (float[N,3] x) => (float[N,3] y) { y = Neg(x) }", samples(6, 4))


def test_not_finite_names_output_and_sample() -> None:
    text = "g (float[N,2] x) => (float[N,2] a, float[N,2] b) { a = Abs(x) b = Log(a) }"
    session = runtime.open_session(onnx.parser.parse_model(HEAD + text))
    values = np.ones((4, 2), np.float32)
    assert verify.not_finite(session, Samples({"x": values})) is None
    values[2, 1] = 0
    found = verify.not_finite(session, Samples({"x": values}))
    assert found == "output 'b' holds NaN or infinity, first in sample 2"


def test_what_is_not_finite_may_change_its_shape() -> None:
    text = "g (float[N,2] x) => (int64[2,M] a, float[N,2] b) { a = NonZero(x) b = Log(x) }"
    session = runtime.open_session(onnx.parser.parse_model(HEAD + text))
    found = verify.not_finite(session, Samples({"x": np.array([[1, 1], [1, 0]], np.float32)}))
    assert found == "output 'b' holds NaN or infinity, first in sample 1"


# Class scores


def logits(count: int = 200, classes: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (3 * rng.standard_normal((count, classes))).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def test_equal_outputs_lose_nothing_for_certain() -> None:
    for scores in (logits(), softmax(logits()), 1e-3 * logits()):
        found = verify.judge([scores], [scores.copy()], None)
        assert (found.drop, found.drop_bound, found.agreement, found.nmse) == (0, 0, 1, 0)
        assert found.passes(max_drop=0.0, min_psnr=150)


def test_rounding_alone_hardly_moves_the_bound_however_few_the_samples() -> None:
    for scores in (logits(8), 1e-3 * logits(8)):
        found = verify.judge([scores], [scores * np.float32(1 + 1e-5)], None)
        assert found.drop_bound is not None
        assert 0 < found.drop_bound < 1e-4


def test_the_expected_drop_is_the_loss_of_the_originals_own_posterior() -> None:
    before = np.log(np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]]))
    after = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = verify.judge([before], [after], None)
    assert found.gate == "expected_drop"
    assert found.drop == pytest.approx((0.3 + 0.0 + 0.4) / 3)
    assert found.agreement == pytest.approx(1 / 3)


def test_probabilities_and_their_logits_are_judged_alike() -> None:
    before, after = logits(seed=1), logits(seed=1) + logits(seed=2) / 3
    one = verify.judge([before], [after], None)
    other = verify.judge([softmax(before)], [softmax(after)], None)
    assert other.drop == pytest.approx(one.drop)
    assert other.drop_bound == pytest.approx(one.drop_bound, rel=1e-3)


@pytest.mark.parametrize(
    "scores",
    [
        1 / (1 + np.exp(-logits())),
        logits() / np.linalg.norm(logits(), axis=1, keepdims=True),
    ],
)
def test_scores_that_are_no_posterior_count_every_flip(scores: np.ndarray) -> None:
    changed = scores.copy()
    changed[:10] = np.roll(changed[:10], 1, axis=1)
    found = verify.judge([scores], [changed], None)
    assert found.gate == "disagreement"
    assert found.drop == pytest.approx(10 / 200)
    assert found.drop_bound is not None
    assert 0.05 < found.drop_bound < 0.1


def test_every_flip_counts_where_it_is_wanted() -> None:
    before = logits()
    after = before + 0.1 * logits(seed=1)
    labels = after.argmax(axis=1)
    expected = verify.judge([before], [after], None)
    found = verify.judge([before], [after], labels, counts_flips=True)
    assert found.gate == "disagreement"
    assert found.drop is not None
    assert found.agreement is not None
    assert found.drop == pytest.approx(1 - found.agreement, abs=0.03)
    assert found.drop_bound is not None
    assert expected.drop_bound is not None
    assert max(found.drop, expected.drop_bound) < found.drop_bound < found.drop + 0.05
    assert found.accuracy_before == pytest.approx(found.agreement)
    assert found.accuracy_after == pytest.approx(1.0)


def test_likely_flips_tell_the_truth_more_steadily_than_counted_ones() -> None:
    before = 3 * logits(4000)
    after = before + 0.3 * logits(4000, seed=1)
    truth = (before.argmax(axis=1) != after.argmax(axis=1)).mean()
    rng, counted, likely = np.random.default_rng(0), [], []
    for _ in range(100):
        some = rng.choice(4000, 256, replace=False)
        found = verify.judge([before[some]], [after[some]], None, counts_flips=True)
        assert found.agreement is not None
        assert found.drop is not None
        counted.append(1 - found.agreement)
        likely.append(found.drop)
    assert np.mean(likely) == pytest.approx(truth, rel=0.15)
    assert np.std(likely) < 0.9 * np.std(counted)


def test_equal_scores_flip_nothing_and_broken_ones_everything() -> None:
    before = logits()
    same = verify.judge([before], [before], None, counts_flips=True)
    assert (same.drop, same.drop_bound) == (0.0, 0.0)
    broken = before.copy()
    broken[:20] = np.nan
    found = verify.judge([before], [broken], None, counts_flips=True)
    assert found.drop is not None
    assert found.drop >= 0.1


@pytest.mark.parametrize("probabilities", [True, False])
def test_scores_that_are_no_numbers_in_both_are_equal_and_change_nothing_else(
    probabilities: bool,
) -> None:
    before = softmax(logits()) if probabilities else logits()
    after = np.roll(before, 1, axis=1)[:20]
    after = np.concatenate([after, before[20:]])
    found = verify.judge([before], [after], None)
    odd = np.full((1, 5), np.nan, before.dtype)
    either = verify.judge([np.r_[before, odd]], [np.r_[after, odd]], None)
    assert found.drop is not None
    assert either.drop == pytest.approx(found.drop * 200 / 201)
    alone = verify.judge([np.r_[before, odd]], [np.r_[before, odd]], None)
    assert (alone.drop, alone.drop_bound, alone.agreement) == (0.0, 0.0, 1.0)
    other = verify.judge([np.r_[before, odd]], [np.r_[before, before[:1]]], None)
    assert other.drop == pytest.approx(1 / 201)


def test_texts_are_equal_or_not() -> None:
    before = np.array(["cat", "dog"] * 10, object)
    assert verify.judge([before], [before.copy()], None).psnr_db == 150.0
    after = before.copy()
    after[3] = "emu"
    found = verify.judge([before], [after], None)
    assert found.psnr_db == -150.0
    assert not found.passes(max_drop=1.0, min_psnr=5.0)


def test_an_axis_as_long_as_the_batch_counts_no_samples_by_that() -> None:
    text = "g (float[N,4] x) => (float[4,N] y) { y = Transpose<perm = [1,0]>(x) }"
    session = runtime.open_session(onnx.parser.parse_model(HEAD + text))
    found = verify.run(session, samples(8, 4), batch=4, sample_axes=["y"])["y"]
    assert found.shape == (8, 4, 1)


def test_labels_count_right_before_minus_right_after() -> None:
    before, labels = logits(), logits().argmax(axis=1)
    labels[:50] = (labels[:50] + 1) % 5
    after = before.copy()
    after[40:60] = np.roll(after[40:60], 1, axis=1)
    found = verify.judge([before], [after], labels)
    assert found.gate == "accuracy"
    assert found.accuracy_before == pytest.approx(0.75)
    # Ten right ones are lost, and all of 40..50 are now what the labels say.
    assert found.accuracy_after == pytest.approx(0.75)
    assert found.drop == pytest.approx(0)
    assert found.drop_bound is not None
    assert found.drop_bound > 0.005


def test_an_improvement_is_a_negative_drop() -> None:
    before, after = logits(), logits(seed=9)
    found = verify.judge([before], [after], after.argmax(axis=1))
    assert found.drop is not None
    assert found.drop < -0.5


def test_the_bound_with_labels_is_never_below_what_was_counted() -> None:
    before = 5 * logits()
    after = before.copy()
    after[:4] = np.roll(after[:4], 1, axis=1)
    found = verify.judge([before], [after], before.argmax(axis=1))
    assert found.drop == pytest.approx(0.02)
    assert found.drop_bound is not None
    assert found.drop_bound >= 0.02


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.full(200, 5), np.full(200, -1)])
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="labels"):
        verify.judge([logits()], [logits()], labels)


def test_broken_outputs_fail_the_gate_and_stay_finite_figures() -> None:
    for labels in (None, logits().argmax(axis=1)):
        found = verify.judge([logits()], [np.full_like(logits(), np.nan)], labels)
        assert found.drop_bound == 1.0
        assert found.nmse == fidelity.NMSE_CAP
        assert not found.passes(max_drop=0.5, min_psnr=-1e9)


@pytest.mark.parametrize(("count", "least"), [(128, 0.79), (256, 0.84), (512, 0.87)])
def test_the_bound_holds_more_often_than_students_where_losses_are_rare_and_uneven(
    count: int, least: float
) -> None:
    rng = np.random.default_rng(0)
    population = np.where(rng.random(20_000) < 0.04, rng.beta(0.5, 1.0, 20_000), 0.0)
    mean, moved = population.mean(), np.full(1, 0.3)
    draws = [rng.choice(population, count, replace=False) for _ in range(1000)]
    holds = np.mean([class_drop.bound_of_rare(d, moved) >= mean for d in draws])
    students = np.mean([d.mean() + 1.29 * d.std(ddof=1) / np.sqrt(count) >= mean for d in draws])
    assert least < holds < 0.95
    assert holds > students + 0.03


@given(st.integers(0, 1000), st.integers(2, 40))
def test_bounds_lie_between_the_mean_and_one(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.random(count) * (rng.random(count) < 0.3)
    possible = rng.random(count)
    for bound in (class_drop.bound_of_rare, class_drop.bound_of_counted):
        assert losses.mean() <= bound(losses, possible) <= 1.0


def test_a_bound_tightens_with_more_samples() -> None:
    few, many = np.zeros(20), np.zeros(2000)
    few[0], many[:100] = 0.5, 0.5
    moved = np.full(1, 0.2)
    assert class_drop.bound_of_rare(many, moved) < class_drop.bound_of_rare(few, moved)


# Dense outputs


def test_psnr_is_over_the_range_of_the_original() -> None:
    reference = np.tile(np.linspace(0, 4, 100, dtype=np.float32), (16, 1))[:, None]
    found = verify.judge([reference], [reference + np.float32(0.04)], None)
    assert found.gate == "psnr"
    assert found.psnr_db == pytest.approx(40, abs=1e-3)
    assert found.psnr_bound_db == pytest.approx(40, abs=1e-3)
    assert (found.drop, found.agreement) == (None, None)
    assert found.nmse == pytest.approx(0.04**2 / np.var(reference), rel=1e-3)
    assert found.passes(max_drop=0.0, min_psnr=39)
    assert not found.passes(max_drop=1, min_psnr=41)


def test_the_psnr_bound_is_students() -> None:
    reference = np.zeros((3, 2, 1))
    reference[:, 1] = 1
    errors = np.array([0.1, 0.01, 0.001])
    changed = reference + errors[:, None, None]
    found = verify.judge([reference], [changed], None)
    squares = errors**2
    most = squares.mean() + 1.8856 * squares.std(ddof=1) / math.sqrt(3)
    assert found.psnr_db == pytest.approx(-10 * math.log10(squares.mean()))
    assert found.psnr_bound_db == pytest.approx(-10 * math.log10(most), rel=1e-4)


def test_sparse_outputs_are_told_by_their_variance() -> None:
    """One place in a thousand scores 1: by the range alone 45 dB would lose a thirtieth of it."""
    scores = (np.random.default_rng(0).random((64, 1, 1000)) < 0.001).astype(np.float64)
    for lost, db in ((0.01, 45.0), (0.1, 35.0)):
        found = verify.judge([scores], [scores * (1 - math.sqrt(lost))], None)
        assert found.nmse == pytest.approx(lost, rel=0.01)
        assert found.psnr_db == pytest.approx(db, abs=0.02)
    assert not found.passes(max_drop=0.01, min_psnr=45)


@pytest.mark.parametrize(
    ("freedom", "value"), [(1, 3.0777), (2, 1.8856), (3, 1.6377), (10, 1.3722)]
)
def test_students_t(freedom: int, value: float) -> None:
    assert fidelity._t_90(freedom) == pytest.approx(value, rel=0.01)


def test_the_worst_dense_output_decides_and_both_kinds_must_pass() -> None:
    scores, boxes = logits(), np.random.default_rng(1).random((200, 4, 4))
    found = verify.judge([scores, boxes, boxes], [scores, boxes, boxes + 0.1], None)
    assert found.gate == "expected_drop"
    assert found.drop_bound == 0.0
    assert found.psnr_db == pytest.approx(20, abs=0.5)
    assert not found.passes(max_drop=0.01, min_psnr=45)


def test_equal_dense_outputs_pass_whatever_they_hold() -> None:
    for values in (np.zeros((4, 3, 1)), np.full((4, 3, 1), np.inf), np.ones((4, 1), np.int64)):
        found = verify.judge([values], [values.copy()], None)
        assert (found.nmse, found.psnr_bound_db) == (0, fidelity.PSNR_CAP_DB)


def test_a_constant_output_must_stay_as_it_is() -> None:
    found = verify.judge([np.ones((4, 3, 1))], [np.full((4, 3, 1), 1.1)], None)
    assert (found.nmse, found.psnr_db) == (fidelity.NMSE_CAP, -fidelity.PSNR_CAP_DB)


def test_too_few_samples_and_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        verify.judge([logits(1)], [logits(1)], None)
    with pytest.raises(InputError, match="shapes"):
        verify.judge([logits(8)], [logits(9)], None)
