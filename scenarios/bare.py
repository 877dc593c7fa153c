"""What `twin run` and `twin check` are given: a scenario, a PEtab problem, or a bare model; and the latter two, run.

Nothing heavy is imported before it is known that it is needed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from scenarios import model_job
from twin.errors import InputError

Kind = Literal["scenario", "petab", "model"]
_MODELS = (".xml", ".sbml", ".ant", ".omex")
_OF_MODEL = ("--scan", "--times", "--select", "--spread", "--figure")
_OF_SCENARIO = ("--timeline", "--place")
_OF_OTHERS = {
    "scenario": (*_OF_MODEL, "--engine"),
    "petab": (*_OF_MODEL, *_OF_SCENARIO, "--members", "--seed"),
    "model": _OF_SCENARIO,
}
_CALLED = {"scenario": "scenario", "petab": "PEtab problem", "model": "model"}


def kind_of(given: str) -> Kind:
    """By its ending and, where that does not tell, its content."""
    path = Path(given)
    if path.suffix.lower() in _MODELS or (path.is_file() and zipfile.is_zipfile(path)):
        return "model"
    if path.suffix.lower() == ".txt" and path.is_file():
        return "model"  # Antimony
    if path.is_dir() or path.suffix.lower() in (".yaml", ".yml"):
        head = "" if path.is_dir() or not path.is_file() else path.read_bytes()[:65536].decode("utf-8", "replace")
        if path.is_dir() or "problems" in head:
            from simulators.reaction.petab_files import is_petab

            return "petab" if is_petab(path) else "scenario"
    return "scenario"


def refuse_options(given: str, kind: Kind, options: Mapping[str, Any]) -> None:
    """Refuse options that say nothing about this kind.

    Raises:
        InputError: names them.
    """
    wrong = [name for name in _OF_OTHERS[kind] if options[name] not in (None, [])]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)}: not for {given}, which is a {_CALLED[kind]}; leave out, or see `twin run --help`."
        )


def run(kind: Kind, given: str, options: Mapping[str, Any], **how: Any) -> int:
    """Run a PEtab problem or a model; returns the exit code of `model_job.run`.

    Args:
        options: as `twin run` takes them, by name.
        how: `out`, `overwrite`, `resume`, `dry_run`, `processes`.

    Raises:
        InputError, UnsupportedFeature: refused.
    """
    refuse_options(given, kind, options)
    path = Path(given)
    if kind == "petab":

        def petab() -> model_job.Work:
            from scenarios.petab_run import PetabRun

            return PetabRun.read(path, engine=options["--engine"] or "auto")

        return model_job.run(petab, **how)

    def scan() -> model_job.Work:
        from scenarios.scan import Scan, spread_of, times_of
        from scenarios.scan_axis import ScanAxis

        return Scan(
            file=path,
            axes=tuple(ScanAxis.parse(text) for text in options["--scan"] or ()),
            times=times_of(options["--times"], path),
            select=tuple(part.strip() for part in (options["--select"] or "").split(",") if part.strip()),
            members=options["--members"] or 1,
            spread=spread_of(options["--spread"] or ()),
            seed=options["--seed"] or 0,
            engine=options["--engine"] or "auto",
        )

    return model_job.run(scan, figure=options["--figure"], **how)


def checked(kind: Kind, given: str) -> list[str]:
    """What a PEtab problem or a model holds, in lines, if nothing is wrong with it.

    Raises:
        InputError, UnsupportedFeature: what is wrong.
    """
    if kind == "petab":
        from scenarios.petab_run import PetabRun

        return [f"{given}: fine.", *PetabRun.read(Path(given)).contents()]
    from simulators.reaction.model import ReactionModel

    model = ReactionModel.read(Path(given))
    network = model.network
    features = f"; {', '.join(sorted(model.features))}" if model.features else ""
    return [
        f"{given}: fine.",
        f"  {network.id}: {len(model.species)} species, {len(network.reactions)} reactions, {len(model.parameters)} parameters "
        f"and compartments{features}",
        f"  times in {network.time_units or 'units that the file does not state'}",
    ]
