"""Which method integrates a model: by its stiffness, by what a step of each costs, and by how many steps a tolerance takes.

`dormand_prince` is explicit: where nothing is stiff, its steps need neither a Jacobian nor factors. `rodas5p` takes few and dear
steps, with new factors each; `bdf` many cheap ones, each member with an order of its own, and keeps factors for some ten of them.
At equal error `bdf` needs some seven of its iterations for a step of `rodas5p` at a relative tolerance of 1e-4, three at 1e-8 (measured
on published models: docs/performance.md). What is chosen depends on the model and the tolerance alone, and a member that turns out
to be stiff is handed over for what it is itself: its bits depend on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from simulators.reaction import bdf, dormand_prince, rodas5p
from simulators.reaction.engine import Floats
from simulators.reaction.lane_problem import FINE, HANDED, Layout, Members, Program
from simulators.reaction.operation import OPCODES, Instructions
from twin.errors import InputError, UnsupportedFeature

Method = Literal["auto", "dormand_prince", "rodas5p", "bdf"]
_NOT_STIFF, LARGEST = 100.0, 100
"""The spread of eigenvalues up to which a model is taken not to be stiff, and the number of states up to which that is asked."""
_TIGHTEST: Final = 1e-10
"""Relative tolerance below which rounding in what `bdf` remembers is felt."""
_RESTARTS: Final = 1.3
"""How much more iterations are taken for as many steps, where members start anew on their way."""
_DOT, _SUM, _MUL3, _LAST_PLAIN = OPCODES["dot"], OPCODES["sum"], OPCODES["mul3"], OPCODES["msub"]
_TWICE = (OPCODES["madd"], OPCODES["msub"], OPCODES["nmadd"], OPCODES["mul3"])
_FUNCTIONS = tuple(
    code
    for name, code in OPCODES.items()
    if name in ("ln", "exp", "pow", "rem", "factorial", "sin", "cos", "tan", "asin", "acos", "atan")
    or name.endswith(("sinh", "cosh", "tanh"))
)


def _or_rodas5p(integrate: Callable[..., None]) -> Callable[..., None]:
    """A method, and `rodas5p` for members that it hands over."""

    def integrated(
        layout: Layout, program: Program, members: Members, chosen: NDArray[np.int64], times: Floats, *rest: Any
    ) -> None:
        integrate(layout, program, members, chosen, times, *rest)
        handed = chosen[members.status[chosen] == HANDED]
        if len(handed):
            members.status[handed] = FINE
            rodas5p.integrate(layout, program, members, handed, times, *rest)

    return integrated


METHODS: Final[dict[str, Callable[..., None]]] = {
    "dormand_prince": _or_rodas5p(dormand_prince.integrate),
    "rodas5p": rodas5p.integrate,
    "bdf": _or_rodas5p(bdf.integrate),
}


def check_method(method: Any, engine: str) -> None:
    """Refuse a method that there is not, or that an engine does not have."""
    if method not in ("auto", *METHODS):
        raise InputError(f"method={method!r}: expected auto, {', '.join(METHODS)}.")
    if method != "auto" and engine != "ensemble":
        raise InputError(
            f"method={method!r}: engine {engine} has its own; leave `method` out, or use engine='ensemble'."
        )


def chosen_method(
    method: Method, program: Program, *, rtol: float, stiffness: Callable[[], float], restarts: bool, delays: bool
) -> str:
    """The one of `METHODS` that integrates.

    Args:
        stiffness: of the model at its own start, see `stiffness`.
        restarts: whether members start anew on their way (events, switches), which a multistep method pays for.
        delays: whether they do so again and again.

    Raises:
        UnsupportedFeature: another than `rodas5p` for algebraic states.
    """
    algebraic = bool((program.mass != 1.0).any())
    if method not in ("auto", "rodas5p") and algebraic:
        raise UnsupportedFeature(
            f"algebraic rule or fast reaction with {method}",
            f"method {method} integrates no states without a rate of their own; leave `method` out, or use rodas5p.",
        )
    if method != "auto":
        return method
    if algebraic or delays:
        return "rodas5p"
    if stiffness() <= _NOT_STIFF:
        return "dormand_prince"
    if rtol < _TIGHTEST:
        return "rodas5p"
    iterations = iterations_per_step(rtol) * (_RESTARTS if restarts else 1.0)
    return "bdf" if step_ns(program) > iterations * iteration_ns(program) else "rodas5p"


def stiffness(jacobian: Floats) -> float:
    """The greatest of a Jacobian's eigenvalues over the smallest that is not 0 but for rounding, in absolute value; infinite
    where there is none, where they are not finite, or above a size at which factors are what counts.

    Args:
        jacobian: `[S, S]`.
    """
    if not 0 < len(jacobian) <= LARGEST or not np.isfinite(jacobian).all():
        return math.inf
    sizes = np.abs(np.linalg.eigvals(jacobian))
    sizes = sizes[sizes > 1e-13 * sizes.max()]
    return float(sizes.max() / sizes.min()) if len(sizes) else math.inf


def iterations_per_step(rtol: float) -> float:
    """Of `bdf` for a step of `rodas5p`, at equal error."""
    return 4.8 * 10.0 ** (0.08 * (math.log10(max(rtol, 1e-15)) + 6.0))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def cost_ns(code: Instructions) -> float:
    """What instructions take for all lanes together: each of them, their arithmetic, and functions lane by lane."""
    numbers = code.reshape(-1)
    total, i = 0.0, 0
    while i < len(code):
        op, a, b, c = numbers[5 * i], numbers[5 * i + 2], numbers[5 * i + 3], numbers[5 * i + 4]
        i += 1
        total += 3.0
        if op == _DOT:
            total += 1.35 * 2 * c
            i += (2 * c + 4) // 5
        elif op == _SUM:
            products = c + numbers[5 * i]
            total += 1.35 * (a + b + 2 * products)
            i += (1 + a + b + 2 * products + 4) // 5
        elif op in _FUNCTIONS:
            total += 300.0
        elif op <= _LAST_PLAIN or op == _MUL3:
            total += 1.35 * (2 if op in _TWICE else 1)
        else:
            total += 40.0
    return total


def step_ns(program: Program) -> float:
    """What a step of `rodas5p` takes, of all lanes together: on the machine of docs/performance.md, within a third."""
    return (
        cost_ns(program.start) + 7 * cost_ns(program.rates) + cost_ns(program.factor) + 8 * cost_ns(program.solve)
        + 154.0 * len(program.mass) + 5000.0
    )  # fmt: skip


def iteration_ns(program: Program) -> float:
    """The same of an iteration of `bdf`: factors are made in a quarter of them."""
    factors = cost_ns(program.start) + cost_ns(program.factor) + 4.0 * len(program.factors)
    return cost_ns(program.rates) + cost_ns(program.solve) + 65.0 * len(program.mass) + 2000.0 + 0.25 * factors
