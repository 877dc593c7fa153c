"""`twin jobscript`: a batch job of a scenario, as a script for Slurm, PBS or PJM."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hpc.batch_system import Naming
from hpc.errors import RequestError
from hpc.job_request import JobRequest
from hpc.job_script import SYSTEMS, Program, text
from twin.errors import InputError


def write(
    scenario: str,
    *,
    system: str,
    request: JobRequest,
    queue: str = "",
    account: str = "",
    directives: Sequence[str] = (),
    modules: Sequence[str] = (),
    venv: Path | None = None,
    members: int | None = None,
    out: Path | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the script of a scenario; returns its path.

    Args:
        scenario: a built-in scenario's name, or a file.
        system: slurm, pbs or pjm.
        request: what is asked for.
        queue, account, directives: what the site wants.
        modules, venv: what is loaded first; None: the virtual environment that runs now.
        members: virtual cells per line, in place of the file's.
        out: the result; None: ``results/NAME.zarr``.
        output: the script; None: ``NAME.SYSTEM.sh``.
        overwrite: a script that is there may be replaced.

    Raises:
        InputError: the scenario is refused, or the script cannot be written.
        RequestError: nothing could grant what is asked for.
    """
    found = next((one for one in SYSTEMS if one.name == system), None)
    if found is None:
        raise RequestError(f"--system {system}: expected one of {', '.join(one.name for one in SYSTEMS)}.")
    found.check(request)

    from scenarios.scenario import Scenario

    asked = Scenario.load(scenario)
    script = (output or Path(f"{asked.name}.{system}.sh")).absolute()
    result = (out or Path("results") / f"{asked.name}.zarr").absolute()
    named = str(Path(scenario).absolute()) if Path(scenario).is_file() else scenario
    command = ["twin", "run", named, *(["--members", str(members)] if members is not None else [])]
    seeds: list[str] = []
    if request.array:
        seeds = ["--seed", "INDEX", "--out", str(result.with_name(f"{result.stem}-seed-INDEX.zarr"))]
    else:
        command += ["--out", str(result)]
    program = Program(command, seeds, modules, _environment() if venv is None else venv.absolute())
    naming = Naming(_job_name(asked.name), queue, account, tuple(directives))
    made_by = shlex.join(["twin", *sys.argv[1:]]) if Path(sys.argv[0]).name == "twin" else f"twin jobscript {scenario}"
    if venv is not None and not (venv / "bin" / "activate").is_file():
        print(
            f"note: --venv {venv} is no virtual environment on this machine (no bin/activate); the job ends at once where it runs "
            "unless there is one at this path.",
            file=sys.stderr,
        )
    content = text(found, request, naming, program, script=script, made_by=made_by)
    if script.exists() and not overwrite:
        raise InputError(
            f"{script} is there already. Replace it with --overwrite, or choose another name with --output."
        )
    try:
        script.write_text(content, encoding="utf-8")
        script.chmod(0o755)
    except OSError as error:
        raise InputError(
            f"--output {script}: cannot be written ({error.strerror}); give a file in a folder that exists."
        ) from error
    return script


def _environment() -> Path | None:
    """The virtual environment of this process."""
    there = Path(sys.prefix)
    return there if sys.prefix != sys.base_prefix and (there / "bin" / "activate").is_file() else None


def _job_name(name: str) -> str:
    """A scenario's name as schedulers take it."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in name)[:63]
    return plain if plain[:1].isalpha() else f"twin-{plain}"[:63]
