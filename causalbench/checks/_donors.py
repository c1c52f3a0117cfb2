"""What the checks of methods with donors share: shares of weights that may be negative, and the reach of an interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.values import IntArray, Interval
from causalbench.wording import VISIBLE_WEIGHT


def gross_shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Return each donor's share of the absolute weights, largest first; donors without weight are left out."""
    total = sum(abs(weight) for weight in weights.values())
    used = {unit: abs(weight) / total for unit, weight in weights.items() if abs(weight) >= VISIBLE_WEIGHT}
    return dict(sorted(used.items(), key=lambda item: (-item[1], item[0])))


def some_donors(data: Panel, rows: IntArray, shares: Mapping[str, float], *, most: int, rng: Generator) -> IntArray:
    """Return the rows of donors; of more than ``most``, the heaviest (half of them at most) and others drawn at random."""
    if len(rows) <= most:
        return rows
    heavy = data.index(list(shares)[: most // 2])
    heavy = heavy[np.isin(heavy, rows)]
    others = rng.choice(np.setdiff1d(rows, heavy), size=most - len(heavy), replace=False)
    chosen: IntArray = np.sort(np.concatenate([heavy, others]))
    return chosen


def half_width(interval: Interval | None) -> float | None:
    """Return half the distance between an interval's ends; None where one is infinite or there is no interval."""
    if interval is None or interval.lower is None or interval.upper is None:
        return None
    return (interval.upper - interval.lower) / 2
