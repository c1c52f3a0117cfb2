"""Adding, dropping and swapping treated markets while the fit error falls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import sparse

from causalbench.geo.constraints import Constraints
from causalbench.geo.fit_error import FitError
from causalbench.geo.rules import Rule
from causalbench.geo.split import CONTROL, LEFT_OUT
from causalbench.values import BoolArray, FloatArray, IntArray

Found = dict[tuple[int, ...], tuple[float, float]]

_SHORTLIST = 6
"""Of all swaps of one market this many are fitted, those with the smallest gap under the weights of before; less per cell."""

_ROUNDS = 50


def most_markets(constraints: Constraints) -> int:
    """Return the largest number of markets per treated cell that leaves as many for the controls."""
    takes_part = int(constraints.eligible.any(axis=0).sum())
    return max(1, takes_part // (constraints.n_cells + 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalSearch:
    """Search over one Gram matrix, markets in canonical order.

    Attributes
    ----------
    limits, fit
        Constraints and fit errors of the same markets.
    sizes
        Numbers of markets per cell, ascending.
    n_starts
        Starts for each size from a random corner of the admissible splits, beside the one that grows from the size before;
        with several cells, divided by their number.
    """

    limits: Constraints
    fit: FitError
    sizes: tuple[int, ...]
    n_starts: int

    def run(self, rng: Generator) -> Found:
        """Return every split that was fitted, with its relative error and scaled L2; keys are cells."""
        found: Found = {}
        singles = self._single_errors()
        best: IntArray | None = None
        for size in self.sizes:
            starts = [] if best is None else self._resized(best, found, step=1)
            starts += self._corners(size, singles, rng)
            best = self._best_of(starts, found)
        for size in reversed(self.sizes[:-1]):
            if best is not None and (best == 1).sum() == size + 1:
                best = self._best_of(self._resized(best, found, step=-1), found)
        if not found:
            # Cells of one size don't fit; any admissible split is a start.
            self._best_of(self._corners(None, singles, rng), found)
        return found

    def _single_errors(self) -> FloatArray:
        """Return the relative error of every market alone, those that can't be fitted the largest; shape (n_units,)."""
        alone = np.eye(len(self.limits.units), dtype=bool)
        errors = self.fit.of_sets(alone, self.limits.eligible[CONTROL] & ~alone).relative
        known = errors[np.isfinite(errors)]
        return np.where(np.isfinite(errors), errors, known.max(initial=1.0))

    def _corners(self, size: int | None, singles: FloatArray, rng: Generator) -> list[IntArray]:
        """Return admissible splits with this many markets per cell that are cheapest by noisy single errors."""
        n, n_cells = len(self.limits.units), self.limits.n_cells
        sized = () if size is None else (self._sized(size),)
        corners = []
        for start in range(max(1, self.n_starts // n_cells)):
            noise = rng.lognormal(sigma=0.0 if start == 0 else 1.0, size=(n_cells, n))
            costs = np.vstack([np.zeros(n), singles * noise])
            try:
                found = self.limits.example(costs=costs, extra=sized)
            except TimeoutError:
                continue
            if found is None:
                break
            corners.append(np.where(found > CONTROL, found, LEFT_OUT))
        return corners

    def _sized(self, size: int) -> Rule:
        n, n_cells = len(self.limits.units), self.limits.n_cells
        rows = np.zeros((n_cells, (n_cells + 1) * n))
        for cell in range(n_cells):
            rows[cell, (cell + 1) * n : (cell + 2) * n] = 1.0
        return Rule(
            kind="market_counts",
            name=f"{size} markets",
            weights=sparse.csr_array(rows),
            lower=np.full(n_cells, float(size)),
            upper=np.full(n_cells, float(size)),
            subjects=("",) * n_cells,
        )

    def _best_of(self, starts: list[IntArray], found: Found) -> IntArray | None:
        """Improve each start by swaps and return the treated cells of the best end."""
        ends = [end for end in (self._improved(start, found) for start in starts) if end is not None]
        return min(ends, key=lambda end: end[0])[1] if ends else None

    def _improved(self, labels: IntArray, found: Found) -> tuple[float, IntArray] | None:
        scores, rows = self._fitted(labels[None], found)
        if not len(scores):
            return None
        score, labels = scores[0], rows[0]
        for _ in range(_ROUNDS):
            before = score
            for market in np.flatnonzero((labels > CONTROL) & (self.limits.forced < CONTROL)):
                scores, rows = self._fitted(self._swaps(labels, int(market)), found)
                if len(scores) and scores.min() < score * (1 - 1e-12):
                    score, labels = scores.min(), rows[int(scores.argmin())]
            if score >= before:
                break
        return float(score), labels

    def _swaps(self, labels: IntArray, market: int) -> IntArray:
        """Return the most promising splits in which another market takes this one's place."""
        cell = int(labels[market])
        if cell <= CONTROL:
            return np.empty((0, len(labels)), dtype=np.int64)
        rows, gaps = self._with_one_more(labels, cell, leaving=market)
        rows = rows[np.argsort(gaps, kind="stable")]
        # Other cells' markets may change places with this one, too.
        others = np.flatnonzero((labels > CONTROL) & (labels != cell) & self.limits.eligible[cell])
        others = others[self.limits.eligible[labels[others], market] & (self.limits.forced[others] < CONTROL)]
        exchanged = np.repeat(labels[None], len(others), axis=0)
        exchanged[:, market] = labels[others]
        exchanged[np.arange(len(others)), others] = cell
        return np.vstack([each[self._admitted(each)][: self._shortlist] for each in (rows, exchanged)])

    @property
    def _shortlist(self) -> int:
        return max(2, _SHORTLIST // self.limits.n_cells)

    def _with_one_more(self, labels: IntArray, cell: int, *, leaving: int | None) -> tuple[IntArray, FloatArray]:
        """Return the splits in which a free market joins a cell, and the cell's relative gap with the weights as they are.

        ``leaving`` is a market of the cell that makes room. Shapes (n_markets, n_units) and (n_markets,).
        """
        entering = np.flatnonzero(self.limits.eligible[cell] & (labels <= CONTROL) & (self.limits.forced < CONTROL))
        rows = np.repeat(labels[None], len(entering), axis=0)
        if leaving is not None:
            rows[:, leaving] = LEFT_OUT
        rows[np.arange(len(entering)), entering] = cell
        mine = labels == cell
        weights = self.fit.of_sets(mine[None], self.limits.controls(labels[None])).weights[0]
        size = int(mine.sum()) + (leaving is None)
        rest = (mine / size).astype(float)
        rest[[] if leaving is None else leaving] = 0.0
        # A market that enters can't be its own donor: its weight goes to the others in proportion.
        scale = 1.0 / np.maximum(1.0 - weights, 1e-9)
        own = 1.0 / size + scale * weights
        treated, donors = rest @ self.fit.gram, weights @ self.fit.gram
        squares = rest @ treated - 2 * scale * (rest @ donors) + scale**2 * (weights @ donors)
        squares += 2 * own * (treated - scale * donors) + own**2 * np.diag(self.fit.gram)
        levels = rest @ self.fit.levels + self.fit.levels / size
        relative = np.sqrt(np.maximum(squares, 0.0)) / np.maximum(levels, 1e-300)
        return rows, relative[entering]

    def _resized(self, labels: IntArray, found: Found, *, step: int) -> list[IntArray]:
        """Return the best way to give every cell one market more, or one less; empty where none is admissible."""
        rows = labels[None]
        for cell in range(1, self.limits.n_cells + 1):
            if step > 0:
                grown = [self._with_one_more(row, cell, leaving=None) for row in rows]
                rows = np.vstack([each for each, _ in grown])
                errors = np.concatenate([gaps for _, gaps in grown])
            else:
                rows = np.vstack([self._one_less(row, cell) for row in rows])
                errors = self.fit.of_sets(rows == cell, self.limits.controls(rows)).relative
            rows = rows[np.argsort(errors, kind="stable")]
            rows = rows if cell == self.limits.n_cells else rows[: self._shortlist]
        scores, rows = self._fitted(rows[self._admitted(rows)][: 8 * _SHORTLIST], found)
        return [rows[int(scores.argmin())]] if len(scores) else []

    def _one_less(self, labels: IntArray, cell: int) -> IntArray:
        leaving = np.flatnonzero((labels == cell) & (self.limits.forced < CONTROL))
        rows = np.repeat(labels[None], len(leaving), axis=0)
        rows[np.arange(len(leaving)), leaving] = LEFT_OUT
        return rows

    def _admitted(self, rows: IntArray) -> BoolArray:
        return self.limits.admissible(self.limits.completed(rows)) if len(rows) else np.zeros(0, dtype=bool)

    def _fitted(self, rows: IntArray, found: Found) -> tuple[FloatArray, IntArray]:
        """Fit the admissible ones of some splits and record them; return their errors and treated cells."""
        cells = self.limits.completed(rows) if len(rows) else rows
        cells = cells[self.limits.admissible(cells)] if len(rows) else rows
        keys = list(map(tuple, cells.tolist()))
        new = [i for i, key in enumerate(keys) if key not in found]
        if new:
            errors, imbalances = self.fit.of_splits(self.limits, cells[new])
            found.update(
                {
                    keys[i]: pair
                    for i, pair in zip(new, zip(errors.tolist(), imbalances.tolist(), strict=True), strict=True)
                }
            )
        scores = np.array([found[key][0] for key in keys])
        finite = np.isfinite(scores)
        return scores[finite], np.where(cells > CONTROL, cells, LEFT_OUT)[finite]
