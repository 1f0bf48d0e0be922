"""Parts of a model as models of their own, run from tensors that are already there.

Calibration, scoring and the sequential refit all need some tensors given others. Running only the
nodes between them makes the whole fit cost a few passes instead of one pass per candidate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from autogo_onnx.runtime import open_session, run
from autogo_onnx.streams import Stream

Arrays = dict[str, np.ndarray[Any, Any]]


class Parts:
    """A model cut open: any tensor can be fed, any can be fetched.

    Weights can be exchanged by `set_weight` between runs, which is how fitted values enter a plan.

    Attributes:
        model: changed by `set_weight`.
        initializers: of the model, by name.
        outputs: those of the model's outputs that depend on its inputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.initializers = {t.name: t for t in model.graph.initializer}
        self._producer = {name: i for i, n in enumerate(model.graph.node) for name in n.output}
        self._reads = [_reads(node) for node in model.graph.node]
        inputs = [i.name for i in model.graph.input if i.name not in self.initializers]
        depend = self.downstream(inputs)
        self.outputs = tuple(o.name for o in model.graph.output if o.name in depend)

    def set_weight(self, name: str, value: np.ndarray[Any, Any]) -> None:
        """Exchange the values of an initializer; shape and dtype stay."""
        old = self.initializers[name]
        dtype = helper.tensor_dtype_to_np_dtype(old.data_type)
        new = onnx.numpy_helper.from_array(value.astype(dtype), name)
        assert list(new.dims) == list(old.dims), f"{name}: {new.dims} for {old.dims}"
        old.CopyFrom(new)

    def needed(self, fetches: Iterable[str], given: Collection[str]) -> list[onnx.NodeProto]:
        """The nodes between `given` tensors and `fetches`, in the model's order."""
        found: set[int] = set()
        stack = [name for name in fetches if name not in given]
        while stack:
            index = self._producer.get(stack.pop())
            if index is not None and index not in found:
                found.add(index)
                stack.extend(name for name in self._reads[index] if name not in given)
        return [self.model.graph.node[i] for i in sorted(found)]

    def downstream(self, names: Collection[str]) -> set[str]:
        """All tensors that depend on some of `names`, themselves included."""
        reached = set(names)
        for node, reads in zip(self.model.graph.node, self._reads, strict=True):
            if not reached.isdisjoint(reads):
                reached.update(name for name in node.output if name)
        return reached

    def between(
        self, given: Mapping[str, np.dtype[Any]], fetches: Collection[str]
    ) -> onnx.ModelProto:
        """A model that computes `fetches` from the `given` tensors (name -> dtype)."""
        nodes = [_without(node, given) for node in self.needed(fetches, given)]
        read = {name for node in nodes for name in _reads(node)}
        made = {name for node in nodes for name in node.output}
        graph = helper.make_graph(
            nodes,
            "part",
            [_value(name, given[name]) for name in sorted(read) if name in given],
            [helper.make_value_info(name, onnx.TypeProto()) for name in fetches if name in made],
            [self.initializers[name] for name in sorted(read) if name in self.initializers],
        )
        part = helper.make_model(graph, opset_imports=self.model.opset_import)
        part.ir_version = max(4, self.model.ir_version)
        part.functions.extend(self.model.functions)
        return part


def _without(node: onnx.NodeProto, given: Collection[str]) -> onnx.NodeProto:
    """The node with its results that are given already, as a Split may have, out of the way."""
    if not any(name in given for name in node.output):
        return node
    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    for k, name in enumerate(node.output):
        if name in given:
            renamed.output[k] = f"{name}/computed again"
    return renamed


def _value(name: str, dtype: np.dtype[Any]) -> onnx.ValueInfoProto:
    """A tensor of any rank."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)


def _reads(node: onnx.NodeProto) -> list[str]:
    """Names a node reads, those captured by its subgraphs included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.extend(output.name for output in graph.output)
            for inner in graph.node:
                names.extend(_reads(inner))
    return names


class Run:
    """A model run over streams, some samples at a time; the results are streams as well.

    What was computed last is remembered, because several results are read at the same samples.

    Attributes:
        names: of the results.
        count: number of samples.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        feeds: Mapping[str, Stream],
        *,
        batch: int,
        whole: bool = False,
        threads: int = 1,
        sample_axes: Mapping[str, int] | None = None,
    ) -> None:
        """Set up a run.

        Args:
            model: to run once per batch.
            feeds: at least what the model reads.
            batch: samples at a time.
            whole: the model takes no smaller batch, so the last one repeats its last sample.
            threads: of ONNX Runtime.
            sample_axes: of results whose leading axis does not count samples; it is made to.

        Raises:
            InputError: ONNX Runtime refuses the model.
        """
        self._sample_axes = sample_axes or {}
        self._session = open_session(model, threads=threads)
        self._feeds = {i.name: feeds[i.name] for i in self._session.get_inputs()}
        self._batch, self._whole = batch, whole
        self._last: tuple[tuple[int, int], Arrays] | None = None
        self.names = [o.name for o in self._session.get_outputs()]
        self.count = next(iter(self._feeds.values())).shape[0]

    def batches(self, start: int, stop: int) -> Iterator[tuple[int, Arrays]]:
        """The results on samples from `start` to `stop`: of each batch how many it has, and all.

        Raises:
            InputError: ONNX Runtime fails on them.
        """
        for first in range(start, stop, self._batch):
            size = min(self._batch, stop - first)
            feed = {name: a[first : first + size] for name, a in self._feeds.items()}
            if self._whole and size < self._batch:
                rows = np.minimum(np.arange(self._batch), size - 1)
                feed = {name: array[rows] for name, array in feed.items()}
            results = dict(zip(self.names, run(self._session, None, feed), strict=True))
            for name in self._sample_axes.keys() & results.keys():
                results[name] = np.moveaxis(results[name], self._sample_axes[name], 0)
            if self._whole:
                results = {name: a[:size] if a.ndim else a for name, a in results.items()}
            yield size, results

    def block(self, samples: slice) -> Arrays:
        """The results on some samples, joined."""
        key = samples.start, min(samples.stop, self.count)
        if self._last is None or self._last[0] != key:
            found = [results for _, results in self.batches(*key)]
            joined = {name: _joined([part[name] for part in found]) for name in self.names}
            self._last = key, joined
        return self._last[1]

    def whole(self) -> Arrays:
        """The results on all samples."""
        return self.block(slice(0, self.count))

    def streams(self) -> dict[str, Stream]:
        """The results, computed when they are read. One sample is run to learn their shapes."""
        _, one = next(self.batches(0, 1))
        return {
            name: _Result(self, name, (self.count, *array.shape[1:]), array.dtype)
            for name, array in one.items()
        }


@dataclass(frozen=True, eq=False)
class _Result:
    """One result of a run as a stream."""

    of: Run
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, samples: slice, /) -> np.ndarray[Any, Any]:
        return self.of.block(samples)[self.name]


def run_batched(
    model: onnx.ModelProto,
    feeds: Mapping[str, Stream],
    *,
    batch: int,
    whole: bool = False,
    threads: int = 1,
) -> Arrays:
    """Run a model over the leading axis of `feeds`, results joined; see `Run` for the arguments.

    Raises:
        InputError: ONNX Runtime refuses the model or fails on it.
    """
    return Run(model, feeds, batch=batch, whole=whole, threads=threads).whole()


def _joined(parts: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.concatenate(parts) if parts[0].ndim else np.stack(parts)
