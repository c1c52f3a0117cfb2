"""Do the treated lie within what mixtures of donors can reach?"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DonorHull:
    """Distance of the treated units' path before the launch to the convex hull of the donors' paths.

    The distance is the root mean squared gap to the nearest weighted mean of donors, weights not negative and summing to
    one; for a method that ignores levels (its answer doesn't change when the treated units are lifted by a constant), of
    paths about their own means. It is held against how far each donor lies from the hull of the other donors. Treated
    units among the tenth that lies furthest out ask for review: were they like the donors, that would happen one time in
    ten. A gap that lasts is carried past the launch as bias (Abadie 2021, Journal of Economic Literature 59, 391-425).
    Where it is to one side for the most part (its mean is more than half of its root mean square) and more than half of the
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
        target, donors = estimate.path.observed[: data.n_pre], data.outcome[rows, : data.n_pre]
        known = np.isfinite(target) & np.isfinite(donors).all(axis=0)
        target, donors = target[known], donors[:, known]
        if len(target) < 2 or len(donors) < 3:
            reason = "Fewer than three donors, or two periods before the launch in which all are known."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add donors or history.")
        level_free = _ignores_levels(estimator, data)
        if level_free:
            target, donors = target - target.mean(), donors - donors.mean(axis=1, keepdims=True)
        gap = gap_to_hull(target, donors)
        distance, typical = _size(gap), np.sort([_size(other) for other in gaps_among(donors, len(target))])
        further, n = int((typical >= distance).sum()), len(typical)
        share, lasting = (1 + further) / (1 + n), float(gap.mean())
        outlying, biased = share <= _FURTHEST, _lasts(lasting, distance, estimate.value)
        middle = float(np.median(typical))
        which = "After each unit's own mean is taken out, the" if level_free else "The"
        reason = (
            f"{which} treated units lie {number(distance, digits=3)} (root mean square per period) from the nearest mixture of "
            f"donors before the launch; the median donor lies {number(middle, digits=3)} from the others, and {further} of {n} "
            f"donors lie at least as far out."
        )
        if not level_free:
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
            statistic=share,
            threshold=_FURTHEST,
            table={
                "distance": distance,
                "median_donor_distance": middle,
                "rel_distance": distance / middle if middle > 0 else None,
                "mean_gap": lasting,
                "level_free": level_free,
            },
        )


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
