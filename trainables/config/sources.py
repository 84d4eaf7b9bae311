"""Configuration of a source: the user's own examples."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from trainables.config.base import Config

SourceFormat = Literal["jsonl", "parquet", "csv", "text", "hf"]
Role = Literal[
    "prompt",
    "completion",
    "source",
    "target",
    "text",
    "alternate",
    "paraphrase",
    "perturbed",
    "choices",
    "correct",
    "other_prompts",
]
"""The role of a column of a source."""


class SourceConfig(Config):
    """The user's own examples: a file, a folder, or a dataset of the Hugging Face hub.

    A relative path starts at the current folder, and is made absolute when the spec is read. Every machine that trains
    or ascends reads it.
    """

    added_later = frozenset({"prompt_format", "completion_format"})

    path: str | None = None
    """A file, a folder of files of one format, or a folder that ``save_to_disk`` of Hugging Face ``datasets`` wrote.
    Text is UTF-8, and may be compressed (``.gz``, ``.bz2``, ``.xz``)."""
    dataset: str | None = None
    """Id of a dataset on the hub, ``owner/name``, in place of ``path``."""
    format: SourceFormat | None = None
    """None: by the suffix; a folder that ``save_to_disk`` wrote is ``hf``. ``jsonl`` is one object a line, or one
    array of objects; ``csv`` is separated by commas, or where the header has none by tabs or semicolons."""
    split: str | None = None
    """Split of a folder or hub dataset; may be left out where there is only one. In a folder of files, the beginning of
    their names or the name of their folder."""
    name: str | None = None
    """Name of a configuration of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    columns: dict[Role, str] = Field(default_factory=dict)
    """Names of columns by role: ``prompt`` and ``completion``, or ``source`` and ``target`` (which mean the same), or
    ``text`` (a completion without a prompt); and ``alternate``, ``paraphrase`` (the completion in other words) and
    ``perturbed`` (a list of wrong answers; in CSV, JSON text of one), and ``other_prompts`` (the prompt in other words,
    a text or a list, which the probe ``rewording`` tries). Left out: columns of these names. Where all rows
    have a ``paraphrase`` it is scored, and so are ``perturbed`` answers, equally many in every row. ``choices`` and
    ``correct`` are read only if named, in place of a completion: a list of answers, and the number of the right one,
    counted from 0; the others are ``perturbed``. Prompt and completion are joined as they are: a space between them is
    the first character of the completion (``completion_format``)."""
    prompt_format: str = "{}"
    """Text around each prompt, the other ones too, which ``{}`` stands for, such as ``Question: {} Answer:``. An
    example without a prompt gets none of it."""
    completion_format: str = "{}"
    """Text around each completion, which ``{}`` stands for: ``" {}"`` puts a space between prompt and completion. Other
    answers (alternate, paraphrased, perturbed, choices) get the same."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What to do with rows that cannot be used (malformed, empty, repeated text): ``refuse`` the source, or ``skip``
    them with a warning. Examples that are too long are always refused, since their length depends on the tokenizer."""

    @model_validator(mode="after")
    def _exactly_one_place(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give exactly one of 'path' (a file or folder) and 'dataset' (an id on the hub)")
        if self.path is not None and (self.name is not None or self.revision is not None):
            raise ValueError("'name' and 'revision' belong to a 'dataset' of the hub")
        if self.dataset is not None and self.format is not None:
            raise ValueError("'format' belongs to a 'path'; the hub knows a dataset's own")
        return self

    @model_validator(mode="after")
    def _one_set_of_roles(self) -> Self:
        ways = [{"prompt", "completion"}, {"source", "target"}, {"text"}]
        used = [way for way in ways if way & set(self.columns)]
        if len(used) > 1:
            raise ValueError(
                f"columns: give prompt and completion, or source and target, or text; found {', '.join(self.columns)}"
            )
        if {"choices", "correct"} & set(self.columns):
            self._require_choices_alone()
        return self

    def _require_choices_alone(self) -> None:
        if not {"choices", "correct"} <= set(self.columns):
            raise ValueError("columns: 'choices' (a list of answers) and 'correct' (the number of one) go together")
        others = [role for role in ("completion", "target", "text", "perturbed") if role in self.columns]
        if others:
            raise ValueError(
                f"columns: 'choices' hold the completion and the perturbed answers; leave {', '.join(others)} out"
            )

    @field_validator("prompt_format", "completion_format")
    @classmethod
    def _one_place_for_the_text(cls, text: str) -> str:
        if text.count("{}") != 1:
            raise ValueError(f"give {{}} once, where the text goes; found {text!r}")
        return text
