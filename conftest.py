"""What pytest does not collect: doctests of modules whose extra is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob: list[str] = []
if find_spec("torch") is None:
    collect_ignore_glob += [
        f"autogo_onnx/{name}/*" for name in ("distillation", "torch_graph", "training")
    ]
