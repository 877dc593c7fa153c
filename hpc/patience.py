"""How long a rank that waits for mail sleeps between looks: a share of the time for which nothing has come.

So a message lies for at most that share of what has been waited for it anyway, and waiting costs a handful of looks rather than
thousands a second, which matters where many ranks share a core.
"""

from __future__ import annotations

import time

LEADING_S = 0.002  # longest sleep of a rank that others wait for,
IDLE_S = 0.02  # of one whose worker has nothing to do,
BUSY_S = 0.05  # and of one whose workers all work: nothing is urgent there, but a signal shall be obeyed within a tenth of a second
HOLD_S = 0.02  # longest that results wait for company, where the workers have more to do
_LEAST_S = 0.0005
_SHARE = 0.25


def pause_s(waited_s: float, most_s: float) -> float:
    """How long to sleep [s] after so long a wait; at most so long."""
    return min(most_s, max(_LEAST_S, _SHARE * waited_s))


class Patience:
    """The wait of one rank."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def renew(self) -> None:
        """Something came, or is about to: look often again."""
        self._since = time.monotonic()

    def pause_s(self, most_s: float) -> float:
        """How long to sleep until the next look [s]."""
        return pause_s(time.monotonic() - self._since, most_s)
