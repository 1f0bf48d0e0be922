"""Files that want to harm, through the command line, in little memory and little time.

Each is refused with one line and exit code 2, or carried through with a reason. None crashes, none
shows a traceback, and no file is written unless the exit code is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
import sandbox
from onnx import TensorProto, helper, numpy_helper
from random_nets import network

from autogo_onnx import untrusted
from autogo_onnx.errors import InputError
from autogo_onnx.model import tensor_shapes

Node = onnx.NodeProto
info = helper.make_tensor_value_info
node = helper.make_node


def model(
    *nodes: Node,
    x: Sequence[int | str | None] = ("N", 2),
    stored: Sequence[TensorProto] = (),
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A model from `x` to `y`, whatever it is."""
    graph = helper.make_graph(nodes, "g", [info("x", 1, x)], [info("y", 1, [None, None])], stored)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def relu(x: str = "x", y: str = "y") -> Node:
    return node("Relu", [x], [y])


def tensor(value: object, name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def lying(dims: Sequence[int], raw: bytes | None = None, data_type: int = 1) -> onnx.ModelProto:
    """An initializer whose dimensions have nothing to do with its data."""
    stored = TensorProto(name="w", data_type=data_type, dims=dims)
    if raw is not None:
        stored.raw_data = raw
    return model(node("Add", ["x", "w"], ["y"]), stored=[stored])


def external(**entries: str) -> onnx.ModelProto:
    stored = TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        stored.external_data.add(key=key, value=value)
    return model(node("Add", ["x", "w"], ["y"]), stored=[stored])


def convolution(**attributes: Any) -> onnx.ModelProto:
    weight = tensor(np.ones((1, 1, 3, 3), np.float32))
    return model(node("Conv", ["x", "w"], ["y"], **attributes), x=[1, 1, 8, 8], stored=[weight])


def bomb(kind: str, *sizes: int) -> onnx.ModelProto:
    """A few bytes that become many gigabytes when they are computed."""
    stored = [tensor(np.array(sizes, np.int64), "s"), tensor(np.ones((1, 1), np.float32), "one")]
    operands = ["s"] if kind == "ConstantOfShape" else ["one", "s"]
    nodes = [node(kind, operands, ["c"]), node("ReduceSum", ["c"], ["r"], keepdims=0)]
    return model(*nodes, node("Add", ["x", "r"], ["y"]), stored=stored)


def with_fields(**fields: object) -> onnx.ModelProto:
    """A model with one field of its own set."""
    odd = model(relu())
    for name, value in fields.items():
        setattr(odd, name, value)
    return odd


def calling(depth: int, *, last: str) -> onnx.ModelProto:
    """Functions that call the next one twice each."""
    odd = model(node("F0", ["x"], ["y"], domain="f"))
    odd.opset_import.add(domain="f", version=1)
    imports = [helper.make_opsetid("f", 1), helper.make_opsetid("", 17)]
    for i in range(depth):
        kind, domain = (
            (f"F{i + 1}", "f") if i < depth - 1 else (last, "f" if last[0] == "F" else "")
        )
        body = [node(kind, ["a"], ["c"], domain=domain), node(kind, ["c"], ["b"], domain=domain)]
        odd.functions.append(helper.make_function("f", f"F{i}", ["a"], ["b"], body, imports))
    return odd


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    length, encoded = len(content), b""
    while length > 127:
        encoded += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + content


def nested(depth: int) -> bytes:
    """If in If in If, deeper than any parser recurses."""
    inner = b""
    for _ in range(depth):
        attribute = field(1, b"then_branch") + field(6, inner) + b"\xa0\x01\x05"
        inner = field(1, field(5, attribute) + field(4, b"If"))
    return b"\x08\x08" + field(7, inner) + field(8, b"\x10\x11")


def endless() -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Identity", ["ci"], ["co"]), node("Relu", ["v"], ["vo"])],
        "body",
        [info("i", 7, []), info("ci", 9, []), info("v", 1, [None, None])],
        [info("co", 9, []), info("vo", 1, [None, None])],
    )
    stored = [tensor(np.array(2**62), "m"), tensor(np.array(True), "c")]
    return model(node("Loop", ["m", "c", "x"], ["y"], body=body), stored=stored)


def sparse(dims: Sequence[int], index: int) -> onnx.ModelProto:
    odd = model(node("Add", ["x", "s"], ["y"]))
    values, indices = tensor(np.ones(1, np.float32), "s"), tensor(np.array([index]), "i")
    odd.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dims))
    return odd


