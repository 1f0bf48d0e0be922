"""How much of a trained network its database knows: the share of operators in stored segments.

    python -m benchmarks.segment_coverage [MODEL ...] [--segment-db FILE]

Cuts every model of the zoo (or those given) and prints a table in Markdown. An operator counts as
*cut* when its piece has several operators, and as *stored* when that very structure is in the
database. Three databases are asked: the one given, as it is; the same after `db add` of the model
itself; and the same after `db add` of all the other models. Models of one network that went
through different exporters (`KIN`) are not among each other's others.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from autogo_onnx.errors import AutogoError, InputError
from autogo_onnx.inspection import read_rewritten
from autogo_onnx.model import load
from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.segment_db.adding import Networks, add, digest
from autogo_onnx.segment_db.segmentation import pieces
from autogo_onnx.segment_db.store import Store, open_store, shipped
from autogo_onnx.serialize import canonical_hash
from benchmarks import inputs

KIN = ("cifar10_resnet20",)
COLUMNS = ("model", "operators", "before", "after adding it", "after adding the others")


@dataclass(frozen=True)
class Coverage:
    """Operators of a network in pieces of several, in stored ones among these, and all."""

    cut: int
    stored: int
    operators: int

    def __str__(self) -> str:
        return f"{100 * self.stored / self.operators:.0f} ({100 * self.cut / self.operators:.0f})"


def coverage(graph: OpGraph, store: Store) -> Coverage:
    """How much of a network falls into pieces, and how much into segments that are stored."""
    several = [ops for ops in pieces(graph, store.vocabulary()) if len(ops) > 1]
    stored = (ops for ops in several if _is_stored(cut(graph, ops).graph, store))
    return Coverage(sum(map(len, several)), sum(map(len, stored)), len(graph.ops))


def after_adding(graphs: Iterable[tuple[str, OpGraph]], base: Path, folder: Path) -> Store:
    """A copy of a database with the segments of some networks added."""
    path = folder / "grown.db"
    path.unlink(missing_ok=True)
    shutil.copyfile(base, path)
    store = open_store(path, write=True)
    add(store, Networks({digest(graph): (name, graph) for name, graph in graphs}))
    return store


def _is_stored(graph: OpGraph, store: Store) -> bool:
    try:
        return bool(store.segment(canonical_hash(graph)))
    except InputError:
        return False


def _are_kin(one: str, other: str) -> bool:
    return one == other or any(one.startswith(k) and other.startswith(k) for k in KIN)


def _row(name: str, graphs: dict[str, OpGraph], base: Path, folder: Path) -> list[Coverage]:
    graph = graphs[name]
    others = [(n, g) for n, g in sorted(graphs.items()) if not _are_kin(n, name)]
    return [
        coverage(graph, open_store(base)),
        coverage(graph, after_adding([(name, graph)], base, folder)),
        coverage(graph, after_adding(others, base, folder)),
    ]


def _read(models: Sequence[Path]) -> dict[str, OpGraph]:
    graphs: dict[str, OpGraph] = {}
    for path in models or sorted((inputs.SHARED / "zoo").glob("*.onnx")):
        try:
            graphs[path.stem] = read_rewritten(load(path)).opgraph
        except AutogoError as error:
            click.echo(f"left out: {error}", err=True)
    return graphs


def _means(rows: Sequence[Sequence[Coverage]]) -> list[str]:
    """Mean of the models' shares, each model with the same weight."""
    return [
        f"{_mean([c.stored / c.operators for c in column])}"
        f" ({_mean([c.cut / c.operators for c in column])})"
        for column in zip(*rows, strict=True)
    ]


def _mean(shares: Sequence[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.0f}"


@click.command()
@click.argument("models", type=click.Path(path_type=Path), nargs=-1)
@click.option("--segment-db", type=click.Path(path_type=Path), help="Instead of the shipped one.")
def main(models: tuple[Path, ...], segment_db: Path | None) -> None:
    """Print percentages of operators in stored (and in any) pieces of several operators."""
    graphs = _read(models)
    base = segment_db or shipped()
    click.echo(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in sorted(graphs.items()):
            rows.append(_row(name, graphs, base, Path(folder)))
            click.echo(f"| {name} | {len(graph.ops)} | {' | '.join(map(str, rows[-1]))} |")
    click.echo(f"| mean |  | {' | '.join(_means(rows))} |")


if __name__ == "__main__":
    main()
