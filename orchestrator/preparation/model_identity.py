"""The identity of a sweep's models and of its workload: hashes of everything that their numbers depend on.

A model's key is such a hash: sweeps share models, and a changed recipe gives a new key.
"""

import os
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from orchestrator.identity import content_hash, file_hash
from orchestrator.preparation.tasks import BASE, ModelTask
from orchestrator.spec import SweepSpec
from trainables.config import ModelConfig
from trainables.data import Datasets, Example, build_datasets, identity
from trainables.models import is_encoder_decoder, pretrained_files
from trainables.paths import is_path
from trainables.seeding import derive_seed

_REFERENCE = "reference-"
"""Role of a reference model, before its number."""


def datasets_of(spec: SweepSpec) -> Datasets:
    """Return every set of a sweep, drawn or read.

    Raises:
        UnlearningError: the data cannot be used; or the kind of the model is not known.
    """
    return build_datasets(spec.data, encoder_decoder=is_encoder_decoder(spec.model))


def model_tasks(spec: SweepSpec, datasets: Datasets, *, replicate: int = 0) -> list[ModelTask]:
    """Return the models that a replicate of a sweep needs, the base model first.

    Args:
        spec: the spec of the replicate.
        datasets: the data of the replicate.
        replicate: its number.
    """
    roles = [BASE, *(f"{_REFERENCE}{index}" for index in range(spec.num_references))]
    shared = _origin_of(spec.model)
    recipe = {
        "preparation": spec.preparation.model_dump(mode="json", exclude={"references", "seed"}),
        "max_tokens": spec.data.max_tokens,
        "tokenizer_texts": content_hash(identity(datasets.reference_training(), attrgetter("text"))),
        "threads": spec.resources.threads_per_trial,
    }
    tasks = []
    for role in roles:
        seed = derive_seed(spec.preparation.seed, "model", role)
        examples = content_hash(identity(training_set_of(datasets, role)))
        own = model_of(spec.model, role)
        origin = shared if own is spec.model else _origin_of(own)
        if replicate and spec.preparation.epochs == 0:  # the same model whatever the data: it is kept once
            key = content_hash({**origin, "role": role, "as_it_is": True})
        else:
            key = content_hash({**recipe, **origin, "seed": seed, "examples": examples})
        tasks.append(ModelTask(role=role, seed=seed, key=key[:24], replicate=replicate))
    return tasks


def workload_hash(spec: SweepSpec, datasets: Datasets, tasks: list[ModelTask]) -> str:
    """Return a hash of everything that trials share and depend on: models, data, evaluation and stop rules."""
    return content_hash(
        {
            "models": [task.key for task in tasks],
            "data": datasets.content_hash(),
            "precision": spec.model.precision,
            **({"lora": spec.model.lora.identity()} if spec.model.lora is not None else {}),
            "max_tokens": spec.data.max_tokens,
            "retain_evaluation": spec.data.retain_evaluation,
            "evaluation": spec.evaluation.identity(),
            # The other stop rules change no number.
            "stop": spec.stop.model_dump(mode="json", include={"max_heldout_nll_increase"}),
            "threads": spec.resources.threads_per_trial,
        }
    )


def training_set_of(datasets: Datasets, role: str) -> Sequence[Example]:
    """Return the examples that the model of a role is trained on."""
    return datasets.base_training() if role == BASE else datasets.reference_training()


def model_of(model: ModelConfig, role: str) -> ModelConfig:
    """Return the configuration of the model of a role: a ready reference model has its own origin."""
    return model if role == BASE else model.of_reference(int(role.removeprefix(_REFERENCE)))


def _origin_of(model: ModelConfig) -> dict[str, Any]:
    return {
        "model": _recipe_of(model),
        "pretrained_files": {name: file_hash(file) for name, file in pretrained_files(model).items()},
    }


def _recipe_of(model: ModelConfig) -> dict[str, Any]:
    """Return the part of a model's configuration that its training depends on, with a folder by its real path."""
    ignored = {"precision", "gradient_checkpointing", "references", *(["lora"] if model.pretrained is None else [])}
    recipe = {name: value for name, value in model.identity().items() if name not in ignored}
    if model.pretrained is not None and is_path(model.pretrained):
        recipe["pretrained"] = os.path.realpath(model.pretrained)
    return recipe
