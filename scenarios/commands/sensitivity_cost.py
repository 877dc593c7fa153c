"""`twin bench sensitivities`: what sensitivities cost beside plain simulations, and whether they are right.

Cost: CPU time of all sensitivities over that of plain simulations of the same members at the same tolerances, in turns in
one process. Error: greatest |found - reference| over time, in shares of the reference's greatest value, of each pair of
species and quantity; the reference is a run at 1e-4 of the tolerance. Check: differences of plain simulations at two
widths, of order 4, forward from quantities that are 0; a pair is judged where the two agree to 1e-6 of its greatest value. Shares are of that value and
what the absolute tolerance is over the relative one, as integration controls them: a sensitivity near 0 divides nothing.
A pair that is 0 throughout is judged absolutely: its difference is to be 0 too, within the tolerance of the simulations.

Legend: `M` members, `T` times, `S` species, `C` quantities.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenarios.commands.ensemble_race import FLOOR, machine
from scenarios.commands.race_members import POINTS, Course, Settings, course
from simulators.reaction.sensitive_course import refuse
from simulators.reaction.simulation import check_tolerances
from twin.errors import InputError

_WIDTHS = (2e-2, 5e-3)
_JUDGED = 1e-6
_CENTRAL = {1.0: -1 / 6, -1.0: 1 / 6, 0.5: 4 / 3, -0.5: -4 / 3}
_FORWARD = {0.0: -25 / 3, 0.25: 16.0, 0.5: -12.0, 0.75: 16 / 3, 1.0: -1.0}
"""Weights of simulations at shares of a width, in a slope of order 4: about a value, and from 0 on, where below 0 nothing may be defined."""
_NOISE = 1e3
"""How many tolerances apart two simulations of the same may end: errors of single steps add up."""
_LEAST = 1e-9
"""Sensitivities whose quantity times greatest value is less than this share of the species' own, or of the tolerances' floor, are not compared."""


def quantities(track: Course, most: int, initial: int) -> list[str]:
    """Parameters, then species that are states for their initial values; so many of each, spread evenly."""
    model, network = track.model, track.model.network
    parameters = [n for n in model.parameters if network.observables[n].kind == "parameter"]
    species = [n for n in model.species if n in network.state_names]
    return _spread(parameters, most) + _spread(species, initial)


def _spread(names: Sequence[str], most: int) -> list[str]:
    return [names[int(i)] for i in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int))]


def ready(path: Path, *, rtol: float, most: int, initial: int, until: float | None = None) -> Course:
    """A model, read; arguments as of `measure`, and the end of the runs, where the model's data should not say.

    Raises:
        InputError: not a model; a tolerance or an end that means nothing; no quantity to take sensitivities to.
        UnsupportedFeature: sensitivities are not carried through something in the model.
    """
    check_tolerances(rtol, rtol * FLOOR)
    if until is not None and not 0.0 < until < np.inf:
        raise InputError(f"until={until!r}: expected an end after 0, in the model's units of time.")
    track = course(path, Settings(until=until))
    refuse(track.model.network)
    if not quantities(track, most, initial):
        raise InputError(
            f"{path}: no parameter and no initial value to take sensitivities to; allow some, or give another model."
        )
    return track


def measure(
    track: Course, *, members: int, rtol: float, most: int, initial: int, check: bool, repeats: int
) -> dict[str, Any]:
    """One model: see the module.

    Args:
        most: most parameters; initial: most initial values.
        check: whether differences are taken too, of the first member.
    """
    given, _, _ = track.start(members, Settings())
    wrt = quantities(track, most, initial)
    parameters = [n for n in wrt if track.model.network.observables[n].kind == "parameter"]
    times = np.linspace(0.0, track.end, POINTS)

    def plain(rtol: float = rtol) -> Any:
        return track.model.simulate(
            times,
            parameters=given,
            select=track.model.species,
            members=members,
            rtol=rtol,
            atol=rtol * FLOOR,
            threads=1,
        )

    def sensitive(rtol: float = rtol) -> Any:
        return track.model.sensitivities(
            times, wrt=wrt, parameters=given, select=track.model.species, members=members, rtol=rtol, atol=rtol * FLOOR,
            threads=1,
        )  # fmt: skip

    begun = time.process_time()
    sensitive(0.1)
    preparation = time.process_time() - begun
    plain(0.1)
    seconds, data = _in_turns((plain, sensitive), repeats)
    found: dict[str, Any] = {
        "model": track.path.stem.removeprefix("model_"), "condition": track.condition, "end": track.end, "states": len(track.model.network.states),
        "parameters": len(parameters), "initial_values": len(wrt) - len(parameters), "members": members, "rtol": rtol,
        "atol": rtol * FLOOR, "preparation_s": preparation, "plain_ms": 1e3 * seconds[0] / members,
        "sensitivities_ms": 1e3 * seconds[1] / members, "ratio": seconds[1] / seconds[0],
        "failed_share": float((data["status"] != 0).mean()),
    }  # fmt: skip
    if check:
        sizes = _bases(track, given, wrt, members)
        found |= _errors(_table(data, track), _table(sensitive(1e-4 * rtol), track), _values(data, track), sizes, rtol)
        found |= _against_differences(track, {n: v[:1] for n, v in given.items()}, wrt, times, rtol)
    return found


def _in_turns(calls: Sequence[Callable[[], Any]], repeats: int) -> tuple[list[float], Any]:
    best, last = [np.inf] * len(calls), None
    for _ in range(repeats):
        for i, call in enumerate(calls):
            begun = time.process_time()
            last = call()
            best[i] = min(best[i], time.process_time() - begun)
    return best, last


def _table(data: Any, track: Course) -> np.ndarray:
    """Sensitivities `[S, M, T, C]`."""
    return np.stack([data[f"d {_name(n)}"].values for n in track.model.species])


def _values(data: Any, track: Course) -> np.ndarray:
    return np.stack([data[_name(n)].values for n in track.model.species])


def _name(species: str) -> str:
    return f"{species}_" if species in ("member", "time") else species


def _bases(track: Course, given: Mapping[str, Any], wrt: Sequence[str], members: int) -> np.ndarray:
    """What the quantities are at the start `[M, C]`, as they are given: amounts of species that the model counts whole."""
    model, initials = track.model, track.model.network.initials

    def at_start(quantity: Any) -> Any:
        return model.simulate(
            [0.0], select=list(wrt), parameters=given, members=members, threads=1, quantity=quantity
        )  # fmt: skip

    concentrations, amounts = at_start("concentration"), at_start("amount")
    whole = [name in initials and initials[name][0] for name in wrt]
    parts = [(amounts if w else concentrations)[_name(n)].values[:, 0] for n, w in zip(wrt, whole, strict=True)]
    return np.stack(parts, axis=-1)


def _errors(found: Any, reference: Any, values: Any, sizes: Any, rtol: float) -> dict[str, Any]:
    """Of members that both runs bring to their end, where the quantity moves the species by more than its tolerance."""
    greatest = np.abs(reference).max(axis=2)  # [S, M, C]
    weights = np.where(sizes != 0.0, np.abs(sizes), 1.0)
    matters = greatest * weights > rtol * np.abs(values).max(axis=2)[:, :, None]
    with np.errstate(invalid="ignore"):
        errors = np.abs(found - reference).max(axis=2) / _unit(greatest, sizes)
    errors = errors[matters & np.isfinite(errors)]
    return {"error": float(errors.max()), "error_median": float(np.median(errors))} if errors.size else {}


def _unit(greatest: Any, sizes: Any) -> Any:
    """What an error of a sensitivity is a share of: its greatest value, and the tolerances' floor over the quantity's size
    (1 where that is 0)."""
    sizes = np.abs(sizes)
    return greatest + FLOOR / np.where(sizes > 0.0, sizes, 1.0)


def _against_differences(
    track: Course, given: Mapping[str, Any], wrt: Sequence[str], times: Any, rtol: float
) -> dict[str, Any]:
    """The first member's sensitivities at 1e-3 of the tolerance beside differences."""
    model, species = track.model, list(track.model.species)
    tight = rtol * 1e-3
    data = model.sensitivities(
        times, wrt=wrt, parameters=given, select=species, rtol=tight, atol=tight * FLOOR, threads=1
    )
    found = _table(data, track)[:, 0]  # [S, T, C]
    bases = _bases(track, given, wrt, 1)[0]
    peaks = np.maximum(np.abs(_values(data, track)[:, 0]).max(axis=1), FLOOR)
    scales = np.where(bases != 0.0, np.abs(bases), _reach(found, peaks))
    sharp = max(tight * 1e-2, 1e-12)
    slopes = np.empty((len(species), len(_WIDTHS), len(times), len(wrt)))
    for c, name in enumerate(wrt):
        weights = _CENTRAL if bases[c] != 0.0 else _FORWARD
        moves = scales[c] * np.outer(_WIDTHS, list(weights)).ravel()
        own = {name: bases[c] + moves}
        together = {n: np.repeat(v, len(moves)) for n, v in given.items()}
        is_start = model.network.observables[name].kind == "species"
        parameters, initial = (together, own) if is_start else ({**together, **own}, {})
        shown = model.simulate(
            times, parameters=parameters, initial=initial, select=species, rtol=sharp, atol=sharp * FLOOR, threads=1
        )
        parts = _values(shown, track).reshape(len(species), len(_WIDTHS), len(weights), len(times))
        steps = scales[c] * np.array(_WIDTHS)[None, :, None]
        slopes[:, :, :, c] = np.einsum("swkt,k->swt", parts, list(weights.values())) / steps
    greatest = np.abs(slopes).max(axis=2)  # [S, W, C]
    with np.errstate(all="ignore"):
        doubt = np.abs(slopes[:, 0] - slopes[:, 1]).max(axis=1) / greatest[:, 1]
    error = np.abs(found[:, None] - slopes).max(axis=2).min(axis=1) / _unit(greatest[:, 1], bases)
    judged = (doubt <= _JUDGED) & (greatest[:, 1] * scales > _LEAST * peaks[:, None])
    zero = ~found.any(axis=1) & np.isfinite(slopes).all(axis=(1, 2))
    noise = _NOISE * sharp * (peaks[:, None, None] + FLOOR) / (np.array(_WIDTHS)[:, None] * scales)
    seen = (greatest > noise).all(axis=1) | (judged & (greatest[:, 1] > 0.0))
    return {
        "pairs": int(doubt.size), "pairs_judged": int(judged.sum()),
        "difference": float(error[judged].max()) if judged.any() else None,
        "zeros": int(zero.sum()), "false_zeros": int((zero & seen).sum()),
        "worst_pair": _pair(error, judged, species, wrt),
    }  # fmt: skip


