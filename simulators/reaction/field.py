"""The differentiable field of a reaction network: its rates of change as a torch function of time, states and constants.

It is built from the same expression graph as the engines, on any device and in any floating type, and may be
differentiated as often as wanted. Slopes follow the engine's conventions: at a switch that of the branch that holds
there, of relations and steps 0, of `x^n` by n 0 where x is not positive.

Legend: `M` members, `S` states, `P` constants, `R` readouts, `N` nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from simulators.reaction.expression import Graph, Node
from simulators.reaction.layers import Layers, copied, guarded, layered
from simulators.reaction.network import CLOCK, Network, symbol_name
from simulators.reaction.selection import selected
from twin.errors import InputError, UnsupportedFeature

if TYPE_CHECKING:
    from simulators.reaction.model import Quantity, ReactionModel


def _chosen(condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(condition != 0, one, other)


def _truth(relation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *given: relation(*given).to(given[0].dtype)


def _power(a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a, torch.where(a > 0, b, b.detach()))


def _factorial(a: Tensor) -> Tensor:
    return torch.exp(torch.lgamma(a.detach() + 1.0))


_OPERATIONS: Final[Mapping[str, Callable[..., Tensor]]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": _power, "neg": torch.neg,
    "exp": torch.exp, "ln": torch.log, "sqrt": torch.sqrt, "abs": lambda a: torch.where(a >= 0, a, -a),
    "floor": torch.floor, "ceil": torch.ceil, "factorial": _factorial, "sin": torch.sin, "cos": torch.cos,
    "tan": torch.tan, "asin": torch.asin, "acos": torch.acos, "atan": torch.atan, "sinh": torch.sinh,
    "cosh": torch.cosh, "tanh": torch.tanh, "asinh": torch.asinh, "acosh": torch.acosh, "atanh": torch.atanh,
    "lt": _truth(torch.lt), "le": _truth(torch.le), "gt": _truth(torch.gt), "ge": _truth(torch.ge),
    "eq": _truth(torch.eq), "ne": _truth(torch.ne), "and": _truth(torch.logical_and), "or": _truth(torch.logical_or),
    "xor": _truth(torch.logical_xor), "not": _truth(torch.logical_not), "where": _chosen,
    "min": lambda a, b: torch.where((a <= b) | a.isnan(), a, b),
    "max": lambda a, b: torch.where((a >= b) | a.isnan(), a, b),
    "rem": torch.fmod, "quotient": lambda a, b: torch.trunc(a / b),
}  # fmt: skip


class Formula:
    """Nodes of a graph as a torch function of the values of some symbols.

    Args:
        graph, nodes: what is computed `[N]`; the graph is not changed.
        inputs: names of the symbols, in the order in which values are given.
    """

    def __init__(self, graph: Graph, nodes: Sequence[Node], inputs: Sequence[str]) -> None:
        own, found = copied(graph, nodes)
        layers = layered(own, guarded(own, found), [own.symbol(name) for name in inputs])
        self._home = _tensors(layers)
        self._away: dict[tuple[torch.dtype, torch.device], _Tensors] = {}

    def __call__(self, table: Tensor) -> Tensor:
        """Values `[N, ...]` for values `[inputs, ...]` of the symbols."""
        constants, layers, outputs = self._on(table.dtype, table.device)
        shape = table.shape[1:]
        table = torch.cat((table, constants.reshape(-1, *([1] * len(shape))).expand(-1, *shape)))
        for gathered, carried, groups in layers:
            found = table.index_select(0, gathered)
            results, at = [found[:carried]], carried
            for op, count, width, signs in groups:
                given = found[at : at + count * width]
                at += count * width
                if op == "sum":
                    terms = given.reshape(count, width, *shape)
                    if signs is not None:
                        terms = terms * signs.reshape(count, width, *([1] * len(shape)))
                    results.append(terms.sum(1))
                else:
                    results.append(_OPERATIONS[op](*(given[k * count : (k + 1) * count] for k in range(width))))
            table = torch.cat(results)
        return table.index_select(0, outputs)

    def _on(self, dtype: torch.dtype, device: torch.device) -> _Tensors:
        """Constants and places in a type on a device."""
        if dtype == torch.float64 and device.type == "cpu":
            return self._home
        if torch.compiler.is_compiling():  # what is made there is no tensor to keep
            return _moved(self._home, dtype, device)
        key = (dtype, device)
        if key not in self._away:
            self._away[key] = _moved(self._home, dtype, device)
        return self._away[key]


_Group = tuple[str, int, int, Tensor | None]
_Tensors = tuple[Tensor, list[tuple[Tensor, int, list[_Group]]], Tensor]
"""Constants; places, number of nodes carried on and groups of each layer; places of the outputs. As `Layers`."""


def _tensors(layers: Layers) -> _Tensors:
    steps = [
        (
            torch.as_tensor(layer.gathered), layer.carried,
            [(g.op, g.count, g.width, None if g.signs is None else torch.as_tensor(g.signs)) for g in layer.groups],
        )
        for layer in layers.layers
    ]  # fmt: skip
    return torch.as_tensor(layers.constants), steps, torch.as_tensor(layers.outputs)


def _moved(tensors: _Tensors, dtype: torch.dtype, device: torch.device) -> _Tensors:
    constants, steps, outputs = tensors
    return (
        constants.to(device, dtype),
        [
            (places.to(device), carried, [(op, n, k, None if s is None else s.to(device, dtype)) for op, n, k, s in groups])
            for places, carried, groups in steps
        ],
        outputs.to(device),
    )  # fmt: skip


class Field:
    """dx/dt of a reaction model: `field(t, x_MS, p_MP)` is `[M, S]`.

    Species are amounts, whatever their ids mean in the model; `start` gives states and constants in that form, and
    `readouts` turns states back into what is measured. Dims before the last are members: any number of them, also none,
    and x and p are broadcast against each other. Type and device are those of x and p (float64 where `start` makes them).

    Events are no part of a rate of change: between them the field holds, and who integrates it executes them (`events`
    says whether there are any). `ReactionModel.solver` differentiates through them.

    Attributes:
        states, parameters: names of the columns of x and p; `parameters` are all constants of the model: parameters,
            compartments, species that nothing moves.
        units: name → units, where the model states them; of species those of amounts.
        events: ids of the model's events.

    Raises:
        UnsupportedFeature: `delay()`, algebraic rules and fast reactions: the rates of such a model are no function of
            time, states and constants.
    """

    def __init__(self, model: ReactionModel) -> None:
        network = model.network
        _refuse(network)
        self._model = model
        self.states: tuple[str, ...] = network.state_names
        self.parameters: tuple[str, ...] = network.constant_names
        known = network.observables
        self.units: Mapping[str, str] = {
            n: known[n].amount_units if known[n].kind == "species" else known[n].units
            for n in (*self.states, *self.parameters)
            if n in known
        }
        self.events: tuple[str, ...] = tuple(event.id for event in network.events)
        self._rates = Formula(network.graph, [state.rate for state in network.states], self._inputs)
        self._starts: dict[tuple[frozenset[str], frozenset[str]], tuple[Formula, dict[str, set[str]]]] = {}

    def __call__(self, t: float | Tensor, x: Tensor, p: Tensor) -> Tensor:
        """dx/dt `[M, S]` at time(s) t, a number or `[M]`, for states `[M, S]` and constants `[M, P]` or `[P]`.

        Raises:
            InputError: other numbers of states or constants, or x and p of different type or device.
        """
        return self._evaluate(self._rates, t, x, p)

    def readouts(
        self, select: Sequence[str] | None = None, *, quantity: Quantity = "concentration"
    ) -> Callable[[float | Tensor, Tensor, Tensor], Tensor]:
        """What is read of states: a function of (t, x, p), as the field, that gives `[M, R]`.

        Args:
            select, quantity: as `ReactionModel.simulate`.
        """
        if quantity not in ("concentration", "amount"):
            raise InputError(f'quantity={quantity!r}: expected "concentration" or "amount".')
        shown = selected(self._model.network, select)
        nodes = [o.amount if quantity == "amount" else o.concentration for o in shown]
        formula = Formula(self._model.network.graph, nodes, self._inputs)
        return lambda t, x, p: self._evaluate(formula, t, x, p)

    def start(
        self,
        *,
        parameters: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
        quantity: Quantity = "concentration",
        members: int | None = None,
        time: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device | None = None,
    ) -> tuple[Tensor, Tensor]:
        """States `[M, S]` and constants `[M, P]` when a run starts.

        What is given may be a tensor that requires a gradient: it flows through everything that follows from it, initial
        assignments too.

        Args:
            parameters, initial, quantity, members: as `ReactionModel.simulate`; values may be tensors.
            time: of the model's clock.
            seed: of random numbers in initial assignments.
            dtype, device: of the result; None: the device of the first tensor that is given, else the CPU.

        Raises:
            InputError: as `ReactionModel.simulate`.
            UnsupportedFeature: a random number whose distribution depends on what requires a gradient.
        """
        if quantity not in ("concentration", "amount"):
            raise InputError(f'quantity={quantity!r}: expected "concentration" or "amount".')
        tables = {"parameters": parameters or {}, "initial": initial or {}}
        flat = {name: value for table in tables.values() for name, value in table.items()}
        if device is None:
            device = next((v.device for v in flat.values() if isinstance(v, Tensor)), torch.device("cpu"))
        plain = {
            what: {n: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for n, v in table.items()}
            for what, table in tables.items()
        }
        given, count = self._model._settable.given(plain["parameters"], plain["initial"], quantity, members)
        network = self._model.network
        scales = {name: v[1] for name, v in given.items() if isinstance(v, tuple)}
        symbols = {network.starts.get(name, name): value for name, value in flat.items()}
        key = (frozenset(symbols), frozenset(scales))
        if key not in self._starts:
            self._starts[key] = _start_formula(network, symbols, scales)
        formula, drawn = self._starts[key]
        moving = {name for name, value in symbols.items() if isinstance(value, Tensor) and value.requires_grad}
        for name, needs in drawn.items():
            if moving & needs:
                raise UnsupportedFeature(
                    "gradient through a random number",
                    f"{name} is drawn from a distribution that depends on {', '.join(sorted(moving & needs))}, of which a "
                    f"gradient is asked for; give a value for {name}.",
                )
        columns: list[Any] = [float(time), *(symbols[name] for name in sorted(symbols))]
        if drawn:
            _, constants = network.start(given, members=count, time=time, seed=seed)
            columns += [constants[:, network.constant_names.index(name)] for name in drawn]
        table = torch.stack([torch.as_tensor(c, dtype=dtype, device=device).expand(count) for c in columns])
        found = formula(table).T
        return found[:, : len(self.states)].contiguous(), found[:, len(self.states) :].contiguous()

    @cached_property
    def _inputs(self) -> list[str]:
        return [CLOCK, *(symbol_name(name) for name in (*self.states, *self.parameters))]

    def _evaluate(self, formula: Formula, t: float | Tensor, x: Tensor, p: Tensor) -> Tensor:
        if x.shape[-1] != len(self.states) or p.shape[-1] != len(self.parameters):
            raise InputError(
                f"states {tuple(x.shape)} and constants {tuple(p.shape)}: expected {len(self.states)} and "
                f"{len(self.parameters)} columns, as `states` and `parameters` of the field name them."
            )
        if x.dtype != p.dtype or x.device != p.device or not x.dtype.is_floating_point:
            raise InputError(
                f"states are {x.dtype} on {x.device}, constants {p.dtype} on {p.device}: expected one floating type on one "
                "device; use Tensor.to."
            )
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        shape = torch.broadcast_shapes(x.shape[:-1], p.shape[:-1], time.shape)
        rows = [time.expand(shape)[None], x.expand(*shape, -1).movedim(-1, 0), p.expand(*shape, -1).movedim(-1, 0)]
        return formula(torch.cat(rows)).movedim(0, -1)


def _start_formula(
    network: Network, given: Collection[str], scales: Mapping[str, Node]
) -> tuple[Formula, dict[str, set[str]]]:
    """States and constants at the start, over the clock, what is given (sorted by name) and random numbers (in order of
    appearance); and for each random number which of the given names its distribution depends on."""
    items = (*network.states, *network.constants)
    draws = {draw.name: draw.arguments for draw in network.draws if draw.name not in given}
    wanted = [*(item.initial for item in items), *scales.values(), *(node for args in draws.values() for node in args)]
    graph, copies = copied(network.graph, wanted)
    own = dict(zip(wanted, copies, strict=True))
    initial = {item.name: own[item.initial] for item in items}
    for name in given:
        initial[name] = graph.symbol(f" given {name}")
        if name in scales:
            initial[name] = graph.mul(initial[name], own[scales[name]])
    initial |= {name: graph.symbol(f" drawn {name}") for name in draws}
    names = {graph.symbol(symbol_name(item.name)): item.name for item in items}
    sources = {name: [own[a] for a in draws[name]] if name in draws else [node] for name, node in initial.items()}
    needs = {name: {names[s] for n in nodes for s in graph.reads(n) if s in names} for name, nodes in sources.items()}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise InputError(
            f"{network.id}: initial values that need each other: {' → '.join(error.args[1])}; give one of them a number."
        ) from error
    found: dict[Node, Node] = {}

    def over(node: Node) -> Node:
        for inner in graph.order([node], stop=found):
            if inner not in found:
                args = graph.args[inner]
                found[inner] = graph.apply(graph.op[inner], *(found[a] for a in args)) if args else inner
        return found[node]

    depends: dict[str, set[str]] = {}
    named = {graph.symbol(f" given {name}"): name for name in given}
    for name in order:
        if name in draws:
            read = {s for node in sources[name] for s in graph.reads(over(node))}
            depends[name] = {named[s] for s in read if s in named}
        found[graph.symbol(symbol_name(name))] = over(initial[name])
    inputs = [CLOCK, *(f" given {name}" for name in sorted(given)), *(f" drawn {name}" for name in depends)]
    nodes = [found[graph.symbol(symbol_name(item.name))] for item in items]
    return Formula(graph, nodes, inputs), depends


def _refuse(network: Network) -> None:
    for what, present in (
        ("delay()", bool(network.delayed)),
        ("algebraic rules or fast reactions", any(state.mass != 1.0 for state in network.states)),
    ):
        if present:
            raise UnsupportedFeature(
                f"field with {what}",
                f"field: this model has {what}, so its rates are no function of time, states and constants alone; "
                "use simulate, which runs it.",
            )
