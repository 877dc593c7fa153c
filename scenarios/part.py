"""The rules that every part of a scenario file keeps: unknown keys are refused; what is read stays as it is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator


class Part(BaseModel):
    """A mapping of a scenario file with known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _remember(cls, data: Any, info: ValidationInfo) -> Any:
        """Note which part reads which mapping, so that the refusal of a key can name the keys it could have been."""
        if isinstance(data, dict) and isinstance(info.context, dict):
            info.context.setdefault("parts", {}).setdefault(id(data), []).append(cls)  # pyright: ignore[reportUnknownArgumentType]
        return data  # pyright: ignore[reportUnknownVariableType]

    @classmethod
    def keys(cls) -> dict[str, str]:
        """The keys as written in the file, each with its gloss."""
        return {field.alias or name: field.description or "" for name, field in cls.model_fields.items()}


Word = Annotated[str, Field(strict=True, min_length=1, max_length=400)]
"""Text that is not empty."""

Symbol = Annotated[str, Field(strict=True, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""A name as programmes spell one: it becomes a variable of the result."""

Id = Annotated[str, Field(strict=True, min_length=1, max_length=200, pattern=r"^[^\s.,|]+$")]
"""An id as the model spells it, or of a compound: no spaces, dots, commas or bars."""

Target = Annotated[str, Field(strict=True, min_length=1, max_length=400, pattern=r"^[^\s.,|]+(\.[^\s.,|]+)?$")]
"""What can be set: a name of the cell's model, or with its simulator, as in ``pathways.kdeg``."""
