"""Whether data, model and settings of a sweep go together: what ``plan``, ``doctor`` and ``run`` look at first.

Nothing is trained, and no weights are loaded into memory as a whole. The checks are ``trainables.preparation``'s.
"""

import warnings
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

from orchestrator.preparation.inputs import SweepInputs
from orchestrator.preparation.set_sizes import counted_of, writes_out
from orchestrator.preparation.verdict import Examined, require_sound
from orchestrator.spec import SweepSpec, fix_chat_date
from trainables.config import SourceConfig
from trainables.errors import DataWarning, UnlearningError
from trainables.models import (
    adaptable_modules,
    configuration_of,
    limits_of_configuration,
    pretrained_files,
    reaches_the_hub,
)
from trainables.places import is_path
from trainables.preparation import CheckInputs, find_problems


def _subject(inputs: SweepInputs) -> CheckInputs:
    spec = inputs.dated
    configuration = configuration_of(spec.model, tokenizer=inputs.tokenizer)
    return CheckInputs(
        configuration=configuration,
        limits=limits_of_configuration(configuration, spec.model),
        tokenizer=inputs.tokenizer,
        encoded={**inputs.encoded, **inputs.retained},
        model_key="model.architecture" if spec.model.pretrained is None else "model.pretrained",
        files=pretrained_files(spec.model),
        modules=adaptable_modules(configuration, spec.model) if spec.model.lora is not None else {},
        lora=spec.model.lora,
        **vars(counted_of(spec, inputs.sizes, generates=partial(writes_out, spec))),
    )


def examine(spec: SweepSpec, *, is_new: bool, chat_date: date | None = None) -> Examined:
    """Draw or read a sweep's data, tokenize it, and run every check. Where it runs, PyTorch is loaded.

    Args:
        spec: of the sweep.
        is_new: it was not begun before: its chat template is told the date of today, if it asks for one.
        chat_date: what the template of one that was begun is told, where its spec keeps no date.

    Raises:
        UnlearningError: data, tokenizer or model cannot be used.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        examined = _examined(SweepInputs.of(fix_chat_date(spec) if is_new else spec, chat_date=chat_date))
    warned = tuple(one.message for one in caught if isinstance(one.message, DataWarning))
    return replace(examined, inputs=examined.inputs.without_tokens(), warned=warned)


def _examined(inputs: SweepInputs) -> Examined:
    """Run every check on what a sweep would score and train on, on its model and its settings."""
    subject = _subject(inputs)
    return Examined(
        inputs=inputs, problems=tuple(find_problems(subject)), training_flops=_training_flops(inputs, subject)
    )


def _training_flops(inputs: SweepInputs, subject: CheckInputs) -> float | None:
    """Estimate the arithmetic of training all models: 6 operations for each parameter and token (Kaplan et al. 2020,
    arXiv 2001.08361); None: the size of the model is not known."""
    if subject.limits.parameters is None:
        return None
    sets = [*inputs.encoded.values(), *inputs.retained.values()]
    tokens_each = sum(len(own.tokens) for own in sets) / max(1, sum(len(own) for own in sets))
    tokens = subject.training_examples * inputs.spec.preparation.epochs * tokens_each
    return 6.0 * subject.limits.parameters * tokens * len(inputs.tasks)


def require_ready(inputs: SweepInputs, *, exists: bool = False) -> None:
    """Check data, model and settings that are read already.

    Raises:
        SweepError: as ``require_sound``.
        UnlearningError: the model's configuration cannot be had.
    """
    require_sound(_examined(inputs), exists=exists)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What came of looking at a spec."""

    inputs: SweepInputs | None
    """None: it names what this machine has not and cannot get."""
    unchecked: str | None = None
    """Why nothing was checked."""


def look_at(spec: SweepSpec) -> Looked:
    """Check a spec, unless it names what this machine has not and cannot get.

    Raises:
        SweepError: with every problem.
        UnlearningError: the data, the tokenizer or the model on this machine cannot be used.
    """
    elsewhere, unchecked = _is_elsewhere(spec), "data, tokenizer and model were not checked against each other"
    if elsewhere and not reaches_the_hub():
        why = f"{elsewhere} is not on this machine, and the Hugging Face hub does not answer"
        return Looked(inputs=None, unchecked=f"{unchecked}: {why}")
    try:
        inputs = SweepInputs.of(spec)
        require_ready(inputs)
    except UnlearningError as error:
        if elsewhere is None:
            raise
        return Looked(inputs=None, unchecked=f"{unchecked}: {error}")
    return Looked(inputs=inputs)


def _is_elsewhere(spec: SweepSpec) -> str | None:
    """Name a model or a dataset that a spec takes from the hub, or from a package that is not installed."""
    data, model = spec.data, spec.model
    sources = [data.corpus.source, data.retain_source, data.heldout_source]
    for own in data.forget_sets.values():
        sources += [own.source, own.population_source]
    for source in sources:
        if isinstance(source, SourceConfig) and source.dataset is not None:
            return f"the dataset '{source.dataset}'"
    try:
        is_here = model.pretrained is None or is_path(model.pretrained) or bool(pretrained_files(model))
    except UnlearningError:  # the package is not installed
        is_here = False
    return None if is_here else f"the model '{model.pretrained}'"
