"""Numbers that the predictor sees: a network with segment S replaced by S' as named columns.

- `operators`: what one operator is and costs;
- `ways`: ways through a part, by the kinds of steps that are allowed on them;
- `passes`: the ways to and from every tensor of a network, before and after an edit;
- `part`: one part of a network as named numbers, `describe`;
- `network`: a network described once, `Network`, and its sites, `Network.site`;
- `rows`: predecessor, segment, replacement and successor together, a row per replacement.
"""

from autogo_onnx.features.network import Context, Network
from autogo_onnx.features.part import COLUMNS as PART_COLUMNS
from autogo_onnx.features.part import describe
from autogo_onnx.features.rows import (
    COLUMNS,
    VERSION,
    Rows,
    rows,
    rows_of_parts,
    rows_of_segments,
)
from autogo_onnx.features.ways import Vector

__all__ = [
    "COLUMNS",
    "PART_COLUMNS",
    "VERSION",
    "Context",
    "Network",
    "Rows",
    "Vector",
    "describe",
    "rows",
    "rows_of_parts",
    "rows_of_segments",
]
