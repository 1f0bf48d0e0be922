"""An evolved network as a model: the base's file with other parts in it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from evolved_cases import IDENTITY, conv, random_edits, trained, two
from net_cases import Net, pictures, run

from autogo_onnx.errors import InputError, PromiseError
from autogo_onnx.evolution import Edit, edited
from autogo_onnx.evolved.base import Base, base_of
from autogo_onnx.evolved.building import build
from autogo_onnx.evolved.changes import changes
from autogo_onnx.opgraph import Op, OpGraph

BASE = base_of(trained(), 0)


def built(edits: tuple[Edit, ...], base: Base = BASE, seed: int = 0) -> onnx.ModelProto:
    return build(base, changes(base.graph, edits), edited(base.graph, edits), seed).model


def weights(model: onnx.ModelProto) -> dict[str, bytes]:
    return {t.name: t.SerializeToString() for t in model.graph.initializer}


@pytest.mark.parametrize("seed", range(40))
def test_any_edits_give_a_valid_model(seed: int) -> None:
    """Strict inference agrees with it, it runs, and what did not change is byte for byte there."""
    edits = random_edits(BASE.graph, seed)
    model = built(edits)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    (scores,) = run(model, {"x": pictures(0, 2, 3, 12, 12)})
    assert scores.shape == (2, 5)
    assert np.isfinite(scores).all()
    touched = {i for change in changes(BASE.graph, edits) for i in change.before.ops}
    kept, before = weights(model), weights(BASE.model)
    for index, node in enumerate(BASE.reading.nodes):
        names = [t.name for t in node.inputs if t.name in before]
        if index not in touched:
            assert all(kept[name] == before[name] for name in names)


def test_what_computes_the_same_gives_the_same() -> None:
    """An edit that puts back what was there keeps outputs to the bit."""
    model = built((Edit((4,), conv(5), "there"), Edit((4,), conv(3), "back")))
    feed = {"x": pictures(1, 2, 3, 12, 12)}
    assert np.array_equal(run(model, feed)[0], run(BASE.model, feed)[0])


def test_a_removed_operator_leaves_no_identity_behind() -> None:
    model = built((Edit((4,), IDENTITY, "identity"),))
    assert "Identity" not in {node.op_type for node in model.graph.node}
    assert len(model.graph.node) == len(BASE.model.graph.node) - 1


def test_a_change_at_the_end_keeps_the_outputs_name() -> None:
    net = Net(1, 8, 12, 12)
    model = net.model(net.conv(net.relu(net.conv("x", 8, 8)), 8, 8))
    base = base_of(model, 0)
    for edit in (Edit((2,), two(), "db:1"), Edit((2,), IDENTITY, "identity")):
        result = built((edit,), base)
        assert result.graph.output[0].name == model.graph.output[0].name
        assert run(result, {"x": pictures(0, 1, 8, 12, 12)})[0].shape == (1, 8, 12, 12)


def test_the_same_edits_and_seed_give_the_same_bytes() -> None:
    edits = (Edit((4,), two(1, 4), "db:1"), Edit((9,), two(1, 4), "db:1"))
    first, again, other = (built(edits, seed=seed) for seed in (0, 0, 1))
    assert first.SerializeToString() == again.SerializeToString()
    assert weights(first).keys() == weights(other).keys()
    assert weights(first) != weights(other)


def test_equal_changes_at_two_places_have_weights_of_their_own() -> None:
    edits = (Edit((4,), two(1, 4), "db:1"), Edit((11,), two(1, 4), "db:1"))
    drawn = [t for t in built(edits).graph.initializer if t.name.startswith("autogo/")]
    matrices = [onnx.numpy_helper.to_array(t) for t in drawn if len(t.dims) == 4]
    assert len(matrices) == 4
    assert not np.array_equal(matrices[0], matrices[2])


def test_an_evolved_model_may_be_evolved_again() -> None:
    """Names of the first round are not taken by the second."""
    again = base_of(built((Edit((4,), two(1, 4), "db:1"),)), 0)
    index = next(i for i, op in enumerate(again.graph.ops) if again.graph.op_shapes[i][1] == 4)
    assert again.graph.ops[index].kind == "Conv"
    model = built((Edit((index,), _wider(again, index), "db:2"),), again)
    onnx.checker.check_model(model, full_check=True)
    assert len({t.name for t in model.graph.initializer}) == len(model.graph.initializer)


def _wider(base: Base, index: int) -> OpGraph:
    from segment_cases import Segment

    s = Segment(base.graph.shape(base.graph.ops[index].inputs[0]))
    return s.graph(s.conv(s.relu(s.conv(0, 12, 1)), 4, 3))


def test_another_network_than_was_found_is_a_broken_promise() -> None:
    edits = (Edit((4,), conv(1), "db:1"),)
    with pytest.raises(PromiseError, match="not the network that was found"):
        build(BASE, changes(BASE.graph, edits), BASE.graph, 0)


def test_an_older_opset_has_hard_swish_by_its_definition() -> None:
    base = base_of(trained(opset=11), 0)
    shape = base.graph.op_shapes[1]
    swish = OpGraph((shape,), (Op("HardSwish", (0,)),), (shape,), (1,))
    kinds = [node.op_type for node in built((Edit((1,), swish, "db:1"),), base).graph.node]
    assert kinds[:4] == ["Conv", "HardSigmoid", "Mul", "Conv"]


def test_what_the_opset_cannot_say_is_refused() -> None:
    base = base_of(trained(opset=11), 0)
    shape = base.graph.op_shapes[1]
    gelu = OpGraph((shape,), (Op.make("Gelu", (0,)),), (shape,), (1,))
    with pytest.raises(InputError, match="opset 11 has no Gelu"):
        built((Edit((1,), gelu, "db:1"),), base)


def test_the_base_keeps_its_layers() -> None:
    """Two layers without an activation between are one when computed, but two when trained."""
    net = Net("N", 3, 12, 12)
    wide = net.conv(net.relu(net.conv("x", 3, 8)), 8, 32)
    shuffled = net.op("DepthToSpace", wide, blocksize=2)
    base = base_of(net.model(net.conv(shuffled, 8, 3)), seed=0)
    kinds = [op.kind for op in base.graph.ops]
    assert kinds == ["Conv", "Relu", "Conv", "DepthToSpace", "Conv"]
