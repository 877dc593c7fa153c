"""The differentiable solver of a reaction network: the ensemble engine as a torch function, its slopes exact.

Values come from the engine, with its own steps for every member, however stiff the network; slopes are its forward
sensitivities, of which backward takes the product with what comes from above. Nothing is integrated backwards.

Legend: `M` members, `T` times, `P` parameters, `S` states, `R` readouts, `W` parameters and states together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from simulators.reaction.selection import selected
from twin.errors import InputError

if TYPE_CHECKING:
    import xarray

    from simulators.reaction.engine import Floats
    from simulators.reaction.model import Quantity, ReactionModel


class Solver:
    """Time courses of a reaction model as a differentiable function: `solve(p_MP)` or `solve(p_MP, x0_MS)` is `y_MTR`.

    A member that cannot be integrated is NaN from where it failed, and its gradients are NaN, whatever is made of the
    others: look at `torch.isfinite(y)` and leave such members out before a loss is formed. So is the gradient of a member
    whose event or switch is touched without being crossed, where there is none.

    The engine runs on the CPU in float64; values come back in the type and on the device of p. Where a gradient is asked
    for, the run carries sensitivities, whose errors are controlled too; its values differ from those of a plain run within
    the tolerances. Kept until backward: M·T·R·W numbers; `select` what is needed.

    Attributes:
        parameters: names of p's columns `[P]`.
        states: names of x0's columns `[S]`: what moves and may be set at the start, without what `parameters` names.
        readouts: names of y's last dim `[R]`.
        times: `[T]`.
    """

    def __init__(
        self,
        model: ReactionModel,
        times: Sequence[float] | Floats,
        *,
        wrt: Sequence[str],
        parameters: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
        select: Sequence[str] | None = None,
        quantity: Quantity = "concentration",
        **options: Any,
    ) -> None:
        """See `ReactionModel.solver`."""
        if isinstance(wrt, str) or not len(wrt):
            raise InputError(
                f"wrt={wrt!r}: expected a list of parameters, compartments or species (for their start values), at least one."
            )
        self.parameters: tuple[str, ...] = tuple(wrt)
        fixed = {**(parameters or {}), **(initial or {})}
        twice = sorted({name for name in wrt if list(wrt).count(name) > 1 or name in fixed})
        if twice:
            raise InputError(
                f"wrt: {', '.join(twice)} given twice; what p gives stands once in `wrt` and nowhere else."
            )
        for name in wrt:
            model._settable.check("wrt", name)
        # refuses what cannot stay as it is
        model._settable.given({**fixed, **dict.fromkeys(wrt, 1.0)}, {}, quantity, None)
        network = model.network
        self.states: tuple[str, ...] = tuple(
            name
            for name in network.state_names
            if name in network.observables and name not in wrt and name not in fixed
        )
        self.readouts: tuple[str, ...] = tuple(o.id for o in selected(network, select))
        self.times: tuple[float, ...] = tuple(float(t) for t in times)
        self._model, self._fixed = model, fixed
        self._options = {"select": self.readouts, "quantity": quantity, **options}

    def __call__(self, p: Tensor, x0: Tensor | None = None) -> Tensor:
        """Readouts `[M, T, R]` for parameters `[M, P]` and, if given, start values `[M, S]` in place of the model's.

        Dims before the last are members: any number of them, also none; p and x0 are broadcast against each other.

        Raises:
            InputError: no tensors of real numbers, or other numbers of columns than `parameters` and `states` have names.
        """
        for what, given, names in (("p", p, self.parameters), ("x0", x0, self.states)):
            if given is not None and not (isinstance(given, Tensor) and given.is_floating_point()):
                kind = f"a tensor of {given.dtype}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
                raise InputError(
                    f"{what} is {kind}: expected a torch tensor of real numbers; write "
                    f"torch.as_tensor({what}, dtype=torch.float64)."
                )
            if given is not None and (not given.dim() or given.shape[-1] != len(names)):
                raise InputError(
                    f"{what} has shape {tuple(given.shape)}: expected {len(names)} columns, one for each of "
                    f"{', '.join(names[:6])}{', …' if len(names) > 6 else ''}."
                )
        columns = (p,) if x0 is None else (p, x0.to(p.dtype).to(p.device))
        shape = torch.broadcast_shapes(*(c.shape[:-1] for c in columns))
        rows = [c.expand(*shape, c.shape[-1]).reshape(-1, c.shape[-1]) for c in columns]
        names = (*self.parameters, *(self.states if x0 is not None else ()))
        if torch.is_grad_enabled() and any(row.requires_grad for row in rows):
            found = _Solution.apply(self, names, torch.cat(rows, dim=-1), [row.requires_grad for row in rows])
            assert isinstance(found, Tensor)
        else:
            found = torch.as_tensor(self._values(self._run(names, torch.cat(rows, dim=-1))))
        return found.to(p.device, p.dtype).reshape(*shape, len(self.times), len(self.readouts))

    def _run(self, names: Sequence[str], columns: Tensor, wrt: Sequence[str] = ()) -> xarray.Dataset:
        """A run for values `[M, W]` of names, with sensitivities to some of them."""
        table = columns.detach().to("cpu", torch.float64).numpy()
        given = {**self._fixed, **{name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(names)}}
        more = {"parameters": given, "members": len(table), **self._options}
        if wrt:
            return self._model.sensitivities(self.times, wrt=wrt, **more)
        return self._model.simulate(self.times, **more)

    def _values(self, data: xarray.Dataset, prefix: str = "") -> Floats:
        """Readouts `[M, T, R]`, or with a prefix their sensitivities `[M, T, R, W]`."""
        known = list(data.data_vars)[: len(self.readouts)]  # named as asked for, but for what clashes with a dim
        return np.stack([data[f"{prefix}{name}"].values for name in known], axis=2)


class _Solution(torch.autograd.Function):
    """Values of a run, and backward the product of what comes from above with their sensitivities."""

    @staticmethod
    def forward(ctx: Any, solver: Solver, names: Sequence[str], columns: Tensor, wanted: Sequence[bool]) -> Tensor:
        first = len(solver.parameters)
        wrt = [name for i, name in enumerate(names) if wanted[0 if i < first else 1]]
        data = solver._run(names, columns, wrt)
        slopes = solver._values(data, "d ")
        slopes[data["status"].values != 0] = np.nan
        ctx.slopes, ctx.places = slopes, [names.index(name) for name in wrt]
        ctx.like = columns.shape, columns.dtype, columns.device
        return torch.as_tensor(solver._values(data)).to(columns.device, columns.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *above: Tensor
    ) -> tuple[None, None, Tensor, None]:
        shape, dtype, device = ctx.like
        product = np.einsum("mtr,mtrw->mw", above[0].detach().to("cpu", torch.float64).numpy(), ctx.slopes)
        found = np.zeros(shape)
        found[:, ctx.places] = product
        return None, None, torch.as_tensor(found).to(device, dtype), None