REFUSED: dict[str, Callable[[], onnx.ModelProto | bytes]] = {
    "absurd_input": lambda: model(relu(), x=[2**62, 2**62]),
    "attribute_of_another_type": lambda: convolution(group="text"),
    "cycle": lambda: model(node("Add", ["x", "b"], ["a"]), relu("a", "b"), relu("b")),
    "duplicate_name": lambda: model(relu(), node("Neg", ["x"], ["y"])),
    "empty_file": lambda: b"",
    "exponential_functions": lambda: calling(30, last="Relu"),
    "external_absolute": lambda: external(location="/etc/passwd"),
    "external_folder": lambda: external(location="."),
    "external_long_name": lambda: external(location="x" * 300),
    "external_name_no_text": lambda: external(location="a\0b"),
    "external_negative": lambda: external(location="data", offset="-5"),
    "external_no_name": lambda: external(location=""),
    "external_no_number": lambda: external(location="data", offset="five"),
    "external_outside": lambda: external(location="a/../../x"),
    "external_too_long": lambda: external(location="data", length="9" * 30),
    "few_operands": lambda: model(node("Conv", ["x"], ["y"])),
    "huge_attribute_of_nothing": lambda: model(node("F", ["x"], [], domain="f", k=2**62), relu()),
    "huge_attribute": lambda: model(node("Relu", ["x"], ["y"], foo=b"a" * 20_000_000)),
    "initializer_lies": lambda: lying([2**40], b"1234"),
    "initializer_negative": lambda: lying([-3], b"1234" * 3),
    "initializer_without_data": lambda: lying([2**62, 2**62]),
    "huge_block": lambda: model(
        node("DepthToSpace", ["x"], ["y"], blocksize=2**62), x=[1, 4, 2, 2]
    ),
    "large_input": lambda: model(relu(), x=[2**40]),
    "length_beyond_the_file": lambda: b"\x08\x08\x3a\xff\xff\xff\xff\x0f" + b"a" * 10,
    "nested_1000": lambda: nested(1000),
    "nested_30000": lambda: nested(30000),
    "no_operator": lambda: model(node("", ["x"], ["y"])),
    "noise": lambda: Random(0).randbytes(4096),
    "name_not_unicode": lambda: (
        model(relu("x", "a"), relu("aaaa"), relu())
        .SerializeToString()
        .replace(b"aaaa", b"\xff\xfe\xff\xfe")
    ),
    "not_unicode": lambda: model(relu()).SerializeToString().replace(b"Relu", b"Re\xff\xfe"),
    "output_that_nobody_makes": lambda: model(relu("x", "a")),
    "reads_itself": lambda: model(node("Add", ["x", "y"], ["y"])),
    "recursive_function": lambda: calling(2, last="F0"),
    "sparse_index_outside": lambda: sparse([2], 999_999),
    "text": lambda: b"hello world",
    "truncated": lambda: network(Random(5)).model.SerializeToString()[:-40],
    "undefined_tensor": lambda: model(relu("nowhere")),
    "unknown_element_type": lambda: lying([1], b"1234", data_type=77),
    "unknown_ir": lambda: with_fields(ir_version=99),
    "unsorted": lambda: model(relu("a", "y"), relu("x", "a")),
    "zeros": lambda: b"\0" * 1000,
}
"""Exit code 2."""

LEFT: dict[str, Callable[[], onnx.ModelProto | bytes]] = {
    "bomb_constant": lambda: bomb("ConstantOfShape", 2**20, 2**14),
    "bomb_expand": lambda: bomb("Expand", 2**20, 2**14),
    "bomb_tile": lambda: bomb("Tile", 2**20, 2**14),
    "gather_outside": lambda: model(
        node("Gather", ["w", "i"], ["y"]),
        stored=[tensor(np.ones(3, np.float32)), tensor(np.array([99]), "i")],
    ),
    "group_0": lambda: convolution(group=0),
    "negative_dilation": lambda: convolution(dilations=[-1, -1]),
    "opset_999": lambda: model(relu(), opset=999),
    "sparse_bomb": lambda: sparse([2**40], 1),
    "stride_0": lambda: convolution(strides=[0, 0]),
    "weight_of_another_rank": lambda: model(
        node("Conv", ["x", "w"], ["y"]),
        x=[1, 1, 8, 8],
        stored=[tensor(np.ones(3, np.float32))],
    ),
}
"""Exit code 0: legal to ONNX's checker, but nobody runs it; the same model comes out."""


def test_many_functions_are_counted_in_no_time() -> None:
    """One function calls thousands; each was looked at again for each of the others once."""
    odd, count = model(node("All", ["x"], ["y"], domain="f")), 5000
    imports = [helper.make_opsetid("f", 1), helper.make_opsetid("", 17)]
    for i in range(count):
        body = [relu("a", "b")] * 500
        odd.functions.append(helper.make_function("f", f"F{i}", ["a"], ["b"], body, imports))
    calls = [node(f"F{i}", ["a"], [f"b{i}"], domain="f") for i in range(count)]
    odd.functions.append(helper.make_function("f", "All", ["a"], ["b0"], calls, imports))
    with pytest.raises(InputError, match="expand to more than"):
        untrusted.check(odd)


