"""Pictures mirrored and moved."""

from __future__ import annotations

import numpy as np
from net_cases import pictures

from autogo_onnx.samples import Samples
from autogo_onnx.views import AS_IT_IS, MIRRORED, MOVED, View


def seen(view: View, maps: np.ndarray) -> np.ndarray:
    found = view.of(Samples({"x": maps}))
    assert found is not None
    return found.feeds["x"]


def test_pictures_are_moved_by_a_part_of_their_size_and_repeat_their_edge() -> None:
    small, large = pictures(0, 2, 1, 20, 31), pictures(0, 2, 3, 64, 100)
    down = seen(View(down=1), small)
    np.testing.assert_array_equal(down[:, :, 1:], small[:, :, :-1])
    np.testing.assert_array_equal(down[:, :, 0], small[:, :, 0])
    left = seen(View(right=-1), large)
    np.testing.assert_array_equal(left[..., :-3], large[..., 3:])
    np.testing.assert_array_equal(left[..., -3:], large[..., -1:].repeat(3, -1))
    up = seen(View(down=-1), np.moveaxis(large, 1, 3))
    np.testing.assert_array_equal(up[:, :-2], np.moveaxis(large, 1, 3)[:, 2:])


def test_pictures_are_mirrored_in_three_colours_only() -> None:
    maps = pictures(0, 5, 3, 16, 20)
    np.testing.assert_array_equal(seen(MIRRORED, maps), maps[..., ::-1])
    last = np.moveaxis(maps, 1, 3)
    np.testing.assert_array_equal(seen(MIRRORED, last), last[:, :, ::-1])
    both = seen(View(is_mirrored=True, right=1), maps)
    np.testing.assert_array_equal(both[..., 1:], maps[..., ::-1][..., :-1])
    assert MIRRORED.of(Samples({"x": maps[:, :1]})) is None
    assert View(down=1).of(Samples({"x": maps[:, :1]})) is not None


def test_what_is_no_picture_has_one_view() -> None:
    maps = pictures(0, 5, 3, 16, 20)
    for other in (maps[:, :2], maps[..., :8], maps[:, :, 0], maps.reshape(5, 60, 4, 4)):
        samples = Samples({"x": other})
        assert all(view.of(samples) is None for view in (MIRRORED, *MOVED))
        assert AS_IT_IS.of(samples) is samples
    assert MIRRORED.of(Samples({"x": maps, "y": maps})) is None
    assert View(right=1).of(Samples({"x": maps}, whole=frozenset({"x"}))) is None
    found = MIRRORED.of(Samples({"x": maps}, batch=5))
    assert found is not None
    assert found.batch == 5
