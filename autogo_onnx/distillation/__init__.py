"""Plans beyond the gate, trained back on the user's samples: the extra `[train]` in `optimize`.

Top to bottom: `lessons.py` shares out the samples, `sights.py` shows them in several views,
`teacher.py` gives the original's answers to them, `imitation.py` says how far a student's are from
these, `student.py` is a plan's model as it learns, `learning.py` its way to a trained model,
`pace.py` on how many threads; `distilling.py` is all of this together, one plan after the other.

Nothing here needs torch before `distil` is called.
"""

from autogo_onnx.distillation.distilling import TRAINING_GAIN, distil
from autogo_onnx.distillation.lessons import Lessons, read_lessons

__all__ = ["TRAINING_GAIN", "Lessons", "distil", "read_lessons"]
