"""Trees fitted to labelled networks, and the file that is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autogo_onnx import features
from autogo_onnx.errors import InputError
from autogo_onnx.predictor import ACCURACY, open_predictor
from autogo_onnx.predictor_training import accuracy
from autogo_onnx.predictor_training.dataset import Dataset, deviations, joined, value_columns
from autogo_onnx.predictor_training.ensemble import Recipe, fit
from autogo_onnx.predictor_training.labels import read
from autogo_onnx.predictor_training.training import Sources, train
from autogo_onnx.segment_db.families import nasbench_macro

SMALL = Recipe(members=2, trees=25, learning_rate=0.3, leaves=7, fewest_in_leaf=2)
FAMILIES = ("nasbench201", "nasbench_macro")


@pytest.fixture(scope="module")
def trained(tables: Path) -> Path:
    train(Sources(tables, FAMILIES, with_devices=False), tables / "predictor.onnx", 0, SMALL)
    return tables / "predictor.onnx"


def made_up(networks: int, each: int = 1) -> Dataset:
    """Rows of which three columns decide, each network with `each` nearly equal rows."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(networks, 6)).astype(np.float32).repeat(each, axis=0)
    targets = rows[:, 0] + 0.5 * rows[:, 1] * (rows[:, 2] > 0)
    numbers = np.arange(networks).repeat(each)
    return Dataset(rows, targets.astype(np.float64), np.ones(len(rows)), numbers)


def test_an_ensemble_predicts_and_is_less_sure_of_what_it_never_saw() -> None:
    data = made_up(400)
    ensemble = fit(data, range(6), Recipe(trees=30), seed=0)
    known = ensemble.predict(data.rows)
    assert np.corrcoef(known.mean, data.targets)[0, 1] > 0.95
    far = ensemble.predict(4 * data.rows)
    assert 0 < np.median(known.deviation) < np.median(far.deviation)


def test_fitting_twice_gives_the_same_trees_and_another_seed_others() -> None:
    data = made_up(50)
    first, again, other = (
        fit(data, range(6), SMALL, seed).predict(data.rows).mean for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_of_a_network_are_drawn_together() -> None:
    # One row more per network changes nothing: the bootstrap is over networks.
    once, twice = made_up(60), made_up(60, each=2)
    halved = twice.weighted(len(once.rows))
    recipe = Recipe(members=3, trees=1, leaves=3, fewest_in_leaf=1, column_share=1.0)
    one, two = (fit(data, range(6), recipe, 0).predict(once.rows) for data in (once, halved))
    np.testing.assert_allclose(one.deviation, two.deviation, atol=1e-6)
    assert one.deviation.max() > 0


def test_columns_that_say_nothing_are_not_read() -> None:
    data = made_up(40)
    rows = np.column_stack([np.ones(40, np.float32), data.rows, data.rows[:, 0]])
    ensemble = fit(Dataset(rows, data.targets, data.weights, data.networks), range(8), SMALL, 0)
    assert ensemble.columns == (1, 2, 3, 4, 5, 6)


def test_joined_families_share_no_network() -> None:
    both = joined([made_up(3, each=2), made_up(2).weighted(6)])
    assert both.networks.tolist() == [0, 0, 1, 1, 2, 2, 3, 4]
    assert both.weights.tolist() == [1] * 6 + [3, 3]


def test_failed_trainings_do_not_set_the_scale() -> None:
    good = np.linspace(90, 94, 90)
    failed = np.full(10, 10.0)
    alone, mixed = deviations(good, range(90)), deviations(np.append(good, failed), range(100))
    assert mixed[90:].tolist() == [-4] * 10
    assert np.ptp(mixed[:90]) > 0.8 * np.ptp(alone)


def test_a_value_does_not_depend_on_what_was_there_before() -> None:
    # The third block of both is replaced by that of the other.
    contexts = []
    for chain in ("11211010", "11111010"):
        network = nasbench_macro.build(chain)
        place = network.folded_places()[2]
        contexts.append(features.Network(network.folded()).site(place))
    first, second = contexts
    columns = list(value_columns())
    made = features.rows_of_parts(first, second.segment[None])
    itself = features.rows_of_parts(second, second.segment[None])
    assert np.array_equal(made[:, columns], itself[:, columns])
    assert not np.array_equal(made, itself)
    names = {features.COLUMNS[column].partition(".")[0] for column in columns}
    assert names == {"replacement", "predecessor", "successor", "network"}


def test_a_network_is_seen_at_the_same_places_whoever_else_is_asked_for(tables: Path) -> None:
    labels = read(tables, ("nasbench_macro",))[0]
    some, more = accuracy.sites_of(labels, [3]), accuracy.sites_of(labels, [1, 3, 5])
    assert [site for site in more if site[0] == 3] == some
    assert 1 < len(some) <= 1 + accuracy.OTHER_PLACES


def test_tasks_of_one_family_are_averaged(tables: Path) -> None:
    labels = read(tables, ("nasbench_macro",))[0]
    (one,) = accuracy.families([labels], seed=0)
    (two,) = accuracy.families([labels, labels], seed=0)
    np.testing.assert_allclose(one.values, two.values)
    assert len(accuracy.families(read(tables, FAMILIES), seed=0)) == 2


def test_a_trained_file_ranks_what_was_left_out(tables: Path, trained: Path) -> None:
    facts = open_predictor(trained).facts(ACCURACY)
    labels = {one.family: one for one in read(tables, FAMILIES)}
    counts = {name: int(0.8 * len(one.codes)) for name, one in labels.items()}
    assert facts["trained_on"] == counts
    assert facts["deviation_scale"] > 0
    assert min(facts["held_out_spearman"].values()) > 0.5


def test_training_twice_gives_the_same_bytes(tables: Path, trained: Path, tmp_path: Path) -> None:
    sources = Sources(tables, FAMILIES, with_devices=False, cache=tmp_path)
    train(sources, tmp_path / "again.onnx", 0, SMALL)
    assert (tmp_path / "again.onnx").read_bytes() == trained.read_bytes()


def test_a_file_says_where_it_comes_from(trained: Path) -> None:
    info = open_predictor(trained).info
    hashes = json.loads(info["tables_sha256"])
    assert set(hashes) == set(FAMILIES)
    assert all(len(digest) == 64 for digest in hashes.values())
    options = "--family nasbench201 --family nasbench_macro --no-devices --seed 0"
    assert info["command"] == f"autogo-onnx predictor train FILE --tables TABLES {options}"
    assert "scikit-learn" in info["versions"]


def test_predicted_values_are_not_trained_on(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nasbench301 are predicted"):
        train(Sources(tables, ("nasbench301",)), tmp_path / "p.onnx")
