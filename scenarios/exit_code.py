"""Exit codes of a run that ended with a result; what was stopped or refused ends as `hpc.Stopped` and the command line say."""

DONE = 0
SET_ASIDE = 3
"""Done, but some work was set aside; `status` in the result says which, and why."""
