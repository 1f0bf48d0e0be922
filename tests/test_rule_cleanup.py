"""The clean-up rules on random graphs: chains of moves, casts, clamps, and layouts.

Each graph is built together with its reference: ONNX Runtime runs it before and after all clean-up
rules, on several sizes of the open dimensions, zero and one among them. Where the original runs,
the rewritten one must run and give the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_model, to_model
from autogo_onnx.rewriters import RULES
from autogo_onnx.rewriters.sweep import to_fixed_point

CLEANUP = tuple(
    rule
    for rule in RULES
    if rule.name
    in """
    eliminate_common_subexpressions eliminate_concat_split eliminate_duplicate_initializers
    eliminate_identity eliminate_neutral_operand eliminate_noop_layout eliminate_noop_window
    eliminate_repetition eliminate_split_concat eliminate_transposes eliminate_unused_outputs
    fold_constants fold_reshape_target fold_shape_source fuse_casts fuse_clamps fuse_concats
    fuse_gather_unsqueeze fuse_matmul_add fuse_pads fuse_reshapes fuse_slices fuse_transpose_gemm
    fuse_transposes
    """.split()
)
SIZES = (2, 1, 3, 0)
Dim = int | str
_FLOAT = onnx.TensorProto.FLOAT
_END = 2**63 - 1


class Builder:
    """A graph that grows node by node; shapes are followed with open dimensions by name."""

    def __init__(self, shape: list[Dim], *, dtype: int = _FLOAT) -> None:
        self.inputs = [("x", shape, dtype)]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count = 0

    def constant(self, value: np.ndarray) -> str:
        self.count += 1
        self.weights.append(onnx.numpy_helper.from_array(value, f"c{self.count}"))
        return f"c{self.count}"

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        self.count += 1
        names = [f"t{self.count}_{k}" for k in range(outputs)]
        self.nodes.append(onnx.helper.make_node(op, inputs, names, **attributes))
        return names

    def one(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.add(op, *inputs, **attributes)[0]

    def model(self, *results: str) -> onnx.ModelProto:
        outputs = [onnx.ValueInfoProto(name=f"y{k}") for k in range(len(results))]
        ends = [
            onnx.helper.make_node("Identity", [name], [f"y{k}"]) for k, name in enumerate(results)
        ]
        inputs = [
            onnx.helper.make_tensor_value_info(name, dtype, shape)
            for name, shape, dtype in self.inputs
        ]
        graph = onnx.helper.make_graph([*self.nodes, *ends], "g", inputs, outputs, self.weights)
        opset = onnx.helper.make_opsetid("", 17)
        return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


def check(model: onnx.ModelProto) -> onnx.ModelProto:
    """The cleaned model, which computes the same wherever the original runs."""
    graph = from_model(model)
    to_fixed_point(graph, CLEANUP)
    changed = to_model(graph, model)
    again = from_model(changed)
    assert not to_fixed_point(again, CLEANUP).counts
    before = runtime.open_session(model, optimize=False)
    after = runtime.open_session(changed, optimize=False)
    for size in SIZES:
        feed = _feed(model, size)
        try:
            expected = runtime.run(before, None, feed)
        except InputError:
            continue  # outside of what the model is for
        for want, got in zip(expected, runtime.run(after, None, feed), strict=True):
            assert (want.dtype, want.shape) == (got.dtype, got.shape)
            np.testing.assert_array_equal(want, got)
    return changed


def _feed(model: onnx.ModelProto, size: int) -> dict[str, np.ndarray]:
    """Numbers with every sign; open dimensions are all different, and zero where `size` is."""
    rng = np.random.default_rng(size)
    feed = {}
    for info in model.graph.input:
        shape = [
            d.dim_value if d.HasField("dim_value") else size and size + "NHW".index(d.dim_param)
            for d in info.type.tensor_type.shape.dim
        ]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        feed[info.name] = np.asarray(rng.integers(-9, 10, shape)).astype(dtype)
    return feed


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


# --- moves: Reshape, Transpose, Slice, ... with sizes read off shapes -------------------------


def _size(build: Builder, tensor: str, axis: int) -> str:
    """A vector of one element: the size of an axis, as exporters spell it."""
    shape = build.one("Shape", tensor)
    scalar = build.one("Gather", shape, build.constant(np.array(axis, np.int64)), axis=0)
    return build.one("Unsqueeze", scalar, build.integers(0))


@st.composite
def moves(draw: st.DrawFn) -> onnx.ModelProto:
    third: list[Dim] = ["H", 1, 6]
    shape: list[Dim] = ["N", 4, draw(st.sampled_from(third)), 2]
    build = Builder(list(shape))
    tensor = "x"
    results: list[str] = []
    for _ in range(draw(st.integers(1, 6))):
        move = MOVES[draw(st.sampled_from(sorted(MOVES)))]
        tensor, shape = move(draw, build, tensor, shape) or (tensor, shape)
        if draw(st.integers(0, 5)) == 0:
            results.append(tensor)
    return build.model(*results, tensor)


Step = tuple[str, list[Dim]]


def _transpose(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step:
    perm = draw(st.permutations(range(len(shape))))
    return build.one("Transpose", tensor, perm=perm), [shape[a] for a in perm]


def _unsqueeze(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step | None:
    axis = draw(st.integers(0, len(shape)))
    if len(shape) == 6:
        return None
    new = [*shape[:axis], 1, *shape[axis:]]
    return build.one("Unsqueeze", tensor, build.integers(axis)), new


def _squeeze(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step | None:
    if 1 not in shape:
        return None
    axis = shape.index(1)
    return build.one("Squeeze", tensor, build.integers(axis)), shape[:axis] + shape[axis + 1 :]


def _slice(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step | None:
    if not shape:
        return None
    axis = draw(st.integers(0, len(shape) - 1))
    cut = draw(st.sampled_from([(0, _END, 1), (1, _END, 1), (0, 2, 1), (0, -1, 1), (0, _END, 2)]))
    start, end, step = cut
    bounds = [build.integers(value) for value in (start, end, axis, step)]
    size = shape[axis]
    if isinstance(size, int):
        size = len(range(size)[start:end:step])
    elif cut != (0, _END, 1):
        size = "?"
    return build.one("Slice", tensor, *bounds), [*shape[:axis], size, *shape[axis + 1 :]]


def _relu(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step:
    return build.one("Relu", tensor), shape


def _flatten(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step:
    axis = draw(st.integers(0, len(shape)))
    return build.one("Flatten", tensor, axis=axis), [_total(shape[:axis]), _total(shape[axis:])]


def _keep(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step:
    return build.one("Reshape", tensor, build.integers(*[0] * len(shape))), shape


def _view(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step | None:
    rest = draw(st.integers(0, max(len(shape) - 1, 0)))
    parts = [
        build.integers(-1) if k == rest else _size(build, tensor, k) for k in range(len(shape))
    ]
    if not parts:
        return None
    return build.one("Reshape", tensor, build.one("Concat", *parts, axis=0)), shape


def _merge(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step | None:
    if len(shape) < 2:
        return None
    axis = draw(st.integers(0, len(shape) - 2))
    sizes = [_size(build, tensor, k) for k in range(len(shape))]
    merged = build.one("Mul", sizes[axis], sizes[axis + 1])
    if draw(st.booleans()):
        merged = build.integers(-1)
    target = build.one("Concat", *sizes[:axis], merged, *sizes[axis + 2 :], axis=0)
    new = [*shape[:axis], _total(shape[axis : axis + 2]), *shape[axis + 2 :]]
    return build.one("Reshape", tensor, target), new


def _expand(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step:
    return build.one("Expand", tensor, build.one("Shape", build.one("Neg", tensor))), shape


def _where(draw: st.DrawFn, build: Builder, tensor: str, shape: list[Dim]) -> Step:
    mask = build.constant(np.array(draw(st.booleans())))
    return build.one("Where", mask, tensor, build.one("Abs", tensor)), shape


MOVES: dict[str, Callable[[st.DrawFn, Builder, str, list[Dim]], Step | None]] = {
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "slice": _slice,
    "relu": _relu,
    "flatten": _flatten,
    "keep": _keep,
    "view": _view,
    "merge": _merge,
    "expand": _expand,
    "where": _where,
}


def _total(shape: list[Dim]) -> Dim:
    numbers = [size for size in shape if isinstance(size, int)]
    others = [size for size in shape if not isinstance(size, int)]
    if others:
        return others[0] if len(others) == 1 and set(numbers) <= {1} else "?"
    return int(np.prod(numbers))


@given(moves())
@settings(max_examples=100)
def test_moves_stay_the_same_for_every_size(model: onnx.ModelProto) -> None:
    changed = check(model)
    assert len(changed.graph.node) <= len(model.graph.node)


# --- reshapes by constant targets with 0 and -1 -----------------------------------------------


@given(
    st.permutations(["N", 2, 3, 4]),
    st.lists(
        st.lists(st.sampled_from([0, -1, 1, 2, 3, 4, 6, 12, 24]), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
@settings(max_examples=100)
def test_reshapes_by_constants(shape: list[Dim], targets: list[list[int]], allow: bool) -> None:
    build, tensor = Builder(shape), "x"
    for target in targets:
        allowed = {"allowzero": 1} if allow and not (0 in target and -1 in target) else {}
        tensor = build.one("Reshape", tensor, build.integers(*target), **allowed)
    model = build.model(tensor)
    try:
        session = runtime.open_session(model, optimize=False)
        runtime.run(session, None, _feed(model, SIZES[0]))
    except InputError:
        return  # no shape of this many elements
    check(model)


# --- slices of slices -------------------------------------------------------------------------

_cuts = st.tuples(
    st.integers(0, 1),
    st.sampled_from([0, 1, 2, 5, -1, -2]),
    st.sampled_from([_END, 1, 3, 6, -1, 0]),
    st.sampled_from([1, 1, 2, 3]),
)


@given(st.lists(_cuts, min_size=1, max_size=4), st.booleans(), st.sampled_from(["N", 7]))
@settings(max_examples=60)
def test_slices_of_slices(
    cuts: list[tuple[int, int, int, int]], is_read_twice: bool, size: Dim
) -> None:
    build = Builder([size, 5])
    tensors = ["x"]
    for axis, start, end, step in cuts:
        bounds = [build.integers(value) for value in (start, end, axis, step)]
        tensors.append(build.one("Slice", tensors[-1], *bounds))
    check(build.model(*tensors[-2 if is_read_twice else -1 :]))


# --- joins and cuts ---------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=3),
    st.booleans(),
    st.permutations(range(4)),
)
@settings(max_examples=40)
def test_joined_and_taken_apart(
    sizes: list[int], cuts: list[tuple[int, int]], from_behind: bool, order: list[int]
) -> None:
    build = Builder(["N", 4])
    axis, parts = (-1 if from_behind else 1), []
    for size in sizes:
        width = build.constant(np.arange(4 * size, dtype=np.float32).reshape(4, size))
        parts.append(build.one("MatMul", "x", width))
    nested = parts[0]
    for part in parts[1:]:
        nested = build.one("Concat", nested, part, axis=axis)
    results = [
        build.one("Relu", build.one("Slice", nested, *(build.integers(v) for v in (a, b, 1))))
        for a, b in cuts
    ]
    splits = build.add("Split", nested, build.integers(*sizes), outputs=len(sizes), axis=axis)
    kept = [splits[k] for k in order if k < len(splits)]
    results.append(build.one("Neg", build.one("Concat", *kept, axis=1)))
    check(build.model(*results))


# --- casts, clamps, neutral operands ----------------------------------------------------------

_TYPES = [1, 2, 3, 6, 7, 9, 10, 11]


@given(st.sampled_from([1, 6, 7, 9, 10, 3]), st.lists(st.sampled_from(_TYPES), max_size=4))
@settings(max_examples=50)
def test_casts(first: int, types: list[int]) -> None:
    build, tensor = Builder(["N", 3], dtype=first), "x"
    if any(t in (2, 3, 6, 7) for t in types) and first in (1, 10):
        return  # floats out of range become anything
    if 2 in types:
        return  # so do negative numbers
    for kind in types:
        tensor = build.one("Cast", tensor, to=kind)
    check(build.model(tensor))


_bounds = st.one_of(st.none(), st.sampled_from([-6.0, -1.0, 0.0, 1.0, 3.0, 6.0]))


@given(st.lists(st.tuples(_bounds, _bounds, st.sampled_from(["Clip", "Relu", "Neg"])), max_size=5))
@settings(max_examples=50)
def test_clamps(steps: list[tuple[float | None, float | None, str]]) -> None:
    build, tensor = Builder(["N", 3]), "x"
    for low, high, op in steps:
        if op == "Clip":
            bounds = [
                "" if b is None else build.constant(np.array(b, np.float32)) for b in (low, high)
            ]
            tensor = build.one("Clip", tensor, *bounds)
        else:
            tensor = build.one(op, tensor)
    check(build.model(tensor))


@given(
    st.sampled_from(["Add", "Sub", "Mul", "Div", "Pow"]),
    st.sampled_from([(), (1,), (3,), (1, 1), (1, 3), (3, 1), (1, 1, 1), (2, 3)]),
    st.booleans(),
    st.sampled_from(["N", 1]),
)
def test_neutral_operands(op: str, shape: tuple[int, ...], first: bool, rows: Dim) -> None:
    neutral = np.full(shape, 0 if op in ("Add", "Sub") else 1, np.float32)
    build = Builder([rows, 3])
    operands = ["x", build.constant(neutral)]
    tensor = build.one(op, *(operands[::-1] if first else operands))
    check(build.model(build.one("Abs", tensor)))


# --- layouts ----------------------------------------------------------------------------------


@st.composite
def layouts(draw: st.DrawFn) -> onnx.ModelProto:
    """Convolutions with channels second, everything else with channels last, as TensorFlow has."""
    build = Builder(["N", 3, "H", 4])
    weight = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1) - 4
    last = [build.one("Transpose", "x", perm=[0, 2, 3, 1])]
    for _ in range(draw(st.integers(1, 7))):
        tensor = draw(st.sampled_from(last))
        last.append(_layer(draw, build, tensor, last, weight))
    ends = [last[-1], *draw(st.lists(st.sampled_from(last), max_size=2))]
    first = [build.one("Transpose", t, perm=[0, 3, 1, 2]) for t in ends]
    mean = build.one("ReduceMean", last[-1], axes=[1, 2], keepdims=draw(st.integers(0, 1)))
    return build.model(*first, *([mean] if draw(st.booleans()) else []))


def _layer(
    draw: st.DrawFn, build: Builder, tensor: str, last: list[str], weight: np.ndarray
) -> str:
    kind = draw(st.sampled_from(["conv", "relu", "bias", "add", "join", "pad", "max", "gate"]))
    if kind == "conv":
        before = build.one("Transpose", tensor, perm=[0, 3, 1, 2])
        after = build.one("Conv", before, build.constant(weight))
        return build.one("Transpose", after, perm=[0, 2, 3, 1])
    if kind == "bias":
        shape = draw(st.sampled_from([(3,), (1, 1, 3), (4, 1), (1, 1, 4, 3)]))
        return build.one("Add", tensor, build.constant(np.ones(shape, np.float32)))
    if kind == "add":
        return build.one("Max", tensor, draw(st.sampled_from(last)))
    if kind == "join":
        joined = build.one("Concat", tensor, draw(st.sampled_from(last)), axis=3)
        sizes = build.integers(3, 3)
        return build.add("Split", joined, sizes, outputs=2, axis=-1)[1]
    if kind == "pad":
        padded = build.one("Pad", tensor, build.integers(0, 1, 2, 0, 0, 0, 1, 0))
        bounds = [build.integers(*v) for v in ((1, 2), (_END, -1), (1, 2))]
        return build.one("Slice", padded, *bounds)
    if kind == "max":
        return build.one("Sub", tensor, build.one("ReduceMax", tensor, axes=[-1]))
    if kind == "gate":
        mean = build.one("ReduceMax", tensor, axes=[1, 2])
        return build.one("Mul", tensor, build.one("Sign", mean))
    return build.one("Relu", tensor)


@given(layouts())
@settings(max_examples=60)
def test_layouts(model: onnx.ModelProto) -> None:
    changed = check(model)
    assert operators(changed).count("Transpose") <= operators(model).count("Transpose")


def test_a_network_with_channels_last_needs_no_transposes() -> None:
    build = Builder(["N", 3, 8, 8])
    weight = build.constant(np.ones((3, 3, 1, 1), np.float32))
    tensor = build.one("Transpose", "x", perm=[0, 2, 3, 1])
    for _ in range(3):
        before = build.one("Transpose", tensor, perm=[0, 3, 1, 2])
        after = build.one("Conv", before, weight)
        branch = build.one("Transpose", after, perm=[0, 2, 3, 1])
        branch = build.one("Relu", build.one("Mul", branch, build.constant(np.full(3, 0.5, "f4"))))
        tensor = build.one("Add", branch, tensor)
    pooled = build.one("ReduceMean", tensor, axes=[1, 2], keepdims=0)
    changed = check(build.model(pooled))
    assert "Transpose" not in operators(changed)
    assert len(changed.graph.node) == 13


# --- what must not be done --------------------------------------------------------------------


def test_a_thousand_equal_chains_take_few_sweeps() -> None:
    build = Builder(["N", 4])
    ends = []
    for _ in range(1000):
        tensor = "x"
        for op in ("Relu", "Neg", "Exp", "Sqrt"):
            tensor = build.one(op, tensor)
        ends.append(tensor)
    graph = from_model(build.model(build.one("Sum", *ends)))
    swept = to_fixed_point(graph, CLEANUP)
    assert swept.counts["eliminate_common_subexpressions"] == 1
    assert len(graph.nodes) == 5


def test_initializers_that_differ_anywhere_stay_apart() -> None:
    net = Builder(["N", 1000])
    values = np.zeros((4, 1000), np.float32)
    values[1, 500] = 1
    values[2, 500] = -0.0
    sums = [net.one("Add", "x", net.constant(row)) for row in values]
    graph = from_model(net.model(*sums))
    rule = next(rule for rule in CLEANUP if rule.name == "eliminate_duplicate_initializers")
    to_fixed_point(graph, [rule])
    names = [node.inputs[1].name for node in graph.nodes if node.op == "Add"]
    assert len(set(names)) == 3
    assert names[0] == names[3]
