"""The settings of every shipped metric, with their defaults: one small configuration class each. No PyTorch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainables.config import Compat, PositiveInt
from trainables.metrics.metric import MetricSettings, ScoredSetsSettings

Share = Annotated[float, Field(gt=0, lt=1)]


class ExposureTailSettings(MetricSettings):
    """Settings of ``exposure_tail``."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] = 10.0
    """Generalized exposure above which an example counts as exposed, bits: 10 is a likelihood of 1,000 times the
    reference models'."""
    relative_threshold: Annotated[float, Field(allow_inf_nan=False)] = 4.32
    """Relative exposure above which an example counts as exposed, bits: log2 20 is the likeliest 5 % of the
    population."""

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that the metric looks at."""
        return ("forget", "population")


OPEN_UNLEARNING_K = 0.4
"""Share of tokens of Min-K% and Min-K%++ in every configuration of open-unlearning."""


class AttackSettings(MetricSettings):
    """Settings of every membership attack."""

    nonmembers: Literal["population", "heldout"] = "population"
    """The never-trained examples that the forget set is told from: those of its own kind, or the held-out set."""
    false_positives: Share = 0.01
    """Share of the never-trained examples that may be taken for members, for the true-positive rate."""

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that the metric looks at."""
        return ("forget", self.nonmembers)


class MinKSettings(AttackSettings):
    """Settings of ``mia_min_k``."""

    k: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of an example's tokens, the least likely ones, that count. Left out, under ``compat: open-unlearning``:
    0.4, as in every configuration of that project."""

    def share(self, compat: Compat | None) -> float:
        """Return the share that counts, by the conventions of a project or of the papers."""
        return OPEN_UNLEARNING_K if compat is not None and "k" not in self.model_fields_set else self.k


class MinKPlusPlusSettings(MinKSettings):
    """Settings of ``mia_min_k_plus_plus``."""

    variance_floor: Annotated[float, Field(gt=0)] = 1e-6
    """Least variance of log p over the vocabulary, nats squared: a certain prediction has none."""


class GradientNormSettings(AttackSettings):
    """Settings of ``mia_gradient_norm``."""

    p: Literal["1", "2", "inf"] = "2"
    """The norm."""


class PrivLeakSettings(MinKSettings):
    """Settings of ``privleak``."""

    k: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of an example's tokens, the least likely ones, that count."""


class GenerationSettings(MetricSettings):
    """Settings of metrics of generated texts."""

    max_new_tokens: PositiveInt = 200
    """The longest text that is generated, in tokens; never more than the model has positions for."""


class RougeSettings(ScoredSetsSettings, GenerationSettings):
    """Settings of ``rouge``."""


class SampledLeakageSettings(ScoredSetsSettings, GenerationSettings):
    """Settings of ``sampled_leakage``."""

    samples: PositiveInt = 8
    """Texts that are sampled for each example."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature at which they are."""


class TruthRatioSettings(ScoredSetsSettings):
    """Settings of ``truth_ratio``."""

    aggregate: Literal["closer_to_1", "true_better", "right_share"] = "closer_to_1"
    """The mean over examples of min(R, 1 / R); of max(0, 1 - R); or of right / (right + wrong)."""


class ModelUtilitySettings(GenerationSettings):
    """Settings of ``model_utility``."""

    kept: Annotated[tuple[str, ...], Field(min_length=1)] = ("retain", "real_authors", "world_facts")
    """The sets that are kept: ``retain``, and names of ``data.evaluation_sets``."""
    plain: tuple[str, ...] = ("retain",)
    """Those of them whose answers' own probability counts, and not that among wrong answers."""

    @model_validator(mode="after")
    def _plain_ones_are_kept(self) -> Self:
        others = sorted(set(self.plain) - set(self.kept))
        if others and "plain" in self.model_fields_set:  # the default is of the default sets
            raise ValueError(f"plain: '{others[0]}' is not among the sets that are kept ({', '.join(self.kept)})")
        return self

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that the metric looks at."""
        return self.kept
