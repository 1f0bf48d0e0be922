"""Labelled networks become rows: at their places, from a cache, as pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from label_oracles import rejoined
from made_up_tables import write_tables

from autogo_onnx import features
from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import cut
from autogo_onnx.predictor_training.labels import FAMILIES, Labels, read
from autogo_onnx.predictor_training.network_rows import drawn_sites, middle_sites, rows_of
from autogo_onnx.predictor_training.row_cache import file_of
from autogo_onnx.segment_db import families
from autogo_onnx.segment_db.families.network import Network
from benchmarks.predictor_pairs import draw

# Identities and reductions among them: cells without an operator, blocks of several lengths.
CODES = {
    "nasbench201": ["|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"],
    "nasbench101": ["1:", "1110001011:conv3x3-conv1x1-maxpool3x3"],
    "nasbench_macro": ["01020010"],
    "transnasbench101_macro": ["64-1242-basic"],
    "transnasbench101_micro": ["64-41414-1_00_010", "64-41414-1_02_333"],
    "accel_nasbench": ["1-6-6-6-6-6-6:3-3-5-3-5-5-3:1-2-2-3-3-4-1:1-1-1-1-1-1-0"],
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Labels, ...]:
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder)
    return read(folder, ("nasbench201", "nasbench_macro"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_cut_at_any_place_rejoins_to_itself(name: str) -> None:
    family = FAMILIES[name]
    for code in CODES.get(name) or families.FAMILIES[name].codes(1, 5):
        built = family.build(code)
        whole, places = built.folded(), built.folded_places()
        assert len(places) == family.places(code) > 1
        ends = 0
        for place in places:
            assert ends <= place.start <= place.stop <= len(whole.ops)
            ends = place.stop
            # Of DARTS' cells, every one is as good as the middle one, and each costs a second.
        for place in places if len(whole.ops) < 200 else [places[len(places) // 2]]:
            assert rejoined(whole, place) == whole


@pytest.mark.parametrize(
    ("name", "code", "alike"),
    [
        ("nasbench101", "1110001011:conv3x3-conv1x1-maxpool3x3", (1, 2)),
        (
            "nasbench201",
            "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",
            range(5),
        ),
        ("transnasbench101_micro", "64-41414-1_02_333", (6, 7)),
    ],
)
def test_repeated_cells_are_equal_parts(name: str, code: str, alike: Sequence[int]) -> None:
    built = FAMILIES[name].build(code)
    whole, places = built.folded(), built.folded_places()
    first, *others = (cut(whole, places[number]).graph for number in alike)
    assert all(other == first for other in others)


def test_a_row_says_what_the_network_is_at_its_place(both: tuple[Labels, ...]) -> None:
    chains = both[1]
    index = chains.codes.index("11210110")
    columns = features.COLUMNS.index
    rows = rows_of(chains, [(index, range(n, n + 1)) for n in (0, 2, 7)])
    assert rows[:, columns("replacement.ops")].tolist() == [5, 5, 0], "the last is an identity"
    assert np.array_equal(rows[:, columns("segment.ops")], rows[:, columns("replacement.ops")])
    changes = [n for n, name in enumerate(features.COLUMNS) if name.startswith("change.")]
    assert not rows[:, changes].any()
    macs = rows[:, columns("network.macs_log2")]
    assert np.ptp(macs) < 1e-4, "the network is the same wherever it is cut"
    assert np.all(np.diff(rows[:, columns("network.depth")]) > 0)
    assert rows_of(chains, []).shape == (0, len(features.COLUMNS))


def builds_of(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes of a family that are built from now on."""
    built: list[str] = []
    family = FAMILIES[name]

    def build(code: str) -> Network:
        built.append(code)
        return family.build(code)

    monkeypatch.setitem(FAMILIES, name, replace(family, build=build))
    return built


