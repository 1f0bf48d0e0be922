"""What training did, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from autogo_onnx.training.workflow import Trained


def to_text(trained: Trained) -> str:
    """A table of epochs under the two figures that count."""
    lines = [
        f"{trained.metric} on {trained.held_out} held-out samples: "
        f"{trained.before:.4f} -> {trained.after:.4f}",
        f"trained {trained.parameters:,} parameters on {trained.samples} samples",
        *(f"note: {note}" for note in trained.notes),
        "",
        f"{'epoch':>5} {'loss':>10} {'held-out':>10}",
        *(
            f"{number:>5} {epoch.loss:>10.4f} {epoch.figure:>10.4f}"
            for number, epoch in enumerate(trained.epochs, start=1)
        ),
        "",
        f"verified: ONNX Runtime differs from torch by {trained.difference:.1e} of an output's "
        "largest value",
    ]
    return "\n".join(lines) + "\n"


def to_json(trained: Trained) -> str:
    """All figures; the model is not among them."""
    fields = {name: value for name, value in vars(trained).items() if name != "model"}
    fields["epochs"] = [asdict(epoch) for epoch in trained.epochs]
    return json.dumps({"schema": 1, **fields}, indent=1) + "\n"
