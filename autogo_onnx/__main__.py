"""`python -m autogo_onnx`."""

from autogo_onnx.cli import main

if __name__ == "__main__":
    main()
