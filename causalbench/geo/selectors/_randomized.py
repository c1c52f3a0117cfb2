"""What randomised selectors have in common: a design is proposed, and any number of its assignments can be drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.geo.constraints import Constraints
from causalbench.geo.fit_error import FitError
from causalbench.geo.selection import Count, Proposal, complete_outcome
from causalbench.geo.selectors._strata import Accept, Strata, shared_out
from causalbench.geo.split import Split
from causalbench.numerics.resampling import canonical_order
from causalbench.values import BoolArray, FloatArray, IntArray

_SCORED = 40
"""Draws whose fit errors are averaged to a design's score."""


class Randomized:
    """A selector that draws; subclasses say which strata there are, and which draws they accept."""

    __slots__ = ()

    def strata_of(self, limits: Constraints, outcome: FloatArray, members: BoolArray) -> IntArray:
        """Return the stratum of every market, -1 for those that aren't members; markets are in canonical order."""
        raise NotImplementedError

    def designs(self, limits: Constraints, outcome: FloatArray) -> Iterator[Strata]:
        """Yield a design for each of ``market_counts``; without them, the one that treats most and is often admissible."""
        counts = limits.market_counts
        most = int(takes_part(limits).sum()) // (limits.n_cells + 1)
        for count in counts or range(max(most, 1), 0, -1):
            strata = self.strata_of(limits, outcome, members_of(limits, outcome, count))
            labels = shared_out(limits, strata, count)
            if labels is None:
                continue
            design = Strata.of(limits, strata, labels)
            if counts is not None:
                yield design
            elif design.often_admissible:
                yield design
                return

    def acceptance_rule(self, strata: Strata, outcome: FloatArray) -> Accept | None:
        """Return which assignments are accepted, the same rule at every call; None: all admissible ones."""
        return None

    def propose(
        self, history: Panel, constraints: Constraints, *, durations: tuple[int, ...], rng: Generator
    ) -> tuple[Proposal, ...]:
        """Return one draw of every design, the design with the smallest mean fit error first.

        A design's score is the relative fit error (see ``search``) averaged over 40 draws of it, and not that of the split
        beside it: who picks among draws by their fit no longer has a randomised split.

        Parameters
        ----------
        history
            Markets before the test, nothing missing.
        constraints
            What every split must satisfy, compiled for these markets.
        durations
            Not used.
        rng
            Source of the draws.

        Raises
        ------
        RefusalError
            When the rules contradict each other, or leave hardly any draw of every design.
        """
        constraints.require_feasible()
        outcome = complete_outcome(history)
        order = canonical_order(outcome)
        limits, fit = constraints.reordered(order), FitError.of(outcome[order])
        found, refusals = [], []
        for strata in self.designs(limits, outcome[order]):
            try:
                rows = strata.sample(_SCORED + 1, rng, self.acceptance_rule(strata, outcome[order]))
            except RefusalError as refusal:
                refusals.append(refusal)
                continue
            errors, imbalances = fit.of_splits(limits, rows)
            split = Split(cells=_back(rows[-1], order), strata=_back(strata.strata, order))
            found.append(Proposal(split=split, score=float(errors[:-1].mean()), scaled_l2=float(imbalances[-1])))
        if not found:
            raise refusals[0] if refusals else _no_design(constraints)
        return tuple(sorted(found, key=lambda proposal: proposal.score))

    def draws(
        self, history: Panel, constraints: Constraints, split: Split, *, n_draws: int, rng: Generator
    ) -> IntArray:
        """Return assignments of the design that a split came from, uniform over its admissible ones and independent.

        Parameters
        ----------
        history, constraints
            Those that the split was proposed for.
        split
            A proposal of this selector: its strata and numbers are the design, its cells don't matter.
        n_draws
            How many.
        rng
            Source of the draws.

        Returns
        -------
        ndarray
            Shape (n_draws, n_units).
        """
        strata, order, outcome = self._design_of(history, constraints, split)
        return _back(strata.sample(n_draws, rng, self.acceptance_rule(strata, outcome)), order)

    def every_draw(self, history: Panel, constraints: Constraints, split: Split) -> IntArray | None:
        """Return every assignment that the design can draw, each once; None above 50,000 orders of its labels."""
        strata, order, outcome = self._design_of(history, constraints, split)
        rows = strata.every(self.acceptance_rule(strata, outcome))
        return None if rows is None else _back(rows, order)

    def n_admissible(self, history: Panel, constraints: Constraints, split: Split, *, rng: Generator) -> Count:
        """Return how many assignments the design can draw."""
        strata, _, outcome = self._design_of(history, constraints, split)
        return strata.n_admissible(rng, self.acceptance_rule(strata, outcome))

    def _design_of(self, history: Panel, constraints: Constraints, split: Split) -> tuple[Strata, IntArray, FloatArray]:
        if split.strata is None:
            raise RefusalError(
                "the split has no strata, so nothing says among whom its markets were drawn",
                remedy="use the split of a randomised selector",
            )
        outcome = complete_outcome(history)
        order = canonical_order(outcome)
        limits = constraints.reordered(order)
        return Strata.of(limits, split.strata[order], split.cells[order]), order, outcome[order]


def takes_part(limits: Constraints) -> BoolArray:
    """Tell which markets may be in some cell, shape (n_units,)."""
    return np.asarray(limits.eligible.any(axis=0))


def members_of(limits: Constraints, outcome: FloatArray, count: int) -> BoolArray:
    """Tell which markets take part when every cell treats ``count``, shape (n_units,).

    Where ``max_controls`` allows fewer than there are, those stay out whose nearest other market is farthest away: whoever takes
    part is settled before anything is drawn.
    """
    members = takes_part(limits).copy()
    if limits.max_controls is None:
        return members
    surplus = int(members.sum()) - limits.n_cells * count - limits.max_controls
    distances = path_distances(outcome)
    distances[:, ~members] = np.inf
    free = members & (limits.eligible.sum(axis=0) > 1)
    order = np.argsort(np.where(free, -distances.min(axis=1), np.inf), kind="stable")
    members[order[: max(min(surplus, int(free.sum())), 0)]] = False
    return members


def path_distances(outcome: FloatArray) -> FloatArray:
    """Return the root mean square distance of every two paths, infinite on the diagonal; shape (n_units, n_units)."""
    squares = (outcome**2).sum(axis=1)
    between = squares[:, None] + squares - 2 * outcome @ outcome.T
    distances: FloatArray = np.sqrt(np.maximum(between, 0.0) / outcome.shape[1])
    np.fill_diagonal(distances, np.inf)
    return distances


def _back(rows: IntArray, order: IntArray) -> IntArray:
    """Return columns to the order that the markets came in."""
    placed = np.empty_like(rows)
    placed[..., order] = rows
    return placed


def _no_design(constraints: Constraints) -> RefusalError:
    counts = constraints.market_counts
    wanted = "" if counts is None else f" with market_counts {', '.join(map(str, counts))}"
    return RefusalError(
        f"the strata of {len(constraints.units)} markets can't give every cell its number of markets{wanted}",
        code="CB-G003",
        remedy="name other market_counts, use fewer strata, or use selector = 'search'",
    )
