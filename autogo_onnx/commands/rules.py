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

    width = max(len(rule.name) for rule in RULES)
    for rule in RULES:
        documentation = sys.modules[rule.find.__module__].__doc__ or ""
        mark = "?" if rule.on_trial else " "
        click.echo(f"{rule.name:<{width}} {mark} {documentation.splitlines()[0]}")
    click.echo("\n? on trial: a model keeps it only where it is measured to pay")
