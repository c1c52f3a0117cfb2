"""Synthetic design: treated markets and weights on both sides, so that both weighted means follow all markets' mean."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
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
from causalbench.geo.split import CONTROL, Split
from causalbench.numerics.resampling import canonical_order
from causalbench.numerics.synthetic_design import SideFits, fit_sides
from causalbench.values import BoolArray, FloatArray, IntArray

_BLOCK = 500
_SWEEPS = 50
_STARTS = 12
_SHORT_LIST = 12
_FEW_MARKETS = 40
_GAIN = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticDesign:
    r"""Choose treated markets and weights of both sides that reproduce the population's mean path before the test.

    With :math:`X_j` the path of market j over the periods of the fit, :math:`f_j` its part of the population,
    :math:`\bar X = \sum_j f_j X_j`:

    .. math:: \min_{w, v}\ \Bigl\lVert \bar X - \sum_j w_j X_j \Bigr\rVert^2 + \Bigl\lVert \bar X - \sum_j v_j X_j \Bigr\rVert^2
        \quad\text{s.t. } w, v \ge 0,\ \sum_j w_j = \sum_j v_j = 1,\ w_j v_j = 0,\
        \underline m \le \lVert w \rVert_0 \le \overline m

    (Abadie, Zhao 2021, Synthetic controls for experimental design, arXiv:2108.02196: their base design, unconstrained without
    and constrained with the bounds on the number of treated). For a given treated set the problem falls into two least-squares
    problems over a simplex, each solved to a certified optimum on one Gram matrix; sets are listed where there are few and
    searched by adding and exchanging markets where there are many. With ``target="each_other"`` the weighted means only have to
    be close to each other, :math:`\min \lVert \sum_j w_j X_j - \sum_j v_j X_j \rVert^2`, a distance between two hulls found by
    alternating between both sides; the effect is then one on those treated, not on the population.

    Weights come from the first ``fit_share`` of the history alone. The rest are blank periods, on which
    :func:`causalbench.geo.blank_periods.blank_period_test` tests the effect at the readout. Nobody is randomised.

    Attributes
    ----------
    min_markets, max_markets
        Bounds :math:`\underline m, \overline m` on the number of treated; ``market_counts`` of the study goes before them.
    target
        ``population`` or ``each_other``.
    population
        ``equal``: every market is the same part of the population; ``share``: its part of the outcome.
    match
        ``outcomes`` as in the paper, or ``changes``: paths about their means, where levels are out of reach.
    fit_share
        Part of the history that weights are fitted to.
    limit
        Largest number of sets that are listed; above it they are searched.
    n_proposals
        How many splits are proposed.

    Notes
    -----
    Names and the order of the markets change nothing. When not to use it: with fewer periods than markets the fit is perfect for
    many sets and tells nothing; with several treated cells (refused); or where randomisation is possible and markets are many.

    Raises
    ------
    RefusalError
        With several cells, when rules contradict each other, or the history is too short for blank periods.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.study.geo_study import Geo
    >>> rng = np.random.default_rng(0)
    >>> outcome = np.array([10.0, 20.0, 30.0, 40.0, 50.0])[:, None] + rng.normal(size=(5, 40))
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcde"), periods=tuple(range(40)))
    >>> best = SyntheticDesign(max_markets=2).propose(history, Constraints.compile(Geo(), history), durations=(7,), rng=rng)[0]
    >>> [round(float(best.split.unit_weights[side].sum()), 9) for side in (best.split.treated, best.split.control)]
    [1.0, 1.0]
    """

    summary: ClassVar[str] = "weights on both sides follow the mean of all markets; tested on blank periods"
    randomized: ClassVar[bool] = False

    min_markets: Annotated[int, Field(ge=1)] = 1
    max_markets: Annotated[int, Field(ge=1)] = 5
    target: Literal["population", "each_other"] = "population"
    population: Literal["equal", "share"] = "equal"
    match: Literal["outcomes", "changes"] = "outcomes"
    fit_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    limit: Annotated[int, Field(ge=1)] = 3_000
    n_proposals: Annotated[int, Field(ge=1)] = 5

    def propose(
        self, history: Panel, constraints: Constraints, *, durations: tuple[int, ...], rng: Generator
    ) -> tuple[Proposal, ...]:
        """Return the best splits with their weights, best first; nothing is drawn.

        The score is the root mean square of both sides' misfits per period of the fit, over the population's mean outcome.

        Parameters
        ----------
        history
            Markets before the test, nothing missing.
        constraints
            What every split must satisfy, compiled for these markets.
        durations
            Not used.
        rng
            Not used.
        """
        if constraints.n_cells != 1:
            raise RefusalError(
                f"a synthetic design has one treated side, and the study has {constraints.n_cells} treated cells",
                remedy="keep one cell, or use selector = 'search'",
            )
        constraints.require_feasible()
        outcome = complete_outcome(history)
        order = canonical_order(outcome)
        limits = constraints.reordered(order)
        n_fit = self.n_fit(outcome.shape[1])
        paths, level = self._paths(outcome[order, :n_fit])
        problem = _Problem(gram=paths @ paths.T, limits=limits, target=self.target)
        found: dict[bytes, tuple[float, IntArray, FloatArray]] = {}
        for count in limits.market_counts or range(self.min_markets, self.max_markets + 1):
            for sets in self._candidates(problem, count):
                _keep(found, problem, sets, self.n_proposals)
        if not found:
            raise RefusalError(
                "no admissible set of treated markets leaves a control",
                remedy="name other market_counts, or loosen the rules of [geo]",
            )
        best = sorted(found.values(), key=lambda item: item[0])[: self.n_proposals]
        fit = FitError.of(outcome)
        proposals = []
        for value, cells, weights in best:
            back, shares = np.empty_like(cells), np.empty_like(weights)
            back[order], shares[order] = cells, weights
            _, imbalance = fit.of_splits(constraints, back[None])
            proposals.append(
                Proposal(
                    split=Split(cells=back, unit_weights=shares),
                    score=float(np.sqrt(max(value, 0.0) / n_fit) / level),
                    scaled_l2=float(imbalance[0]),
                )
            )
        return tuple(proposals)

    def draws(
        self, history: Panel, constraints: Constraints, split: Split, *, n_draws: int, rng: Generator
    ) -> IntArray:
        """Refuse: a chosen split has no draws."""
        raise RefusalError(
            "a synthetic design chooses its markets, so there are no other draws of it",
            remedy="test on blank periods, or use a randomised selector",
        )

    def n_fit(self, n_periods: int) -> int:
        """Return how many of the first periods the weights are fitted to; the rest are blank."""
        n_fit = max(round(self.fit_share * n_periods), 1)
        if n_periods < 2 or (self.fit_share < 1 and n_periods - n_fit < 1):
            raise RefusalError(
                f"a history of {n_periods} periods leaves no blank ones", remedy="use a longer history, or fit_share"
            )
        return n_fit

    def _paths(self, outcome: FloatArray) -> tuple[FloatArray, float]:
        """Return paths about the population's, shape (n_units, n_fit), and the population's mean outcome."""
        totals = outcome.sum(axis=1)
        equal = np.full(len(outcome), 1 / len(outcome))
        parts = totals / totals.sum() if self.population == "share" and totals.sum() != 0 else equal
        level = max(abs(float(parts @ outcome.mean(axis=1))), 1e-300)
        paths = outcome - outcome.mean(axis=1, keepdims=True) if self.match == "changes" else outcome
        return paths - parts @ paths, level

    def _candidates(self, problem: _Problem, count: int) -> Iterator[BoolArray]:
        """Yield sets of ``count`` treated markets to be compared: all of them, or those a search ends with."""
        must, free = problem.must, np.flatnonzero(problem.may & ~problem.must)
        wanted = count - int(must.sum())
        if wanted < 0 or wanted > len(free):
            return
        if math.comb(len(free), wanted) <= self.limit:
            rows = (must | np.isin(np.arange(len(must)), others) for others in itertools.combinations(free, wanted))
            while block := list(itertools.islice(rows, _BLOCK)):
                yield np.array(block)
            return
        yield from problem.searched(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Paths' inner products about the population's mean, and what splits may be."""

    gram: FloatArray
    limits: Constraints
    target: Literal["population", "each_other"]

    @property
    def may(self) -> BoolArray:
        """Which markets may be treated."""
        return np.asarray(self.limits.eligible[1])

    @property
    def must(self) -> BoolArray:
        """Which markets must be treated."""
        return np.asarray((self.limits.forced == 1) | self.limits.included)

    def fits(self, treated: BoolArray) -> tuple[SideFits, IntArray]:
        """Fit both sides of many sets; sets that aren't admissible or have no control cost infinity."""
        cells = self.limits.completed(treated.astype(np.int64))
        good = self.limits.admissible(cells) & (cells == CONTROL).any(axis=1) & (treated.any(axis=1))
        return fit_sides(self.gram, treated, cells == CONTROL, good, target=self.target), cells

    def searched(self, count: int) -> Iterator[BoolArray]:
        """Add the market that helps most, then exchange while that helps; from several first markets.

        Fitting the controls of every set costs most. With many markets it is left to the sets whose treated side fits best: which
        few markets are missing hardly changes what the rest can reach.
        """
        thorough = len(self.gram) <= _FEW_MARKETS
        near = np.where(self.may, np.diag(self.gram), np.inf)
        firsts = [None] if self.must.any() else np.argsort(near, kind="stable")[: _STARTS if thorough else _STARTS // 3]
        for first in firsts:
            chosen = self.must.copy()
            if first is not None:
                chosen[first] = True
            while chosen.sum() < count:
                rows = self._with_one_more(chosen)
                controls = ~rows & self.limits.eligible[0] if thorough else None
                partial = fit_sides(self.gram, rows, controls, np.ones(len(rows), dtype=bool))
                chosen = rows[int(np.argmin(partial.value))]
            yield from self._exchanged(chosen, thorough)

    def _exchanged(self, chosen: BoolArray, thorough: bool) -> Iterator[BoolArray]:  # noqa: FBT001 - private
        value = np.inf
        for _ in range(_SWEEPS):
            leaving = np.flatnonzero(chosen & ~self.must)
            without = [chosen & (np.arange(len(chosen)) != market) for market in leaving]
            rows = np.vstack([chosen[None], *map(self._with_one_more, without)])
            if not thorough:
                one_side = fit_sides(self.gram, rows, None, np.ones(len(rows), dtype=bool)).value
                rows = np.vstack([chosen[None], rows[np.argsort(one_side, kind="stable")[:_SHORT_LIST]]])
            fits, _ = self.fits(rows)
            best = int(np.argmin(fits.value))
            yield rows[np.argsort(fits.value, kind="stable")[:5]]
            if not fits.value[best] < value * (1 - _GAIN):
                return
            value, chosen = float(fits.value[best]), rows[best]

    def _with_one_more(self, chosen: BoolArray) -> BoolArray:
        """Return the sets that one more market makes of a set, shape (n_sets, n_units)."""
        options = np.flatnonzero(self.may & ~chosen)
        rows = np.repeat(chosen[None], len(options), axis=0)
        rows[np.arange(len(options)), options] = True
        return rows


def _keep(
    found: dict[bytes, tuple[float, IntArray, FloatArray]], problem: _Problem, sets: BoolArray, n_proposals: int
) -> None:
    """Fit sets and remember the best ones, each once."""
    fits, cells = problem.fits(sets)
    for row in np.argsort(fits.value, kind="stable")[:n_proposals]:
        if np.isfinite(fits.value[row]):
            weights = np.where(cells[row] == CONTROL, fits.control[row], fits.treated[row])
            found[cells[row].tobytes()] = (float(fits.value[row]), cells[row], weights)
