"""The sizes of a sweep's sets and the checks that need nothing else: no texts, and no model.

It loads no PyTorch, and reads a source only where a size is left to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.preparation.checking.problems import refuse_or_warn
from orchestrator.spec import SweepSpec, settled_sizes
from trainables.config import ModelConfig
from trainables.data import Sizes, hub_datasets_to_count, require_retained, sizes_of, training_examples
from trainables.deferred import Deferred
from trainables.metrics import chosen_metrics
from trainables.paths import is_path
from trainables.preparation import SizeCheckInputs, find_size_problems

_is_encoder_decoder: Callable[[ModelConfig], bool] = Deferred("trainables.models", "is_encoder_decoder")
"""It loads Transformers: called only where a check depends on it."""


@dataclass(frozen=True, kw_only=True)
class CheckedSizes:
    """A spec whose set sizes were counted and checked."""

    spec: SweepSpec
    """The spec, with the numbers that its defaults derive from the sizes."""
    sizes: Sizes | None
    """Sizes of the sets; None: not known before a dataset is fetched from the hub."""
    unchecked: str | None = None
    """Why sizes were not checked; None: they were."""


def check_sizes(spec: SweepSpec) -> CheckedSizes:
    """Count a spec's sets, and run the checks that need nothing else.

    Raises:
        SweepError: lists every problem.
        UnlearningError: a source cannot be used, or has fewer examples than are requested.
    """
    sizes = count_sets(spec)
    if sizes is None:
        where = ", ".join(hub_datasets_to_count(spec.data))
        why = f"set sizes were not checked: how many examples {where} has is not known before it is fetched"
        return CheckedSizes(spec=spec, sizes=None, unchecked=why)
    spec, notes = settled_sizes(spec, sizes.retain)
    require_retained(spec.data.retain_evaluation, sizes.retain)
    counted = counted_of(spec, sizes, generates=lambda: _surely_generates_texts(spec))
    refuse_or_warn(spec.name, find_size_problems(counted), notes=notes)
    return CheckedSizes(spec=spec, sizes=sizes)


def count_sets(spec: SweepSpec) -> Sizes | None:
    """Return the size of every set; a source is read where its size is left to it. None: a dataset is on the hub.

    Raises:
        UnlearningError: a source cannot be used, or has too few examples.
    """
    if hub_datasets_to_count(spec.data):
        return None
    return sizes_of(spec.data, encoder_decoder=lambda: _is_encoder_decoder(spec.model))


def counted_of(spec: SweepSpec, sizes: Sizes, *, generates: Callable[[], bool]) -> SizeCheckInputs:
    """Return what the checks of sizes need.

    Raises:
        UnlearningError: a forget set has more groups of repetitions than examples.
    """
    return SizeCheckInputs(
        sizes=sizes,
        trials=spec.corner_configs,
        preparation=spec.preparation,
        training_examples=training_examples(spec.data, sizes),
        generated=spec.evaluation.asked_to_generate,
        metrics=chosen_metrics(spec.evaluation) if spec.evaluation.metrics is not None else (),
        selection_share=spec.evaluation.selection_share,
        generates=generates,
    )


def generates_texts(spec: SweepSpec) -> bool:
    """Return whether evaluations of the model generate texts: it is an encoder-decoder without a chat template."""
    return not spec.model.chat_template and spec.evaluation.generated > 0 and _is_encoder_decoder(spec.model)


def _surely_generates_texts(spec: SweepSpec) -> bool:
    """Return whether evaluations are known to generate texts without asking the hub."""
    return (spec.model.pretrained is None or is_path(spec.model.pretrained)) and generates_texts(spec)
