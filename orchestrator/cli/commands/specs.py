"""The command ``spec``: what a spec may say, for people and for editors."""

from typing import Annotated

import typer

from orchestrator.cli.console import print_json, write
from orchestrator.cli.options import PluginOption
from orchestrator.errors import SweepError
from trainables.plugins import load_plugins


def spec(
    reference: Annotated[
        bool, typer.Option("--reference", help="Print every key of a spec and every column of a ledger, in Markdown.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a spec (draft 2020-12), for editors.")
    ] = False,
    plugins: PluginOption = None,
) -> None:
    """Print what a spec may say: a reference to read, or a JSON Schema for editors.

    The schema knows objectives of installed packages and of plugin files; the reference has those that are shipped.
    """
    from orchestrator.spec import spec_json_schema, spec_reference

    if reference == schema:
        raise SweepError(
            "spec: give --reference (Markdown, to read) or --schema (JSON Schema, for an editor), one of the two"
        )
    if plugins and reference:
        raise SweepError("spec: --plugin goes with --schema; the reference has what is shipped")
    if schema:
        load_plugins(plugins or ())
        print_json(spec_json_schema(with_plugins=True))
    else:
        write(spec_reference().encode())
