"""Search for the split whose treated means are followed best by synthetic controls before the test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.geo.constraints import Constraints
from causalbench.geo.fit_error import FitError
from causalbench.geo.selection import Proposal, complete_outcome
from causalbench.geo.selectors._local_search import LocalSearch, most_markets
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.numerics.resampling import canonical_order
from causalbench.values import BoolArray, FloatArray, IntArray

_BLOCK = 2_000
_BEAM = 10
"""Of several cells, the next one is added to this many of the best splits so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    r"""Choose treated markets that a synthetic control follows most closely before the test.

    The score of a split is the relative fit error, averaged over its cells,

    .. math:: \frac{1}{K} \sum_k \frac{\min_w \lVert \bar Y_k - w'Y_0 \rVert / \sqrt{T}}{\bar y_k},

    with paths about their means, weights over the simplex of the controls :math:`Y_0`, T periods and :math:`\bar y_k` the
    treated mean's outcome per period: the relative effect that one period's misfit looks like. The scaled L2 imbalance, which
    GeoLift reports, stands beside it: it isn't the score, since a set that equal weights follow badly looks good by it.

    It is the fit on the history that is passed, in the sample, and so is small by construction for the best of many: measure
    the power on other periods. With fewer periods than controls many sets fit perfectly, and the score tells nothing.

    Attributes
    ----------
    method
        ``exhaustive`` scores every admissible set, ``greedy`` adds, drops and swaps markets from several starts,
        ``neighbours`` scores each market together with those most correlated with it (GeoLift's candidates). ``auto`` is
        exhaustive up to ``limit`` sets and greedy above.
    limit
        Largest number of sets that ``exhaustive`` scores.
    n_proposals
        How many splits are proposed.
    n_starts
        Starts of ``greedy`` for each number of markets.

    Notes
    -----
    Names and the order of the markets change nothing. Nobody is randomised: see the other selectors for that.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.study.geo_study import Geo
    >>> rng = np.random.default_rng(0)
    >>> outcome = 100 + rng.normal(size=(6, 40)).cumsum(axis=1)
    >>> outcome[2] = (outcome[0] + outcome[1]) / 2
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcdef"), periods=tuple(range(40)))
    >>> limits = Constraints.compile(Geo(market_counts=(1,)), history)
    >>> best = Search().propose(history, limits, durations=(7,), rng=rng)[0]
    >>> best.split.cells.tolist(), round(best.score, 9)
    ([0, 0, 1, 0, 0, 0], 0.0)
    """

    summary: ClassVar[str] = "chosen: the markets that a synthetic control follows best before the test"
    randomized: ClassVar[bool] = False

    method: Literal["auto", "exhaustive", "greedy", "neighbours"] = "auto"
    limit: Annotated[int, Field(ge=1, le=2_000_000)] = 20_000
    n_proposals: Annotated[int, Field(ge=1, le=10_000)] = 20
    n_starts: Annotated[int, Field(ge=1, le=100)] = 4

    def propose(
        self, history: Panel, constraints: Constraints, *, durations: tuple[int, ...], rng: Generator
    ) -> tuple[Proposal, ...]:
        """Return the best splits found, the smallest relative fit error first.

        Parameters
        ----------
        history
            Markets before the test, nothing missing; the last periods that power is measured on left out.
        constraints
            What every split must satisfy, compiled for these markets.
        durations
            Not used: the fit before the test doesn't depend on them.
        rng
            Source of the random starts of ``greedy``.

        Raises
        ------
        RefusalError
            When no split is admissible, with the smallest set of rules that conflicts; or when ``exhaustive`` would have to
            score more than ``limit`` sets.
        """
        constraints.require_feasible()
        outcome = complete_outcome(history)
        order = canonical_order(outcome)
        limits, fit = constraints.reordered(order), FitError.of(outcome[order])
        found = self._scored(limits, fit, outcome[order], rng)
        if not found:
            raise RefusalError(
                f"{self.method} search found no admissible split, though there are some", remedy="use method = 'greedy'"
            )
        best = sorted(found, key=lambda key: (found[key][0], key))[: self.n_proposals]
        return tuple(self._proposal(key, found[key], order) for key in best)

    def draws(
        self, history: Panel, constraints: Constraints, split: Split, *, n_draws: int, rng: Generator
    ) -> IntArray:
        """Refuse: the markets are chosen, and nothing was drawn.

        Raises
        ------
        RefusalError
            Always.
        """
        raise RefusalError(
            "search chooses its markets, so there are no other draws to compare with",
            remedy="use matched-pairs, stratified, rerandomized or kmeans-strata, or an inference over time",
        )

    def _scored(
        self, limits: Constraints, fit: FitError, outcome: FloatArray, rng: Generator
    ) -> dict[tuple[int, ...], tuple[float, float]]:
        sizes = sizes_of(limits)
        n_sets = n_assignments(limits, sizes)
        if self.method == "exhaustive" and n_sets > self.limit:
            raise RefusalError(
                f"exhaustive search would score up to {n_sets:.3g} sets, more than limit = {self.limit}",
                remedy="use method = 'greedy', name fewer market_counts, or raise limit",
            )
        if self.method == "greedy" or (self.method == "auto" and n_sets > self.limit):
            return LocalSearch(limits=limits, fit=fit, sizes=sizes, n_starts=self.n_starts).run(rng)
        blocks = (
            _assignments(limits, sizes) if self.method != "neighbours" else _neighbour_sets(limits, fit, outcome, sizes)
        )
        found: dict[tuple[int, ...], tuple[float, float]] = {}
        for block in blocks:
            cells = limits.completed(block)
            cells = cells[limits.admissible(cells)]
            scores, imbalances = fit.of_splits(limits, cells)
            rows = zip(map(tuple, cells.tolist()), scores.tolist(), imbalances.tolist(), strict=True)
            found.update({cell: (score, imbalance) for cell, score, imbalance in rows if math.isfinite(score)})
            if len(found) > 2 * _BLOCK + self.n_proposals:
                kept = sorted(found, key=lambda key: (found[key][0], key))[: self.n_proposals]
                found = {key: found[key] for key in kept}
        return found

    def _proposal(self, key: tuple[int, ...], found: tuple[float, float], order: IntArray) -> Proposal:
        cells = np.empty(len(order), dtype=np.int64)
        cells[order] = key
        return Proposal(split=Split(cells=cells), score=found[0], scaled_l2=found[1])


