"""Gives a segment other boundary shapes: strides, pads, groups and widths that make it fit a site.

`adaptation` runs it all; `interior` does the same for a segment that keeps its boundary and is to
be narrower inside. In the order in which a segment passes them:

- `demands`: whether the site's shapes make a problem at all;
- `operators`: what every operator says of sizes and widths, each kind described by one of
  `sliding`, `upsampling`, `reducing`, `element_wise`, `matrices`, `moving` and `cutting`; `layout`
  finds the axis of channels, `windows` is the arithmetic, `structure` holds what was said;
- `posing`: the same as a problem in plain integers, with `wishes` for widths, `equations` between
  them and the `domains` of sizes; `problem` says what is minimized;
- `solver`: asks `direct`, which solves the simple structures exactly (`assignment`, `elimination`,
  `direct_widths`), then `level_model`, a mixed-integer program (in the silence of `quiet`);
- `writing`: the answer as a segment;
- `conflict`: where there is none, what contradicts what, and `explanation`: that in words.
"""

from autogo_onnx.shapes.adaptation import adapt
from autogo_onnx.shapes.problem import Infeasible
from autogo_onnx.shapes.solver import Solver

__all__ = ["Infeasible", "Solver", "adapt"]
