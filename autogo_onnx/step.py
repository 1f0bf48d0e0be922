"""One replacement of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segments import Site


@dataclass(frozen=True)
class Step:
    """The site, what replaces it, and the site's own weights by operator index.

    A refit replaces a site by itself; where it fails, the own weights stay.
    """

    site: Site
    replacement: OpGraph
    site_weights: Mapping[int, tuple[np.ndarray[Any, Any], ...]]
    is_refit: bool = False
