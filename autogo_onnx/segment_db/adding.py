"""Trained models of the user's own, mined into a database: structure and shapes, never weights.

A model goes through the exact rules first, as `optimize` sees it. The vocabulary then grows by what
the new models repeat (see `extension.py`), and every run of operators that counts in mining is
added with its boundary. All of it is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from autogo_onnx.errors import AutogoError, InputError
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.segment_db.extension import extend, union
from autogo_onnx.segment_db.mining import find
from autogo_onnx.segment_db.store import Store
from autogo_onnx.serialize import canonical_form, tokens

_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Networks:
    """Networks by the digest of their canonical form, and what could not be read.

    Attributes:
        graphs: name and graph of each; a network that came under several names has the first.
        refused: files with the reason, one line each.
    """

    graphs: Mapping[str, tuple[str, OpGraph]]
    refused: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Addition:
    """What a database gained: names of the networks that are new to it, and numbers."""

    names: tuple[str, ...] = ()
    segments: int = 0
    symbols: int = 0
    pieces: int = 0


def model_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The files themselves, and every `.onnx` file in or below the folders, once each.

    Raises:
        InputError: a folder holds no such file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        files = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: no .onnx file in this folder")
        found.update(dict.fromkeys(files))
    return tuple(found)


def read_networks(
    files: Sequence[Path], read: Callable[[Path], OpGraph], progress: Progress | None = None
) -> Networks:
    """Read files one after the other; what cannot be read is left out and said.

    Args:
        files: models; the name of a file without `.onnx` is the name of its network.
        read: the graph of a file; raises AutogoError for what it refuses.
        progress: told of every file.

    Raises:
        InputError: none of them can be read.
    """
    progress = progress or Silent()
    progress.stage("read models", len(files))
    graphs: dict[str, tuple[str, OpGraph]] = {}
    refused: list[tuple[Path, str]] = []
    for path in files:
        try:
            graph = read(path)
            if not graph.ops:
                raise InputError("it has no operators that compute")
        except AutogoError as error:
            refused.append((path, str(error).removeprefix(f"{path}: ")))
        else:
            graphs.setdefault(digest(graph), (_name(path), graph))
        progress.advance()
    if refused and not graphs:
        path, reason = refused[0]
        raise InputError(f"{path}: {reason}; none of {len(files)} models can be added")
    return Networks(graphs, tuple(refused))


def _name(path: Path) -> str:
    """The name of a network; that of a file may hold what no text does."""
    return "".join(c if c.isprintable() else "?" for c in path.stem)


def digest(graph: OpGraph) -> str:
    """32 hex digits, the same for a network however it is numbered, of other shapes another one.

    >>> from autogo_onnx.opgraph import Op
    >>> len(digest(OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,))))
    32
    """
    form = to_json(canonical_form(graph)).encode()
    return blake2b(form, digest_size=_DIGEST_BYTES).hexdigest()


def add(store: Store, networks: Networks, progress: Progress | None = None) -> Addition:
    """Add what the database does not have yet; nothing is added when this fails.

    Others may read and write meanwhile: the file is locked to write the result only.

    Raises:
        InputError: the database was opened for reading, cannot be written, or got one of the
            networks from another process meanwhile.
    """
    progress = progress or Silent()
    with store.writing() as writer:
        before, known = writer.vocabulary(), writer.known(networks.graphs)
    new = {key: found for key, found in networks.graphs.items() if key not in known}
    if not new:
        return Addition()
    progress.stage("extend vocabulary")
    vocabulary = extend(before, (tokens(graph) for _, graph in new.values()))
    graphs = ((key, graph) for key, (_, graph) in new.items())
    segments = find(graphs, vocabulary, progress=progress)
    progress.stage("write")
    with store.writing() as writer:
        # Another process may have extended the vocabulary meanwhile, too.
        writer.replace_vocabulary(union(writer.vocabulary(), vocabulary))
        added = writer.insert(segments, {key: name for key, (name, _) in new.items()})
    return Addition(
        tuple(sorted(name for name, _ in new.values())),
        added,
        len(vocabulary.alphabet) - len(before.alphabet),
        len(vocabulary.pieces) - len(before.pieces),
    )


def summary(networks: Networks, addition: Addition) -> str:
    """What was added, and what was not, as lines for people."""
    known = len(networks.graphs) - len(addition.names)
    lines = [
        f"{len(addition.names)} new networks, {known} known before",
        f"{addition.segments} new segments, {addition.symbols} new tokens,"
        f" {addition.pieces} new pieces in the vocabulary",
    ]
    lines += (f"left out: {path}: {reason}" for path, reason in networks.refused)
    return "\n".join(lines)
