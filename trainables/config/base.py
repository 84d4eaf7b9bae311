"""What every configuration is: frozen, validated at construction, without unknown keys; and types that they share."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainables.errors import nearest_name_hint

PositiveInt = Annotated[int, Field(gt=0)]
LearningRate = Annotated[float, Field(gt=0, le=1e6)]
"""Bounded, so that a slip of the exponent fails at once and not as an overflow inside an optimizer."""
Precision = Literal["fp32", "bf16"]
Parallelism = Literal["ddp", "fsdp"]
Distribution = Literal["in", "out"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
"""A name that is safe as a file name on every storage."""


class Config(BaseModel):
    """Base of every configuration: frozen, and an unknown key fails naming the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    later: ClassVar[frozenset[str]] = frozenset()
    """Settings that the first version did not have. At their defaults they are no part of an identity, so that what was
    made before they existed is known again."""

    def identity(self) -> dict[str, Any]:
        """Give what tells this configuration from others, as plain data."""
        fields = type(self).model_fields
        unset = {
            name for name in self.later if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
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
