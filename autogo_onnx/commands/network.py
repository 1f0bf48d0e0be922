"""`autogo-onnx db network`: a network of a family as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE


@click.command()
@click.argument("code")
@click.option("--output", "-o", type=FILE, required=True, help="The ONNX file to write.")
@values.seed_option
@values.debug_option
def network(code: str, output: Path, seed: int) -> None:
    """Write a network of a family to OUTPUT, with fresh random weights.

    CODE is FAMILY:CODE, as `nasbench_macro:01201120`, or the name of a published network with or
    without the size of its input: `resnet50`, `mobilenet_v2@160`, `edsr_x2@360x640`. The batch axis
    is dynamic, batch normalizations are nodes.
    """
    from autogo_onnx.files import check_writable
    from autogo_onnx.saving import save
    from autogo_onnx.segment_db.families.naming import network as find

    check_writable(output)
    found = find(code)
    model = found.to_onnx(seed)
    model.graph.name = code
    save(model, output)
    shape = "x".join(map(str, found.graph.input_shapes[0][1:]))
    click.echo(
        f"{output}: {len(found.graph.ops)} operators, {found.parameters():,} parameters,"
        f" {found.macs():,} MACs at {shape}"
    )
