"""Training of a scenario's emulator: its own uncertainty and arms drawn anew, run by mechanism, learned, judged, written.

Cells are numbered from `FIRST` on, beyond any member of any scenario, so that no cell of a run was ever learned from.
Legend: `N` trajectories, `T` sample times, `R` readouts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

import twin
from coupling.equilibrium import settle
from coupling.simulate import advance, perturb, start
from scenarios.arm import Arm
from scenarios.build import RATE_UNITS, Build, build
from scenarios.cohort import Cohort, groups
from scenarios.emulation import cell_features, mechanism_fingerprint
from scenarios.goal import EmulatorChoice
from scenarios.placing import BINDING, CELL
from twin.errors import InputError
from twin.perturbation import Perturbation
from twin.rates import RateEstimate
from twin.seeds import stream
from twin.simulator import State
from twin.units import factor

if TYPE_CHECKING:
    from scenarios.scenario import Scenario
    from simulators.reaction import ReactionSimulator
    from surrogates.emulator_training import Training
    from surrogates.trajectories import Trajectories

Row = NDArray[np.float64]

FIRST = 20_000_000
"""Number of the first training cell; scenarios have at most half as many members."""
_TOLERANCE = 0.05  # where a scenario states none


@dataclass(frozen=True)
class Plan:
    """How many cells each part of the split has, and in how many arms each is run.

    Args:
        training, validation, calibration, test: cells.
        arms: of each training cell; validation cells are run in half as many, the others in one.
    """

    training: int = 2500
    validation: int = 300
    calibration: int = 600
    test: int = 600
    arms: int = 4


def train_file(name_or_path: str | Path, out: Path | None = None) -> Path:
    """Train the emulator of a scenario file; returns where the checkpoint lies.

    The checkpoint that the file names may not be there yet, or be another model's: it is what will be written.

    Args:
        name_or_path: a built-in scenario, or a file.
        out: the checkpoint's place; None: the one that the file names.

    Raises:
        InputError: the scenario is wrong; or as `train`.
    """
    from scenarios import shelf
    from scenarios.scenario import Scenario
    from scenarios.yaml_file import YamlFile

    file = YamlFile.read(shelf.find(name_or_path))
    data = dict(file.data)
    chosen = data.pop("emulator", None)
    scenario = Scenario.from_file(replace(file, data=data))
    if chosen is None:
        return train(scenario, out)
    try:
        return train(scenario, out, choice=EmulatorChoice.model_validate(chosen))
    except ValidationError as error:
        told = "; ".join(f"emulator.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"{file.name}: {told}; write for example emulator: {{checkpoint: my.safetensors}}.") from error


def train(
    scenario: Scenario,
    out: Path | None = None,
    *,
    choice: EmulatorChoice | None = None,
    plan: Plan | None = None,
    training: Training | None = None,
    estimates: Mapping[str, RateEstimate] | None = None,
) -> Path:
    """Train the emulator of a scenario; returns where the checkpoint lies.

    Args:
        scenario: whose mechanism is learned.
        out: the checkpoint's place; None: the one that the choice names.
        choice: checkpoint and tolerance; None: the scenario's own.
        plan: how many cells.
        training: how long and how large.
        estimates: compound → rates of binding; None: computed as a run does.

    Raises:
        InputError: the scenario names no checkpoint and `out` is None, nothing moves, or the place cannot be written.
        UnsupportedFeature: the model has a feature that cannot be run.
    """
    choice = choice or scenario.emulator
    path = _place(scenario, choice, out)
    built = build(scenario.model_copy(update={"emulator": None}))  # the one that it names may be another model's
    plan = plan or Plan()

    import sys

    from surrogates.emulator_training import Split, Training, train_emulator

    training = training or Training(progress=sys.stderr.isatty())
    sampler = Sampler(built, estimates if estimates is not None else rate_estimates(scenario))
    print(f"{len(sampler.arms)} arms; mechanism runs {plan.training} training cells and {_others(plan)} to judge by …")
    counts = (plan.training, plan.validation, plan.calibration, plan.test)
    firsts = np.cumsum([FIRST, *counts]).tolist()
    arms = (plan.arms, max(1, plan.arms // 2), 1, 1)
    parts = [
        sampler.sample(first, count, arms_per_cell=each, balanced=each > 1)
        for first, count, each in zip(firsts, counts, arms, strict=False)
    ]
    print(f"{sum(map(len, parts))} courses, {sampler.mechanism_ms:.2g} ms each; training …")
    emulator = train_emulator(
        Split(*parts),
        levels=sampler.levels,
        units=built.engine.units,
        time_units="min",
        mechanism=mechanism_fingerprint(scenario),
        mechanism_ms=sampler.mechanism_ms,
        trajectories=len(scenario.arms()) * scenario.members,
        tolerance=_TOLERANCE if choice is None else choice.tolerance_share,
        seed=scenario.seed,
        made={"command": f"twin train {scenario.name}", "kakehashi": twin.__version__, "scenario": scenario.name},
        training=training,
    )
    emulator.save(path)
    print(emulator.report.sentence)
    if choice is None:
        print(f"To use it, add to the scenario:\n  emulator: {{checkpoint: {path.name}, tolerance: 5 %}}")
    return path


def rate_estimates(scenario: Scenario) -> Mapping[str, RateEstimate]:
    """How fast and how tightly the scenario's compounds bind, as a run finds out; empty without compounds."""
    if not scenario.candidates:
        return {}
    from scenarios import binding_stage

    runner = binding_stage.AssociationRunner(scenario, binding_stage.ligands(scenario))
    met = binding_stage.encounters(runner, [runner(task) for task in runner.tasks])
    return binding_stage.rate_estimates(scenario, met, binding_stage.learned(scenario))