def test_keys_of_tables_may_be_any_number() -> None:
    labels: dict[str, Any] = {"keys_int64s": [2**40, 1], "values_floats": [1.0, 2.0]}
    untrusted.check(model(node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", **labels)))


def test_shapes_that_double_are_not_followed() -> None:
    double = [node("Concat", [f"s{i}"] * 2, [f"s{i + 1}"], axis=0) for i in range(60)]
    odd = model(node("Shape", ["x"], ["s0"]), *double, node("Cast", ["s60"], ["y"], to=1))
    assert tensor_shapes(odd)["s1"] == (4,)


BOUNDS = {"megabytes": 6000, "seconds": 20}


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, sandbox.Ending]:
    folder = tmp_path_factory.mktemp("untrusted")
    (folder / "data").write_bytes(b"12345678")
    files = {}
    for name, make in {**REFUSED, **LEFT}.items():
        content = make()
        files[name] = folder / f"{name}.onnx"
        files[name].write_bytes(
            content if isinstance(content, bytes) else content.SerializeToString()
        )
    ended = sandbox.run_all(list(files.values()), **BOUNDS)
    return {name: ended[path] for name, path in files.items()}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_line(name: str, endings: dict[str, sandbox.Ending]) -> None:
    ending = endings[name]
    assert ending.code == 2, ending
    assert not ending.wrote
    assert ending.output == ""
    lines = ending.error.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < 500
    assert ending.seconds < BOUNDS["seconds"] / 2


@pytest.mark.parametrize("name", LEFT)
def test_left_alone_with_a_reason(name: str, endings: dict[str, sandbox.Ending]) -> None:
    ending = endings[name]
    assert ending.code == 0, ending
    assert ending.wrote
    assert "left exactly as it is" in ending.output
    assert ending.seconds < BOUNDS["seconds"] / 2


@pytest.mark.slow
def test_a_loop_without_end(tmp_path: Path) -> None:
    file = tmp_path / "endless.onnx"
    file.write_bytes(endless().SerializeToString())
    ending = sandbox.run_all([file])[file]
    assert ending.code == 0, ending
    assert "runs for more than 10 seconds" in ending.output


def mutated(data: bytes, choice: Random) -> bytes:
    """The file with a few bytes changed, cut, doubled or moved."""
    changed = bytearray(data)
    for _ in range(choice.randint(1, 6)):
        kind, at = choice.randrange(5), choice.randrange(max(1, len(changed)))
        if kind == 0 and changed:
            changed[at] = choice.randrange(256)
        elif kind == 1:
            changed[at : at + choice.randint(1, 20)] = b""
        elif kind == 2:
            changed[at:at] = choice.randbytes(choice.randint(1, 20))
        elif kind == 3:
            changed[at:at] = changed[at : at + choice.randint(1, 100)]
        else:
            changed[at : at + 4] = choice.choice(
                [b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80\x80\x80"]
            )
    return bytes(changed)


def mangled(original: onnx.ModelProto, choice: Random) -> onnx.ModelProto:
    """A message that parses, with structure that makes no sense."""
    odd = onnx.ModelProto()
    odd.CopyFrom(original)
    for _ in range(choice.randint(1, 4)):
        nodes, stored = odd.graph.node, odd.graph.initializer
        one = choice.choice(nodes)
        names = [name for n in nodes for name in (*n.input, *n.output)] or ["x"]
        kind = choice.randrange(9)
        if kind == 0 and one.input:
            one.input[choice.randrange(len(one.input))] = choice.choice([*names, "", "nowhere"])
        elif kind == 1 and one.output:
            one.output[0] = choice.choice(names)
        elif kind == 2:
            one.op_type = choice.choice(["Relu", "Conv", "If", "Loop", "Resize", "Einsum", "Add"])
        elif kind == 3 and one.attribute:
            attribute = choice.choice(one.attribute)
            attribute.i = choice.choice([-1, 0, 2**31, 2**62])
            values = [choice.choice([-1, 0, 1, 3, 2**31]) for _ in attribute.ints]
            del attribute.ints[:]
            attribute.ints.extend(values)
        elif kind == 4 and stored:
            del choice.choice(stored).dims[:1]
        elif kind == 5 and stored:
            choice.choice(stored).data_type = choice.randrange(30)
        elif kind == 6:
            nodes.insert(choice.randrange(len(nodes)), choice.choice(nodes))
        elif kind == 7:
            odd.opset_import[0].version = choice.choice([1, 6, 9, 11, 13, 18, 26, 99])
        else:
            dims = odd.graph.input[0].type.tensor_type.shape.dim
            dims[choice.randrange(len(dims))].dim_value = choice.choice([-1, 0, 1, 5, 2**40])
    return odd


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_mutated_files(seed: int, tmp_path: Path) -> None:
    """Bytes and structure of valid files, changed at random: 150 files per seed."""
    choice = Random(seed)
    files = []
    for number in range(150):
        original = network(Random(1000 * seed + number)).model
        if number % 2:
            content = mutated(original.SerializeToString(), choice)
        else:
            content = mangled(original, choice).SerializeToString()
        files.append(tmp_path / f"{number}.onnx")
        files[-1].write_bytes(content)
    for path, ending in sandbox.run_all(files, **BOUNDS).items():
        message = f"{path.name}: {ending}"
        assert ending.code in (0, 2), message
        assert ending.wrote == (ending.code == 0), message
        assert "Traceback" not in ending.error + ending.output, message
        if ending.code:
            assert len(ending.error.splitlines()) == 1, message
