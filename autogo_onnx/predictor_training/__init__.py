"""Makes predictors: labelled networks to rows, rows to trees, trees to an ONNX file."""
