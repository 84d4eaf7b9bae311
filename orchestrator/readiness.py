"""Whether data, tokenizer and model of a sweep go together: what ``plan``, ``doctor`` and ``run`` look at first.

Nothing is trained, and no weights are loaded into memory as a whole. What is checked is ``trainables.checks``' to say.
"""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, is_offline_mode

from orchestrator.errors import SweepError
from orchestrator.inputs import SweepInputs
from orchestrator.spec import SweepSpec
from trainables.batching import Form
from trainables.checks import Problem, Subject, problems_of
from trainables.config import SourceConfig
from trainables.errors import UnlearningError
from trainables.limits import limits_of_configuration
from trainables.models import configuration_of, pretrained_files
from trainables.prepare import form_of
from trainables.scored_sets import encode_retained

_HUB_TIMEOUT_S = 3.0


def find_problems(inputs: SweepInputs) -> list[Problem]:
    """Run every check on what a sweep would score and train on, and on its model.

    Raises:
        UnlearningError: an example of the retain set cannot be trained on; or the model's configuration cannot be had.
    """
    spec = inputs.dated
    configuration = configuration_of(spec.model, tokenizer=inputs.tokenizer)
    retained = encode_retained(inputs.tokenizer, inputs.datasets, model=spec.model, data=spec.data)
    return problems_of(
        Subject(
            configuration=configuration,
            limits=limits_of_configuration(configuration, spec.model),
            tokenizer=inputs.tokenizer,
            encoded={**inputs.encoded, **retained},
            model_key="model.architecture" if spec.model.pretrained is None else "model.pretrained",
            files=pretrained_files(spec.model),
            generates=form_of(spec.model) is Form.PAIR and spec.evaluation.generated > 0,
        )
    )


def require_ready(inputs: SweepInputs) -> None:
    """Refuse a sweep that would fail, or whose numbers would mean nothing.

    Raises:
        SweepError: with every problem.
        UnlearningError: as ``find_problems``.
    """
    problems = find_problems(inputs)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SweepError(f"sweep '{inputs.spec.name}': data, tokenizer and model do not go together:\n{lines}")


def require_ready_or_note(spec: SweepSpec) -> str | None:
    """Check a spec; where it names what this machine has not and cannot get, return why nothing was checked.

    Raises:
        SweepError: with every problem.
        UnlearningError: the data, the tokenizer or the model on this machine cannot be used.
    """
    elsewhere, unchecked = _is_elsewhere(spec), "data, tokenizer and model were not checked against each other"
    if elsewhere and not _reaches_the_hub():
        return f"{unchecked}: {elsewhere} is not on this machine, and the Hugging Face hub does not answer"
    try:
        require_ready(SweepInputs.of(spec))
    except UnlearningError as error:
        if elsewhere is None:
            raise
        return f"{unchecked}: {error}"
    return None


def _reaches_the_hub() -> bool:
    """Return whether asking the hub is worth it: its client tries an address without an answer for half a minute.

    Offline mode is fast, and answers from its cache; through a proxy nothing can be told.
    """
    if is_offline_mode() or getproxies():
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), timeout=_HUB_TIMEOUT_S).close()
    except OSError:
        return False
    return True


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
        is_here = model.pretrained is None or bool(pretrained_files(model))
    except UnlearningError:  # the package is not installed
        is_here = False
    return None if is_here else f"the model '{model.pretrained}'"
