"""Compile the kernels that serve every model, once, and keep them: `python -m simulators.reaction.kernels`.

numba does it when they are first called and keeps what it made beside the source (or in the user's cache where that
cannot be written); done at installation, the first run need not wait for it.
"""

from __future__ import annotations

from simulators.reaction.ensemble import EnsembleEngine
from simulators.reaction.model import ReactionModel


def compile_kernels() -> None:
    """Run a small model through every kernel of the ensemble engine, sensitivities included."""
    text = "S' = piecewise(1, time < 0.5, -S); S = 0"
    ReactionModel.read(text).sensitivities((0.0, 1.0), wrt=["S"], threads=1)
    engine = EnsembleEngine(text)
    x, p = engine.start({}, members=2, time=0.0)
    engine.run(x, p, (0.0, 1.0), rtol=1e-6, atol=1e-9)
    engine.rates(x, p, time=0.0)


if __name__ == "__main__":
    compile_kernels()