def sizes_of(constraints: Constraints) -> tuple[int, ...]:
    """Return the numbers of markets per cell that a search tries: ``market_counts``, else 1 to 10, at most half of them."""
    if constraints.market_counts is not None:
        return tuple(count for count in constraints.market_counts if count <= len(constraints.units))
    needed = np.bincount(constraints.forced[constraints.forced > CONTROL], minlength=2)[1:].max()
    return tuple(range(max(1, int(needed)), max(min(10, most_markets(constraints)), int(needed)) + 1))


def candidates(history: Panel, constraints: Constraints, sizes: Iterable[int], *, cell: int = 1) -> BoolArray:
    """Return each market together with those most correlated with it, where that set is admissible as a treated cell.

    GeoLift's candidates: for a size k, every market and the k - 1 others whose paths have the highest Pearson correlation
    with its own over the whole history. Sets that come up twice are kept once.

    Parameters
    ----------
    history
        Markets before the test, nothing missing.
    constraints
        Sets that they don't admit are left out. With several cells, sets are only checked against the rules about single
        markets and counts of this cell.
    sizes
        Numbers of markets.
    cell
        The treated cell that the sets are for.

    Returns
    -------
    ndarray
        Shape (n_sets, n_units), by size, then in the order of the markets they start from.
    """
    outcome = complete_outcome(history)
    sets = _closest(outcome, tuple(sizes))
    labels = np.where(sets, cell, LEFT_OUT)
    if constraints.n_cells == 1:
        kept = constraints.admissible(constraints.completed(labels))
    else:
        needed = constraints.forced == cell
        kept = ~(sets & ~constraints.eligible[cell]).any(axis=1) & ~(needed & ~sets).any(axis=1)
        counts = constraints.market_counts
        kept &= np.isin(sets.sum(axis=1), counts) if counts else np.ones(len(sets), dtype=bool)
    chosen: BoolArray = sets[kept]
    return chosen


