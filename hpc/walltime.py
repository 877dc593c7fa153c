"""Walltime: how long a job may take, as schedulers write it: ``[D-]HH:MM:SS``."""

from __future__ import annotations

import re

from hpc.errors import LaunchError

_FORM = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)")


def seconds_of(text: str) -> float:
    """The seconds of a walltime such as ``00:55:00`` or ``1-12:00:00``.

    Raises:
        LaunchError: it is none, or none of it is left.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise LaunchError(f"--walltime {text}: expected HH:MM:SS or D-HH:MM:SS, e.g. 00:55:00 for 55 minutes.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise LaunchError(f"--walltime {text}: no time at all; give what the scheduler grants, e.g. 00:55:00.")
    return float(total)
