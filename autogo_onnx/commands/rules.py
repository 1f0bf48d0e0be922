"""`autogo-onnx rules`: the exact rules in the order in which they run."""

from __future__ import annotations

import sys

import click

from autogo_onnx.commands import values


@click.command()
@values.debug_option
def rules() -> None:
    """The exact rules, in the order in which they run."""
    from autogo_onnx.rewriters import RULES

    for rule in RULES:
        documentation = sys.modules[rule.find.__module__].__doc__ or ""
        click.echo(f"{rule.name:<24} {documentation.splitlines()[0]}")