@dataclass
class Sampler:
    """Runs fresh cells in arms of the scenario by mechanism.

    Args:
        built: the scenario and its model.
        estimates: compound → rates of binding.
    """

    built: Build
    estimates: Mapping[str, RateEstimate]
    _ms: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]], init=False)

    def __post_init__(self) -> None:
        known = set(self.built.engine.parameters)
        self.arms = tuple(
            arm for arm in self.built.scenario.arms() if all(change.name in known for change in arm.perturbations)
        )
        if not self.arms:
            raise InputError(
                f"{self.built.scenario.name}: every arm changes a species in time, which an emulator cannot learn; "
                "change parameters (`hold`, `set`), or run mechanism alone."
            )
        changed = {change.name for arm in self.arms for change in arm.perturbations}
        self.levels = tuple(name for name in self.built.engine.parameters if name in changed)

    @property
    def mechanism_ms(self) -> float:
        """Processor time of one course in the largest batch so far, as in a run; settling, which every way of answering
        needs, is left out."""
        return max(self._ms, default=(0, 0.0))[1]

    def sample(self, first: int, cells: int, *, arms_per_cell: int, balanced: bool) -> Trajectories:
        """Courses of cells first, first + 1, …, each in arms drawn for it; courses that failed are left out.

        Args:
            balanced: half of the arms are drawn evenly from treatments instead of from arms, so that a treatment with
                one arm is learned as well as one with a hundred.
        """
        from surrogates.trajectories import Trajectories

        scenario = self.built.scenario
        numbers = np.arange(first, first + cells, dtype=np.int64)
        cohort = Cohort(
            scenario=scenario,
            nominal={line: self.built.nominal(line) for line in scenario.lines},
            estimates=self.estimates,
            draws=dict.fromkeys(groups(scenario), numbers) or {"": numbers},
        )
        drawn = {line: cohort.parameters(line) for line in scenario.lines}
        rates = {compound: cohort.rates(compound) for compound in self.estimates}
        chosen = [self._chosen(int(number), arms_per_cell, balanced=balanced) for number in numbers]
        pairs = np.array([(arm, cell) for cell, arms in enumerate(chosen) for arm in arms], dtype=np.int64)
        settles: dict[object, list[int]] = {}
        for row, (number, _) in enumerate(pairs.tolist()):
            arm = self.arms[number]
            before = tuple((c.target, c.operation, float(c.value)) for c in arm.before_equilibration)
            settles.setdefault((arm.cell_line, before), []).append(row)
        parts: list[Trajectories] = []
        for rows in settles.values():
            cell = self.built.cell(
                self.arms[pairs[rows[0], 0]].cell_line, drawn[self.arms[pairs[rows[0], 0]].cell_line]
            )
            members, back = np.unique(pairs[rows, 1], return_inverse=True)
            settled = self._settled(cell, self.arms[pairs[rows[0], 0]], members)
            alike: dict[object, list[int]] = {}
            for position, row in enumerate(rows):
                arm = self.arms[pairs[row, 0]]
                key = (tuple((c.time, c.target, c.operation) for c in arm.perturbations), bool(arm.compound))
                alike.setdefault(key, []).append(position)
            for positions in alike.values():
                of = [int(pairs[rows[position], 0]) for position in positions]
                parts.append(self._ran(cell, settled.take(back[positions]), of, rates, numbers))
        return Trajectories.joined(parts)

    def _chosen(self, number: int, count: int, *, balanced: bool) -> list[int]:
        """Arms of a cell, drawn from (seed, cell)."""
        chance = stream(self.built.scenario.seed, "emulator arms", number)
        found: list[int] = []
        kinds = sorted({(arm.cell_line, arm.treatment) for arm in self.arms})
        for draw in range(count):
            if balanced and draw % 2:
                kind = kinds[int(chance.integers(len(kinds)))]
                of = [i for i, arm in enumerate(self.arms) if (arm.cell_line, arm.treatment) == kind]
            else:
                of = list(range(len(self.arms)))
            found.append(of[int(chance.integers(len(of)))])
        return list(dict.fromkeys(found))

    def _settled(self, cell: ReactionSimulator, arm: Arm, members: NDArray[np.int64]) -> State:
        scenario, alone = self.built.scenario, self.built.twin(cell)
        states = perturb(alone, start(alone, members=members, seed=scenario.seed), arm.before_equilibration)
        if scenario.cell.equilibrate:
            return settle(alone, states, held={f"{CELL}.{n}": v for n, v in scenario.equilibration.items()})[CELL]
        t0 = scenario.time.start_min
        return advance(alone, states, t0=t0, t1=t0, sample=()).states[CELL]

    def _ran(
        self,
        cell: ReactionSimulator,
        settled: State,
        arms: Sequence[int],
        rates: Mapping[str, tuple[Row, Row]],
        numbers: NDArray[np.int64],
    ) -> Trajectories:
        """One row per state, each in its own arm; all arms are changed in the same things at the same times."""
        from surrogates.trajectories import Trajectories

        scenario, rows = self.built.scenario, len(arms)
        own = [self.arms[number] for number in arms]
        kon = koff = None
        fed: dict[str, Row] = {}
        if own[0].compound and scenario.compounds is not None:
            pairs = [tuple(r[m] for r in rates[a.compound]) for a, m in zip(own, settled.members.tolist(), strict=True)]
            kon, kd = np.array(pairs).T
            koff = kon * kd
            fed = self._fed(kon, koff)
        twin_ = self.built.twin(cell, kon=kon, koff=koff)
        states = {CELL: settled}
        if BINDING in twin_.simulators:
            states[BINDING] = twin_.simulators[BINDING].init(members=np.arange(rows), seed=scenario.seed)
        changes = [
            Perturbation(same[0].time, same[0].target, np.array([float(c.value) for c in same]), same[0].operation)
            for same in zip(*(arm.perturbations for arm in own), strict=True)
        ]
        begun = time.process_time()
        course = advance(
            twin_,
            states,
            changes,
            t0=scenario.time.start_min,
            t1=scenario.time.end_min,
            sample=scenario.sample_times,
        )
        self._ms.append((rows, 1e3 * (time.process_time() - begun) / rows))
        features, initial = cell_features(cell, settled, fed)
        readouts = tuple(scenario.readouts)
        values = np.stack([course.values[f"{CELL}.{name}"] for name in readouts], axis=-1)
        fine = course.states[CELL].arrays["status"] == 0
        return Trajectories(
            features=tuple(features),
            features_NF=np.stack(list(features.values()), axis=1)[fine],
            readouts=readouts,
            initial_NR=np.stack([initial[name] for name in readouts], axis=1)[fine],
            arms=tuple(arm.perturbations for arm in self.arms),
            arm_N=np.array(arms, dtype=np.int64)[fine],
            cell_N=numbers[settled.members][fine],
            t0=scenario.time.start_min,
            times_T=np.array(scenario.sample_times),
            values_NTR=values[fine],
        )

    def _fed(self, kon: Row, koff: Row) -> dict[str, Row]:
        """Rates of binding in the model's units."""
        compounds, units = self.built.scenario.compounds, self.built.engine.units
        assert compounds is not None
        return {
            compounds.kon: kon * factor(RATE_UNITS["kon"], units.get(compounds.kon, "")),
            compounds.koff: koff * factor(RATE_UNITS["koff"], units.get(compounds.koff, "")),
        }


def _place(scenario: Scenario, choice: EmulatorChoice | None, out: Path | None) -> Path:
    if out is not None:
        return out
    if choice is None:
        raise InputError(
            f"{scenario.name} names no checkpoint; say where it goes: "
            f"`twin train … --out {scenario.folder / (scenario.name + '.safetensors')}`."
        )
    return scenario.path(choice.checkpoint)


def _others(plan: Plan) -> str:
    return f"{plan.validation} + {plan.calibration} + {plan.test}"
