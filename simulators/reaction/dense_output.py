"""The state within a step of Rodas5P, and switches that turn and turn back there, unseen at both ends.

Legend: `S` states, `L` lanes, `G` gaps.
"""

from __future__ import annotations

from typing import Final

import numba

from simulators.reaction.lanes import LANES, execute_lane

NONE: Final = 2.0
"""No share of a step."""
_CLOSER: Final = 6
"""How often an extremum is approached."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def bend(layout, R, x, new, dense, lane, S, share):
    """Put the dense output at a share of the step where readouts and switches read the state."""
    for s in range(S):
        n = s * LANES + lane
        if share >= 1.0:
            R[(layout.out_x + s) * LANES + lane] = new[n]
        else:
            bent = dense[2, n] + share * dense[3, n] if dense.shape[0] > 3 else dense[2, n]
            bent = dense[0, n] + share * (dense[1, n] + share * bent)
            R[(layout.out_x + s) * LANES + lane] = (1.0 - share) * x[n] + share * (new[n] + (1.0 - share) * bent)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def differs(layout, R, lane, count):
    """Whether one of the first switches is not what its relation is now."""
    for q in range(count):
        if R[(layout.switches + q) * LANES + lane] != R[(layout.out_switches + q) * LANES + lane]:
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def hidden_turn(layout, program, R, x, new, dense, lane, S, t, h, held, gaps):
    """A share of the step at which a switch of an event is not what it is at both ends; `NONE` if none is found.

    A relation turns where the gap between its sides passes 0. Of each gap that bends towards 0 the extremum is sought
    by parabolas through three of its points (Brent, Algorithms for Minimization without Derivatives, 1973, ch. 5).

    Args:
        t, h: start and width of the step. held: the model's time, if it stands still, else NaN.
        gaps: room for numbers `[3, G]`.
    """
    G = layout.gap_count
    for q in range(3):
        _gaps(layout, program, R, x, new, dense, lane, S, t, h, held, 0.5 * q)
        for g in range(G):
            gaps[q, g] = R[(layout.gaps + g) * LANES + lane]
    first = NONE
    for g in range(G):
        sign = 1.0 if gaps[0, g] > 0.0 else -1.0
        s0, s1, s2 = 0.0, 0.5, 1.0
        g0, g1, g2 = sign * gaps[0, g], sign * gaps[1, g], sign * gaps[2, g]
        if not (g0 > 0.0 and g2 > 0.0):
            continue  # on the edge at the start, or turned at the end, which is seen anyway
        at = s1
        if g1 > 0.0:
            at = NONE
            for _ in range(_CLOSER):
                left, right = (g1 - g0) / (s1 - s0), (g2 - g1) / (s2 - s1)
                curve = (right - left) / (s2 - s0)
                if not curve > 0.0:
                    break
                s = 0.5 * (s0 + s1) - 0.5 * left / curve  # where the parabola's slope is 0
                lowest = g1 + (s - s1) * (left + curve * (s - s0))
                if not (s0 < s < s2) or lowest > 0.5 * min(g0, g2):
                    break
                if abs(s - s1) < 1e-3 * (s2 - s0):
                    break
                _gaps(layout, program, R, x, new, dense, lane, S, t, h, held, s)
                value = sign * R[(layout.gaps + g) * LANES + lane]
                if value <= 0.0:
                    at = s
                    break
                if s < s1:
                    if value < g1:
                        s2, g2, s1, g1 = s1, g1, s, value
                    else:
                        s0, g0 = s, value
                elif value < g1:
                    s0, g0, s1, g1 = s1, g1, s, value
                else:
                    s2, g2 = s, value
        if at < first:
            bend(layout, R, x, new, dense, lane, S, at)
            R[layout.out_time * LANES + lane] = held if held == held else t + at * h
            execute_lane(program.turn, R, lane)
            if differs(layout, R, lane, layout.stopping):
                first = at
    return first


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gaps(layout, program, R, x, new, dense, lane, S, t, h, held, share):
    bend(layout, R, x, new, dense, lane, S, share)
    R[layout.out_time * LANES + lane] = held if held == held else t + share * h
    execute_lane(program.gap, R, lane)
