"""Supergeos: all markets in pairs of balanced groups, and the treated half of each pair drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.random import Generator
from pydantic import Field

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.geo.constraints import Constraints
from causalbench.geo.fit_error import FitError
from causalbench.geo.selection import Count, Proposal, complete_outcome
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.numerics.resampling import canonical_order
from causalbench.numerics.supergeo_bound import lower_bound
from causalbench.numerics.supergeos import LARGEST_PAIR, search
from causalbench.values import BoolArray, FloatArray, IntArray

_ROUNDS = 25
_STEPS = 50_000_000
_GOOD_ENOUGH = 1e-6
_BLOCK = 2_000
_RAREST = 1e-3
_LISTED = 14
_TREATED = 1
_DETAIL = ("n_pairs", "imbalance", "bound", "gap", "rel_gap", "certified")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SupergeoDesign:
    """A partition into pairs, and how much better any other could be.

    Attributes
    ----------
    strata
        Pair of each market, -1 for those that take no part; shape (n_units,).
    half
        Half of its pair that a market is in, -1 or 1, 0 for those that take no part; shape (n_units,).
    n_pairs
        Number of pairs.
    imbalance
        Sum over pairs of the squared difference of the halves' features, in shares of the total.
    bound
        What no partition under the same rules (``max_size``, ``min_pairs``, markets that hang together or are tied to a cell) has
        less of.
    gap
        (imbalance - bound) / the sum of the markets' squared features: what could be gained at most, in units of the imbalance
        that a coin per market would give on average.
    rel_gap
        (imbalance - bound) / imbalance: the part of this design's own imbalance that a better one might avoid. It may be near
        one where the imbalance is nothing; read it together with ``gap``.
    certified
        Whether the bound comes from pricing every possible pair; else it is zero, since squares aren't negative. Pairs aren't
        priced where there are too many, nor where the imbalance is at most 1e-6 of the squared features: zero is
        bound enough there, and ``gap`` at most 1e-6.
    """

    strata: IntArray
    half: IntArray
    n_pairs: int
    imbalance: float
    bound: float
    gap: float
    rel_gap: float
    certified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Supergeos:
    r"""Group all markets into pairs of evenly matched halves, and treat one half of each pair, drawn by a coin.

    Where no market resembles the largest, pairs of single markets are uneven, and leaving the largest out (trimming) changes
    what is estimated. Several markets together, a supergeo, balance it:

    .. math:: \min_{\text{partitions into pairs } (A_p, B_p)}\ \sum_p
        \Bigl\lVert \sum_{i \in A_p} x_i - \sum_{i \in B_p} x_i \Bigr\rVert^2,
        \qquad \lvert A_p \rvert + \lvert B_p \rvert \le m

    (Chen, Doudchenko, Jiang, Stein, Ying 2023, Robust causal inference for paired geo experiments with supergeos,
    arXiv:2301.12044; they solve it as a mixed-integer program). The features :math:`x_i` of a market are its shares of all
    markets' outcome in equal ``segments`` of the history, divided by the root of their number, so that with one segment the
    total is balanced, and with more its course over time, too.

    A local search finds the partition. :meth:`design` says how far from the best it may be: a linear program over pairs,
    solved by HiGHS with column generation, bounds what any partition could reach from below.

    Every market takes part that the constraints let (none is trimmed). Markets near each other (``buffer``) are put into one
    half, so that no control is near a treated market. One that must or may not be treated ties the halves of its pair. Bounds on
    shares, counts, quotas, budgets and numbers of controls throw away the draws that break them.

    Attributes
    ----------
    max_size
        Most markets of a pair, 2 to 6; markets that hang together count as one. With 2 these are pairs of single markets.
    min_pairs
        Fewest pairs. A test by re-assignment can't have a p below :math:`2 / 2^P`.
    segments
        Number of parts of the history that have to be balanced.
    effort
        Number of shakes of the search; twice as many take about twice the time.

    Notes
    -----
    Names and the order of the markets change nothing. When not to use it: with several treated cells (refused), or when single
    markets should be treated, as here about half of all are.

    Raises
    ------
    RefusalError
        With several cells, fewer than ``2 * min_pairs`` markets, a buffer that chains too many markets together, or rules that
        (nearly) no draw satisfies.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.study.geo_study import Geo
    >>> outcome = np.array([[9.0], [5.0], [4.0], [3.0], [3.0]]) * np.ones(20)
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcde"), periods=tuple(range(20)))
    >>> found = Supergeos(min_pairs=2).design(history, Constraints.compile(Geo(), history))
    >>> found.strata.tolist(), abs(round(found.imbalance, 9)), round(found.gap, 6), found.certified
    ([0, 0, 0, 1, 1], 0.0, 0.0, False)
    """

    summary: ClassVar[str] = "randomised within pairs of balanced groups that hold all markets"
    randomized: ClassVar[bool] = True

    max_size: Annotated[int, Field(ge=2, le=LARGEST_PAIR)] = 4
    min_pairs: Annotated[int, Field(ge=1)] = 6
    segments: Annotated[int, Field(ge=1, le=60)] = 4
    effort: Annotated[int, Field(ge=0, le=100_000)] = 300

    def propose(
        self, history: Panel, constraints: Constraints, *, durations: tuple[int, ...], rng: Generator
    ) -> tuple[Proposal, ...]:
        """Return one draw of the best design found; its score is the root of the design's imbalance.

        Parameters
        ----------
        history
            Markets before the test, nothing missing.
        constraints
            What every split must satisfy, compiled for these markets.
        durations
            Not used.
        rng
            Draws the sides; the partition itself depends on nothing but the history.
        """
        found = self.design(history, constraints)
        cells = _draw(constraints, found.strata, found.half, n_draws=1, rng=rng)[0]
        outcome = complete_outcome(history)
        _, imbalance = FitError.of(outcome).of_splits(constraints, cells[None])
        split = Split(cells=cells, strata=found.strata)
        proposal = Proposal(
            split=split,
            score=float(np.sqrt(found.imbalance)),
            scaled_l2=float(imbalance[0]),
            detail={name: getattr(found, name) for name in _DETAIL},
        )
        return (proposal,)

    def design(self, history: Panel, constraints: Constraints) -> SupergeoDesign:
        """Search the partition and bound what any other could reach; the same history and constraints give the same design."""
        if constraints.n_cells != 1:
            raise RefusalError(
                f"supergeos come in pairs of a treated and a control half, and the study has {constraints.n_cells} treated cells",
                remedy="keep one cell, or use selector = 'stratified'",
            )
        constraints.require_feasible()
        outcome = complete_outcome(history)
        order = canonical_order(outcome)
        block, fixed = _blocks(constraints.reordered(order))
        n_blocks = int(block.max(initial=-1)) + 1
        if n_blocks < 2 * self.min_pairs:
            raise RefusalError(
                f"{n_blocks} markets (those near each other counted once) don't make {self.min_pairs} pairs",
                remedy=f"set min_pairs in [geo.options] to at most {n_blocks // 2}, or loosen busy, exclude or buffer",
            )
        markets = _features(outcome[order], self.segments)
        points = np.stack([markets[block == b].sum(axis=0) for b in range(n_blocks)])
        found = search(
            points,
            fixed,
            max_size=self.max_size,
            min_pairs=self.min_pairs,
            n_shakes=self.effort,
            rng=np.random.default_rng(0),
        )
        if not np.isfinite(found[0].cost):
            raise RefusalError(
                "include and exclude tie so many markets to one side that pairs can't have two halves",
                remedy="include or exclude fewer markets, or use selector = 'search'",
            )
        scale = float((points**2).sum())
        bound, certified = 0.0, False
        if found[0].cost > _GOOD_ENOUGH * scale:
            finite = [partition for partition in found if np.isfinite(partition.cost)]
            limit = lower_bound(
                points,
                fixed,
                finite,
                max_size=self.max_size,
                min_pairs=self.min_pairs,
                n_rounds=_ROUNDS,
                most_steps=_STEPS,
            )
            bound, certified = min(limit.value, found[0].cost), limit.complete
        strata, half = np.full(len(order), -1), np.zeros(len(order), dtype=np.int64)
        takes_part = block >= 0
        strata[order[takes_part]] = found[0].pair[block[takes_part]]
        half[order[takes_part]] = found[0].side[block[takes_part]]
        lost = found[0].cost - bound
        return SupergeoDesign(
            strata=_numbered(strata),
            half=half,
            n_pairs=int(found[0].pair.max()) + 1,
            imbalance=found[0].cost,
            bound=bound,
            gap=lost / scale if scale > 0 else 0.0,
            rel_gap=lost / found[0].cost if found[0].cost > 0 else 0.0,
            certified=certified,
        )

    def draws(
        self, history: Panel, constraints: Constraints, split: Split, *, n_draws: int, rng: Generator
    ) -> IntArray:
        """Return assignments of the design that a split came from, uniform over its admissible ones and independent.

        Parameters
        ----------
        history, constraints
            Those that the split was proposed for.
        split
            A proposal of this selector.
        n_draws
            How many.
        rng
            Source of the draws.

        Returns
        -------
        ndarray
            Shape (n_draws, n_units).
        """
        return _draw(constraints, *_design_of(split), n_draws=n_draws, rng=rng)

    def n_admissible(self, history: Panel, constraints: Constraints, split: Split, *, rng: Generator) -> Count:
        """Return the number of assignments that ``draws`` chooses among."""
        strata, half = _design_of(split)
        coins = _coins(constraints, strata, half)
        n_free = int((coins == 0).sum())
        if n_free <= _LISTED:
            every = np.arange(2**n_free)[:, None] >> np.arange(n_free) & 1
            signs = np.repeat(np.where(coins == 0, 1, coins)[None], len(every), axis=0)
            signs[:, coins == 0] = 2 * every - 1
            good = constraints.admissible(_cells(strata, half, signs))
            return Count(value=float(good.sum()), exact=True)
        tried = constraints.admissible(_cells(strata, half, _thrown(coins, 5 * _BLOCK, rng)))
        return Count(value=2.0**n_free * float(tried.mean()), exact=bool(tried.all()))


def _features(outcome: FloatArray, segments: int) -> FloatArray:
    """Return each market's shares of the total in equal parts of the history, shape (n_units, n_segments)."""
    parts = np.array_split(np.arange(outcome.shape[1]), min(segments, outcome.shape[1]))
    sums = np.column_stack([outcome[:, part].sum(axis=1) for part in parts])
    totals = np.abs(sums).sum(axis=0)
    shares: FloatArray = sums / np.where(totals > 0, totals, 1.0) / np.sqrt(len(parts))
    return shares


