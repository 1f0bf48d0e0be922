"""Graphs as short strings of bytes: numbers of operators and shapes that the database holds once.

A packed graph is a sequence of unsigned numbers, seven bits to a byte, low ones first, the top bit
set in all bytes of a number but its last (LEB128): how many inputs, operators and outputs; the
shapes of the inputs; for every operator its number, its shape and how far before it each of its
operands was made (the operator's arity says how many there are); how far before the end each
output was made. A segment of six operators takes some 30 bytes, where JSON takes 500, and is read
five times as fast, because operators are read once and shared.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from autogo_onnx.opgraph import Attributes, AttributeValue, Op, OpGraph, Shape

_LONGEST = 2**63 - 1  # of an axis, in ONNX


def pack(numbers: Iterable[int]) -> bytes:
    """Unsigned numbers as bytes.

    >>> pack([3, 300]).hex()
    '03ac02'
    """
    packed = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            packed.append(rest & 0x7F | 0x80)
            rest >>= 7
        packed.append(rest)
    return bytes(packed)


def unpack(data: bytes) -> list[int]:
    """The numbers that `pack` wrote.

    Raises:
        ValueError: the bytes end within a number.
    """
    if data.isascii():  # no number takes two bytes, which is the rule
        return list(data)
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise ValueError("packed numbers end too early")
    return numbers


class Lexicon:
    """The operators and shapes of a database, as one connection sees them; read when needed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._operators: dict[int, tuple[str, int, Attributes]] = {}
        self._operator_numbers: dict[tuple[str, int, str], int] = {}
        self._shapes: dict[int, Shape] = {}
        self._shape_numbers: dict[Shape, int] = {}
        self._has_read = False

    def pack(self, graph: OpGraph) -> bytes:
        """A graph as bytes; operators and shapes that are new are added to the database.

        For a connection that has the write lock: nobody else adds any meanwhile.
        """
        self._read_once()
        numbers = [graph.n_inputs, len(graph.ops), len(graph.outputs)]
        numbers += map(self._shape_number, graph.input_shapes)
        for index, (op, shape) in enumerate(zip(graph.ops, graph.op_shapes, strict=True)):
            numbers += (self._operator_number(op), self._shape_number(shape))
            numbers += (graph.n_inputs + index - t for t in op.inputs)
        numbers += (graph.n_tensors - t for t in graph.outputs)
        return pack(numbers)

    def unpack(self, data: bytes) -> OpGraph:
        """The graph that `pack` wrote.

        Raises:
            ValueError: the bytes are not a graph in operators and shapes of this database.
        """
        numbers = iter(unpack(data))
        try:
            n_inputs, n_ops, n_outputs = next(numbers), next(numbers), next(numbers)
            inputs = tuple(self._shape(next(numbers)) for _ in range(n_inputs))
            ops, shapes = [], []
            for tensor in range(n_inputs, n_inputs + n_ops):
                kind, arity, attributes = self._operator(next(numbers))
                shapes.append(self._shape(next(numbers)))
                operands = tuple(_before(tensor, next(numbers)) for _ in range(arity))
                ops.append(Op(kind, operands, attributes))
            end = n_inputs + n_ops
            outputs = tuple(_before(end, next(numbers)) for _ in range(n_outputs))
        except (StopIteration, RuntimeError):  # a generator makes the one of the other
            raise ValueError("a packed graph ends too early") from None
        if next(numbers, None) is not None:
            raise ValueError("a packed graph does not end")
        return OpGraph(inputs, tuple(ops), tuple(shapes), outputs)

    def pack_shapes(self, shapes: Iterable[Shape]) -> bytes:
        """Shapes as bytes; new ones are added to the database, as by `pack`."""
        self._read_once()
        return pack(map(self._shape_number, shapes))

    def unpack_shapes(self, data: bytes) -> tuple[Shape, ...]:
        """The shapes that `pack_shapes` wrote.

        Raises:
            ValueError: the bytes are not shapes of this database.
        """
        return tuple(map(self._shape, unpack(data)))

    def _operator(self, number: int) -> tuple[str, int, Attributes]:
        if number not in self._operators:
            self._read()
        if number not in self._operators:
            raise ValueError(f"operator {number} is not in its table")
        return self._operators[number]

    def _shape(self, number: int) -> Shape:
        if number not in self._shapes:
            self._read()
        if number not in self._shapes:
            raise ValueError(f"shape {number} is not in its table")
        return self._shapes[number]

    def _operator_number(self, op: Op) -> int:
        key = (op.kind, len(op.inputs), _compact(dict(op.attributes)))
        number = self._operator_numbers.get(key)
        if number is None:
            number = len(self._operators)
            self._connection.execute("INSERT INTO operator VALUES (?, ?, ?, ?)", (number, *key))
            self._keep_operator(number, *key)
        return number

    def _shape_number(self, shape: Shape) -> int:
        number = self._shape_numbers.get(shape)
        if number is None:
            number = len(self._shapes)
            self._connection.execute("INSERT INTO shape VALUES (?, ?)", (number, _compact(shape)))
            self._keep_shape(number, shape)
        return number

    def _read_once(self) -> None:
        if not self._has_read:
            self._read()

    def _read(self) -> None:
        """Rows that were added since the last time; numbers go up without gaps."""
        rows = self._connection.execute(
            "SELECT number, kind, arity, attributes FROM operator WHERE number >= ?",
            (len(self._operators),),
        )
        for row in rows.fetchall():
            self._keep_operator(*row)
        rows = self._connection.execute(
            "SELECT number, axes FROM shape WHERE number >= ?", (len(self._shapes),)
        )
        for number, axes in rows.fetchall():
            self._keep_shape(number, _shape_of(axes))
        self._has_read = True

    def _keep_operator(self, number: int, kind: str, arity: int, attributes: str) -> None:
        if not (isinstance(kind, str) and isinstance(arity, int)):
            raise ValueError(f"operator {number} is not one")
        self._operators[number] = (kind, arity, _attributes_of(attributes))
        self._operator_numbers[kind, arity, attributes] = number

    def _keep_shape(self, number: int, shape: Shape) -> None:
        self._shapes[number] = shape
        self._shape_numbers[shape] = number


def _before(tensor: int, distance: int) -> int:
    if not 1 <= distance <= tensor:
        raise ValueError("a packed graph reads a tensor that is not made before")
    return tensor - distance


def _attributes_of(text: str) -> Attributes:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("attributes of an operator are not a JSON object")
    return tuple((name, _value_of(value)) for name, value in sorted(values.items()))


def _value_of(value: object) -> AttributeValue:
    if isinstance(value, list) and all(type(number) is int for number in value):
        return tuple(value)
    if type(value) is int or isinstance(value, float | str):
        return value
    raise ValueError("an attribute is neither a number, nor text, nor whole numbers")


def _shape_of(text: str) -> Shape:
    shape = json.loads(text)
    if not isinstance(shape, list) or not all(
        type(length) is int and 0 <= length <= _LONGEST for length in shape
    ):
        raise ValueError("a shape is not a list of lengths")
    return tuple(shape)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
