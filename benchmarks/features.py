"""Rows a second, by stage, for the candidates that `optimize` makes at the sites of the zoo.

    python -m benchmarks.features [--predictor FILE] [--sites 8]

Candidates are the segments' own variants and the database segments that the shape model adapts to
the site; every site is treated as if it were the first to see them. Columns: *network*, describing
the whole network once; *site*, reading predecessor and successor off it; *describe*, the numbers of
a candidate, with caches emptied before every model; *row* and *predict*, the columns of a row and
the accuracy head in ONNX Runtime. *rows/s* is all of this together, over the number of candidates.
A second table compares an edited network with the same network described anew. Times are of the
process, so other work on the machine counts little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import click
import numpy as np

from autogo_onnx import features
from autogo_onnx.candidates import LARGEST_SEGMENT, MOST_ADAPTED
from autogo_onnx.cost import macs
from autogo_onnx.features import operators, part
from autogo_onnx.model import load
from autogo_onnx.opgraph import Op, OpGraph, cut
from autogo_onnx.predictor import Predictor, open_predictor
from autogo_onnx.rewriters import rewrite
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.families import FAMILIES
from autogo_onnx.segment_db.segmentation import pieces
from autogo_onnx.segment_db.store import Store, open_store
from autogo_onnx.segments import Site
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.sites import find_sites
from autogo_onnx.sizes import read_model
from autogo_onnx.splice import splice
from autogo_onnx.variants import WORTHWHILE, variants
from benchmarks.inputs import SHARED
from benchmarks.zoo_sites import OPEN_INPUTS

MODELS = (
    "cifar10_resnet20_dynamo",
    "efficientnet_lite0_bn",
    "fmnist_resnet8_bn",
    "ppocr_v2_cls",
    "srgan_generator_x2_bn",
    "ultraface_version-RFB-320",
    "yolox_nano",
)
_FAMILIES = ("nasbench101", "nasbench201", "ofa_mobilenetv3", "darts")
T = TypeVar("T")
_STAGES = ("network", "site", "describe", "row", "predict")


@click.command()
@click.option("--predictor", type=click.Path(path_type=Path), help="file instead of the shipped")
@click.option("--sites", type=int, default=8, help="different sites per model")
def main(predictor: Path | None, sites: int) -> None:
    """Print both tables."""
    opened, store = open_predictor(predictor), open_store()
    print("| model | operators | candidates | rows/s | " + " | ".join(_STAGES) + " |")
    print("|---" * (4 + len(_STAGES)) + "|")
    for name in MODELS:
        print(_line(name, *_model(name, store, opened, sites)), flush=True)
    print("\n| family | operators | anew, ms | edited, ms |\n|---|---|---|---|")
    for name in _FAMILIES:
        print(_edits(name), flush=True)


@dataclass
class Clock:
    """Seconds and calls by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def timed(self, stage: str, count: int, work: Callable[[], T]) -> T:
        """The result of some work on `count` things."""
        start = time.process_time()
        result = work()
        spent = time.process_time() - start
        self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        self.calls[stage] = self.calls.get(stage, 0) + count
        return result


def _model(name: str, store: Store, predictor: Predictor, most: int) -> tuple[int, Clock]:
    """How many operators a model has, and the times of its sites."""
    model = rewrite(load(SHARED / "zoo" / f"{name}.onnx")).model
    reading = read_model(model, OPEN_INPUTS.get(name))
    cuts = pieces(reading.opgraph, store.vocabulary())
    different = {site.graph: site for site in find_sites(reading, cuts, fixed_size=True)}
    offered = [(site, candidates(site, store)) for site in islice(different.values(), most)]
    operators.facts.cache_clear()
    part.structure.cache_clear()
    clock = Clock()
    network = clock.timed("network", 1, lambda: features.Network(reading.opgraph))
    for site, graphs in offered:
        _rank(clock, network, site, graphs, predictor)
    return len(reading.opgraph.ops), clock


def candidates(site: Site, store: Store) -> list[OpGraph]:
    """What `optimize` compares at a site, not yet described."""
    segment = site.graph
    limit = WORTHWHILE * macs(segment)
    makers = ("Add", "Conv", "Sum")
    boundary = segment.input_shapes, segment.output_shapes
    stored = store.candidates(Demand(*boundary, limit, LARGEST_SEGMENT, makers))
    adapted = [adapt(one.graph, *boundary) for one in islice(stored, MOST_ADAPTED)]
    from_store = [graph for graph in adapted if not isinstance(graph, Infeasible)]
    return [*(variant.graph for variant in variants(segment)), *from_store]


def _rank(
    clock: Clock,
    network: features.Network,
    site: Site,
    graphs: list[OpGraph],
    predictor: Predictor,
) -> None:
    """What is done at one site."""
    count = len(graphs)
    here = clock.timed("site", 1, lambda: network.site(site.cut.ops))
    parts = clock.timed("describe", count, lambda: [features.describe(g) for g in graphs])
    stacked = np.array(parts).reshape(-1, len(features.PART_COLUMNS))
    rows = clock.timed("row", count, lambda: features.rows_of_parts(here, stacked))
    clock.timed("predict", count, lambda: predictor.predict(rows))


def _line(name: str, n_operators: int, clock: Clock) -> str:
    rows = clock.calls["row"]
    per_second = rows / sum(clock.seconds.values())
    each = [f"{1e6 * clock.seconds[s] / max(1, clock.calls[s]):,.0f} us" for s in _STAGES]
    return f"| {name} | {n_operators} | {rows:,} | {per_second:,.0f} | {' | '.join(each)} |"


def _edits(name: str) -> str:
    """Edits of a single operator all over networks of a family."""
    clock = Clock()
    total = 0
    for code in FAMILIES[name].codes(4, 0):
        graph = FAMILIES[name].build(code).folded()
        network = features.Network(graph)
        for index, replacement in islice(_with_other_kernel(graph), 0, None, 9):
            edited = clock.timed("edited", 1, partial(network.replaced, [index], replacement))
            clock.timed("anew", 1, partial(_anew, graph, index, replacement))
            total += len(edited.graph.ops)
    anew, after = (1e3 * clock.seconds[k] / clock.calls[k] for k in ("anew", "edited"))
    operators_each = total / clock.calls["edited"]
    return f"| {name} | {operators_each:.0f} | {anew:.2f} | {after:.2f} |"


def _anew(graph: OpGraph, index: int, replacement: OpGraph) -> features.Network:
    return features.Network(splice(graph, cut(graph, [index]), replacement).graph)


def _with_other_kernel(graph: OpGraph) -> Iterator[tuple[int, OpGraph]]:
    """Every convolution with a kernel of one pixel in its place."""
    for index, op in enumerate(graph.ops):
        if op.kind == "Conv" and max(op.get("kernel_shape")) > 1:
            segment = cut(graph, [index]).graph
            kernel = op.with_attributes(kernel_shape=(1, 1), pads=(0,) * 4)
            narrow = Op(op.kind, (0,), kernel.attributes)
            yield index, OpGraph(segment.input_shapes, (narrow,), segment.op_shapes, (1,))


if __name__ == "__main__":
    main()
