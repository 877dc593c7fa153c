"""How fast compounds bind: the molecular conditions, and what is assumed where the molecule says little."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from scenarios.part import Part, Word
from scenarios.quantity import Count, checked, read


def _in(units: str) -> BeforeValidator:
    return BeforeValidator(lambda value: checked(value, units))


def _like(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [example]})


AssociationRate = Annotated[str | float, _in("1/(M s)"), _like("1e5 1/(M s)")]
Temperature = Annotated[str | float, _in("K"), _like("310.15 K")]
IonicStrength = Annotated[str | float, _in("M"), _like("150 mM")]


class Association(Part):
    """ln kon = ln k_D + ln κ: κ is log-normal, such that kon has this median; its spread is assumed, with a source."""

    median: AssociationRate = Field(description="median kon of such ligands")
    decades: Annotated[float, Field(strict=True, ge=0.0, le=4.0)] = Field(description="standard deviation of log10 kon")
    source: Word = Field(description="where both come from")

    @property
    def median_per_M_s(self) -> float:  # noqa: N802 - units in the name
        """Median kon [1/(M s)]."""
        return read(self.median, "1/(M s)")


class Binding(Part):
    """Brownian dynamics of association to the receptor, and κ."""

    receptor: Word = Field(description="name of the receptor in the table of receptors, e.g. c-MET kinase")
    temperature: Temperature = Field("310.15 K", description="absolute, e.g. 310.15 K or 37 degC")
    ionic_strength: IonicStrength = Field("150 mM", description="of the medium inside the cell")
    kon: Association = Field(description="what is assumed of kon")
    trajectories: Count = Field(4000, description="Brownian trajectories per class of charge and size")
    replicas: Count | None = Field(
        None, description="parts that the trajectories of a class are cut into, which ranks share; left out: 1"
    )
    sigma_ln: Annotated[float, Field(strict=True, gt=0.0, le=1.0)] = Field(0.1, description="wanted error of ln k_D")

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if (self.replicas or 1) > self.trajectories:
            raise PydanticCustomError(
                "replicas",
                "{text}",
                {
                    "text": f"replicas {self.replicas} of {self.trajectories} trajectories; expected no more than trajectories"
                },
            )
        return self

    @property
    def temperature_K(self) -> float:  # noqa: N802
        """Temperature [K]."""
        return read(self.temperature, "K")

    @property
    def ionic_strength_M(self) -> float:  # noqa: N802
        """Ionic strength [M]."""
        return read(self.ionic_strength, "M")
