"""Small segments for the shape tests: a builder that knows the shapes, and random ones."""

from __future__ import annotations

import random

from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, Shape


class Segment:
    """Builds an OpGraph operator by operator; every method returns the new tensor's number."""

    def __init__(self, *inputs: Shape) -> None:
        self.shapes: list[Shape] = list(inputs)
        self.inputs = tuple(inputs)
        self.ops: list[Op] = []

    def add(self, op: Op, shape: Shape) -> int:
        self.ops.append(op)
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def graph(self, *outputs: int) -> OpGraph:
        shapes = tuple(self.shapes[len(self.inputs) :])
        return OpGraph(self.inputs, tuple(self.ops), shapes, outputs)

    def window(
        self, kind: str, t: int, width: int, kernel: int, stride: int = 1, **more: int
    ) -> int:
        pad, group, ceil = more.get("pad", kernel // 2), more.get("group", 1), more.get("ceil", 0)
        attributes = {
            "kernel_shape": (kernel,) * 2, "strides": (stride,) * 2, "pads": (pad,) * 4,
            "dilations": (1, 1),
        }  # fmt: skip
        extra = {"group": group} if kind == "Conv" else {"ceil_mode": ceil}
        sizes = []
        for n in self.shapes[t][2:]:
            room = n + 2 * pad - kernel
            sizes.append((-(-room // stride) if ceil else room // stride) + 1)
        return self.add(Op.make(kind, (t,), **attributes, **extra), (1, width, *sizes))

    def conv(self, t: int, width: int, kernel: int = 3, stride: int = 1, **more: int) -> int:
        return self.window("Conv", t, width, kernel, stride, **more)

    def depthwise(self, t: int, kernel: int = 3, stride: int = 1) -> int:
        width = self.shapes[t][1]
        return self.conv(t, width, kernel, stride, group=width)

    def pool(
        self, t: int, kernel: int = 2, stride: int = 2, kind: str = "MaxPool", **more: int
    ) -> int:
        return self.window(kind, t, self.shapes[t][1], kernel, stride, **{"pad": 0, **more})

    def unary(self, kind: str, t: int) -> int:
        return self.add(Op.make(kind, (t,)), self.shapes[t])

    def relu(self, t: int) -> int:
        return self.unary("Relu", t)

    def join(self, kind: str, *tensors: int) -> int:
        sizes = (
            max(self.shapes[t][i] for t in tensors) for i in range(len(self.shapes[tensors[0]]))
        )
        return self.add(Op.make(kind, tensors), tuple(sizes))

    def concat(self, *tensors: int, axis: int = 1) -> int:
        shape = list(self.shapes[tensors[0]])
        shape[axis] = sum(self.shapes[t][axis] for t in tensors)
        return self.add(Op.make("Concat", tensors, axis=axis), tuple(shape))

    def put(self, kind: str, t: int, shape: Shape, **attributes: AttributeValue) -> int:
        """An operator of one operand."""
        return self.add(Op.make(kind, (t,), **attributes), shape)

    def shuffle(self, t: int, groups: int) -> int:
        n, c, *size = self.shapes[t]
        wide = self.put("Reshape", t, (n, groups, c // groups, *size))
        perm = (0, 2, 1, *range(3, 3 + len(size)))
        turned = self.put("Transpose", wide, (n, c // groups, groups, *size), perm=perm)
        return self.put("Reshape", turned, (n, c, *size))

    def tokens(self, t: int, width: int) -> int:
        """A map as tokens, a layer of them, and back."""
        n, c, height, breadth = self.shapes[t]
        flat = self.put("Reshape", t, (n, c, height * breadth))
        turned = self.put("Transpose", flat, (n, height * breadth, c), perm=(0, 2, 1))
        layer = self.put("MatMul", turned, (n, height * breadth, width))
        back = self.put("Transpose", layer, (n, width, height * breadth), perm=(0, 2, 1))
        return self.put("Reshape", back, (n, width, height, breadth))

    def squeeze_excite(self, t: int, width: int) -> int:
        n, c = self.shapes[t][:2]
        gate = self.add(Op.make("GlobalAveragePool", (t,)), (n, c, 1, 1))
        gate = self.relu(self.conv(gate, width, 1))
        return self.join("Mul", t, self.unary("Sigmoid", self.conv(gate, c, 1)))


def residual(width: int = 16, stride: int = 2, size: int = 8) -> OpGraph:
    """Two convolutions beside a 1x1 projection."""
    s = Segment((1, width, size, size))
    long = s.conv(s.relu(s.conv(0, 2 * width, 3, stride)), 2 * width)
    return s.graph(s.relu(s.join("Add", long, s.conv(0, 2 * width, 1, stride))))


def inception() -> OpGraph:
    """Three branches of 16 + 32 + 16 channels."""
    s = Segment((1, 32, 8, 8))
    pooled = s.pool(0, 3, 1, pad=1)
    branches = s.conv(0, 16, 1), s.conv(s.relu(s.conv(0, 16, 1)), 32), s.conv(pooled, 16, 1)
    return s.graph(s.relu(s.concat(*branches)))


def mobile(stride: int = 1, size: int = 8) -> OpGraph:
    """MBConv with squeeze-and-excitation: 16 -> 64 -> depthwise -> 24."""
    s = Segment((1, 16, size, size))
    wide = s.depthwise(s.relu(s.conv(0, 64, 1)), 3, stride)
    return s.graph(s.conv(s.squeeze_excite(s.relu(wide), 16), 24, 1))


def hard_case() -> tuple[OpGraph, list[Shape], list[Shape]]:
    """Four free branches under one concatenation: needs the solver."""
    s = Segment((1, 32, 8, 8))
    branches = [s.conv(0, width, 3) for width in (8, 24, 40, 16)]
    return s.graph(s.concat(*branches)), [(1, 48, 8, 8)], [(1, 120, 4, 4)]


def random_segment(seed: int, most: int = 7, *, rich: bool = False) -> OpGraph:
    """A random valid segment of one or two inputs; all sinks are outputs.

    `rich`: also operators that move, cut, pad, resize and group.
    """
    rng = random.Random(seed)
    n_inputs = rng.choice((1, 1, 2))
    size = rng.choice((7, 8, 12, 16))
    s = Segment(*((1, rng.choice((8, 16, 24)), size, size) for _ in range(n_inputs)))
    for _ in range(rng.randint(1, most)):
        if rich and rng.random() < 0.6:
            _grow_richly(s, rng)
        else:
            _grow(s, rng)
    read = {t for op in s.ops for t in op.inputs}
    sinks = [t for t in range(n_inputs, len(s.shapes)) if t not in read]
    return s.graph(*sinks)


def _grow(s: Segment, rng: random.Random) -> None:
    t = rng.choice([t for t, shape in enumerate(s.shapes) if len(shape) == 4][-3:])
    width, size = s.shapes[t][1], min(s.shapes[t][2:])
    peers = [u for u, shape in enumerate(s.shapes) if shape[2:] == s.shapes[t][2:] and u != t]
    equals = [u for u in peers if s.shapes[u] == s.shapes[t]]
    choice = rng.random()
    if choice < 0.35 and size >= 3:
        stride = rng.choice((1, 1, 2))
        s.conv(t, rng.choice((8, 16, 32)), rng.choice((1, 3)), stride, pad=rng.choice((0, 1, 1)))
    elif choice < 0.45:
        s.depthwise(t, 3, rng.choice((1, 2)))
    elif choice < 0.55 and size >= 3:
        s.pool(
            t, *rng.choice(((2, 2), (3, 1), (3, 2))), kind=rng.choice(("MaxPool", "AveragePool"))
        )
    elif choice < 0.7 and equals:
        s.join(rng.choice(("Add", "Mul")), t, rng.choice(equals))
    elif choice < 0.85 and peers:
        s.concat(t, *rng.sample(peers, min(len(peers), rng.choice((1, 2)))))
    elif choice < 0.9:
        s.squeeze_excite(t, 8)
    elif width % 4 == 0:
        s.conv(t, rng.choice((8, 16)), 3, group=4)
    else:
        s.relu(t)


def _grow_richly(s: Segment, rng: random.Random) -> None:
    t = rng.choice([t for t, shape in enumerate(s.shapes) if len(shape) == 4][-3:])
    if rng.random() < 0.5:
        _change_channels(s, rng, t)
    else:
        _change_size(s, rng, t)


def _change_channels(s: Segment, rng: random.Random, t: int) -> None:
    n, width, height, breadth = s.shapes[t]
    choice = rng.randrange(6)
    if choice == 0 and width % 8 == 0:
        s.conv(t, rng.choice((8, 16, 24)), rng.choice((1, 3)), group=rng.choice((2, 4, 8)))
    elif choice == 1 and width % 4 == 0:
        s.shuffle(t, rng.choice((2, 4)))
    elif choice == 2 and width % 2 == 0:
        half = (n, width // 2, height, breadth)
        s.put("Slice", t, half, starts=(0,), ends=(width // 2,), axes=(1,))
    elif choice == 3 and width > 4:
        s.put("Slice", t, (n, width - 1, height, breadth), starts=(0,), ends=(-1,), axes=(1,))
    elif choice == 4 and width % 4 == 0:
        s.put("DepthToSpace", t, (n, width // 4, 2 * height, 2 * breadth), blocksize=2)
    else:
        s.tokens(t, rng.choice((8, 16)))


def _change_size(s: Segment, rng: random.Random, t: int) -> None:
    n, width, height, breadth = s.shapes[t]
    choice = rng.randrange(5)
    if choice == 0 and min(height, breadth) > 2:
        cut, far = (n, width, height - 1, breadth - 1), (2**63 - 1,) * 2
        s.put("Slice", t, cut, starts=(1, 1), ends=far, axes=(2, 3))
    elif choice == 1 and height < 33:
        s.put("Resize", t, (n, width, 2 * height, 2 * breadth), mode="nearest")
    elif choice == 2 and height < 33:
        kernel, pad = rng.choice(((2, 0), (3, 1), (4, 1)))
        extra: dict[str, AttributeValue] = {"output_padding": (1, 1)} if kernel == 3 else {}
        window = {"kernel_shape": (kernel,) * 2, "strides": (2, 2), "pads": (pad,) * 4}
        made = (n, rng.choice((8, 16)), 2 * height, 2 * breadth)
        s.put("ConvTranspose", t, made, **window, **extra)
    elif choice == 3:
        row = s.put("ReduceMean", t, (n, width, height, 1), axes=(3,), keepdims=1)
        s.add(Op.make("Mul", (t, row)), s.shapes[t])
    else:
        more = rng.choice((0, 4))
        made = (n, width + more, height + 1, breadth + 1)
        s.put("Pad", t, made, pads=(0, more, 1, 0, 0, 0, 0, 1), mode="constant")


def random_demand(graph: OpGraph, seed: int) -> tuple[list[Shape], list[Shape]]:
    """Shapes that the segment may or may not be able to take: scaled, shrunk, shuffled."""
    rng = random.Random(seed)
    factor, size = rng.choice((1, 1, 2, 3)), rng.choice((0, 1, 2, 5, 8))
    shrink = rng.choice((1, 1, 1, 2))

    def changed(shape: Shape, by: int) -> Shape:
        width = shape[1] * factor if rng.random() < 0.8 else rng.choice((8, 20, 64))
        return (
            1,
            width,
            *(max(1, -(-n // by) + (size if by == 1 else -(-size // by))) for n in shape[2:]),
        )

    inputs = [changed(shape, 1) for shape in graph.input_shapes]
    outputs = []
    for shape in graph.output_shapes:
        ratio = max(1, round(graph.input_shapes[0][2] / shape[2])) * shrink
        wanted = tuple(max(1, -(-n // ratio)) for n in inputs[0][2:])
        outputs.append((1, changed(shape, 1)[1], *wanted))
    if rng.random() < 0.3:
        rng.shuffle(inputs)
        rng.shuffle(outputs)
    return inputs, outputs
