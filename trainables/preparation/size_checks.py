"""Checks of the sizes of sets, and of settings that depend on them: they need neither texts nor a model.

It loads no PyTorch. The other checks are in ``input_checks``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trainables.config import THIRDS, PreparationConfig, TrialConfig
from trainables.data import Sizes
from trainables.metrics import AttackSettings, ChosenMetric, ExposureTailSettings
from trainables.preparation.problems import Problem, Severity

FEWEST_RANKED = 4
"""Examples of a population at least: with fewer, relative exposure ends near the 1.44 bits of an untrained example."""
FEW = 8
"""Examples of a population, a held-out or an evaluation set below which a rank or a mean is coarse."""


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class SizeCheckInputs:
    """What is known of a sweep once its sets are counted."""

    sizes: Sizes | None = None
    """Size of every set; None: unknown, and not checked."""
    trials: Sequence[TrialConfig] = ()
    """Configurations that span all trials."""
    preparation: PreparationConfig | None = None
    """How models are trained; None: not checked."""
    training_examples: int = 0
    """Examples of the base model in one epoch, repetitions counted."""
    generated: int | None = None
    """Held-out examples that the user wants texts generated for; None: 32, or all where there are fewer."""
    metrics: Sequence[ChosenMetric] = ()
    """Metrics that the user chose. Of the default ones nothing is said: every small sweep has them."""
    selection_share: float = 0.0
    """See ``EvaluationConfig``."""
    generates: Callable[[], bool] = _never
    """Whether the model is an encoder-decoder that generates texts. It is called only where that decides, since finding
    out may load Transformers."""


SizeCheck = Callable[[SizeCheckInputs], Iterator[Problem]]


def check_populations(inputs: SizeCheckInputs) -> Iterator[Problem]:
    """Yield populations, held-out and evaluation sets so small that ranks and means over them say little."""
    if inputs.sizes is None:
        return
    for name, own in inputs.sizes.forget_sets.items():
        if own.population < FEW:
            few = own.population < FEWEST_RANKED
            ceiling = math.log2(own.population)
            yield Problem(
                where=f"data.forget_sets.{name}.population",
                found=f"{own.population} examples, so that relative exposure ends at {ceiling:.2f} bits",
                allowed=f"at least {FEWEST_RANKED}: an untrained example has 1.44 bits, and an exposed one must be "
                f"above"
                if few
                else f"{FEW} and more tell examples apart better",
                advice="raise it; 64 and more are usual",
                severity=Severity.MISLEADS if few else Severity.NOTE,
            )
    if inputs.sizes.heldout < FEW:
        yield Problem(
            where="data.heldout",
            found=f"{inputs.sizes.heldout} examples, the mean of which is the performance",
            allowed=f"{FEW} and more make it steadier",
            advice="raise it; 64 and more are usual",
            severity=Severity.NOTE,
        )
    if inputs.selection_share and inputs.sizes.heldout < 2:
        yield Problem(
            where="evaluation.selection_share",
            found=f"{inputs.selection_share:g} of {inputs.sizes.heldout} held-out example",
            allowed="a held-out set of at least 2: one to choose by, one to show",
            advice="raise data.heldout, or leave the share out",
            severity=Severity.FAILS,
        )
    for name, examples in inputs.sizes.evaluation.items():
        if examples < FEW:
            yield Problem(
                where=f"data.evaluation_sets.{name}.size",
                found=f"{examples} examples, over which metrics are means",
                allowed=f"{FEW} and more make them steadier",
                advice="raise it; 64 and more are usual",
                severity=Severity.NOTE,
            )


def check_buckets(inputs: SizeCheckInputs) -> Iterator[Problem]:
    """Yield buckets without examples, and those so small that a mean over them says little."""
    buckets = inputs.sizes.buckets if inputs.sizes is not None else {}
    smallest: dict[str, int] = {}
    for bucket, own in buckets.items():
        smallest[bucket.parent] = min(own.forget, smallest.get(bucket.parent, own.forget))
    for name, examples in smallest.items():
        if examples < FEW:
            yield Problem(
                where=f"data.forget_sets.{name}.buckets",
                found=f"a third of {examples} examples",
                allowed=f"{FEW} and more make means over them steadier"
                if examples
                else f"at least 1: a forget set of {len(THIRDS)}",
                advice="enlarge the forget set, or leave its buckets out",
                severity=Severity.NOTE if examples else Severity.FAILS,
            )


def check_batch_sizes(inputs: SizeCheckInputs) -> Iterator[Problem]:
    """Yield batch sizes larger than the sets that batches are drawn from: no batch would be that large."""
    if inputs.sizes is not None and inputs.trials:
        sizes = {name: own.forget for name, own in inputs.sizes.unlearned.items()}
        largest, asked = max(sizes.values()), sorted({config.batch_size for config in inputs.trials})
        small = [f"'{name}' ({size})" for name, size in sizes.items() if size < asked[-1]]
        if asked[-1] > largest:
            yield Problem(
                where="search.space.batch_size",
                found=f"{asked[-1]}, and the largest forget set has {largest} examples",
                allowed=f"at most {largest}, which is the whole set",
                advice=f"give {largest} or less, or enlarge the forget set",
                severity=Severity.MISLEADS,
            )
        elif small:
            yield Problem(
                where="search.space.batch_size",
                found=f"up to {asked[-1]}, more than the forget set {', '.join(small)} has",
                allowed="of a smaller set the batch is the whole set",
                advice="give less where steps on both sets are to be compared",
                severity=Severity.NOTE,
            )
    preparation = inputs.preparation
    if preparation is not None and preparation.epochs and 0 < inputs.training_examples < preparation.batch_size:
        chosen = "batch_size" in preparation.model_fields_set
        yield Problem(
            where="preparation.batch_size",
            found=f"{preparation.batch_size}{'' if chosen else ' by default'}, and an epoch has "
            f"{inputs.training_examples} examples",
            allowed=f"at most {inputs.training_examples}" if chosen else "all of them are one batch",
            advice=f"give {inputs.training_examples} or less",
            severity=Severity.MISLEADS if chosen else Severity.NOTE,
        )


def check_generated(inputs: SizeCheckInputs) -> Iterator[Problem]:
    """Yield a problem where texts are wanted for more held-out examples than there are."""
    if inputs.sizes is not None and (inputs.generated or 0) > inputs.sizes.heldout and inputs.generates():
        yield Problem(
            where="evaluation.generated",
            found=f"{inputs.generated} held-out examples, and there are {inputs.sizes.heldout}",
            allowed=f"at most {inputs.sizes.heldout}",
            advice="lower it, or leave it out: then 32, or all that there are",
            severity=Severity.MISLEADS,
        )


def check_metrics(inputs: SizeCheckInputs) -> Iterator[Problem]:
    """Yield never-trained sets that are too small for what chosen metrics count of them."""
    for chosen in inputs.metrics if inputs.sizes is not None else ():
        settings = chosen.settings
        if isinstance(settings, AttackSettings) and f"{chosen.name}_tpr" in chosen.metric.columns:
            needed = math.ceil(round(1 / settings.false_positives, 9))
            for where, examples in _nonmembers(inputs, settings.nonmembers):
                if examples < needed:
                    yield Problem(
                        where=where,
                        found=f"{examples} examples, of which {chosen.name} may take {settings.false_positives:g} for "
                        f"members: less than one",
                        allowed=f"with fewer than {needed}, {chosen.name}_tpr is that without any false positive",
                        advice="raise it, or false_positives of the metric; the area (AUC) needs no more",
                        severity=Severity.NOTE,
                    )
        if isinstance(settings, ExposureTailSettings):
            for where, examples in _nonmembers(inputs, "population"):
                if math.log2(examples) <= settings.relative_threshold:
                    yield Problem(
                        where=where,
                        found=f"{examples} examples, so that no relative exposure is above "
                        f"{settings.relative_threshold:g} bits, the relative_threshold of {chosen.name}",
                        allowed=f"more than {math.floor(2**settings.relative_threshold)}; with fewer, "
                        f"rel_ex_exposed_share is null",
                        advice="raise it, or lower the threshold",
                        severity=Severity.NOTE,
                    )


def _nonmembers(inputs: SizeCheckInputs, name: str) -> Iterator[tuple[str, int]]:
    """Yield the sizes of the never-trained sets of a name, by their spec keys."""
    assert inputs.sizes is not None
    if name == "heldout":
        yield "data.heldout", inputs.sizes.heldout
        return
    for forget_set, own in inputs.sizes.forget_sets.items():
        yield f"data.forget_sets.{forget_set}.population", own.population


SIZE_CHECKS: tuple[SizeCheck, ...] = (
    check_populations,
    check_buckets,
    check_batch_sizes,
    check_generated,
    check_metrics,
)
"""The checks of this module, in the order in which problems are listed."""


def find_size_problems(inputs: SizeCheckInputs) -> list[Problem]:
    """Return what the checks that need neither texts nor a model find wrong."""
    return [problem for check in SIZE_CHECKS for problem in check(inputs)]
