"""What a metric is: a function of scores, its settings, the columns that it fills, what it needs, and its source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from trainables.config import Compat, Config
from trainables.metrics.scores import Array, Scores

Values = Mapping[str, float | Array | None]
"""Numbers by column of ``evaluations``. A name that ends in ``_N`` has an array instead, of one number for each forget
example, NaN where it has none: the column of ``examples`` is the name without the ending."""
Compute = Callable[[Scores, Any, Compat | None], Values]
"""A function of the scores, an instance of the metric's settings class, and the project that it follows, if any."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that a metric fills."""

    unit: str
    """Empty for a number without one."""
    meaning: str
    goal: Literal["low", "high", "unexposed"] = "low"
    """What is better: less, more, or what a model has that never saw the forget set (less is over-unlearned)."""
    unexposed: float | None = None
    """What is expected of such a model where there are no reference models to tell; None: it is not known."""


class MetricSettings(Config):
    """Settings that every metric has: none."""

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that the metric looks at."""
        return ("forget",)


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"each set once; found {list(names)}")
    return names


class ScoredSetsSettings(MetricSettings):
    """Settings of metrics that may score other sets as they score the forget set."""

    of: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_each_once)] = ("forget",)
    """The sets that it scores: ``forget``, and names of ``data.evaluation_sets``, ``retain``, ``population`` or
    ``heldout``. The columns hold the forget set's values, and are null without it. Each other set has a value in
    ``other_metrics``, under the column and the set, such as ``rouge_l_f1[questions]``."""

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that the metric looks at."""
        return self.of


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A registered metric."""

    compute: Compute
    columns: Mapping[str, Column]
    """What it fills of ``evaluations``."""
    example_columns: Mapping[str, Column] = field(default_factory=dict)
    """What it fills of ``examples``."""
    source: str
    """Paper, and the formula in a line."""
    settings: type[MetricSettings] = MetricSettings
    """The class that declares and validates its settings."""
    reads: frozenset[str] = frozenset()
    """Fields of ``SetScores`` that it looks at, beside ``logp_N`` and ``num_targets_N``. Only what some chosen metric
    reads is scored."""
    needs_references: bool = False
    """Whether it has no value without reference models."""
    compats: frozenset[str] = frozenset()
    """Projects that have it."""
