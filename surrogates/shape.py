"""The architecture of a latent neural ODE: its sizes, and the name and shape of every weight, known without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The architecture.

    Args:
        features, levels, readouts: how many go in and come out.
        networks: of the ensemble.
        latent: dims of the moving point.
        context: dims of what stands still.
        hidden: width of the layers between.
        rise: the clock's unit after a change, in units of time.
        step: of the integrator, in the logarithm of time.
    """

    features: int
    levels: int
    readouts: int
    networks: int = 3
    latent: int = 10
    context: int = 24
    hidden: int = 48
    rise: float = 1.0
    step: float = 1.2

    @property
    def layers(self) -> dict[str, tuple[int, int, bool]]:
        """Linear maps of each network: name → inputs, outputs, whether it has a bias."""
        inputs, h, c, w = self.features + self.readouts, self.latent, self.context, self.hidden
        return {
            "encode_wide": (inputs, w, True),
            "encode_deep": (w, c, True),
            "encode_straight": (inputs, c, False),
            "begin": (c, h, True),
            "drive_context": (c, w, True),
            "drive_levels": (self.levels, w, False),
            "field_latent": (h, w, False),
            "field_middle": (w, w, True),
            "field_end": (w, h, True),
            "read_latent": (h, w // 2, True),
            "read_context": (c, w // 2, False),
            "read_end": (w // 2, 2 * self.readouts, True),
        }

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """Every array of the ensemble: name → shape."""
        found: dict[str, tuple[int, ...]] = {"field_clock": (self.networks, 1, self.hidden)}
        for name, (inputs, outputs, bias) in self.layers.items():
            found[f"{name}.weight"] = (self.networks, inputs, outputs)
            if bias:
                found[f"{name}.bias"] = (self.networks, 1, outputs)
        return found

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)
