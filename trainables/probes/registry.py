"""The probes by name: how one is added, how its settings are checked, and how it is run. It loads no PyTorch."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from trainables.config import Config, validated_settings
from trainables.deferred import Deferred
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.probes.probe import Probe, ProbedModel, ProbeRecord
from trainables.probes.settings import QuantizationSettings, RelearningSettings, RewordingSettings, TasksSettings

PROBES: dict[str, Probe] = {
    "relearning": Probe(
        run=Deferred("trainables.probes.relearning", "relearning"),
        source=(
            "Deeb & Roger 2024, arXiv 2410.08827: fine-tune on some of what was unlearned, measure the rest; Hu et al. "
            "2024, arXiv 2406.13356; steps to recover: Lynch et al. 2024, arXiv 2402.16835"
        ),
        settings=RelearningSettings,
    ),
    "quantization": Probe(
        run=Deferred("trainables.probes.quantization", "quantization"),
        source="Zhang et al. 2024, arXiv 2410.16454: low-precision weights bring back what was unlearned",
        settings=QuantizationSettings,
    ),
    "rewording": Probe(
        run=Deferred("trainables.probes.rewording", "rewording"),
        source="Patil et al. 2023, arXiv 2309.17410; Lynch et al. 2024, arXiv 2402.16835: other prompts, same answer",
        settings=RewordingSettings,
    ),
    "tasks": Probe(
        run=Deferred("trainables.probes.tasks", "tasks"),
        source="lm-evaluation-harness (Gao et al. 2024, doi 10.5281/zenodo.12608602)",
        settings=TasksSettings,
        look_for=Deferred("trainables.probes.tasks", "find_tasks"),
        requires=("lm_eval", "tasks"),
    ),
}


def register(name: str, probe: Probe) -> None:
    """Add a probe to the registry.

    Raises:
        UnlearningError: the name is taken.
    """
    if name in PROBES:
        raise UnlearningError(f"probe '{name}' is registered already; choose another name")
    PROBES[name] = probe


def check_probe(name: str, given: Mapping[str, Any]) -> Config:
    """Return all settings of a probe, those that are not given at their defaults.

    Raises:
        UnlearningError: the probe, a setting or a value is unknown or not allowed; the message names what is allowed.
    """
    others = {other: entry.settings for other, entry in PROBES.items()}
    return validated_settings(_probe(name).settings, given, owner=f"probe '{name}'", others=others)


def run_probe(
    name: str, settings: Config, probed: ProbedModel, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[ProbeRecord]:
    """Return an iterator over the measurements of a probe, which takes each when its record is asked for.

    Once it is exhausted or closed, the model is as it was, bit for bit.

    Args:
        name: of the probe.
        settings: of the probe (``check_probe``).
        probed: the model.
        clock: a clock that never goes back, in seconds.

    Raises:
        UnlearningError: the probe is unknown, or a package that it needs is not installed; later, if the data do not
            have what the probe needs.
    """
    probe = _probe(name)
    if probe.requires is not None and find_spec(probe.requires[0]) is None:
        package, extra = probe.requires
        raise UnlearningError(
            f"probe '{name}': the package '{package}' is not installed on this machine; install it where sweeps run "
            f"(pip install 'unlearn-sweep[{extra}]'), or leave the probe out"
        )
    return _records(name, probe, settings, probed, clock)


def _records(
    name: str, probe: Probe, settings: Config, probed: ProbedModel, clock: Callable[[], float]
) -> Iterator[ProbeRecord]:
    was_training, started = probed.model.training, clock()
    findings = probe.run(probed, settings)
    try:
        for found in findings:
            yield ProbeRecord(
                probe=name,
                role=probed.role,
                variant=found.variant,
                amount=found.amount,
                before=found.before,
                after=found.after,
                scores=found.scores,
                elapsed_s=clock() - started,
            )
            started = clock()
    finally:
        if isinstance(findings, Generator):
            findings.close()  # now, and not when it is collected: it puts back what it has changed
        probed.model.train(was_training)


def _probe(name: str) -> Probe:
    if name not in PROBES:
        raise UnlearningError(f"unknown probe '{name}'; {nearest_name_hint(name, PROBES)}")
    return PROBES[name]