def test_every_network_is_built_once(
    both: tuple[Labels, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = both[0]
    built = builds_of("nasbench201", monkeypatch)
    rows_of(cells, drawn_sites(cells, range(3), each=2, seed=1))
    assert built == list(cells.codes[:3])


def test_kept_rows_are_not_made_again(
    both: tuple[Labels, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = both[1]
    built = builds_of("nasbench_macro", monkeypatch)
    sites = middle_sites(chains, [3, 0, 1, 1])
    wanted = rows_of(chains, sites, cache=tmp_path)
    assert built == [chains.codes[n] for n in (0, 1, 3)]
    built.clear()
    assert np.array_equal(rows_of(chains, sites, cache=tmp_path), wanted)
    assert built == [chains.codes[0]], "one is made again, to see whether it still says so"
    more = rows_of(chains, middle_sites(chains, [2]), cache=tmp_path)
    assert np.array_equal(rows_of(chains, middle_sites(chains, [2]), cache=tmp_path), more)
    assert built == [chains.codes[n] for n in (0, 0, 2, 0)]
    assert [file_of(tmp_path, chains)] == list(tmp_path.iterdir())


def test_kept_rows_that_are_not_true_are_made_again(
    both: tuple[Labels, ...], tmp_path: Path
) -> None:
    chains = both[1]
    sites = middle_sites(chains, [0, 1])
    wanted = rows_of(chains, sites, cache=tmp_path)
    path = file_of(tmp_path, chains)
    kept = path.read_bytes()
    keys = np.array([(0, 4, 5), (1, 4, 5)], np.int32)
    for changed in (
        {"sites": keys, "rows": wanted + np.float32(1)},
        {"sites": keys + np.int32(4), "rows": wanted},  # places that the family does not have
        {"sites": keys[:, :2], "rows": wanted},
        {"sites": np.int32(1), "rows": wanted},
        {"sites": keys, "rows": wanted[:, 1:]},
        {"rows": wanted},
    ):
        np.savez(path, allow_pickle=False, **changed)
        assert np.array_equal(rows_of(chains, sites, cache=tmp_path), wanted)
    middle = len(kept) // 2
    for damaged in (kept[:100], b"", b"\x80\x04K\x01.", kept[:middle] + b"??" + kept[middle + 2 :]):
        path.write_bytes(damaged)
        assert np.array_equal(rows_of(chains, sites, cache=tmp_path), wanted)
    assert file_of(tmp_path, replace(chains, sha256="0" * 64)) != path
    with pytest.raises(InputError, match="cannot be written"):
        rows_of(chains, sites, cache=tmp_path / "missing")


def test_sites_are_drawn_without_repetition(both: tuple[Labels, ...]) -> None:
    chains = both[1]
    sites = drawn_sites(chains, range(10), each=3, seed=4)
    assert sites == drawn_sites(chains, range(10), each=3, seed=4)
    assert sites != drawn_sites(chains, range(10), each=3, seed=5)
    assert len(set(sites)) == 30
    assert {places.start for _, places in sites} == set(range(8))
    assert len(drawn_sites(chains, [0], each=99, seed=0)) == 8


def test_pairs_are_drawn_from_the_given_networks_only(both: tuple[Labels, ...]) -> None:
    chains = both[1]
    chosen = range(0, len(chains.codes), 2)
    drawn = draw(chains, chosen, neighbours=2, others=3, seed=1)
    assert {parent for parent, _ in drawn} == set(chosen)
    assert all(child in chosen and child != parent for parent, child in drawn)
    assert drawn == draw(chains, chosen, neighbours=2, others=3, seed=1)
    near = draw(chains, chosen, neighbours=2, others=0, seed=1)
    assert all(child in chains.neighbours[parent] for parent, child in near)


def test_where_all_cells_change_together_the_middle_one_stands_for_them() -> None:
    cells, blocks = FAMILIES["nasbench201"], FAMILIES["nasbench_macro"]
    assert cells.differing_places("one", "other") == range(7, 8)
    assert blocks.differing_places("11201110", "12201010") == range(1, 6)
    assert blocks.differing_places("11201110", "11201110") == range(4, 5)
    stages = FAMILIES["accel_nasbench"]
    code = CODES["accel_nasbench"][0]
    assert stages.differing_places(code, code[:-1] + "1") == range(6, 7)
    layers = FAMILIES["transnasbench101_macro"]
    assert layers.differing_places("64-1242-basic", "64-1342-basic") == range(1, 2)
