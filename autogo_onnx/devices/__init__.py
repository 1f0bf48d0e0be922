"""Devices that nobody here owns: latency predicted from what others measured and published.

- `amounts`: what the operators of a graph amount to, by class;
- `device`: milliseconds as a sum over operators;
- `catalogue`: devices as JSON, in the metadata of a predictor, and how they are told to a user.
"""

from autogo_onnx.devices.amounts import AMOUNTS, Amounts, amounts
from autogo_onnx.devices.catalogue import KEY, describe, read, to_json
from autogo_onnx.devices.device import Device, HeldOut

__all__ = [
    "AMOUNTS",
    "KEY",
    "Amounts",
    "Device",
    "HeldOut",
    "amounts",
    "describe",
    "read",
    "to_json",
]
