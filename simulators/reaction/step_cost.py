"""What a step of the integrator costs: operations counted, the machine's rate measured, and how far the step is from it.

Legend: `M` members, `S` states, `P` constants, `L` lanes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulators.reaction import rodas5p
from simulators.reaction.engine import Floats
from simulators.reaction.lane_problem import Members
from simulators.reaction.lane_program import LaneProgram
from simulators.reaction.lanes import LANES, execute
from simulators.reaction.model import ReactionModel
from simulators.reaction.operation import OPCODES, Instructions, dot
from simulators.reaction.rodas5p_tableau import STAGES
from twin.errors import UnsupportedFeature

_NAMES = {code: name for name, code in OPCODES.items()}
_TWO = frozenset({"madd", "msub", "nmadd", "mul3"})


def operations(code: Instructions) -> int:
    """Additions, multiplications, divisions and functions of instructions; copies count nothing."""
    numbers, count, i = code.reshape(-1).tolist(), 0, 0
    while i < len(code):
        op, _, a, b, c = numbers[5 * i : 5 * i + 5]
        i += 1
        name = _NAMES[op]
        if name == "dot":
            count += 2 * c + (b >= 0)
            i += (2 * c + 4) // 5
        elif name == "sum":
            products = c + numbers[5 * i]
            count += a + b + 2 * products
            i += (1 + a + b + 2 * products + 4) // 5
        elif name != "copy":
            count += 2 if name in _TWO else 1
    return count


@dataclass(frozen=True)
class StepCost:
    """One step of `LANES` members together.

    Attributes:
        states, instructions_kib, registers_kib: how large the model is.
        operations: of all lanes at once, by part of a step: start (f and J), rates, factor, solve, stages.
        operation_ns: measured for dot products in the fastest cache, of all lanes at once.
        limit_us: operations times that.
        tape_us: measured time of all instructions of a step.
        step_us: measured time of a whole step, everything included; NaN where the model has events or algebraic states.
        steps: of a member, on average.
    """

    states: int
    instructions_kib: float
    registers_kib: float
    operations: dict[str, int]
    operation_ns: float
    limit_us: float
    tape_us: float
    step_us: float
    steps: float


def operation_ns() -> float:
    """Nanoseconds per operation on all lanes at once, in dot products of 16 terms whose registers fit the fastest cache."""
    rng = np.random.default_rng(0)
    rows = [
        row for _ in range(64) for row in dot(33, 32, [tuple(pair) for pair in rng.integers(0, 32, (16, 2)).tolist()])
    ]
    code, registers = np.array(rows, dtype=np.int32), rng.random(34 * LANES)
    return _fastest(lambda: execute(code, registers), 200) / (64 * 32) * 1e9


def step_cost(model: ReactionModel, x: Floats, p: Floats, times: Floats, *, rtol: float, atol: float) -> StepCost:
    """Measure members `x` `[M, S]`, `p` `[M, P]` of a model without events and delays.

    Raises:
        UnsupportedFeature: the model has delays, whose constants are found while it runs.
    """
    if model.network.delayed:
        raise UnsupportedFeature("delay", "what a step costs is not measured for models with delays.")
    program = model._course(tuple(model.network.observables[n].concentration for n in model.species))._program
    code, S, stages = program.code, program.size, STAGES
    mixed = 4 * S * stages * (stages - 1) // 2 + 10 * S * stages
    counts = {
        "start": operations(code.start),
        "rates": (stages - 1) * operations(code.rates),
        "factor": operations(code.factor),
        "solve": stages * operations(code.solve),
        "stages": mixed,
    }
    each = operation_ns()
    registers = _ready(program, x, p, float(times[0]))
    tape = sum(
        often * _fastest(lambda part=part: execute(part, registers), max(2, 20000 // max(1, len(part))))
        for part, often in ((code.start, 1), (code.rates, stages - 1), (code.factor, 1), (code.solve, stages))
    )
    step, steps = np.nan, np.nan
    if not model.network.events and (code.mass == 1.0).all():
        best, taken = np.inf, np.ones(1)
        for _ in range(3):
            members = Members(
                x=x.copy(), p=p.copy(), floor=np.full_like(x, atol), t=np.full(len(x), times[0]), h=np.zeros(len(x)),
                stop=np.full(len(x), np.inf), point=np.zeros(len(x), dtype=np.int64),
                status=np.zeros(len(x), dtype=np.int8), steps=np.zeros(len(x), dtype=np.int64),
            )  # fmt: skip
            values = np.full((len(x), len(times), program.layout.readouts), np.nan)
            rows = np.arange(len(x))
            begun = time.process_time()
            rodas5p.integrate(program.layout, code, members, rows, times, rtol, False, 100_000, values)
            best, taken = min(best, time.process_time() - begun), members.steps
        steps = float(taken.mean())
        step = best / float(taken.sum()) * LANES * 1e6
    size = sum(part.nbytes for part in (code.start, code.rates, code.factor, code.solve)) / 1024
    return StepCost(
        S, size, program.image.nbytes / 1024, counts, each, sum(counts.values()) * each / 1e3, tape * 1e6, step, steps
    )


def _ready(program: LaneProgram, x: Floats, p: Floats, clock: float) -> Floats:
    """A register file that holds the first members, with a diagonal that can be divided by."""
    registers = np.zeros(0)
    for found, _, _ in program._blocks(x[:LANES], p[:LANES], clock, program.layout.x, program.layout.time):
        registers = found
    registers.reshape(-1, LANES)[program.code.diagonal] = 1.0
    return registers


def _fastest(call: Callable[[], object], often: int) -> float:
    call()
    best = np.inf
    for _ in range(5):
        begun = time.process_time()
        for _ in range(often):
            call()
        best = min(best, (time.process_time() - begun) / often)
    return float(best)
