"""Which launches a backtest pretends: sets of units and windows before the launch, the same for every method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.values import BoolArray, IntArray
from causalbench.wording import counted

_WINDOWS = 3
"""Windows that don't overlap, for which the first half of the history is shortened to a third where need be."""

_FEWEST_SETS = 10
"""Sets of units in each window, where several units are treated and windows allow it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placebos:
    """Launches that never were.

    Attributes
    ----------
    rows
        Index of the units treated in each placebo, shape (n_placebos, n_treated).
    starts
        Index of each placebo's first treated period, shape (n_placebos,); ascending.
    offsets
        Periods by which each of a placebo's units launches after its first, shape (n_treated,).
    duration
        Periods of every window.
    first
        Index of the first period from which on windows may start.
    """

    rows: IntArray
    starts: IntArray
    offsets: IntArray
    duration: int
    first: int

    def launches(self, n_units: int, n_periods: int) -> IntArray:
        """Return the first treated period of every unit, ``n_periods`` where never; shape (n_placebos, n_units)."""
        found = np.full((len(self.rows), n_units), n_periods, dtype=np.int64)
        np.put_along_axis(found, self.rows, self.starts[:, None] + self.offsets, axis=1)
        return found

    def members(self, n_units: int) -> BoolArray:
        """Return which units each placebo treats, shape (n_placebos, n_units)."""
        found = np.zeros((len(self.rows), n_units), dtype=bool)
        np.put_along_axis(found, self.rows, np.ones_like(self.rows, dtype=bool), axis=1)
        return found


def draw_placebos(
    panel: Panel, pool: IntArray, *, duration: int, n_placebos: int, fewest_before: int, rng: Generator
) -> Placebos:
    """Draw about as many placebos as asked for, spread evenly over windows and units.

    One treated unit: every unit of the pool in each window, as many windows as the number allows, evenly spaced and the
    last one ending at the launch. Several: in each window the treated units themselves and then disjoint random sets of as
    many units. Windows start in the last half of the history; from its first third on where that is too short for three
    of them, and are shorter than ``duration`` where even that leaves no room.

    Parameters
    ----------
    pool
        Units that placebos may treat, the treated ones among them.
    fewest_before
        Periods that the methods need before a launch.
    """
    own = np.flatnonzero(panel.ever_treated)
    n_pre, n_treated = panel.n_pre, len(own)
    first = max(fewest_before, n_pre // 3, min(n_pre // 2, n_pre - _WINDOWS * duration))
    length = min(duration, n_pre - first)
    if length < 1 or len(pool) <= n_treated:
        raise RefusalError(
            f"{counted(n_pre, 'period')} before the launch and {counted(len(pool), 'unit')} leave no room for a placebo",
            code="CB-D017",
            remedy="add history or units, or compare fewer methods: they ask for different numbers of periods",
        )
    possible = n_pre - length - first + 1
    sets = len(pool) if n_treated == 1 else max(len(pool) // n_treated, _FEWEST_SETS)
    n_windows = int(np.clip(n_placebos // sets, 1, possible))
    starts = np.unique(np.linspace(n_pre - length, first, n_windows).round().astype(np.int64))
    per_window = max(n_placebos // len(starts), 1)
    rows = [_sets(pool, own, per_window, rng) for _ in starts]
    after = np.minimum(panel.first_treated[own] - n_pre, length - 1)
    return Placebos(
        rows=np.concatenate(rows),
        starts=np.repeat(starts, [len(found) for found in rows]),
        offsets=after,
        duration=length,
        first=first,
    )


def _sets(pool: IntArray, own: IntArray, most: int, rng: Generator) -> IntArray:
    """Draw different sets of units for one window, the treated ones first; shape (n_sets, n_treated)."""
    size = len(own)
    if size == 1:
        others = rng.permutation(pool[pool != own[0]])[: most - 1]
        return np.append(own, np.sort(others))[:, None]
    found, seen = [own], {tuple(own.tolist())}
    for _ in range(most):  # ends early where a permutation gives several sets, and late where hardly any are left
        order = rng.permutation(pool)
        for k in range(len(pool) // size):
            drawn = order[k * size : (k + 1) * size]
            key = tuple(sorted(drawn.tolist()))
            if len(found) < most and key not in seen:
                seen.add(key)
                found.append(drawn)
    return np.array(found)
