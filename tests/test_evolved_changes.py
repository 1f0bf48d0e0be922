"""What a list of edits changed in the end."""

from __future__ import annotations

from evolved_cases import IDENTITY, MAP, base, conv, two
from segment_cases import Segment

from autogo_onnx.evolution import Edit
from autogo_onnx.evolved.changes import changes
from autogo_onnx.opgraph import OpGraph


def chain(*kernels: int) -> OpGraph:
    """Convolutions with rectifiers between."""
    s, t = Segment(MAP), 0
    for number, kernel in enumerate(kernels):
        t = s.conv(s.relu(t) if number else t, 8, kernel)
    return s.graph(t)


def test_no_edits_change_nothing() -> None:
    assert changes(chain(3, 3), []) == ()


def test_an_edit_taken_back_is_no_change() -> None:
    edits = [Edit((2,), conv(1), "there"), Edit((2,), conv(3), "back")]
    assert changes(chain(3, 3, 3), edits) == ()


def test_only_what_differs_is_a_change() -> None:
    """The first convolution of what was put in is the one that stood there."""
    s = Segment(MAP)
    wider = s.graph(s.conv(s.relu(s.conv(0, 8, 3)), 8, 5))
    (change,) = changes(chain(3, 3, 3), [Edit((0, 1, 2), wider, "db:1")])
    assert change.before.ops == (2,)
    assert [op.get("kernel_shape") for op in change.after.ops] == [(5, 5)]
    assert (change.inputs, change.outputs, change.sources) == ((2,), (3,), ("db:1",))


def test_edits_far_apart_are_two_changes_in_the_order_of_the_base() -> None:
    edits = [Edit((4,), conv(1), "late"), Edit((0,), conv(5), "early")]
    early, late = changes(chain(3, 3, 3), edits)
    assert (early.before.ops, early.sources) == ((0,), ("early",))
    assert (late.before.ops, late.sources) == ((4,), ("late",))


def test_an_edit_of_what_an_edit_put_in_is_one_change() -> None:
    edits = [Edit((2,), two(), "first"), Edit((4,), conv(1), "second")]
    (change,) = changes(chain(3, 3, 3), edits)
    assert change.before.ops == (2,)
    assert [op.kind for op in change.after.ops] == ["Conv", "Relu", "Conv"]
    assert change.sources == ("first", "second")


def test_neighbours_that_both_changed_are_one_change() -> None:
    edits = [Edit((0,), conv(5), "one"), Edit((1, 2), two(1), "other")]
    (change,) = changes(chain(3, 3, 3), edits)
    assert change.before.ops == (0, 1, 2)
    assert len(change.after.ops) == 4


def test_a_removed_operator_leaves_its_operand_for_its_result() -> None:
    (change,) = changes(chain(3, 3, 3), [Edit((2,), IDENTITY, "identity")])
    assert change.before.ops == (2,)
    assert change.after == IDENTITY
    assert (change.inputs, change.outputs, change.sources) == ((2,), (3,), ())


def test_a_branch_between_others_keeps_its_two_inputs() -> None:
    """Convolution and addition of a residual block, replaced together."""
    graph = base().graph
    s = Segment(MAP, MAP)
    other = s.graph(s.join("Add", s.conv(0, 8, 1), s.conv(1, 8, 1)))
    (change,) = changes(graph, [Edit((4, 5), other, "db:2")])
    assert change.before.ops == (4, 5)
    assert len(change.inputs) == change.after.n_inputs == 2
    assert change.outputs == change.before.outputs


def test_operands_of_an_addition_may_stand_the_other_way_round() -> None:
    graph = base().graph
    s = Segment(MAP, MAP)
    swapped = s.graph(s.join("Add", 1, s.conv(0, 8, 3)))
    assert graph.ops[5].inputs == (5, 2)
    assert changes(graph, [Edit((4, 5), swapped, "db:3")]) == ()
