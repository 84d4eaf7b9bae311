"""The probes by name. Stub."""

from collections.abc import Iterator, Mapping
from typing import Any

from trainables.config import Config, validated_settings
from trainables.deferred import Deferred
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.probes.probe import Probe, ProbedModel, ProbeRecord
from trainables.probes.settings import QuantizationSettings, RewordingSettings

PROBES: dict[str, Probe] = {
    "relearning": Probe(
        run=Deferred("trainables.probes.trivial", "quantization"), source="stub", settings=QuantizationSettings
    ),
    "quantization": Probe(
        run=Deferred("trainables.probes.trivial", "quantization"), source="stub", settings=QuantizationSettings
    ),
    "rewording": Probe(
        run=Deferred("trainables.probes.trivial", "rewording"), source="stub", settings=RewordingSettings
    ),
}


def check_probe(name: str, given: Mapping[str, Any]) -> Config:
    """Return all settings of a probe.

    Raises:
        UnlearningError: the probe or a setting is unknown.
    """
    if name not in PROBES:
        raise UnlearningError(f"unknown probe '{name}'; {nearest_name_hint(name, PROBES)}")
    others = {other: entry.settings for other, entry in PROBES.items()}
    return validated_settings(PROBES[name].settings, given, owner=f"probe '{name}'", others=others)


def run_probe(name: str, settings: Config, probed: ProbedModel) -> Iterator[ProbeRecord]:
    """Yield what a probe finds."""
    yield from PROBES[name].run(settings, probed)
