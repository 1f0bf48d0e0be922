"""What a catalogue offers, against the same found without remembering anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from predictor_files import members, written
from segment_db_cases import write_small
from tiny_models import classifier

from autogo_onnx import features
from autogo_onnx.candidates import PER_SITE, Catalogue
from autogo_onnx.cost import macs
from autogo_onnx.fit_order import layers
from autogo_onnx.fitting.segment import tail_convolutions
from autogo_onnx.graph import from_model
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import ERROR, Predictor, open_predictor
from autogo_onnx.predictor.heads import Head
from autogo_onnx.segment_db.store import Store, open_store
from autogo_onnx.segments import Reading, Site, read
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.sites import find_sites
from autogo_onnx.variants import WORTHWHILE, variants


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(write_small(tmp_path_factory.mktemp("store") / "small.db"))


@pytest.fixture(scope="module")
def reading() -> Reading:
    model = classifier(size=8)
    return read(from_model(model), tensor_shapes(model, {"x": (1, 3, 8, 8)}))


def segments_at(site: OpGraph, store: Store) -> list[OpGraph]:
    """Segments that can stand at a site, once each, the most frequent first."""
    found = []
    for stored in store.with_boundary(1, 1):
        tail = tail_convolutions(stored.graph)
        if not tail or any(stored.graph.ops[i].get("group") > 1 for i in tail):
            continue
        graph = adapt(stored.graph, site.input_shapes, site.output_shapes)
        if not isinstance(graph, Infeasible) and macs(graph) <= WORTHWHILE * macs(site):
            found.append(graph)
    known = {site, *(variant.graph for variant in variants(site))}
    return [graph for graph in dict.fromkeys(found) if graph not in known and len(graph.ops) <= 8]


READ = [
    features.COLUMNS.index(f"replacement.{name}")
    for name in ("conv1x1_ops", "conv3x3_ops", "ops", "add_ops", "activation_ops")
]


@pytest.fixture(scope="module", params=["accuracy", "accuracy and error"])
def predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Predictor:
    """One whose heads tell replacements apart by their operators."""
    heads = [Head(name, "it", members(), READ) for name in request.param.split(" and ")]
    folder: Path = tmp_path_factory.mktemp("predictor")
    return open_predictor(written(folder / "predictor.onnx", heads))


def errors(
    reading: Reading, site: Site, graphs: list[OpGraph], predictor: Predictor
) -> list[float]:
    rows = features.rows(features.Network(reading.opgraph).site(site.cut.ops), graphs)
    return [float(error) for error in predictor.predict(rows, ERROR).mean]


def best(
    reading: Reading, site: Site, graphs: list[OpGraph], predictor: Predictor
) -> list[OpGraph]:
    here = features.Network(reading.opgraph).site(site.cut.ops)
    if ERROR not in predictor.heads():
        order = np.argsort(-predictor.compare(here, graphs).mean, kind="stable").tolist()
    else:
        expected = np.array(errors(reading, site, graphs, predictor))
        savings = macs(site.graph) - np.array([macs(graph) for graph in graphs], np.float64)
        beaten = layers([0] * len(graphs), savings, expected)
        order = sorted(range(len(graphs)), key=lambda n: (beaten[n], expected[n]))
    return [graphs[i] for i in order][:PER_SITE]


def test_a_site_is_offered_its_variants_and_the_best_segments(
    reading: Reading, store: Store, predictor: Predictor
) -> None:
    catalogue = Catalogue(reading, store, predictor)
    sites = find_sites(reading, [(2, 3, 4)], fixed_size=True)
    assert len({site.graph for site in sites}) < len(sites), "two convolutions are alike"
    from_store = 0
    for site in sites:
        offered = catalogue.candidates(site)
        own = [variant.graph for variant in variants(site.graph)]
        assert [c.graph for c in offered[: len(own)]] == own
        wanted = best(reading, site, segments_at(site.graph, store), predictor)
        assert [c.graph for c in offered[len(own) :]] == wanted
        assert all(c.site is site for c in offered)
        from_store += len(wanted)
    assert from_store


def test_candidates_know_the_error_that_is_expected_of_them(
    reading: Reading, store: Store, predictor: Predictor
) -> None:
    catalogue = Catalogue(reading, store, predictor)
    for site in find_sites(reading, [(2, 3, 4)], fixed_size=True):
        offered = catalogue.candidates(site)
        told = [candidate.expected_error for candidate in offered]
        if ERROR in predictor.heads():
            assert told == errors(reading, site, [c.graph for c in offered], predictor)
        else:
            assert not any(error is not None for error in told)


def test_candidates_are_named_after_where_they_come_from(
    reading: Reading, store: Store, predictor: Predictor
) -> None:
    catalogue = Catalogue(reading, store, predictor)
    for site in find_sites(reading, [], fixed_size=True):
        for candidate in catalogue.candidates(site):
            kind, _, identifier = candidate.name.partition(":")
            assert kind != "db" or store.segment(identifier)
