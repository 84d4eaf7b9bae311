"""What the chosen metrics add to every evaluation beyond the likelihoods that it computes anyway."""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.spec import SweepSpec
from trainables.data import Sizes
from trainables.metrics import ChosenMetric, GenerationSettings, SampledLeakageSettings, chosen_metrics


@dataclass(frozen=True, kw_only=True)
class MetricCost:
    """One chosen metric, and what it costs."""

    metric: str
    cost: str
    """What every evaluation does for it; empty: nothing but arithmetic on what it has scored anyway."""


def metric_costs(spec: SweepSpec, sizes: Sizes | None) -> tuple[MetricCost, ...]:
    """Return what each chosen metric costs in an evaluation of the largest forget set.

    Args:
        spec: the spec of the sweep.
        sizes: sizes of its sets; None: they are not known, and costs are told by the set.
    """
    return tuple(
        MetricCost(metric=chosen.name, cost=", ".join(_costs(chosen, spec, sizes)))
        for chosen in chosen_metrics(spec.evaluation)
    )


def _costs(chosen: ChosenMetric, spec: SweepSpec, sizes: Sizes | None) -> Iterator[str]:
    reads, settings = chosen.metric.reads, chosen.settings
    examples = _examples(settings.sets, spec, sizes)
    if "mean_logp_M" in reads or "variance_logp_M" in reads:
        yield f"a pass over the vocabulary at every target token of {examples}"
    if "gradient_norms_NP" in reads:
        yield f"a backward pass for each of {examples}"
    if "perturbed" in reads:
        yield f"scoring the other answers to {examples}"
    if isinstance(settings, GenerationSettings) and "generations" in reads:
        yield f"up to {settings.max_new_tokens} tokens generated for each of {examples}"
    if isinstance(settings, SampledLeakageSettings):
        yield f"{settings.samples} texts of up to {settings.max_new_tokens} tokens sampled for each of {examples}"


def _examples(names: tuple[str, ...], spec: SweepSpec, sizes: Sizes | None) -> str:
    """Return how many examples the sets of these names have together."""
    if sizes is None:
        return f"the examples of {', '.join(names)}"
    own = sizes.forget_sets.values()
    known = {
        "forget": max(one.forget for one in own),
        "population": max(one.population for one in own),
        "heldout": sizes.heldout,
        "retain": spec.data.retain_evaluation,
        **sizes.evaluation,
    }
    return f"{sum(known.get(name, 0) for name in names)} examples ({', '.join(names)})"
