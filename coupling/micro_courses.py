"""What a micro simulator said along courses of its inputs: the lesson, the calibration and the test of a closure.

Legend: `N` courses, `K` times of a course, `I` inputs, `O` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from twin.errors import InputError
from twin.simulator import Simulator

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MicroCourses:
    """Courses, and what the micro simulator answered at each of their times.

    Args:
        times: ascending, in `time_units` `[K]`.
        inputs, outputs: in the units of the ports `[N, K, I]` and `[N, K, O]`.
        input_units, output_units: name → units, in the order of the last axes.
        time_units: of `times`.
        members: whose course each is `[N]`, so that no member is in two parts of a split.

    Raises:
        InputError: shapes that do not fit, times out of order, or values that are not finite.
    """

    times: Floats
    inputs: Floats
    outputs: Floats
    input_units: Mapping[str, str]
    output_units: Mapping[str, str]
    time_units: str
    members: NDArray[np.int64]

    def __post_init__(self) -> None:
        count, times = len(self.members), len(self.times)
        wanted = {"inputs": (count, times, len(self.input_units)), "outputs": (count, times, len(self.output_units))}
        for name, shape in wanted.items():
            array: Floats = getattr(self, name)
            if array.shape != shape:
                raise InputError(f"MicroCourses: {name} has the shape {array.shape}; expected {shape}.")
            if not np.isfinite(array).all():
                course, time, port = (int(axis[0]) for axis in np.nonzero(~np.isfinite(array)))
                raise InputError(
                    f"MicroCourses: {name}[{course}, {time}, {port}] is {array[course, time, port]}; leave this course out."
                )
        if times < 2 or not (np.diff(self.times) > 0).all():
            raise InputError(f"MicroCourses: times {self.times.tolist()}; expected two or more that ascend.")

    def __len__(self) -> int:
        return len(self.members)

    @classmethod
    def of(
        cls,
        simulator: Simulator,
        inputs: Mapping[str, NDArray[Any]],
        *,
        times: Sequence[float],
        members: NDArray[np.int64],
        seed: int,
    ) -> Self:
        """Ask a micro simulator along courses of its inputs, one course per member.

        Args:
            simulator: with scalar ports.
            inputs: name → `[N, K]`.
            times: `[K]`, in the simulator's time units.
            members: global member numbers `[N]`.
            seed: of the simulator's noise.

        Raises:
            InputError: an input that the simulator has not, or a port with dims of its own.
        """
        ports = {port.name: port for port in simulator.inputs}
        for name in inputs:
            if name not in ports:
                raise InputError(f"MicroCourses: no input {name!r}; the simulator has {', '.join(ports) or 'none'}.")
        wide = [port.name for port in (*simulator.inputs, *simulator.outputs) if port.dims]
        if wide:
            raise InputError(
                f"MicroCourses: {', '.join(wide)} has dims of its own; a closure learns scalar ports only."
            )
        state = simulator.init(members=members, seed=seed)
        said: list[Floats] = []
        for k, time in enumerate(times):
            now = {name: np.asarray(values, dtype=np.float64)[:, k] for name, values in inputs.items()}
            until = times[k + 1] if k + 1 < len(times) else time + (time - times[k - 1] if k else 1.0)
            state, outputs = simulator.step(state, now, t0=time, t1=until)
            said.append(np.stack([outputs[port.name][:, -1] for port in simulator.outputs], axis=-1))
        return cls(
            times=np.asarray(times, dtype=np.float64),
            inputs=np.stack([np.asarray(inputs[name], dtype=np.float64) for name in inputs], axis=-1),
            outputs=np.stack(said, axis=1),
            input_units={name: ports[name].units for name in inputs},
            output_units={port.name: port.units for port in simulator.outputs},
            time_units=simulator.time_units,
            members=np.asarray(members, dtype=np.int64),
        )

    @property
    def spans(self) -> Floats:
        """Largest less smallest value of each output over all courses; 1 where it never moves."""
        span = self.outputs.max(axis=(0, 1)) - self.outputs.min(axis=(0, 1))
        return np.where(span > 0, span, 1.0)

    def take(self, rows: NDArray[np.integer[Any]]) -> MicroCourses:
        """Some courses, by position."""
        return replace(
            self,
            inputs=self.inputs[rows],
            outputs=self.outputs[rows],
            members=self.members[rows],
        )
