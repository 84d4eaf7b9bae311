"""Whether data, model and settings of a sweep fit together: what ``plan``, ``doctor`` and ``run`` check first.

Nothing is trained, and weights are never loaded as a whole. The checks themselves live in ``trainables.preparation``.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

from orchestrator.preparation.checking.problems import CheckedInputs, require_no_problem
from orchestrator.preparation.checking.size_checks import counted_of, generates_texts
from orchestrator.preparation.inputs import SweepInputs
from orchestrator.spec import SweepSpec, fix_chat_date
from trainables.config import SourceConfig
from trainables.errors import DataWarning, UnlearningError
from trainables.metrics import chosen_metrics
from trainables.models import (
    configuration_of,
    hub_is_reachable,
    pretrained_files,
    pretrained_tokenizer,
    structure_of,
)
from trainables.paths import is_path
from trainables.preparation import CheckInputs, Problem, find_metric_problems, find_problems, find_reference_problems


def _subject(inputs: SweepInputs) -> CheckInputs:
    """Return what the checks of ``trainables.preparation`` need."""
    spec = inputs.dated
    configuration = configuration_of(spec.model, tokenizer=inputs.tokenizer)
    structure = structure_of(configuration, spec.model)
    return CheckInputs(
        configuration=configuration,
        limits=structure.limits,
        tokenizer=inputs.tokenizer,
        encoded={**inputs.encoded, **inputs.retained},
        model_key="model.architecture" if spec.model.pretrained is None else "model.pretrained",
        files=pretrained_files(spec.model),
        modules=structure.adaptable_modules if spec.model.lora is not None else {},
        lora=spec.model.lora,
        **vars(counted_of(spec, inputs.sizes, generates=partial(generates_texts, spec))),
    )


def read_and_check(spec: SweepSpec, *, is_new: bool, chat_date: date | None = None) -> CheckedInputs:
    """Draw or read a sweep's data, tokenize it, and run every check. The process that runs it loads PyTorch.

    Args:
        spec: the spec of the sweep.
        is_new: whether the sweep is new: its chat template gets today's date, if it asks for one.
        chat_date: the date that the template of an existing sweep gets, if its spec keeps none.

    Raises:
        UnlearningError: data, tokenizer or model cannot be used.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checked = _check(SweepInputs.of_all(fix_chat_date(spec) if is_new else spec, chat_date=chat_date))
    warned = tuple(one.message for one in caught if isinstance(one.message, DataWarning))
    return replace(checked, replicates=[own.without_tokens() for own in checked.replicates], warned=warned)


def _check(replicates: Sequence[SweepInputs]) -> CheckedInputs:
    """Run every check on the sets that a sweep scores and trains on, on its model and its settings.

    What is wrong in several replicates is said once.
    """
    subjects = [(inputs, _subject(inputs)) for inputs in replicates]
    problems = [problem for inputs, subject in subjects for problem in _problems(inputs, subject)]
    return CheckedInputs(
        replicates=replicates, problems=tuple(dict.fromkeys(problems)), training_flops=_training_flops(*subjects[0])
    )


def _problems(inputs: SweepInputs, subject: CheckInputs) -> list[Problem]:
    problems = find_problems(subject)
    for index in range(len(inputs.spec.model.references)):
        problems += find_reference_problems(_as_reference(inputs, subject, index), subject)
    evaluation = inputs.spec.evaluation
    if evaluation.metrics is not None:
        problems += find_metric_problems(chosen_metrics(evaluation), inputs.datasets, inputs.tokenizer)
    return problems


def _as_reference(inputs: SweepInputs, subject: CheckInputs, index: int) -> CheckInputs:
    """Return what the checks of a reference model that is trained already need."""
    model = inputs.dated.model.of_reference(index)
    tokenizer = pretrained_tokenizer(model)
    configuration = configuration_of(model, tokenizer=tokenizer)
    return replace(
        subject,
        configuration=configuration,
        limits=structure_of(configuration, model).limits,
        tokenizer=tokenizer,
        model_key=f"model.references.{index}",
        files=pretrained_files(model),
    )


def _training_flops(inputs: SweepInputs, subject: CheckInputs) -> float | None:
    """Return an estimate of the floating-point operations of training the models of a replicate; None: the model's size
    is not known.

    It is 6 operations for each parameter and token (Kaplan et al. 2020, arXiv 2001.08361).
    """
    if subject.limits.parameters is None:
        return None
    sets = [*inputs.encoded.values(), *inputs.retained.values()]
    tokens_each = sum(len(own.tokens) for own in sets) / max(1, sum(len(own) for own in sets))
    tokens = subject.training_examples * inputs.spec.preparation.epochs * tokens_each
    return 6.0 * subject.limits.parameters * tokens * len(inputs.tasks)


def check_inputs(*replicates: SweepInputs, exists: bool = False) -> CheckedInputs:
    """Check data, model and settings that were already read, and refuse or warn; return what was found.

    Raises:
        SweepError: as ``require_no_problem``.
        UnlearningError: the model's configuration cannot be loaded.
    """
    checked = _check(replicates)
    require_no_problem(checked, exists=exists)
    return checked


@dataclass(frozen=True, kw_only=True)
class CheckedSpec:
    """The outcome of checking a spec with its data, tokenizer and model."""

    inputs: SweepInputs | None
    """Inputs of the sweep's first replicate, for all; None: the spec names a model or dataset that this machine does
    not have and cannot get."""
    unchecked: str | None = None
    """Why nothing was checked; None: it was."""
    training_flops: float | None = None
    """The arithmetic of training the models of a replicate; None: it is not known."""


def check_spec(spec: SweepSpec) -> CheckedSpec:
    """Check a spec, unless it names a model or dataset that this machine does not have and cannot get.

    Raises:
        SweepError: lists every problem.
        UnlearningError: the data, the tokenizer or the model on this machine cannot be used.
    """
    elsewhere, unchecked = _found_elsewhere(spec), "data, tokenizer and model were not checked against each other"
    if elsewhere and not hub_is_reachable():
        why = f"{elsewhere} is not on this machine, and the Hugging Face hub does not answer"
        return CheckedSpec(inputs=None, unchecked=f"{unchecked}: {why}")
    try:
        replicates = SweepInputs.of_all(spec)
        checked = check_inputs(*replicates)
    except UnlearningError as error:
        if elsewhere is None:
            raise
        return CheckedSpec(inputs=None, unchecked=f"{unchecked}: {error}")
    return CheckedSpec(inputs=replicates[0], training_flops=checked.training_flops)


def _found_elsewhere(spec: SweepSpec) -> str | None:
    """Return the model or dataset that a spec takes from the hub, or from a package that is not installed; or None."""
    data = spec.data
    sources = [data.corpus.source, data.retain_source, data.heldout_source]
    sources += [own.source for own in data.evaluation_sets.values()]
    for own in data.forget_sets.values():
        sources += [own.source, own.population_source]
    for source in sources:
        if isinstance(source, SourceConfig) and source.dataset is not None:
            return f"the dataset '{source.dataset}'"
    for model in (spec.model, *map(spec.model.of_reference, range(len(spec.model.references)))):
        try:
            is_here = model.pretrained is None or is_path(model.pretrained) or bool(pretrained_files(model))
        except UnlearningError:  # the package is not installed
            is_here = False
        if not is_here:
            return f"the model '{model.pretrained}'"
    return None