def _closest(outcome: FloatArray, sizes: tuple[int, ...]) -> BoolArray:
    """Return every market with its closest others, each set once; shape (n_sets, n_units)."""
    paths = outcome - outcome.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(paths, axis=1)
    norms[norms == 0] = 1.0
    similar = paths @ paths.T / np.outer(norms, norms)
    np.fill_diagonal(similar, np.inf)
    order = np.argsort(-similar, axis=1, kind="stable")
    groups = dict.fromkeys(
        tuple(sorted(row[:size].tolist())) for size in sizes if size <= len(outcome) for row in order
    )
    sets = np.zeros((len(groups), len(outcome)), dtype=bool)
    for row, group in zip(sets, groups, strict=True):
        row[list(group)] = True
    return sets


def _neighbour_sets(
    limits: Constraints, fit: FitError, outcome: FloatArray, sizes: tuple[int, ...]
) -> Iterator[IntArray]:
    """Yield neighbour sets; for several cells, each cell in turn adds disjoint sets to the ten best so far."""
    sets = _closest(outcome, sizes)
    rows = np.where(limits.forced > CONTROL, limits.forced, LEFT_OUT)[None]
    for cell in range(1, limits.n_cells + 1):
        mine = sets[~(sets & ~limits.eligible[cell]).any(axis=1) & ~((limits.forced == cell) & ~sets).any(axis=1)]
        taken = (rows > CONTROL) & (rows != cell)
        pairs = np.argwhere(~(taken[:, None] & mine[None]).any(axis=2))
        rows = np.where(mine[pairs[:, 1]], cell, rows[pairs[:, 0]])
        if cell < limits.n_cells and len(rows):
            errors = fit.of_sets(rows == cell, limits.controls(rows)).relative
            rows = rows[np.argsort(errors, kind="stable")[:_BEAM]]
    if len(rows):
        yield rows


def n_assignments(constraints: Constraints, sizes: tuple[int, ...]) -> float:
    """Return how many treated sets there are at most, from eligibility and sizes alone.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.study.geo_study import Geo
    >>> history = Panel(outcome=np.ones((5, 3)), treated=np.zeros((5, 3), bool), units=tuple("abcde"), periods=(1, 2, 3))
    >>> n_assignments(Constraints.compile(Geo(include=("a",)), history), (2, 3))
    10.0
    """
    total = 1.0
    taken = 0
    for cell in range(1, constraints.n_cells + 1):
        needed = int((constraints.forced == cell).sum())
        free = int((constraints.eligible[cell] & (constraints.forced < CONTROL)).sum()) - taken
        total *= sum(math.comb(max(free, 0), size - needed) for size in sizes if size >= needed)
        taken += max(min(sizes, default=0) - needed, 0) if constraints.eligible[1:].all() else 0
    return float(total)


def _assignments(limits: Constraints, sizes: tuple[int, ...]) -> Iterator[IntArray]:
    """Yield every way to fill the treated cells with eligible markets, in blocks of rows."""
    blocks = iter(_filled(limits, sizes, np.where(limits.forced > CONTROL, limits.forced, LEFT_OUT), 1))
    while rows := list(itertools.islice(blocks, _BLOCK)):
        yield np.array(rows)


def _filled(limits: Constraints, sizes: tuple[int, ...], labels: IntArray, cell: int) -> Iterator[IntArray]:
    if cell > limits.n_cells:
        yield labels
        return
    needed = int((labels == cell).sum())
    free = np.flatnonzero(limits.eligible[cell] & (labels < CONTROL) & (limits.forced < CONTROL)).tolist()
    for size in sizes:
        for group in itertools.combinations(free, size - needed) if needed <= size else ():
            filled = labels.copy()
            filled[list(group)] = cell
            yield from _filled(limits, sizes, filled, cell + 1)
