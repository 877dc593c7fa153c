"""The selection of what a caller is shown of a network, by id."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from simulators.reaction.network import Network, Observable
from twin.errors import InputError


def selected(network: Network, select: Sequence[str] | None) -> list[Observable]:
    """What `select` names, each once; None: all species, and every parameter and compartment that changes.

    Raises:
        InputError: an id that the network lacks; near ones are named.
    """
    known = network.observables
    if select is None:
        kinds = ("compartment", "parameter")
        return [o for o in known.values() if o.kind == "species" or (o.kind in kinds and o.moves)]
    if isinstance(select, str):
        raise InputError(f"select={select!r}: expected a list of ids.")
    for name in select:
        if name not in known:
            raise InputError(f"select: {unknown(name, known)}")
    return [known[name] for name in dict.fromkeys(select)]


def unknown(name: str, known: Collection[str]) -> str:
    """The sentence that names an id that a network lacks, and its neighbours."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"no {name!r} in this model" + (f"; did you mean {' or '.join(near)}?" if near else ".")
