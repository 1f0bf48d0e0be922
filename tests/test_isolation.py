"""Models that end the whole process where they are given what they were not made for."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest

import autogo_onnx
from autogo_onnx import isolation, runtime
from autogo_onnx.compare import compare
from autogo_onnx.errors import InputError
from autogo_onnx.isolation import Died, Isolated, try_apart
from autogo_onnx.options import Options
from autogo_onnx.samples import Samples

DIVIDES = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,2] x, int32[M] shares) => (float[N,2] y, int32[M] each)
    <int32[1] whole = {-2147483648}, int32[1] less = {1}, float[1] one = {1}> {
        a = Mul(x, one)
        b = Mul(a, one)
        y = Relu(b)
        part = Sub(shares, less)
        each = Div(whole, part)
    }"""
)
"""For no share the smallest number is divided by -1, of which the processor makes a signal."""
ENDLESS = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x, bool on) => (float[2] y) <int64 count = {1000000000000}> {
        y = Loop(count, on, x) <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w)
            { d = Identity(c) w = Relu(v) }>
    }"""
)


def feed_of(share: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((1, 2), np.float32), "shares": np.array([share], np.int32)}


def test_who_dies_of_a_feed_is_told_and_the_next_feed_runs() -> None:
    with Isolated(DIVIDES) as session:
        for _ in range(2):
            with pytest.raises(
                InputError, match=r"dies of the model with x \[1, 2\], shares \[1\]"
            ):
                session.run(feed_of(0))
            y, each = session.run(feed_of(3))
            np.testing.assert_array_equal(y, [[1, 1]])
            np.testing.assert_array_equal(each, [-(2**30)])


def test_what_is_refused_elsewhere_is_refused_alike_here() -> None:
    with Isolated(DIVIDES) as session, pytest.raises(InputError) as here:
        session.run({"x": np.ones((1, 3), np.float32), "shares": np.array([2], np.int32)})
    with pytest.raises(InputError) as there:
        runtime.run(runtime.open_session(DIVIDES), None, feed_of(2) | {"x": np.ones((1, 3), "f")})
    assert str(here.value) == str(there.value)
    unknown = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "odd" : 1]>'
        "g (float[2] x) => (float[2] y) { y = odd.Thing(x) }"
    )
    with pytest.raises(InputError, match="does not load"):
        try_apart(unknown, Samples({"x": np.ones((1, 2), np.float32)}), optimize=True)


def test_an_endless_run_is_broken_off() -> None:
    with Isolated(ENDLESS) as session, pytest.raises(runtime.TookTooLong):
        session.run({"x": np.ones(2, np.float32), "on": np.array(True)}, limit_s=0.2)


def test_without_another_process_it_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refused)
    with Isolated(DIVIDES) as session:
        for _ in range(2):
            np.testing.assert_array_equal(session.run(feed_of(3))[1], [-(2**30)])


def test_no_child_is_left_behind() -> None:
    children = []
    with Isolated(DIVIDES) as session:
        for share in (2, 0, 2):
            with suppress(Died):
                session.run(feed_of(share))
            children += [session._child[0]] if session._child else []
    assert len(children) == 2
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_who_does_not_answer_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside one operator nothing can be broken off."""
    monkeypatch.setattr(isolation, "_GRACE_S", 0.1)
    monkeypatch.setattr(runtime, "run", lambda *_, **__: time.sleep(60))
    with Isolated(DIVIDES) as session, pytest.raises(runtime.TookTooLong):
        session.run(feed_of(2), limit_s=0.1)


def test_a_child_ends_with_its_parent() -> None:
    """It would hold the lock of a work folder until its run is over."""
    here, there = os.pipe()
    parent = os.fork()
    if parent == 0:
        with Isolated(DIVIDES) as session:
            session.run(feed_of(2))
            assert session._child is not None
            os.write(there, session._child[0].to_bytes(4, "little"))
            os.kill(os.getpid(), signal.SIGKILL)
    child = int.from_bytes(os.read(here, 4), "little")
    os.waitpid(parent, 0)
    for end in (here, there):
        os.close(end)
    for _ in range(100):
        if not Path(f"/proc/{child}/cmdline").exists() or _is_ended(child):
            return
        time.sleep(0.05)
    raise AssertionError("it lives on")


def _is_ended(child: int) -> bool:
    """Whether it only waits for somebody to ask for its status."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_many_samples_may_kill_where_one_does_not() -> None:
    """The smallest number is divided by the number of samples - 3."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,2] x) => (int32[M] y) <int32[1] least = {-2147483648}, int32[1] three = {3}> {
            sizes = Shape <end = 1> (x)
            count = Cast <to = 6> (sizes)
            part = Sub(count, three)
            y = Div(least, part)
        }"""
    )
    noise = Samples({"x": np.ones((2, 2), np.float32)})
    try_apart(model, noise.take([0]), optimize=True)
    with pytest.raises(Died):
        try_apart(model, noise, optimize=True)


def test_a_model_that_dies_of_noise_is_rewritten_all_the_same(tmp_path: Path) -> None:
    report = autogo_onnx.optimize(DIVIDES)
    assert len(report.model.graph.node) < len(DIVIDES.graph.node)
    assert any("latency was not measured: ONNX Runtime dies" in note for note in report.notes)
    counted = autogo_onnx.optimize(DIVIDES, target="macs", opset=18)
    assert len(counted.model.graph.node) < len(DIVIDES.graph.node)
    path = tmp_path / "divides.onnx"
    onnx.save(DIVIDES, path)
    with pytest.raises(Died):
        compare(path, path, options=Options())
