r"""Assignments within strata: drawn uniformly, listed, or counted, under every constraint.

A design is a partition of the markets into strata and, in each, the number of markets of every cell. Its assignments are all
orders of these labels within the strata that the constraints admit. A draw orders the labels of every stratum uniformly among
those that the rules about single markets allow, stratum by stratum, and is thrown away as a whole where a share, a quota, a
budget or a buffer forbids it: what remains is uniform over the admissible ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.random import Generator

from causalbench.errors import RefusalError
from causalbench.geo.constraints import Constraints
from causalbench.geo.selection import Count
from causalbench.geo.split import CONTROL, LEFT_OUT
from causalbench.numerics.resampling import arrangements
from causalbench.values import BoolArray, FloatArray, IntArray

Accept = Callable[[IntArray], BoolArray]

LISTED = 50_000
"""Designs with at most this many assignments are listed, so that counts are exact."""

RAREST = 1e-3
"""Designs of which a smaller share is admissible are refused: nobody could draw from them, or trust that they were drawn."""

_BLOCK = 2_000
_JUDGED, _OFTEN = 400, 0.01
_LISTED_IN_STRATUM = 2_000
_SELDOM = ("min_share", "max_share", "budget", "quotas")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strata:
    """A design, markets in canonical order.

    Attributes
    ----------
    limits
        Constraints of these markets.
    strata
        Stratum of every market from 0 up in order of first appearance, -1 for those that take no part; shape (n_units,).
    labels
        One assignment of the design, controls near a treated market still among the controls; shape (n_units,).
    """

    limits: Constraints
    strata: IntArray
    labels: IntArray

    @classmethod
    def of(cls, limits: Constraints, strata: IntArray, labels: IntArray) -> Self:
        """Number the strata by first appearance, and put the markets that a buffer took out of a stratum back into it."""
        numbers = numbered(strata)
        back = np.where((numbers >= 0) & (labels < CONTROL), CONTROL, labels)
        return cls(limits=limits, strata=numbers, labels=np.where(numbers >= 0, back, LEFT_OUT))

    @property
    def n_strata(self) -> int:
        """Number of strata."""
        return int(self.strata.max(initial=-1)) + 1

    @property
    def fixed(self) -> IntArray:
        """The only cell that a market may be in, -1 where there are several; shape (n_units,)."""
        eligible = self.limits.eligible
        return np.where(eligible.sum(axis=0) == 1, eligible.argmax(axis=0), -1)

    def sample(self, n_draws: int, rng: Generator, accept: Accept | None = None) -> IntArray:
        """Draw admissible assignments uniformly and independently, shape (n_draws, n_units).

        Raises
        ------
        RefusalError
            When less than one in a thousand orders of the labels is admissible.
        """
        kept: list[IntArray] = []
        n_kept = n_tried = 0
        while n_kept < n_draws:
            rows, good = self._tried(min(_BLOCK, max(n_draws, 100)), rng, accept)
            n_tried += len(good)
            rows = rows[good]
            kept.append(rows)
            n_kept += len(rows)
            if n_kept < RAREST * n_tried and n_tried >= 10 / RAREST:
                raise _too_few(n_kept, n_tried)
        return np.vstack(kept)[:n_draws]

    def every(self, accept: Accept | None = None) -> IntArray | None:
        """Return all admissible assignments, each once, in a fixed order; None where there are too many to list."""
        per_stratum = [self._listed(stratum) for stratum in range(self.n_strata)]
        if any(rows is None for rows in per_stratum):
            return None
        listed = [rows for rows in per_stratum if rows is not None]
        if math.prod(map(len, listed)) > LISTED:
            return None
        picks = np.array(list(itertools.product(*(range(len(rows)) for rows in listed))), dtype=np.int64)
        cells = np.full((len(picks), len(self.labels)), LEFT_OUT)
        for stratum, rows in enumerate(listed):
            cells[:, self.strata == stratum] = rows[picks[:, stratum]] if len(rows) else LEFT_OUT
        cells = self.realised(cells)
        return cells[self._good(cells, accept)]

    def n_admissible(self, rng: Generator, accept: Accept | None = None) -> Count:
        """Count the admissible assignments, by list or by formula where possible, else from 10,000 draws."""
        listed = self.every(accept)
        if listed is not None:
            return Count(value=float(len(listed)), exact=True)
        total, exact = 1.0, True
        for stratum in range(self.n_strata):
            count = self._allowed_orders(stratum, rng)
            total, exact = min(total * count.value, 1e300), exact and count.exact
        if (
            accept is None
            and not self.limits.near.any()
            and all(rule.kind not in _SELDOM for rule in self.limits.rules)
        ):
            return Count(value=total, exact=exact)
        good = np.concatenate([self._tried(_BLOCK, rng, accept)[1] for _ in range(5)])
        return Count(value=total * float(good.mean()), exact=False)

    @property
    def often_admissible(self) -> bool:
        """Whether more than one in a hundred orders of the labels satisfies every rule, judged by 400 of them."""
        try:
            return float(self._tried(_JUDGED, np.random.default_rng(0), None)[1].mean()) > _OFTEN
        except RefusalError:
            return False

    def realised(self, cells: IntArray) -> IntArray:
        """Leave out the controls that are near a treated market, shape (n_assignments, n_units)."""
        return np.where((cells == CONTROL) & ~self.limits.apart(cells), LEFT_OUT, cells)

    def _tried(self, n: int, rng: Generator, accept: Accept | None) -> tuple[IntArray, BoolArray]:
        cells = np.full((n, len(self.labels)), LEFT_OUT)
        for stratum in range(self.n_strata):
            cells[:, self.strata == stratum] = self._ordered(stratum, n, rng)
        cells = self.realised(cells)
        return cells, self._good(cells, accept)

    def _good(self, cells: IntArray, accept: Accept | None) -> BoolArray:
        good = self.limits.admissible(cells)
        if accept is not None and good.any():
            good[np.flatnonzero(good)] = accept(cells[good])
        return good

    def _parts(self, stratum: int) -> tuple[IntArray, IntArray, IntArray] | None:
        """Return a stratum's markets, those with a choice among them, and the labels to share out; None where they don't fit."""
        markets = np.flatnonzero(self.strata == stratum)
        fixed = self.fixed[markets]
        counts = np.bincount(self.labels[markets], minlength=self.limits.n_cells + 1)
        counts -= np.bincount(fixed[fixed >= 0], minlength=len(counts))
        if (counts < 0).any():
            return None
        return markets, np.flatnonzero(fixed < 0), np.repeat(np.arange(len(counts)), counts)

    def _fits(self, markets: IntArray, free: IntArray, rows: IntArray) -> BoolArray:
        """Tell which orders of the labels the rules about single markets allow, shape (n_rows,)."""
        return np.asarray(self.limits.eligible[rows, markets[free]].all(axis=1))

    def _whole(self, markets: IntArray, free: IntArray, rows: IntArray) -> IntArray:
        whole = np.repeat(self.fixed[markets][None], len(rows), axis=0)
        whole[:, free] = rows
        return whole

    def _listed(self, stratum: int) -> IntArray | None:
        parts = self._parts(stratum)
        if parts is None:
            return np.empty((0, int((self.strata == stratum).sum())), dtype=np.int64)
        markets, free, labels = parts
        if _n_orders(labels) > LISTED:
            return None
        if not len(labels):
            return self._whole(markets, free, np.empty((1, 0), dtype=np.int64))
        rows = np.vstack(list(arrangements(labels, limit=LISTED, n_drawn=0, rng=np.random.default_rng(0))))
        return self._whole(markets, free, rows[self._fits(markets, free, rows)])

    def _ordered(self, stratum: int, n: int, rng: Generator) -> IntArray:
        """Order a stratum's labels uniformly among the allowed orders, shape (n, n_markets)."""
        parts = self._parts(stratum)
        if parts is None:
            raise _too_few(0, 1)
        markets, free, labels = parts
        if _n_orders(labels) <= _LISTED_IN_STRATUM:
            listed = self._listed(stratum)
            if listed is None or not len(listed):
                raise _too_few(0, _n_orders(labels))
            return listed[rng.integers(len(listed), size=n)]
        kept, n_kept, n_tried = [], 0, 0
        while n_kept < n:
            rows = labels[np.argsort(rng.random((n, len(labels))), axis=1)]
            rows = rows[self._fits(markets, free, rows)]
            n_kept, n_tried = n_kept + len(rows), n_tried + n
            kept.append(rows)
            if n_kept < RAREST * n_tried and n_tried >= 10 / RAREST:
                raise _too_few(n_kept, n_tried)
        return self._whole(markets, free, np.vstack(kept)[:n])

    def _allowed_orders(self, stratum: int, rng: Generator) -> Count:
        parts = self._parts(stratum)
        if parts is None:
            return Count(value=0.0, exact=True)
        markets, free, labels = parts
        total = _n_orders(labels)
        if self.limits.eligible[np.unique(labels)][:, markets[free]].all():
            return Count(value=float(total), exact=True)
        listed = self._listed(stratum)
        if listed is not None:
            return Count(value=float(len(listed)), exact=True)
        rows = labels[np.argsort(rng.random((10 * _BLOCK, len(labels))), axis=1)]
        return Count(value=total * float(self._fits(markets, free, rows).mean()), exact=False)


