"""Do the treated lie within what mixtures of donors can reach?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._donors import gross_shares, some_donors
from causalbench.checks._event_times import HALF
from causalbench.data.panel import Panel
from causalbench.numerics.donor_gaps import gap_to_hull, gaps_among
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray
from causalbench.wording import number

_FURTHEST = 0.1
_MOST = 500
"""Donors that span the hull at most: the heaviest, and others drawn at random."""

_LEVEL_FREE = 1e-6
_WITHIN = 1e-6
"""Distances up to this share of the donors' standard deviation are rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DonorHull:
    """Distance of the treated units' path before the launch to the convex hull of the donors' paths.

    The distance is the root mean squared gap to the nearest weighted mean of donors, weights not negative and summing to
    one; for a method that ignores levels (its answer doesn't change when the treated units are lifted by a constant), of
    paths about their own means. It is held against how far each donor lies from the hull of the other donors. Treated
    units among the tenth that lies furthest out ask for review: were they like the donors, that would happen one time in
    ten. A gap that lasts is carried past the launch as bias (Abadie 2021, Journal of Economic Literature 59, 391-425).
    Where each treated unit has weights of its own, each is measured: more of them among that tenth than one time in ten
    happens by chance (a binomial tail) ask for review.
    Where the gap is to one side for the most part (its mean is more than half of its root mean square) and more than half of the
    effect, conventions, the check fails; it asks for review where the treated units aren't that far out. With fewer than
    nine donors ranks say nothing, and only that counts. For treated units like the donors, simulated with 12 to 180
    periods before the launch and 20 to 60 donors, 7 to 11% aren't passed and about 5% fail at most. Of more than 500 donors,
    the heaviest and others drawn at random span the hull.
    """

    question: ClassVar[str] = "Do the treated lie within what mixtures of donors can reach?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Measure the distance and rank it among the donors' own."""
        if estimate.weights is None:
            return None
        conclude = partial(CheckResult, name="donor-hull", question=self.question)
        shares = gross_shares(estimate.weights)
        rows = some_donors(data, np.flatnonzero(~data.ever_treated), shares, most=_MOST, rng=rng)
        level_free = _ignores_levels(estimator, data)
        parts = [_places(*part, data.outcome[rows], level_free=level_free) for part in _measured(data, estimate)]
        if not all(parts):
            reason = "Fewer than three donors, or two periods before the launch in which all are known."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add donors or history.")
        places = [place for part in parts for place in part]
        worst = min(places, key=lambda place: (place.share, -place.distance))
        chance = _so_many_by_chance(sum(place.share <= _FURTHEST for place in places), len(places))
        statistic = worst.share if len(places) == 1 else chance
        outlying = statistic <= _FURTHEST
        lasting = float(np.mean([place.lasting for place in places]))
        biased = _lasts(lasting, _size(np.array([place.distance for place in places])), estimate.value)
        reason = "After each unit's own mean is taken out, the " if level_free else "The "
        reason += _where(places[0], estimate) if len(places) == 1 else _where_each(places, worst, estimate)
        if lasting and not level_free:
            reason += (
                f" On average the treated are {number(abs(lasting), digits=3)} {'above' if lasting > 0 else 'below'} it: if "
                f"that stays, so much of the estimate of {number(estimate.value)} is no effect."
            )
        safe = not (outlying or biased)
        remedy = "Compare movements instead of levels (fixed_effects = unit), or take a method that extrapolates."
        return conclude(
            verdict="pass" if safe else "fail" if outlying and biased else "review",
            reason=reason,
            remedy="" if safe else "Add donors that move like the treated." if level_free else remedy,
            statistic=statistic,
            threshold=_FURTHEST,
            table={
                "distance": worst.distance,
                "median_donor_distance": worst.typical,
                "rel_distance": worst.distance / worst.typical if worst.typical > 0 else None,
                "mean_gap": lasting,
                "level_free": level_free,
                "n_measured": len(places),
                "n_outside": sum(place.distance > 0 for place in places),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a path lies: its distance to the hull (0 within rounding) and mean gap, held against the donors' distances."""

    name: str
    distance: float
    lasting: float
    typical: float
    n_further: int
    n_donors: int

    @property
    def share(self) -> float:
        return (1 + self.n_further) / (1 + self.n_donors)


def _measured(data: Panel, estimate: Estimate) -> list[tuple[tuple[str, ...], FloatArray]]:
    """Return names and paths before the launch, shape (n_paths, n_periods), by launch date.

    The treated units' mean, or every unit where each has weights of its own.
    """
    if "by_unit" not in estimate.detail:
        return [(("",), estimate.path.observed[None, : data.n_pre])]
    launches = [start for start in data.starts.tolist() if start < len(data.periods)]
    groups = [(launch, np.flatnonzero(data.first_treated == launch)) for launch in launches]
    return [(tuple(data.units[i] for i in rows), data.outcome[rows, :launch]) for launch, rows in groups]


def _places(names: tuple[str, ...], targets: FloatArray, series: FloatArray, *, level_free: bool) -> list[_Place]:
    """Measure paths with the same launch date; empty where there are too few donors or periods."""
    donors = series[:, : targets.shape[1]]
    known = np.isfinite(targets).all(axis=0) & np.isfinite(donors).all(axis=0)
    targets, donors = targets[:, known], donors[:, known]
    if known.sum() < 2 or len(donors) < 3:
        return []
    if level_free:
        targets, donors = (paths - paths.mean(axis=1, keepdims=True) for paths in (targets, donors))
    within = _WITHIN * float(donors.std())
    typical = np.array([_size(gap) for gap in gaps_among(donors, donors.shape[1])])
    middle = float(np.median(typical))
    places = []
    for name, target in zip(names, targets, strict=True):
        gap = gap_to_hull(target, donors)
        distance = _size(gap) if _size(gap) > within else 0.0
        place = _Place(
            name=name,
            distance=distance,
            lasting=float(gap.mean()) if distance else 0.0,
            typical=middle if middle > within else 0.0,
            n_further=int((typical >= distance).sum()),
            n_donors=len(typical),
        )
        places.append(place)
    return places


def _so_many_by_chance(n_outlying: int, n: int) -> float:
    """Return the chance of at least so many among the tenth furthest out, were each there one time in ten."""
    return sum(math.comb(n, k) * _FURTHEST**k * (1 - _FURTHEST) ** (n - k) for k in range(n_outlying, n + 1))


def _where(place: _Place, estimate: Estimate) -> str:
    if not place.distance:
        return "treated units lie within what mixtures of donors reach before the launch (the hull)."
    return (
        f"treated units lie {number(place.distance, digits=3)} {estimate.metric} (root mean square per period) from the "
        f"nearest mixture of donors before the launch; {_others(place)}."
    )


def _where_each(places: list[_Place], worst: _Place, estimate: Estimate) -> str:
    outside = sum(place.distance > 0 for place in places)
    if not outside:
        return (
            f"{len(places)} treated units all lie within what mixtures of donors reach before their launch (the hull)."
        )
    far = sum(place.share <= _FURTHEST for place in places)
    return (
        f"hull of the donors leaves out {outside} of {len(places)} treated units before their launch, {far} of them by more "
        f"than nine in ten donors. The worst, {worst.name}, lies {number(worst.distance, digits=3)} {estimate.metric} (root "
        f"mean square per period) from the nearest mixture of donors; {_others(worst)}."
    )


def _others(place: _Place) -> str:
    middle = f"lies {number(place.typical, digits=3)} from" if place.typical else "lies within the hull of"
    return f"the median donor {middle} the others, and {place.n_further} of {place.n_donors} donors lie at least as far out"


def _ignores_levels(estimator: Estimator[Panel], data: Panel) -> bool:
    """Tell whether lifting the treated units by a constant leaves the effect where it is."""
    lift = float(np.nanstd(data.outcome)) or 1.0
    lifted = replace(data, outcome=data.outcome + lift * data.ever_treated[:, None])
    return abs(estimator.fit(lifted).effect - estimator.fit(data).effect) <= _LEVEL_FREE * lift


def _lasts(mean: float, distance: float, effect: float) -> bool:
    """Tell whether the gap is to one side for the most part, and large beside the effect."""
    return abs(mean) > HALF * distance and abs(mean) > HALF * abs(effect)


def _size(gap: FloatArray) -> float:
    return float(np.sqrt((gap**2).mean()))
