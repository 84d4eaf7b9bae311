"""The model: where its weights come from, how they are kept, and the recipe of base and reference models."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from trainables.config.base import Config, LearningRate, PositiveInt, Precision


class LoraConfig(Config):
    """Low-rank adapters beside frozen weights (Hu et al. 2021, arXiv 2106.09685), through PEFT."""

    rank: PositiveInt = 8
    """r: of the update of each adapted matrix."""
    alpha: PositiveInt = 16
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """Names of the modules that get adapters, for example q_proj; all linear layers but the output layer."""


class ModelConfig(Config):
    """Where the base model's weights come from, and how they are kept and trained.

    Any causal language model of Transformers (``AutoModelForCausalLM``), and any encoder-decoder
    (``AutoModelForSeq2SeqLM``); the model's own configuration says which of them it is.
    """

    added_later = frozenset({"bos_token", "chat_template", "chat_date", "dtype", "attention", "lora"})

    architecture: dict[str, Any] | None = None
    """A Transformers configuration, ``model_type`` first (for example ``llama`` or ``t5``); weights start random."""
    pretrained: str | None = None
    """A local folder, a Hugging Face hub id, or a GGUF file: its path, ``owner/name/file.gguf`` on the hub, or
    ``package:NAME/file.gguf`` of an installed Python package. Its own tokenizer is used."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    vocab_size: Annotated[int, Field(ge=260)] = 1024
    """Entries of the byte-level BPE tokenizer trained beside an ``architecture`` model."""
    bos_token: str | None = None
    """Goes before every text in place of the tokenizer's own first token, for example ``<|endoftext|>`` where that one
    opens a turn of a chat. Causal models without a chat template only."""
    chat_template: bool = False
    """Put each prompt as a user's message and each completion as the assistant's answer, by the template of the
    pretrained tokenizer; the end of the answer is a target too. Every example needs a prompt."""
    chat_date: date | None = None
    """The day that the chat template is told where it writes the date, for example 2026-11-26. None: the day on which
    the sweep is made; the sweep keeps it, so that it can go on on another day."""
    dtype: Precision = "fp32"
    """Of the weights, everywhere. With ``bf16`` small updates are lost in rounding, unless ``lora`` is given: adapters
    are always fp32."""
    precision: Precision = "fp32"
    """Of computing, in ascent and evaluation; ``bf16`` is mixed precision. Preparation and baselines compute as
    ``dtype`` says, so a bf16 trial at step 0 differs from its baseline by rounding."""
    attention: str | None = None
    """Implementation of attention, as Transformers names them: ``eager``, ``sdpa``, ``flash_attention_2``, ...; none:
    its choice."""
    gradient_checkpointing: bool = False
    """Compute activations a second time in the backward pass instead of keeping them: less memory, more time, and the
    same numbers to rounding."""
    lora: LoraConfig | None = None
    """Train adapters instead of all weights, in ascent, and in the preparation of a pretrained model; only adapters are
    reset, checkpointed and cached. A model trained from scratch is trained in full first."""

    _trust_remote_code: bool = PrivateAttr(default=False)

    @property
    def trust_remote_code(self) -> bool:
        """Tell whether Python code that comes with the model may run. No spec can say so, only the command line."""
        return self._trust_remote_code

    def trusting_remote_code(self, trust: bool) -> Self:
        """Give this configuration with leave, or without, to run Python code that comes with the model."""
        changed = self.model_copy()
        changed._trust_remote_code = trust
        return changed

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
            raise ValueError("'bos_token' has no place in a chat: the template says what comes first")
        if self.chat_date is not None and not self.chat_template:
            raise ValueError("'chat_date' is told to a chat template: it goes with chat_template: true")
        return self


class PreparationConfig(Config):
    """The recipe of base and reference models: AdamW, linear warm-up, then constant learning rate."""

    epochs: Annotated[int, Field(ge=0)]
    """0: ``model.pretrained`` is the base model as it is, and has seen the forget sets already."""
    batch_size: PositiveInt = 32
    learning_rate: LearningRate
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    references: Annotated[int, Field(ge=0)] = 2
    """Reference models, each of its own seed; 0 turns generalized exposure off (relative exposure remains), and is the
    default of ``epochs: 0``, which has no way to train any."""
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _untrained_without_references(cls, data: Any) -> Any:
        return {"references": 0, **data} if isinstance(data, dict) and data.get("epochs") == 0 else data


def train_steps(num_examples: int, preparation: PreparationConfig) -> int:
    """Return the number of optimizer steps of one preparation run over so many examples."""
    return preparation.epochs * max(1, num_examples // preparation.batch_size)
