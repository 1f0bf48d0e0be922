"""Ranks rewrites before they are made: boosted trees over hand-built features.

- `predictor`: opens a file and predicts;
- `validation`, `trees`: what a file must be before anything in it is run;
- `description`: what a file says of itself;
- `heads`, `tree_ensemble`: write a file from fitted regressors;
- `graph`: what both sides make ONNX models of.
"""

from autogo_onnx.predictor.predictor import (
    ACCURACY,
    ERROR,
    SHIPPED,
    Predicted,
    Predictor,
    open_predictor,
)

__all__ = ["ACCURACY", "ERROR", "SHIPPED", "Predicted", "Predictor", "open_predictor"]
