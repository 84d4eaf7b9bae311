"""Finished trials for Optuna's studies, made and copied at the cost of what they hold.

``optuna.trial.create_trial`` checks a trial, ``Study.add_trial`` checks it again, and the study keeps a deep copy. In a
search of thousands of trials, each with an observation a step, that was most of the time of a replay.
"""

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search_spaces import Value


class _FinishedTrial(FrozenTrial):
    """A trial whose copies share what never changes: everything but the containers."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = copy.copy(self)
        for name, part in vars(self).items():
            if isinstance(part, dict | list):
                setattr(copied, name, copy.copy(part))
        return copied


def finished_trial(
    *,
    values: Sequence[float] | None,
    params: Mapping[str, Value],
    distributions: Mapping[str, BaseDistribution],
    notes: Mapping[str, Any] | None = None,
    constraints: Mapping[str, float] | None = None,
) -> FrozenTrial:
    """Return the trial that ``create_trial`` would return, unchecked: the study that adds it checks it.

    Args:
        values: one for each objective; None: the trial failed.
        params: values by name.
        distributions: by the same names. They are shared, and must not be changed.
        notes: the sampler's own, numbers and texts by name.
        constraints: by how much each is violated; at most 0: it is not.
    """
    now = datetime.now()  # as Optuna writes it
    trial = _FinishedTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.FAIL if values is None else TrialState.COMPLETE,
        value=None,
        values=values,
        datetime_start=now,
        datetime_complete=now,
        params=dict(params),
        distributions=dict(distributions),
        user_attrs={},
        system_attrs=dict(notes or {}),
        intermediate_values={},
    )
    for name, violation in (constraints or {}).items():
        trial.set_constraint(name, violation)
    return trial