def shared_out(limits: Constraints, strata: IntArray, count: int) -> IntArray | None:
    """Give every stratum its part of ``count`` markets per treated cell, in proportion to its size.

    Parts are rounded by largest remainders, between the markets that must be treated and those that may be; one control is
    kept at least.

    Returns
    -------
    ndarray or None
        Labels of one assignment that fits the rules about single markets, shape (n_units,); None where there is none.
    """
    eligible, n_cells = limits.eligible, limits.n_cells
    numbers = range(int(strata.max()) + 1)
    fixed = np.where(eligible.sum(axis=0) == 1, eligible.argmax(axis=0), -1)
    least, most, sizes = np.zeros(len(numbers)), np.zeros(len(numbers)), np.zeros(len(numbers))
    for h in numbers:
        mine = strata == h
        by_cell = [int((mine & (fixed == k)).sum()) for k in range(1, n_cells + 1)]
        needed = int((mine & ~eligible[CONTROL]).sum())
        least[h] = max(*by_cell, math.ceil(needed / n_cells))
        most[h] = int((mine & eligible[1:].any(axis=0)).sum()) // n_cells
        sizes[h] = int(mine.sum())
    parts = _apportioned(count, least, most, sizes)
    if parts is None or n_cells * count >= sizes.sum():
        return None
    labels = np.full(len(strata), LEFT_OUT)
    for h in numbers:
        filled = _labelled(eligible[:, strata == h], int(parts[h]))
        if filled is None:
            return None
        labels[strata == h] = filled
    return labels


