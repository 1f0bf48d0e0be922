"""Trials on disk, and the head that learns errors from them."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_models import classifier

from autogo_onnx import features
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_model
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import cut
from autogo_onnx.predictor import ERROR, open_predictor
from autogo_onnx.predictor.heads import write as write_predictor
from autogo_onnx.predictor_training import fit_error
from autogo_onnx.predictor_training.ensemble import Recipe
from autogo_onnx.predictor_training.trials import Place, Trial, Trials, read, write
from autogo_onnx.segments import read as reading_of
from autogo_onnx.sites import find_sites
from autogo_onnx.variants import variants

SMALL = Recipe(members=2, trees=12, learning_rate=0.3, leaves=4, fewest_in_leaf=2)


def trials(width: int = 8) -> Trials:
    """A model whose fits leave the more error the fewer multiply-accumulates are left."""
    model = classifier(width=width, size=8)
    reading = reading_of(from_model(model), tensor_shapes(model, {"x": (1, 3, 8, 8)}))
    places = []
    for site in find_sites(reading, [], fixed_size=True):
        made = [
            Trial(v.name, v.graph, 0.1, 10 ** -(v.macs % 37 / 10), 0.5 if n % 2 else None, n < 3)
            for n, v in enumerate(variants(site.graph))
        ]
        refused = Trial("refused", site.graph, 0.25, math.inf, None)
        places.append(Place(tuple(site.cut.ops), (*made, refused)))
    return Trials("tiny", reading.opgraph, tuple(places))


def test_trials_come_back_as_they_were(tmp_path: Path) -> None:
    model = trials()
    write(tmp_path / "one", [model, model])
    write(tmp_path / "two", [model, model])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    again, _ = read(tmp_path / "one")
    assert (again.model, again.network) == (model.model, model.network)
    assert [p.ops for p in again.places] == [p.ops for p in model.places]
    for made, known in zip(again.places, model.places, strict=True):
        for one, other in zip(made.trials, known.trials, strict=True):
            assert (one.name, one.graph, one.score) == (other.name, other.graph, other.score)
            assert one.is_offered == other.is_offered
            assert one.nmse == pytest.approx(other.nmse, rel=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\n",
        "nonsense",
        '{"format":"autogo-onnx trials","version":2}\n',
        '{"format":"autogo-onnx trials","version":1}\n{"ops":[0],"trials":[]}\n',
        '{"format":"autogo-onnx trials","version":1}\n{"model":"a","network":{}}\n',
        '{"format":"autogo-onnx trials","version":1}\n[1]\n',
    ],
)
def test_what_is_no_file_of_trials_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(InputError, match="not a file of trials"):
        read(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(InputError, match="cannot read"):
        read(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot read"):
        read(path)
    write(path, [trials()])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot read"):
        read(path)


def test_rows_are_those_of_the_sites_and_equal_sites_are_drawn_together() -> None:
    model = trials()
    data = fit_error.dataset(model)
    place = model.places[1]
    start = len(model.places[0].trials)
    here = features.Network(model.network).site(place.ops)
    wanted = features.rows(here, [trial.graph for trial in place.trials])
    assert np.array_equal(data.rows[start : start + len(wanted)], wanted)
    segments = [cut(model.network, p.ops).graph for p in model.places for _ in p.trials]
    assert len(set(segments)) == len(set(data.networks.tolist())) < len(model.places)
    assert data.targets.max() == pytest.approx(math.log10(fit_error.WORST)), "a refused fit"
    assert data.weights.sum() == pytest.approx(len(data.rows) ** 0.5)


def test_the_head_learns_and_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trials.json.gz"
    models = [trials(), trials(width=16)]
    write(path, models)
    monkeypatch.setattr(fit_error, "RECIPE", SMALL)
    head = fit_error.head(path)
    assert head.facts["trained_on"] == {"tiny": sum(len(p.trials) for p in models[1].places)}
    accuracy = type(head)("accuracy", "nothing", head.members, head.columns)
    write_predictor(tmp_path / "predictor.onnx", [accuracy, head], {})
    predictor = open_predictor(tmp_path / "predictor.onnx")
    data = fit_error.dataset(models[0])
    told = predictor.predict(data.rows, ERROR).mean
    assert np.corrcoef(told, data.targets)[0, 1] > 0.7
    seen = np.ascontiguousarray(data.rows[:, head.columns])
    wanted = np.mean([member.predict(seen) for member in head.members], axis=0)
    assert told == pytest.approx(wanted, abs=1e-5)
