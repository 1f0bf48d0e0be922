"""TransNAS-Bench-101 (Duan et al., CVPR 2021): 3,256 macro and 4,096 micro encoders, seven tasks.

Rules after github.com/yawen-d/TransNASBench, lib/models/net_infer and net_ops; decoders in
`transnasbench101_decoders`. Parameters equal the published ones: of all encoders, and of networks
with every kind of decoder. MACs of all encoders equal a count made elsewhere.

A code is the published name of the encoder and a task: `64-1234-basic@class_scene`; without a task
it is the encoder alone, whose output is a feature map. Liberties:

- In micro cells, operators whose result reaches no output are left out, which published counts
  include, and sums have an order of their own (see `four_nodes`).
- Of networks that only differ in their name, one is listed: of isomorphic cells the first, and of
  the tasks normal stands for autoencoder, too. Jigsaw, which has the encoder of all and a linear
  layer, can be built but is not listed: its batch of nine tiles per image fits no other network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.family import Family, sampled
from autogo_onnx.segment_db.families.network import Network
from autogo_onnx.segment_db.families.transnasbench101_decoders import TASKS, decode, start
from autogo_onnx.segment_db.families.transnasbench101_encoders import (
    encode,
    macro_encoders,
    micro_encoders,
    parse,
)

MACRO = "transnasbench101_macro"
MICRO = "transnasbench101_micro"
LISTED_TASKS = tuple(task for task in TASKS if task not in ("jigsaw", "autoencoder"))


def build(code: str) -> Network:
    """The network of `ENCODER@TASK`, or the encoder alone; images are 256 x 256.

    Raises:
        InputError: there is no such encoder or task, or no path leads through the encoder's cells.

    >>> build("64-1242-basic@class_scene").parameters()
    11218783
    """
    name, _, task = code.partition("@")
    encoder = parse(name)
    if task not in ("", *TASKS) or code.endswith("@"):
        raise InputError(f"TransNAS-Bench-101 task {task!r} is none of {', '.join(TASKS)}")
    if encoder.cell and not encoder.of_nodes().structure():
        raise InputError(f"TransNAS-Bench-101 cell {name!r}: no path from its input to its output")
    net, x = start(task)
    x = encode(net, x, encoder)
    return net.network(decode(net, x, task) if task else x)


def build_macro(code: str) -> Network:
    """As `build`, of macro encoders alone."""
    if parse(code.partition("@")[0]).cell:
        raise InputError(f"{code!r} is a micro encoder, of the family {MICRO}")
    return build(code)


def build_micro(code: str) -> Network:
    """As `build`, of micro encoders alone."""
    if not parse(code.partition("@")[0]).cell:
        raise InputError(f"{code!r} is a macro encoder, of the family {MACRO}")
    return build(code)


def _networks(encoders: Iterable[str]) -> Iterator[str]:
    return (f"{encoder}@{task}" for encoder in encoders for task in LISTED_TASKS)


_SOURCE = "Duan et al., CVPR 2021, arXiv:2105.11871; github.com/yawen-d/TransNASBench"
FAMILY_MACRO = Family(
    MACRO,
    build_macro,
    lambda count, seed: sampled(_networks(macro_encoders()), count, seed),
    _SOURCE,
)
FAMILY_MICRO = Family(
    MICRO,
    build_micro,
    lambda count, seed: sampled(_networks(micro_encoders()), count, seed),
    _SOURCE,
)
