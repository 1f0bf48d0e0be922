"""Segments for other programs: JSON lines, and ONNX models with fresh weights."""

from __future__ import annotations

import json
from pathlib import Path

from autogo_onnx.errors import InputError
from autogo_onnx.files import make_folder, write_bytes, write_text
from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.opgraph import to_json
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.segment_db.connection import SENSELESS
from autogo_onnx.segment_db.store import Store


def write_lines(store: Store, path: Path, progress: Progress | None = None) -> int:
    """Write a line of JSON per segment, and say how many there are.

    A line holds `id`, `count`, `families` (how often by family), `boundaries` (`inputs`, `outputs`,
    `count`) and `graph` (as `opgraph.to_json` writes it), the most frequent segment first.

    Raises:
        InputError: the database cannot be read, or the file cannot be written.
    """
    progress = progress or Silent()
    segments = store.everything()
    progress.stage("export segments", len(segments))
    lines = []
    for segment in segments:
        content = {
            "id": segment.id,
            "count": segment.count,
            "families": dict(store.sightings(segment.id)),
            "boundaries": [
                {"inputs": inputs, "outputs": outputs, "count": count}
                for (inputs, outputs), count in store.boundaries(segment.id)
            ],
            "graph": json.loads(to_json(segment.graph)),
        }
        lines.append(json.dumps(content, separators=(",", ":")) + "\n")
        progress.advance()
    write_text(path, "".join(lines))
    return len(lines)


def write_models(
    store: Store, folder: Path, seed: int, progress: Progress | None = None
) -> dict[str, str]:
    """Write a model `ID.onnx` per segment with random weights, in the shapes seen most often.

    Returns:
        The reason by id, for segments that cannot be built as a model.

    Raises:
        InputError: the database cannot be read, or the folder cannot be written.
    """
    progress = progress or Silent()
    make_folder(folder)
    segments = store.everything()
    progress.stage("export models", len(segments))
    refused: dict[str, str] = {}
    for segment in segments:
        try:
            model = to_onnx(segment.graph, random_weights(segment.graph, seed))
        except (InputError, *SENSELESS) as error:
            refused[segment.id] = " ".join(str(error).split())
        else:
            data = model.SerializeToString(deterministic=True)
            write_bytes(folder / f"{segment.id}.onnx", data)
        progress.advance()
    return refused
