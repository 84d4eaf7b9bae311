"""The commands that look ahead without running anything: plan, doctor."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from orchestrator.cli.console import out, print_json, say, show_folded
from orchestrator.cli.options import (
    JsonOption,
    PluginOption,
    SetOption,
    SpecArgument,
    StorageOption,
    TrustOption,
    WorkersOption,
)
from orchestrator.ledger import DEFAULT_STORAGE
from trainables.plugins import load_plugins

_NOT_CHECKED = "texts, token lengths and the model were not checked (--no-estimate)"


def plan(
    spec: SpecArgument = None,
    overrides: SetOption = None,
    workers: WorkersOption = None,
    estimate: Annotated[
        bool,
        typer.Option(help="Check the texts and the model too, and time steps on this machine; or check sizes only."),
    ] = True,
    plugins: PluginOption = None,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a sweep will cost: its sets, trials, steps, time and GPU-hours, and what the shared step axis saves."""
    from orchestrator.cli.tables import plan_table
    from orchestrator.plan import fits_here, plan_sweep
    from orchestrator.spec import load_spec

    load_plugins(plugins or ())
    loaded = load_spec(spec, overrides=tuple(overrides or ())).trusting_remote_code(trust_remote_code)
    known = _look_and_time(loaded) if estimate else _look_at_sizes(loaded, _NOT_CHECKED)
    at_once = workers or loaded.resources.concurrent_limit or fits_here(loaded.resources)
    result = plan_sweep(**known, concurrent_trials=at_once)
    print_json(result.as_json()) if as_json else out().print(plan_table(result))


def _look_at_sizes(spec: Any, unchecked: str | None) -> dict[str, Any]:
    """Return the arguments of ``plan_sweep`` that are known without reading texts, and report what is unchecked."""
    from orchestrator.preparation import check_sizes

    looked = check_sizes(spec)
    for what in (unchecked, looked.unchecked):
        if what is not None:
            say(f"unlearn-sweep: {what}")
    return {"spec": looked.spec, "sizes": looked.sizes}


def _look_and_time(spec: Any) -> dict[str, Any]:
    """Return the arguments of ``plan_sweep`` after checking what a sweep would fail at and timing what it would take.

    Times are those of its steps, and of what a run takes besides. It loads PyTorch.
    """
    from orchestrator.plan import measure_overheads, time_steps, typical_lengths
    from orchestrator.preparation import check_spec

    looked = check_spec(spec)
    inputs = looked.inputs
    if inputs is not None:
        times = time_steps(inputs.spec, typical_lengths(inputs), sizes=inputs.sizes, encoded=inputs.encoded)
        return {
            "spec": inputs.spec,
            "inputs": inputs,
            "training_flops": looked.training_flops,
            "times": times,
            "overheads": measure_overheads(),
        }
    known = _look_at_sizes(spec, looked.unchecked)
    if known["sizes"] is None:
        return known
    return {**known, "times": time_steps(known["spec"], sizes=known["sizes"]), "overheads": measure_overheads()}


def doctor(
    spec: Annotated[
        str | None, typer.Argument(help="A spec to check. Without it: check the machine and the storage alone.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    plugins: PluginOption = None,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check whether a sweep could run on this machine, or on the cluster that RAY_ADDRESS names."""
    from orchestrator.spec import load_spec

    files, loaded = load_plugins(plugins or ()), None
    if spec is not None:
        loaded = load_spec(spec, overrides=tuple(overrides or ())).trusting_remote_code(trust_remote_code)
        loaded = loaded.with_plugins(files)
    from orchestrator.run import examine  # after the spec, so that a mistake in it is reported at once

    checks = []
    for check in examine(loaded, storage=storage, workers=workers):
        checks.append(check)
        if not as_json:
            show_folded(f"{'ok' if check.ok else 'NO':3} {check.name}: {check.found}", indent="    ")
    if as_json:
        print_json([asdict(check) for check in checks])
    if not all(check.ok for check in checks):
        raise typer.Exit(2)
