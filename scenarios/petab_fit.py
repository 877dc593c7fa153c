"""A PEtab problem as a fit sees it whose measurements are known up to scales: blots, each with an unknown factor.

The factors enter linearly and are taken out by whoever fits (see `laplace.py`), so the model's values are given before
them. What is not of this form is refused, never approximated. Legend: `M` parameter vectors, `P` parameters that the fit
moves, `R` measured points, `G` unknown scales.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulators.reaction.petab import PetabProblem
from simulators.reaction.petab_observable import PetabObservable
from simulators.reaction.petab_parameter import PetabParameter
from twin.errors import InputError, UnsupportedFeature

Floats = NDArray[np.float64]
_RTOL, _ATOL = 1e-9, 1e-12  # differences of trajectories are taken: the integrator must be far better than they are


class PetabFit:
    """A model and its measured points; gives the model's value of each point for any parameters.

    Attributes:
        problem: what is fitted.
        parameters: what the fit moves in the model `[P]`.
        scales: names of the unknown scales `[G]`.
        measured, noise: value and standard deviation of each point `[R]`.
        scale_of: per point, its scale `[R]`; -1 where it has none.

    Raises:
        UnsupportedFeature: noise that is not one number per point, a scale that does not multiply the whole observable, or a
            prior that we do not read.
    """

    def __init__(self, problem: PetabProblem) -> None:
        self.problem = problem
        points = problem.points
        has_scale = {name: _refuse_other(observable) for name, observable in problem.observables.items()}
        scales: dict[str, None] = {}
        for name, fill in zip(points.observables, points.fills, strict=True):
            if not has_scale[name]:
                continue
            if fill[0] not in problem.parameters:
                raise UnsupportedFeature(
                    "PEtab scale", f"{name} is scaled by {fill[0]!r}; we read scales that are parameters of the table."
                )
            scales[str(fill[0])] = None
        self.scales = tuple(scales)
        for name, fill in zip(points.observables, points.noise_fills, strict=True):
            if isinstance(fill[0], str):
                raise UnsupportedFeature(
                    "PEtab noise", f"{name}: noise is the parameter {fill[0]}; we read numbers only."
                )
        self.measured = points.measured
        self.noise = np.array([float(fill[0]) for fill in points.noise_fills])
        if not (self.noise > 0).all():
            raise InputError("measurements: a noise of 0 or less; every point needs a standard deviation above 0.")
        self.scale_of = np.array(
            [
                self.scales.index(str(fill[0])) if has_scale[n] else -1
                for n, fill in zip(points.observables, points.fills, strict=True)
            ],
            dtype=np.intp,
        )
        self.parameters = tuple(p for p in problem.parameters.values() if p.estimated and p.name not in scales)
        for parameter in self.parameters:
            _refuse_unbounded(parameter)

    @classmethod
    def read(cls, path: str | Path, *, model_values: bool = False) -> PetabFit:
        """Read a PEtab YAML file, or the folder that holds one.

        Args:
            model_values: take best values from the model's file, where the table of parameters only rounds them.

        Raises:
            InputError, UnsupportedFeature: as `PetabProblem.read` and the class.
        """
        problem = PetabProblem.read(path)
        if model_values:
            own = [name for name in problem.parameters if name in problem.model.parameters]
            data = problem.model.simulate([0.0], select=own)
            problem = problem.with_nominal({n: float(data[f"{n}_" if n in data.dims else n].values[0, 0]) for n in own})
        return cls(problem)

    def simulate(self, scaled: Floats) -> Floats:
        """What the model says at every point, before the point's scale, `[M, R]`; NaN for vectors that cannot be run.

        Args:
            scaled: parameter vectors `[M, P]`, each parameter on its scale.
        """
        given = {p.name: p.values(scaled[:, column]) for column, p in enumerate(self.parameters)}
        found = self.problem.evaluate(
            {**given, **dict.fromkeys(self.scales, np.ones(len(scaled)))}, rtol=_RTOL, atol=_ATOL, threads=1
        ).simulation
        return np.where(np.isfinite(found), found, np.nan)


def _refuse_other(observable: PetabObservable) -> bool:
    """Whether an unknown scale multiplies the observable; refuses other forms."""
    name = observable.id
    if observable.transformation != "lin" or observable.distribution != "normal":
        raise UnsupportedFeature("PEtab noise", f"{name}: we read normal noise on the linear scale only.")
    if observable.noise.text != f"noiseParameter1_{name}":
        raise UnsupportedFeature(
            "PEtab noise", f"{name}: noise {observable.noise.text!r}; we read noiseParameter1_{name} only."
        )
    if not observable.slots:
        return False
    node = ast.parse(observable.formula.text.replace("^", "**"), mode="eval").body
    if len(observable.slots) == 1 and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for factor, rest in ((node.left, node.right), (node.right, node.left)):
            if isinstance(factor, ast.Name) and factor.id == observable.slots[0]:
                names = {part.id for part in ast.walk(rest) if isinstance(part, ast.Name)}
                if observable.slots[0] not in names:
                    return True
    raise UnsupportedFeature(
        "PEtab observable", f"{name}: {observable.formula.text}; we read one scale that multiplies the whole."
    )


def _refuse_unbounded(parameter: PetabParameter) -> None:
    for what, value in (
        ("nominalValue", parameter.nominal),
        ("lowerBound", parameter.lower),
        ("upperBound", parameter.upper),
    ):
        if not np.isfinite(value):
            raise InputError(f"parameters: {parameter.name} has no {what}, which a fit needs; give it a number.")
    _ = parameter.published