def _apportioned(count: int, least: FloatArray, most: FloatArray, sizes: FloatArray) -> FloatArray | None:
    if (least > most).any() or not least.sum() <= count <= most.sum():
        return None
    parts, wanted = least.copy(), count * sizes / sizes.sum()
    while parts.sum() < count:
        parts[int(np.argmax(np.where(parts < most, wanted - parts, -np.inf)))] += 1
    return parts


def _labelled(eligible: BoolArray, count: int) -> IntArray | None:
    """Give ``count`` of a stratum's markets to each treated cell, and the others to the controls: a bipartite matching."""
    from scipy.optimize import linear_sum_assignment

    n_cells, n = eligible.shape[0] - 1, eligible.shape[1]
    seats = np.concatenate([np.repeat(np.arange(1, n_cells + 1), count), np.zeros(n - n_cells * count, dtype=np.int64)])
    if len(seats) != n:
        return None
    misfits = ~eligible[seats].T
    rows, columns = linear_sum_assignment(misfits.astype(float))
    if misfits[rows, columns].any():
        return None
    labels = np.empty(n, dtype=np.int64)
    labels[rows] = seats[columns]
    return labels


def numbered(strata: IntArray) -> IntArray:
    """Number strata from 0 up by first appearance; -1 stays."""
    names = list(dict.fromkeys(strata[strata >= 0].tolist()))
    numbers = np.full(len(strata), -1)
    for number, name in enumerate(names):
        numbers[strata == name] = number
    return numbers


def merged(strata: IntArray, least: int) -> IntArray:
    """Join strata with fewer than ``least`` markets to the one before, the first to the one after; numbered from 0 up."""
    joined = numbered(strata)
    while True:
        sizes = np.bincount(joined[joined >= 0])
        small = np.flatnonzero(sizes < least)
        if not len(small) or len(sizes) == 1:
            return joined
        number = int(small[0])
        joined[joined == number] = number - 1 if number else 1
        joined = np.where(joined > number, joined - 1, joined) if number else np.where(joined > 0, joined - 1, joined)


def _n_orders(labels: IntArray) -> int:
    """Return how many distinct orders a list of labels has; 10^300 where there are more."""
    orders, n = 1, 0
    for count in np.unique(labels, return_counts=True)[1].tolist():
        n += count
        orders = min(orders * math.comb(n, count), 10**300)
    return orders


def _too_few(n_kept: int, n_tried: int) -> RefusalError:
    return RefusalError(
        f"only {n_kept} of {n_tried} orders of the labels within strata satisfy every rule",
        code="CB-G002",
        remedy="loosen shares, quotas, budget or buffer, include fewer markets, or use selector = 'search'",
    )
