"""Training an ONNX model by gradients, from labels or from a teacher: the extra `[train]`.

Top to bottom: `options.py` is what a user may say, `data.py` what is trained on, `augmentation.py`
how it is changed at random, `tasks.py` and `distillation.py` what is minimized, `preparation.py`
what is done to the model before, `course.py` all of this together, `beginning.py` and `checks.py`
how it is put together or refused, `loop.py` the steps, `step_sizes.py` how long they are,
`checkpoint.py` how they go on after an interruption, `verification.py` what must hold in the end,
`workflow.py` the whole, `summary.py` what is told of it.

Only `options` may be imported where torch is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

from autogo_onnx.errors import InputError
from autogo_onnx.training.options import TrainOptions

__all__ = ["TrainOptions", "require_torch"]


def require_torch() -> None:
    """Refuse to train where torch is not installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("torch") is None:
        raise InputError("training needs torch: pip install 'autogo-onnx[train]'")