def _blocks(limits: Constraints) -> tuple[IntArray, IntArray]:
    """Return which markets must be in one half because they are near each other, and which half a block is tied to.

    Blocks are numbered by first appearance, -1 for markets that may be in no cell.
    """
    from scipy.sparse.csgraph import connected_components

    part: BoolArray = np.asarray(limits.eligible.any(axis=0))
    _, component = connected_components(limits.near & part[:, None] & part, directed=False)
    block = _numbered(np.where(part, component, -1))
    fixed = np.zeros(int(block.max(initial=-1)) + 1, dtype=np.int64)
    for b in range(len(fixed)):
        control, treated = bool(limits.eligible[0, block == b].all()), bool(limits.eligible[1, block == b].all())
        if not control and not treated:
            names = listing(sorted(limits.units[i] for i in np.flatnonzero(block == b)))
            raise RefusalError(
                f"buffer keeps {names} on one side, and include and exclude keep them on both",
                remedy="include or exclude all of them alike, or loosen buffer",
            )
        fixed[b] = 0 if control and treated else 1 if treated else -1
    return block, fixed


def _numbered(labels: IntArray) -> IntArray:
    """Number labels from 0 up by first appearance; -1 stays."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels[labels >= 0].tolist()))}
    return np.array([numbers.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def _design_of(split: Split) -> tuple[IntArray, IntArray]:
    if split.strata is None:
        raise RefusalError("this split holds no pairs, so nothing can be drawn", remedy="use a proposal of supergeos")
    return split.strata, np.where(split.strata < 0, 0, np.where(split.cells == _TREATED, 1, -1))


def _coins(limits: Constraints, strata: IntArray, half: IntArray) -> IntArray:
    """Return for each pair whether half 1 (1) or half -1 (-1) has to be treated, or a coin decides (0)."""
    coins = np.zeros(int(strata.max(initial=-1)) + 1, dtype=np.int64)
    control, treated = limits.eligible
    for pair in range(len(coins)):
        one, other = (strata == pair) & (half == 1), (strata == pair) & (half == -1)
        straight = treated[one].all() and control[other].all()
        crossed = treated[other].all() and control[one].all()
        coins[pair] = 0 if straight and crossed else 1 if straight else -1
    return coins


def _thrown(coins: IntArray, n_draws: int, rng: Generator) -> IntArray:
    return np.where(coins == 0, 2 * rng.integers(2, size=(n_draws, len(coins))) - 1, coins)


def _cells(strata: IntArray, half: IntArray, signs: IntArray) -> IntArray:
    """Return the cell of every market, shape (n_draws, n_units): half 1 of a pair is treated where its sign is 1."""
    cells = np.where(signs[:, strata] * half == 1, _TREATED, CONTROL)
    return np.where(strata >= 0, cells, LEFT_OUT)


def _draw(limits: Constraints, strata: IntArray, half: IntArray, *, n_draws: int, rng: Generator) -> IntArray:
    coins = _coins(limits, strata, half)
    kept: list[IntArray] = []
    n_kept = n_tried = 0
    while n_kept < n_draws:
        rows = _cells(strata, half, _thrown(coins, min(_BLOCK, max(n_draws, 100)), rng))
        good = limits.admissible(rows)
        kept.append(rows[good])
        n_kept, n_tried = n_kept + int(good.sum()), n_tried + len(rows)
        if n_tried >= 10 / _RAREST and n_kept < _RAREST * n_tried:
            broken = listing(limits.violations(Split(cells=rows[-1])), limit=3)
            raise RefusalError(
                f"only {n_kept} of {n_tried} draws of the pairs' halves satisfy every rule; the last one breaks {broken}",
                remedy="loosen these rules, or use selector = 'search'",
            )
    return np.vstack(kept)[:n_draws]
