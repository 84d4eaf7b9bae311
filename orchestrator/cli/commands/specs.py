"""The command ``spec``: what a spec may say, for people and for editors."""

from typing import Annotated

import typer

from orchestrator.cli.console import print_json, write
from orchestrator.errors import SweepError


def spec(
    reference: Annotated[
        bool, typer.Option("--reference", help="Print every key of a spec and every column of a ledger, in Markdown.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a spec (draft 2020-12), for editors.")
    ] = False,
) -> None:
    """Print what a spec may say: a reference to read, or a JSON Schema for editors."""
    from orchestrator.spec import spec_json_schema, spec_reference

    if reference == schema:
        raise SweepError(
            "spec: give --reference (Markdown, to read) or --schema (JSON Schema, for an editor), one of the two"
        )
    if schema:
        print_json(spec_json_schema())
    else:
        write(spec_reference().encode())
