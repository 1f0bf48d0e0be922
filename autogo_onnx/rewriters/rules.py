"""The exact rules, in the order they run.

Adding a rule is one file, one import and one entry here, and two case files in `tests/cases`.
"""

from __future__ import annotations

from autogo_onnx.rewriters import (
    eliminate_dead_code,
    eliminate_identity,
    fold_constants,
    freeze_initializers,
    fuse_conv_bn,
    fuse_mul_add,
    fuse_pad,
    fuse_slice_pad_conv,
)
from autogo_onnx.rewriters.rule import Rule

RULES: tuple[Rule, ...] = (
    freeze_initializers.RULE,
    eliminate_dead_code.RULE,
    eliminate_identity.RULE,
    fold_constants.RULE,
    fuse_pad.RULE,
    fuse_slice_pad_conv.RULE,
    fuse_conv_bn.RULE,
    fuse_mul_add.RULE,
)
"""Each rule sees what the ones before made possible."""
