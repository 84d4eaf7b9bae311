"""The base class of every configuration, and types that configurations share."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainables.errors import nearest_name_hint

PositiveInt = Annotated[int, Field(gt=0)]
LearningRate = Annotated[float, Field(gt=0, le=1e6)]
"""Bounded, so that a wrong exponent fails at once and not as an overflow inside an optimizer."""
Precision = Literal["fp32", "bf16"]
Parallelism = Literal["ddp", "fsdp"]
Distribution = Literal["in", "out"]
Compat = Literal["open-unlearning"]
"""Projects whose conventions ``compat`` gives, of objectives and of metrics."""
COMPATS: tuple[Compat, ...] = get_args(Compat)
LONGEST_NAME = 80
"""Characters of a ``Name`` at most."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME)]
"""A name that is safe as a file name on every storage."""


class Config(BaseModel):
    """Base of every configuration: frozen, validated at construction, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    added_later: ClassVar[frozenset[str]] = frozenset()
    """Settings that the first version did not have. At their defaults they are left out of the identity, so that it
    stays what it was before they existed."""

    def identity(self) -> dict[str, Any]:
        """Return, as plain data, what distinguishes this configuration from others."""
        fields = type(self).model_fields
        defaults = {name: fields[name].get_default(call_default_factory=True) for name in self.added_later}
        unset = {name for name, default in defaults.items() if getattr(self, name) == default}
        return self.model_dump(mode="json", exclude=unset)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            aliases = {field.alias for field in cls.model_fields.values() if field.alias is not None}
            for key in data:
                if key not in cls.model_fields and key not in aliases:
                    hint = nearest_name_hint(str(key), cls.model_fields)
                    raise ValueError(f"unknown key '{key}'; {hint}")
        return data