def _reach(found: Any, peaks: Any) -> Any:
    """How far each quantity must go to move one species by as much as that is, to first order `[C]`; 1 if it moves none."""
    with np.errstate(divide="ignore"):
        reach = (peaks[:, None] / np.abs(found).max(axis=1)).min(axis=0)
    return np.where(np.isfinite(reach), reach, 1.0)


def _pair(error: Any, judged: Any, species: Sequence[str], names: Sequence[str]) -> list[str] | None:
    if not judged.any():
        return None
    s, c = np.unravel_index(np.argmax(np.where(judged, error, -1.0)), error.shape)
    return [species[int(s)], names[int(c)]]


def run(
    paths: Sequence[Path],
    *,
    rtol: float,
    most: int,
    initial: int,
    until: float | None = None,
    report: Any = print,
    **more: Any,
) -> dict[str, Any]:
    """All models, one after the other, once all have been read; arguments as of `ready` and `measure`.

    Its form is docs/schemas/bench_sensitivities.schema.json.
    """
    tracks = [ready(path, rtol=rtol, most=most, initial=initial, until=until) for path in paths]
    found: dict[str, Any] = {"schema": 1, "machine": machine(), "models": []}
    report(HEAD)
    for track in tracks:
        found["models"].append(measure(track, rtol=rtol, most=most, initial=initial, **more))
        report(line(found["models"][-1]))
    return found


HEAD = (
    f"{'model':26}{'states':>7}{'parameters':>11}{'initial':>8}{'ready s':>8}{'plain ms':>10}{'with ms':>9}{'ratio':>7}"
    f"{'error':>9}{'differences':>12}{'judged':>14}{'zeros':>7}{'false zeros':>12}"
)


def line(m: Mapping[str, Any]) -> str:
    """One model in words."""
    text = (
        f"{m['model'][:25]:26}{m['states']:7}{m['parameters']:11}{m['initial_values']:8}{m['preparation_s']:8.2f}"
        f"{m['plain_ms']:10.3f}{m['sensitivities_ms']:9.2f}{m['ratio']:7.1f}"
    )
    if "pairs" in m:
        off = "none" if m["difference"] is None else f"{m['difference']:.1e}"
        judged = f"{m['pairs_judged']}/{m['pairs']}"
        text += f"{m.get('error', np.nan):9.1e}{off:>12}{judged:>14}{m['zeros']:7}{m['false_zeros']:12}"
    return text
