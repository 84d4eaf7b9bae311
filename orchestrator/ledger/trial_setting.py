"""A trial's setting, which is its whole configuration, as a text for people and as an id for grouping.

Trials of one setting differ only in their stratum: forget set, seed and replicate.
"""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.identity import IDENTITY_VERSION, content_hash
from trainables.config import TrialConfig

ID_DIGITS = 12
_OF_THE_OBJECTIVE = ("compat",)
_OF_THE_OPTIMIZER = ("learning_rate", "momentum", "weight_decay", "clip_norm")
_OF_THE_BATCH = ("micro_batch_size",)
_OF_THE_SCHEDULE = ("warmup_steps",)
_NAMED = frozenset({"objective", "objective_settings", "optimizer", "optimizer_settings", "batch_size", "schedule"})
_SHORT = {"learning_rate": "lr"}


def settings_text(config: TrialConfig, *, horizon: int | None) -> str:
    """Return the settings of a trial as one line, such as ``npo beta=0.1 · adamw lr=3e-05 · batch 32``.

    It always has objective, optimizer, learning rate and batch size. Other settings follow in a fixed order if they
    differ from the default of ``TrialConfig``; settings of the objective and of the optimizer if they were given.
    Numbers are exact, so that two different settings never have the same text.

    Args:
        config: of the trial.
        horizon: total steps, where the schedule depends on them.
    """
    given = {
        name: value
        for name, value in config
        if value != type(config).model_fields[name].get_default(call_default_factory=True)
    }
    own = {
        f"optimizer_{name}" if name in _OF_THE_OPTIMIZER else name: value
        for name, value in sorted(config.optimizer_settings.items())
    }
    parts = [
        _part(config.objective, dict(sorted(config.objective_settings.items())) | _only(given, _OF_THE_OBJECTIVE)),
        _part(config.optimizer, _only(given, _OF_THE_OPTIMIZER) | own),
        _part(f"batch {config.batch_size}", _only(given, _OF_THE_BATCH)),
    ]
    of_schedule = {**({} if horizon is None else {"horizon": horizon}), **_only(given, _OF_THE_SCHEDULE)}
    if of_schedule or "schedule" in given:
        parts.append(_part(config.schedule, of_schedule))
    placed = _NAMED.union(_OF_THE_OBJECTIVE, _OF_THE_OPTIMIZER, _OF_THE_BATCH, _OF_THE_SCHEDULE)
    parts += [f"{name}={_value(given[name])}" for name in sorted(given.keys() - placed)]
    return " · ".join(parts)


def setting_id(config: TrialConfig, *, horizon: int | None) -> str:
    """Return 12 hex digits that are equal for equal settings, whatever the forget set, the seed, data and models."""
    identity = {"schema_version": IDENTITY_VERSION, "config": config.identity(), "horizon": horizon}
    return content_hash(identity)[:ID_DIGITS]


def setting_columns(config: TrialConfig, *, horizon: int | None) -> dict[str, str]:
    """Return the columns of the ledger's tables that describe a trial's setting."""
    return {"settings": settings_text(config, horizon=horizon), "setting_id": setting_id(config, horizon=horizon)}


def setting_of(trial: Mapping[str, Any]) -> dict[str, str]:
    """Return the same columns from the rest of a trial's row; empty where its configuration is not valid."""
    try:
        config = TrialConfig.model_validate(json.loads(trial.get("config") or ""))
    except (ValueError, RecursionError):
        return {}
    return setting_columns(config, horizon=trial.get("horizon"))


def _only(given: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: given[name] for name in names if name in given}


def _part(name: str, settings: Mapping[str, object]) -> str:
    return " ".join([name, *(f"{_SHORT.get(key, key)}={_value(value)}" for key, value in settings.items())])


def _value(value: object) -> str:
    """Return a value as exact text; a whole number has no ``.0``."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
