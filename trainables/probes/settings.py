"""The settings of every probe, with their defaults: one small configuration class a probe. It loads no PyTorch."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainables.config import Config, PositiveInt, TrialConfig
from trainables.optim import check_optimizer

Lesson = Literal["in-domain", "out-of-domain", "control"]
Backend = Literal["auto", "torchao", "round_trip"]
Change = Literal["dropped-words", "changed-case", "template"]


class RelearningSettings(Config):
    """Settings of ``relearning``: what the model is fine-tuned on, how, and after which steps it is measured."""

    variants: Annotated[tuple[Lesson, ...], Field(min_length=1)] = ("in-domain", "out-of-domain", "control")
    """What is fine-tuned on: a part of the forget set (``in-domain``), as many retained examples that no evaluation
    scores (``out-of-domain``), or as many never-trained examples of the forget set's kind (``control``)."""
    steps: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 5, 10, 20)
    """Optimizer steps after which the part of the forget set that is not fine-tuned on is measured, increasing."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the forget set that is fine-tuned on, drawn by seed; at least one example stays on either side."""
    learning_rate: Annotated[float, Field(gt=0, le=1e6)] = 1e-4
    """Learning rate; constant."""
    batch_size: PositiveInt = 32
    """Number of examples in one step. A batch larger than what is fine-tuned on is all of it."""
    micro_batch_size: PositiveInt | None = None
    """Number of examples in one forward and backward pass; gradients accumulate over passes. None: the whole batch."""
    optimizer: str = "adamw"
    """Optimizer of the fine-tuning."""
    optimizer_settings: dict[str, float] = Field(default_factory=dict)
    """The optimizer's own settings, for example ``weight_decay`` or ``beta2``; others have the optimizer's defaults."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest global L2 norm of the gradient. None: no clipping."""

    @property
    def as_trial(self) -> TrialConfig:
        """The configuration that builds the optimizer."""
        return TrialConfig(
            optimizer=self.optimizer,
            optimizer_settings=self.optimizer_settings,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
        )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps must be strictly increasing; found {list(self.steps)}")
        _require_distinct("variants", self.variants)
        check_optimizer(self.as_trial)
        return self


class QuantizationSettings(Config):
    """Settings of ``quantization``: which weights are rounded to how many bits."""

    bits: Annotated[tuple[Literal[8, 4], ...], Field(min_length=1)] = (8, 4)
    """Bits of a weight. With 8, each output channel of a layer has a scale of its own; with 4, each group of weights
    in it has."""
    group_size: PositiveInt = 128
    """Number of weights, side by side in an output channel, that share a scale with 4 bits. What is left at the end of
    a channel is a group too, and a channel that is shorter is one group."""
    embeddings: bool = False
    """Whether embeddings and the output layer are quantized too. Usual methods leave both alone."""
    backend: Backend = "auto"
    """``round_trip`` rounds the weights and computes with what they stand for; ``torchao`` computes with weights that
    torchao has quantized; ``auto`` takes torchao where it is installed and can do what is asked for. The score
    ``torchao`` says which it was."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("bits", self.bits)
        return self


class RewordingSettings(Config):
    """Settings of ``rewording``: which other prompts are tried. Those that the data has are always tried."""

    changes: tuple[Change, ...] = ("dropped-words", "changed-case", "template")
    """How prompts are changed: their first words are dropped; they are put in lower case (in upper case, where they
    are in lower case already); they are put into each of ``templates``."""
    dropped_words: PositiveInt = 2
    """Number of words that are dropped at the beginning of a prompt, of which at least one word stays."""
    templates: tuple[str, ...] = ("Question: {prompt}", "Complete the following. {prompt}")
    """Texts with the prompt in place of ``{prompt}``. The answer follows directly."""
    prefix: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the words of an example without a prompt that are its prompt here; the other words are the answer."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        _require_distinct("changes", self.changes)
        for template in self.templates:
            if template.count("{prompt}") != 1:
                raise ValueError(f"templates need one '{{prompt}}' each, where the prompt goes; found {template!r}")
        _require_distinct("templates", self.templates)
        return self


class TasksSettings(Config):
    """Settings of ``tasks``: which tasks of lm-evaluation-harness the model answers."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of tasks, groups or tags of the harness, or of tasks under ``include_path``."""
    include_path: str | None = None
    """A folder with YAML files of tasks of your own. Such a file can run code, so it takes ``--trust-remote-code``."""
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """Number of solved examples before each question. None: the task's own number."""
    limit: PositiveInt | None = None
    """Number of questions of each task, the first ones. None: all."""
    batch_size: PositiveInt | None = None
    """Number of questions in a forward pass. None: ``evaluation.batch_size``."""
    chat_template: bool = False
    """Whether questions are formatted by the tokenizer's chat template."""
    bootstrap_iters: Annotated[int, Field(ge=0)] = 0
    """Resamples for the standard errors of metrics without a formula of their own; 0: no standard errors."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _require_distinct("tasks", self.tasks)
        return self


def _require_distinct(name: str, values: Sequence[object]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"{name} must differ from each other; found {list(values)}")
