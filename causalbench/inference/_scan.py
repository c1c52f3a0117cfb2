"""Sets of effects that a test doesn't reject, where its p-value must be computed effect by effect: a grid, then bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from causalbench.values import FloatArray, rejects

_GRID = 241
_DOUBLINGS = 12
_BISECTIONS = 30
_REACH = 4.0
_DISTANT = 60

FAR = 1e6
"""So many times the spread away lie effects far beyond anything the data know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Segments of effects not rejected, p of no effect, the largest p and an effect in the middle of where it is attained."""

    segments: tuple[tuple[float, float], ...]
    p_zero: float
    largest_p: float
    best: float

    def over(self, divisor: float) -> tuple[tuple[float, float], ...]:
        """Return the segments with every end divided by a number that isn't zero."""
        ends = [(low / divisor, high / divisor) for low, high in self.segments]
        return tuple(sorted((min(pair), max(pair)) for pair in ends))


def scan(
    p_values: Callable[[FloatArray], FloatArray],
    *,
    centre: float,
    spread: float,
    level: float,
    bounded: bool,
    n_points: int = _GRID,
) -> Scan:
    """Widen around the estimate until both ends are rejected, scan a grid, bisect every change.

    Where effects far away aren't rejected there is nothing to widen to; the grid then thins out towards them.
    """
    reach, distant = _REACH * spread, np.empty(0)
    if not bounded:
        distant = np.geomspace(_REACH, FAR, _DISTANT)[1:] * spread
    for _ in range(_DOUBLINGS if bounded else 0):
        ends = p_values(np.array([centre - reach, centre + reach]))
        if all(rejects(float(p), level) for p in ends):
            break
        reach *= 2
    near = np.linspace(centre - reach, centre + reach, n_points)
    grid = np.unique(np.concatenate([near, centre - distant, centre + distant, [0.0, centre]]))
    p = p_values(grid)
    accepted = np.array([not rejects(float(value), level) for value in p])
    plateau = np.flatnonzero(p == p.max())
    first = plateau[0]
    last = first + int(np.argmin(np.append(p[first:] == p.max(), False))) - 1
    changes = np.flatnonzero(accepted[1:] != accepted[:-1])
    inside, outside = (np.where(accepted[changes] == side, grid[changes], grid[changes + 1]) for side in (True, False))
    for _ in range(_BISECTIONS):
        if not len(changes):
            break
        middle = (inside + outside) / 2
        keep = np.array([not rejects(float(value), level) for value in p_values(middle)])
        inside, outside = np.where(keep, middle, inside), np.where(keep, outside, middle)
    edges = [float(edge) for edge in inside]
    if accepted[0]:
        edges.insert(0, -np.inf)
    if accepted[-1]:
        edges.append(np.inf)
    return Scan(
        segments=tuple(zip(edges[::2], edges[1::2], strict=True)),
        p_zero=float(p[np.searchsorted(grid, 0.0)]),
        largest_p=float(p.max()),
        best=float((grid[first] + grid[last]) / 2),
    )
