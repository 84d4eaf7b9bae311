"""The metrics that a spec chooses, and what they make an evaluation score. It loads no PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from trainables.config import Compat, EvaluationConfig
from trainables.errors import UnlearningError
from trainables.metrics.metric import Metric, MetricSettings, ScoredSetsSettings, Values
from trainables.metrics.registry import METRICS, check_metric, values_of
from trainables.metrics.scores import Scores

DEFAULT_METRICS = (
    "exposure_tail",
    "mia_loss",
    "mia_zlib",
    "mia_min_k",
    "mia_reference",
    "privleak",
    "exact_memorization",
    "extraction_strength",
    "probability",
)
"""Metrics that an evaluation computes where none are chosen: they look at likelihoods that it has anyway."""


@dataclass(frozen=True, kw_only=True)
class ChosenMetric:
    """A metric with its settings. It is named, so that a process finds it in its own registry."""

    name: str
    given: Mapping[str, Any]
    """Settings that are not left at their defaults."""
    compat: Compat | None = None
    """The project whose conventions it follows, where that has it."""

    @property
    def metric(self) -> Metric:
        """The metric of this name."""
        return METRICS[self.name]

    @cached_property
    def settings(self) -> MetricSettings:
        """All of its settings."""
        return check_metric(self.name, self.given)

    @property
    def convention(self) -> Compat | None:
        """The project whose conventions it follows; None: the paper's."""
        return self.compat if self.compat in self.metric.compats else None

    def compute(self, scores: Scores) -> Values:
        """Return its values; see ``Values``.

        Raises:
            UnlearningError: the metric returns something else than what it declares.
        """
        return values_of(self.name, scores, self.settings, self.convention)

    def of_forget_set(self) -> "ChosenMetric":
        """Return the same of the forget set alone, if it scores that beside others."""
        if not isinstance(self.settings, ScoredSetsSettings) or "forget" not in self.settings.of:
            return self
        return replace(self, given={name: value for name, value in self.given.items() if name != "of"})


def chosen_metrics(evaluation: EvaluationConfig) -> tuple[ChosenMetric, ...]:
    """Return the metrics that a spec's ``evaluation`` chooses, or the default ones.

    Raises:
        UnlearningError: a metric, a setting or a value is unknown; the message begins with the key.
    """
    given = evaluation.metrics if evaluation.metrics is not None else {name: {} for name in DEFAULT_METRICS}
    found = []
    for name, settings in given.items():
        chosen = ChosenMetric(name=name, given=settings, compat=evaluation.compat)
        try:
            check_metric(name, settings)
        except UnlearningError as error:
            raise UnlearningError(f"evaluation.metrics: {error}") from None
        found.append(chosen)
    return tuple(found)
