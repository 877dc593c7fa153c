"""The measured points of a PEtab problem, as columns: what was seen, where, when, and what fills its formula's placeholders.

Legend: `R` points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulators.reaction.engine import Floats
from simulators.reaction.petab_observable import PetabObservable
from simulators.reaction.petab_table import PetabTable, Row, near, number

Fill = tuple["float | str", ...]
"""What fills placeholders: numbers, or ids of parameters."""


@dataclass(frozen=True)
class PetabPoints:
    """Points `[R]`, replicates included.

    Attributes:
        observables, conditions: ids.
        settled: ids of the conditions under which cells settle first; empty where they do not.
        times: model's units; infinite: the steady state.
        measured: values, on the linear scale.
        fills, noise_fills: of the placeholders of the observable's formula and of its noise.
        datasets: what belongs together in a figure; the observable where the table does not say.
    """

    observables: tuple[str, ...]
    conditions: tuple[str, ...]
    settled: tuple[str, ...]
    times: Floats
    measured: Floats
    fills: tuple[Fill, ...]
    noise_fills: tuple[Fill, ...]
    datasets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.observables)

    def only(self, rows: Sequence[int]) -> PetabPoints:
        """Some of them, in the order given."""
        chosen = np.asarray(rows, dtype=np.intp)
        return PetabPoints(
            observables=tuple(self.observables[i] for i in rows),
            conditions=tuple(self.conditions[i] for i in rows),
            settled=tuple(self.settled[i] for i in rows),
            times=self.times[chosen],
            measured=self.measured[chosen],
            fills=tuple(self.fills[i] for i in rows),
            noise_fills=tuple(self.noise_fills[i] for i in rows),
            datasets=tuple(self.datasets[i] for i in rows),
        )

    @classmethod
    def of(
        cls,
        table: PetabTable,
        observables: Mapping[str, PetabObservable],
        conditions: Mapping[str, object],
        known: frozenset[str],
        faults: list[str],
    ) -> PetabPoints:
        """The points of a table; what is wrong with a row goes to `faults`.

        Args:
            known: ids that may fill a placeholder.
        """
        times, measured = np.zeros(len(table.rows)), np.zeros(len(table.rows))
        fills: list[tuple[Fill, Fill]] = []
        for i, row in enumerate(table.rows):
            observable = observables.get(row["observableId"])
            if observable is None:
                faults.append(f"{row.place}: no observable {row['observableId']!r};"
                              f"{near(row['observableId'], observables)} expected an id of the table of observables.")  # fmt: skip
            for column in ("simulationConditionId", "preequilibrationConditionId"):
                name = row[column]
                if name not in conditions and (name or column == "simulationConditionId"):
                    faults.append(f"{row.place}: {column}: no condition {name!r};{near(name, conditions)} "
                                  "expected an id of the table of conditions.")  # fmt: skip
            times[i] = number(row, "time", faults, what="a number, or inf for the steady state")
            if times[i] < 0.0 or math.isnan(times[i]):
                faults.append(f"{row.place}: time is {row['time']}; expected 0 or later, or inf for the steady state.")
            before = len(faults)
            measured[i] = number(row, "measurement", faults)
            if len(faults) == before and not math.isfinite(measured[i]):
                faults.append(f"{row.place}: measurement is {row['measurement']}; expected a finite number.")
            if observable is None:
                continue
            if observable.transformation != "lin" and measured[i] <= 0.0:
                faults.append(
                    f"{row.place}: measurement is {row['measurement']}, but {observable.id} is compared on a logarithmic "
                    "scale; expected a value above 0."
                )
            fills.append((
                _filled(row, "observableParameters", observable.slots, known, faults),
                _filled(row, "noiseParameters", observable.noise_slots, known, faults),
            ))  # fmt: skip
            width = fills[-1][1]
            if observable.noise.text in observable.noise_slots and any(
                not isinstance(w, str) and not w > 0.0 for w in width
            ):
                faults.append(f"{row.place}: noiseParameters is {row['noiseParameters']}; expected a value above 0.")
        if len(fills) < len(table.rows):  # faulty: the caller refuses
            fills = [((), ())] * len(table.rows)
        return cls(
            observables=tuple(row["observableId"] for row in table.rows),
            conditions=tuple(row["simulationConditionId"] for row in table.rows),
            settled=tuple(row["preequilibrationConditionId"] for row in table.rows),
            times=times, measured=measured,
            fills=tuple(own for own, _ in fills), noise_fills=tuple(noise for _, noise in fills),
            datasets=tuple(row["datasetId"] or row["observableId"] for row in table.rows),
        )  # fmt: skip


def _filled(row: Row, column: str, slots: Sequence[str], known: frozenset[str], faults: list[str]) -> Fill:
    parts = [part.strip() for part in row[column].split(";")] if row[column] else []
    if not slots:
        return ()  # some tables repeat a noise that their formula already names
    if len(parts) != len(slots):
        faults.append(
            f"{row.place}: {column} is {row[column]!r}, {len(parts)} values; expected {len(slots)}, separated by `;`, "
            f"for {', '.join(slots)}."
        )
        return ()
    found: list[float | str] = []
    for part in parts:
        try:
            found.append(float(part))
        except ValueError:
            if part not in known:
                faults.append(f"{row.place}: {column}: no parameter {part!r};{near(part, known)} "
                              "expected a number or an id of the table of parameters.")  # fmt: skip
            found.append(part)
    return tuple(found)
