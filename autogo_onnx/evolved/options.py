"""Every choice of an evolution's user, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

UnitName = Literal["segment", "op"]


@dataclass(frozen=True)
class EvolveOptions:
    """What `evolve` may be told; the command line's options one by one, with their defaults.

    Attributes:
        iterations: of the search.
        parents: taken from the Pareto set in every iteration.
        children: wanted of each parent.
        unit: what is replaced: `segment`, pieces of the vocabulary, or `op`, single operators.
        consecutive: most neighbouring pieces that are replaced together, 1 to 3.
        max_macs_change: lowest and highest share of the base's MACs that may be added (0.1) or
            taken away (-0.2).
        max_params_change: largest share of the base's parameters that may be added; None: any.
        max_latency_change: largest share of the base's latency that may be added; None: any. The
            search knows that of `device:NAME` only; with `cpu` it is measured, of what was found.
        target: where latency is told for: `cpu`, measured in ONNX Runtime; `device:NAME`, predicted
            from published measurements; `macs` or `params`, nowhere.
        allow_ops: operators that replacements may hold, none for any; beside ONNX's types there are
            `DepthwiseConv` and `GroupedConv`.
        forbid_ops: operators that replacements may not hold.
        segment_db, predictor: files instead of the shipped ones.
        keep: most models that are given back.
        budget_s: wall-clock seconds for the whole run; None for as long as it takes.
        threads: intra-op threads of ONNX Runtime in measurements.
        seed: of every random choice.
        jobs: processes of this machine, or
        scheduler: address of a dask cluster whose workers are used instead. Neither changes the
            result.
        work_dir: keeps the state of the search: the same call goes on from it.
    """

    iterations: int = 5
    parents: int = 10
    children: int = 200
    unit: UnitName = "segment"
    consecutive: int = 3
    max_macs_change: tuple[float, float] = (-0.2, 0.1)
    max_params_change: float | None = None
    max_latency_change: float | None = None
    target: str = "cpu"
    allow_ops: tuple[str, ...] = ()
    forbid_ops: tuple[str, ...] = ()
    segment_db: Path | None = None
    predictor: Path | None = None
    keep: int = 10
    budget_s: float | None = None
    threads: int = 1
    seed: int = 0
    jobs: int = 1
    scheduler: str | None = None
    work_dir: Path | None = None
