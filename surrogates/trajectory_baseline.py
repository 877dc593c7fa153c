"""What an emulator must beat: the mean course of the arm, the course of the nearest training cell, and a linear map.

Legend: `N` training trajectories, `M` asked for, `T` times, `R` readouts, `X` inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from surrogates.domain import Domain, levels_in_time
from surrogates.dosing import merged
from surrogates.trajectories import Trajectories

Floats = NDArray[np.float64]


def mean_of_arm(training: Trajectories, asked: Trajectories) -> Floats:
    """Mean training course of the same arm `[M, T, R]`; of all arms, where training lacks the arm."""
    found = np.empty_like(asked.values_NTR)
    for row, arm in enumerate(asked.arm_N.tolist()):
        same = training.arm_N == arm
        found[row] = training.values_NTR[same if same.any() else slice(None)].mean(axis=0)
    return found


def nearest_neighbour(training: Trajectories, asked: Trajectories, domain: Domain) -> Floats:
    """Course of the training trajectory of the same schedule with the nearest inputs `[M, T, R]`."""
    found = np.empty_like(asked.values_NTR)
    known, wanted = _inputs(training, domain), _inputs(asked, domain)
    for rows, of in _schedules(training, asked):
        distance = ((wanted[rows][:, None, :] - known[of][None, :, :]) ** 2).sum(axis=-1)
        found[rows] = training.values_NTR[of[distance.argmin(axis=1)]]
    return found


def linear_map(training: Trajectories, asked: Trajectories, domain: Domain, *, ridge: float = 1e-2) -> Floats:
    """Ridge regression from inputs to the whole course, one for each schedule `[M, T, R]`.

    Args:
        ridge: penalty on squared weights of scaled inputs, per training trajectory.
    """
    found = np.empty_like(asked.values_NTR)
    known, wanted = _inputs(training, domain), _inputs(asked, domain)
    for rows, of in _schedules(training, asked):
        x, y = known[of], training.values_NTR[of].reshape(len(of), -1)
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        gram = (x - x_mean).T @ (x - x_mean) + ridge * len(of) * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, (x - x_mean).T @ (y - y_mean))
        found[rows] = (y_mean + (wanted[rows] - x_mean) @ weights).reshape(len(rows), *found.shape[1:])
    return found


def _schedules(training: Trajectories, asked: Trajectories) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows asked for and training rows of one schedule."""
    keys = {
        tuple((c.time, c.target, c.operation) for c in changes): rows
        for rows, changes in merged(training.arms, training.arm_N)
    }
    for rows, changes in merged(asked.arms, asked.arm_N):
        key = tuple((c.time, c.target, c.operation) for c in changes)
        yield rows, keys.get(key, np.arange(len(training)))


def _inputs(data: Trajectories, domain: Domain) -> Floats:
    """Features, readouts at the start and levels in all windows, scaled `[M, X]`."""
    levels_MWL = levels_in_time(data, domain.level_names)
    scaled = [domain.scaled_levels(levels_MWL[:, window]) for window in range(levels_MWL.shape[1])]
    return np.concatenate(
        [domain.features_of(data.feature_values), data.initial_NR / np.array(domain.spans), *scaled], axis=1
    )
