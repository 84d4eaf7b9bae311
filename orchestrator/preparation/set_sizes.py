"""How large a sweep's sets are, and what is wrong with that: what is known before a text is read or a model looked at.

It loads no PyTorch, and reads a source only where a size is left to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.preparation.verdict import require_no_problem
from orchestrator.spec import SweepSpec, settled_sizes
from trainables.config import ModelConfig
from trainables.data import Sizes, hub_datasets_to_count, require_retained, sizes_of, training_examples
from trainables.deferred import Deferred
from trainables.places import is_path
from trainables.preparation import SizeCheckInputs, find_size_problems

_is_encoder_decoder: Callable[[ModelConfig], bool] = Deferred("trainables.models", "is_encoder_decoder")
"""It loads Transformers: asked only where a check turns on it."""


@dataclass(frozen=True, kw_only=True)
class CheckedSizes:
    """What came of counting a spec's sets."""

    spec: SweepSpec
    """With the numbers that its defaults leave to the sizes."""
    sizes: Sizes | None
    """None: they are not known before a dataset is fetched from the hub."""
    unchecked: str | None = None
    """Why sizes were not checked."""


def look_at_sizes(spec: SweepSpec) -> CheckedSizes:
    """Count a spec's sets and run the checks that need no more.

    Raises:
        SweepError: with every problem.
        UnlearningError: a source cannot be used, or there are fewer examples than are asked for.
    """
    sizes = count_sets(spec)
    if sizes is None:
        where = ", ".join(hub_datasets_to_count(spec.data))
        why = f"set sizes were not checked: how many examples {where} has is not known before it is fetched"
        return CheckedSizes(spec=spec, sizes=None, unchecked=why)
    spec, notes = settled_sizes(spec, sizes.retain)
    require_retained(spec.data.retain_evaluation, sizes.retain)
    counted = counted_of(spec, sizes, generates=lambda: _is_known_to_write_out(spec))
    require_no_problem(spec.name, find_size_problems(counted), notes=notes)
    return CheckedSizes(spec=spec, sizes=sizes)


def count_sets(spec: SweepSpec) -> Sizes | None:
    """Count every set, where that is left to sources by reading these; None: one of them is a dataset of the hub.

    Raises:
        UnlearningError: a source cannot be used, or has too few examples.
    """
    if hub_datasets_to_count(spec.data):
        return None
    return sizes_of(spec.data, encoder_decoder=lambda: _is_encoder_decoder(spec.model))


def counted_of(spec: SweepSpec, sizes: Sizes, *, generates: Callable[[], bool]) -> SizeCheckInputs:
    """Return what the checks of sizes look at.

    Raises:
        UnlearningError: a forget set has more groups of repetitions than examples.
    """
    return SizeCheckInputs(
        sizes=sizes,
        trials=spec.corner_configs,
        preparation=spec.preparation,
        training_examples=training_examples(spec.data, sizes),
        generated=spec.evaluation.asked_to_generate,
        generates=generates,
    )


def writes_out(spec: SweepSpec) -> bool:
    """Return whether the model is an encoder-decoder that writes texts out."""
    return not spec.model.chat_template and spec.evaluation.generated > 0 and _is_encoder_decoder(spec.model)


def _is_known_to_write_out(spec: SweepSpec) -> bool:
    """Return the same, as far as is known without asking the hub."""
    return (spec.model.pretrained is None or is_path(spec.model.pretrained)) and writes_out(spec)
