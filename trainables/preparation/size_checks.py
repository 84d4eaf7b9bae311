"""What can be wrong with the sizes of sets and the settings that go by them: what needs neither texts nor a model.

It loads no PyTorch. ``checks`` has the rest, and the whole list.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trainables.config import PreparationConfig, TrialConfig
from trainables.data import Sizes
from trainables.preparation.problems import Grade, Problem

FEWEST_RANKED = 4
"""Of a smaller population relative exposure ends at or hardly above 1.44 bits, which an untrained example has."""
FEW = 8
"""Examples below which a rank or a mean is coarse."""


def _writes_nothing() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What is known of a sweep once its sets are counted."""

    sizes: Sizes | None = None
    """Of every set; None: no more is known."""
    trials: Sequence[TrialConfig] = ()
    """Configurations that span what may come up."""
    preparation: PreparationConfig | None = None
    training_examples: int = 0
    """Of the base model in one epoch, repetitions counted."""
    generated: int | None = None
    """Held-out examples that were asked to be written out; None: as many as there are will do."""
    generates: Callable[[], bool] = _writes_nothing
    """Whether the model is an encoder-decoder that writes texts out. Asked only where that decides: finding it out may
    load Transformers."""


SizeCheck = Callable[[Counted], Iterator[Problem]]


def populations(subject: Counted) -> Iterator[Problem]:
    """Populations and held-out sets so small that ranks and means over them say little."""
    if subject.sizes is None:
        return
    for name, own in subject.sizes.forget_sets.items():
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
                grade=Grade.MISLEADS if few else Grade.NOTE,
            )
    if subject.sizes.heldout < FEW:
        yield Problem(
            where="data.heldout",
            found=f"{subject.sizes.heldout} examples, the mean of which is the performance",
            allowed=f"{FEW} and more make it steadier",
            advice="raise it; 64 and more are usual",
            grade=Grade.NOTE,
        )


def batches(subject: Counted) -> Iterator[Problem]:
    """Batches that are larger than the sets that they are drawn from: they would be called what they are not."""
    if subject.sizes is not None and subject.trials:
        sizes = {name: own.forget for name, own in subject.sizes.forget_sets.items()}
        largest, asked = max(sizes.values()), sorted({config.batch_size for config in subject.trials})
        small = [f"'{name}' ({size})" for name, size in sizes.items() if size < asked[-1]]
        if asked[-1] > largest:
            yield Problem(
                where="search.space.batch_size",
                found=f"{asked[-1]}, and the largest forget set has {largest} examples",
                allowed=f"at most {largest}, which is the whole set",
                advice=f"give {largest} or less, or enlarge the forget set",
                grade=Grade.MISLEADS,
            )
        elif small:
            yield Problem(
                where="search.space.batch_size",
                found=f"up to {asked[-1]}, more than the forget set {', '.join(small)} has",
                allowed="of a smaller set the batch is the whole set",
                advice="give less where steps on both sets are to be compared",
                grade=Grade.NOTE,
            )
    preparation = subject.preparation
    if preparation is not None and preparation.epochs and 0 < subject.training_examples < preparation.batch_size:
        chosen = "batch_size" in preparation.model_fields_set
        yield Problem(
            where="preparation.batch_size",
            found=f"{preparation.batch_size}{'' if chosen else ' by default'}, and an epoch has "
            f"{subject.training_examples} examples",
            allowed=f"at most {subject.training_examples}" if chosen else "all of them are one batch",
            advice=f"give {subject.training_examples} or less",
            grade=Grade.MISLEADS if chosen else Grade.NOTE,
        )


def written_out(subject: Counted) -> Iterator[Problem]:
    """More held-out examples to write out than there are."""
    if subject.sizes is not None and (subject.generated or 0) > subject.sizes.heldout and subject.generates():
        yield Problem(
            where="evaluation.generated",
            found=f"{subject.generated} held-out examples are to be written out, and there are {subject.sizes.heldout}",
            allowed=f"at most {subject.sizes.heldout}",
            advice="lower it, or leave it out: then 32, or all that there are",
            grade=Grade.MISLEADS,
        )


SIZE_CHECKS: tuple[SizeCheck, ...] = (populations, batches, written_out)
"""The checks that need no more than ``Counted``, in the order in which problems are listed."""


def size_problems_of(counted: Counted) -> list[Problem]:
    """Run the checks that need neither texts nor a model, and list what is wrong."""
    return [problem for check in SIZE_CHECKS for problem in check(counted)]
