"""Whether data, model and settings of a sweep go together: what ``plan``, ``doctor`` and ``run`` look at first.

Nothing is trained, and no weights are loaded into memory as a whole. What is checked is ``trainables.checks``' to say.
"""

import warnings
from dataclasses import dataclass

from orchestrator.errors import SweepError
from orchestrator.inputs import SweepInputs
from orchestrator.spec import SweepSpec
from trainables.batching import Form
from trainables.checks import Grade, Problem, Subject, problems_of
from trainables.config import SourceConfig
from trainables.errors import DataWarning, UnlearningError
from trainables.hub_access import reaches_the_hub
from trainables.limits import adaptable_modules, limits_of_configuration
from trainables.models import configuration_of, pretrained_files
from trainables.places import is_path
from trainables.prepare import form_of


def find_problems(inputs: SweepInputs) -> list[Problem]:
    """Run every check on what a sweep would score and train on, on its model and its settings.

    Raises:
        UnlearningError: the model's configuration cannot be had.
    """
    spec = inputs.dated
    configuration = configuration_of(spec.model, tokenizer=inputs.tokenizer)
    generates = form_of(spec.model) is Form.PAIR and spec.evaluation.generated > 0
    return problems_of(
        Subject(
            configuration=configuration,
            limits=limits_of_configuration(configuration, spec.model),
            tokenizer=inputs.tokenizer,
            encoded={**inputs.encoded, **inputs.retained},
            model_key="model.architecture" if spec.model.pretrained is None else "model.pretrained",
            files=pretrained_files(spec.model),
            generates=generates,
            modules=adaptable_modules(configuration, spec.model) if spec.model.lora is not None else {},
            lora=spec.model.lora,
            sizes=inputs.sizes,
            trials=spec.corner_configs,
            preparation=spec.preparation,
            training_examples=len(inputs.datasets.base_training()),
            generated=spec.evaluation.asked_to_generate,
        )
    )


def require_ready(inputs: SweepInputs, *, exists: bool = False) -> None:
    """Refuse a sweep that would fail, or whose numbers would not mean what they are called; warn of what is coarse.

    Args:
        inputs: of the sweep.
        exists: it was begun, maybe before there was a check: only what would fail is refused.

    Raises:
        SweepError: with every problem.
        UnlearningError: as ``find_problems``.
    """
    problems = find_problems(inputs)
    refused = {Grade.FAILS} if exists else {Grade.FAILS, Grade.MISLEADS}
    wrong = [problem for problem in problems if problem.grade in refused]
    if wrong:
        lines = "\n".join(f"  {problem}" for problem in wrong)
        raise SweepError(f"sweep '{inputs.spec.name}': data, model and settings do not go together:\n{lines}")
    for note in (*inputs.notes, *(problem for problem in problems if not exists or problem.grade is Grade.MISLEADS)):
        warnings.warn(str(note), DataWarning, stacklevel=2)


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
