"""Sites of the zoo's models: every connected group of operators that the vocabulary's pieces make.

What `sites.find_sites` asks of a site beyond that, because it must be fitted afterwards, is not
asked here: groups without a convolution, with several inputs or outputs and of any operators count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autogo_onnx.errors import AutogoError
from autogo_onnx.model import load
from autogo_onnx.opgraph import OpGraph, Shape, cut
from autogo_onnx.rewriters import rewrite
from autogo_onnx.segment_db.segmentation import is_connected, pieces
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.segments import is_convex
from autogo_onnx.sites import groups
from autogo_onnx.sizes import read_model
from benchmarks.inputs import SHARED

# Of models that leave their picture's size open, the sizes that they are published with.
OPEN_INPUTS: dict[str, dict[str, Shape]] = {
    "ppocr_v2_cls": {"x": (1, 3, 48, 192)},
    "srgan_generator_x2_bn": {"input": (1, 3, 64, 64)},
    "yunet_n_dynamic": {"input": (1, 3, 320, 320)},
}


@dataclass(frozen=True)
class ZooSite:
    """A group of operators of a model, as a graph of its own."""

    model: str
    graph: OpGraph


def zoo_sites(vocabulary: Vocabulary) -> Iterator[ZooSite]:
    """Sites of all models, also equal ones; groups with unknown shapes are left out."""
    for path in sorted((SHARED / "zoo").glob("*.onnx")):
        try:
            graph = read_model(rewrite(load(path)).model, OPEN_INPUTS.get(path.stem)).opgraph
        except AutogoError:
            continue
        for ops in groups(graph, pieces(graph, vocabulary)):
            if ops and is_convex(graph, ops):
                site = cut(graph, ops).graph
                if _has_known_boundary(site) and is_connected(site):
                    yield ZooSite(path.stem, site)


def _has_known_boundary(graph: OpGraph) -> bool:
    shapes = (*graph.input_shapes, *graph.output_shapes)
    return bool(graph.input_shapes and graph.outputs) and all(shapes)
