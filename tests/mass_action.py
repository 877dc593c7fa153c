"""Random mass-action networks, for tests that hold for all of them."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def networks(draw: st.DrawFn) -> str:
    """A closed network of two to five species, as Antimony: as many molecules on both sides of each reaction."""
    size = draw(st.integers(2, 5))
    names = [f"S{i}" for i in range(size)]
    lines = [f"{n} = {draw(st.floats(0.1, 3.0)):.3g}" for n in names]
    for number in range(draw(st.integers(1, 6))):
        order = draw(st.integers(1, 2))  # as many molecules on both sides: the total is kept, nothing blows up
        sides = [draw(st.lists(st.sampled_from(names), min_size=order, max_size=order)) for _ in range(2)]
        rate = draw(st.floats(-2.0, 2.0))
        lines.append(f"J{number}: {' + '.join(sides[0])} -> {' + '.join(sides[1])}; k{number}*{'*'.join(sides[0])}")
        lines.append(f"k{number} = {10.0**rate:.3g}")
    return "\n".join(lines)
