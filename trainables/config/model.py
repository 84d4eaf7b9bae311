"""Configurations of the model, and of the training of base and reference models."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from trainables.config.base import Config, LearningRate, PositiveInt, Precision


class LoraConfig(Config):
    """Low-rank adapters beside frozen weights (Hu et al. 2021, arXiv 2106.09685), through PEFT."""

    rank: PositiveInt = 8
    """Rank r of the update of each adapted matrix."""
    alpha: PositiveInt = 16
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the inputs of each adapter that is dropped in training; 0: none."""
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """Names of the modules that get adapters, for example q_proj; ``all-linear``: all but the output
    layer."""


class ReadyModelConfig(Config):
    """A trained model that is used as it is."""

    pretrained: str
    """A folder, hub id or GGUF file, as ``model.pretrained``."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""


class ModelConfig(Config):
    """Where the base model comes from, and how its weights are stored and trained.

    Any causal language model of Transformers (``AutoModelForCausalLM``) or encoder-decoder model
    (``AutoModelForSeq2SeqLM``); the model's own configuration says which of them it is.
    """

    added_later = frozenset({"bos_token", "chat_template", "chat_date", "dtype", "attention", "lora", "references"})

    architecture: dict[str, Any] | None = None
    """A Transformers configuration, ``model_type`` first (for example ``llama`` or ``t5``). The weights start
    random."""
    pretrained: str | None = None
    """A local folder, a Hugging Face hub id, or a GGUF file: its path, ``owner/name/file.gguf`` on the hub, or
    ``package:NAME/file.gguf`` of an installed Python package. The model's own tokenizer is used."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    vocab_size: Annotated[int, Field(ge=260)] = 1024
    """Vocabulary size of the byte-level BPE tokenizer that is trained for an ``architecture``."""
    bos_token: str | None = None
    """Token to put before every text in place of the tokenizer's own first token, for example ``<|endoftext|>`` where
    that one opens a turn of a chat. Only for causal models without a chat template."""
    chat_template: bool = False
    """Format each prompt as a user's message and each completion as the assistant's answer, by the chat template of the
    pretrained tokenizer. The end of the answer is a target too. Every example needs a prompt."""
    chat_date: date | None = None
    """The date that a chat template gets if it prints the current date, for example 2026-11-26. None: the day on which
    the sweep is made. The sweep stores it, so that it can be resumed on another day."""
    dtype: Precision = "fp32"
    """Dtype of the weights, everywhere. With ``bf16`` small updates are lost in rounding, except with ``lora``, whose
    adapters are always fp32."""
    precision: Precision = "fp32"
    """Precision of computing in ascent and evaluation; ``bf16`` is mixed precision. Preparation and baselines compute
    in ``dtype``, so that a bf16 trial at step 0 differs from its baseline by rounding."""
    attention: str | None = None
    """Attention implementation, by its name in Transformers: ``eager``, ``sdpa``, ``flash_attention_2``, ... None: the
    choice of Transformers."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time, and the same
    numbers up to rounding."""
    lora: LoraConfig | None = None
    """Train adapters instead of all weights, in ascent and in the preparation of a pretrained model. Only adapters are
    reset, checkpointed and cached. The preparation of a model from scratch trains all weights."""

    references: tuple[ReadyModelConfig, ...] = ()
    """Reference models that are trained already, such as the retained models that a benchmark publishes; they go with
    ``preparation.epochs: 0``. Their tokens are those of ``pretrained``. Empty: ``preparation`` trains them."""

    _trust_remote_code: bool = PrivateAttr(default=False)

    @property
    def trust_remote_code(self) -> bool:
        """Whether Python code that comes with the model may run. Only the command line can allow it, no spec."""
        return self._trust_remote_code

    def trusting_remote_code(self, trust: bool) -> Self:
        """Return this configuration with or without permission to run Python code that comes with the model."""
        changed = self.model_copy()
        changed._trust_remote_code = trust
        return changed

    def of_reference(self, index: int) -> Self:
        """Return the configuration of a reference model: that of the base model, or its own if it is ready."""
        if not self.references:
            return self
        ready = self.references[index]
        return self.model_copy(update={"pretrained": ready.pretrained, "revision": ready.revision, "references": ()})

    @model_validator(mode="after")
    def _exactly_one_origin(self) -> Self:
        if (self.architecture is None) == (self.pretrained is None):
            raise ValueError(
                "give exactly one of 'architecture' (train from scratch) and 'pretrained' (a folder or hub id)"
            )
        if self.architecture is not None and "model_type" not in self.architecture:
            raise ValueError("'architecture' needs a 'model_type', for example llama or gpt2")
        return self

    @model_validator(mode="after")
    def _tokenizer_settings_fit(self) -> Self:
        if self.pretrained is None and (self.chat_template or self.bos_token is not None):
            raise ValueError("'chat_template' and 'bos_token' belong to the tokenizer of a 'pretrained' model")
        if self.chat_template and self.bos_token is not None:
            raise ValueError("'bos_token' cannot be used with a chat template, which decides what comes first")
        if self.chat_date is not None and not self.chat_template:
            raise ValueError("'chat_date' is the date of a chat template: it goes with chat_template: true")
        return self


class PreparationConfig(Config):
    """The training of base and reference models: AdamW, linear warm-up, then constant learning rate."""

    epochs: Annotated[int, Field(ge=0)]
    """0: ``model.pretrained`` is used as the base model, and has been trained on the forget sets already."""
    batch_size: PositiveInt = 32
    """Examples in one training step."""
    learning_rate: LearningRate
    """Learning rate after the warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of AdamW."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps over which the learning rate rises from 0."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest global L2 norm of the gradient."""
    references: Annotated[int, Field(ge=0)] = 2
    """Number of reference models to train, each with its own seed. 0 turns generalized exposure off (relative exposure
    remains) unless ``model.references`` are given, and is the default with ``epochs: 0``, where none can be trained."""
    seed: int = 0
    """Root of the seeds of base and reference models: of initial weights, of the order of batches, of dropout."""

    @model_validator(mode="before")
    @classmethod
    def _untrained_without_references(cls, data: Any) -> Any:
        return {"references": 0, **data} if isinstance(data, dict) and data.get("epochs") == 0 else data


def train_steps(num_examples: int, preparation: PreparationConfig) -> int:
    """Return the number of optimizer steps in the training of one model on ``num_examples`` examples."""
    return preparation.epochs * max(1, num_examples // preparation.batch_size)
