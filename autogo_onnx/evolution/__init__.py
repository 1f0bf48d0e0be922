"""Evolves a network into a Pareto set: predicted accuracy against what it costs.

The paper's search with its faults mended. In the order of the data:

- `settings`: what is asked, and within which limits;
- `edits`, `member`: a network is a list of edits on the base, known by a digest of its canonical
  form;
- `sources`: where a network may change; `replacements`: what could stand there, adapted first;
- `task`, `children`: both together, one parent at a time, in whatever process;
- `value`: who judges children; `predicted`: the predictor as such a judge;
- `front`: who is beaten, and who stands alone;
- `generation`: which networks are new and which are kept;
- `search`: parents from the front, their children, the front anew; `checkpoint` is what it knows
  between two iterations.
"""

from autogo_onnx.evolution.checkpoint import Counts
from autogo_onnx.evolution.edits import Edit, edited, origins
from autogo_onnx.evolution.member import Child, Member
from autogo_onnx.evolution.predicted import PredictedAccuracy
from autogo_onnx.evolution.search import Evolution, Run, evolve
from autogo_onnx.evolution.settings import MAPS, Limits, Objective, Settings, Unit
from autogo_onnx.evolution.value import Judges, Value

__all__ = [
    "MAPS",
    "Child",
    "Counts",
    "Edit",
    "Evolution",
    "Judges",
    "Limits",
    "Member",
    "Objective",
    "PredictedAccuracy",
    "Run",
    "Settings",
    "Unit",
    "Value",
    "edited",
    "evolve",
    "origins",
]
