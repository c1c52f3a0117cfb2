"""Does the answer hang on one donor?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._donors import gross_shares
from causalbench.data.panel import Panel
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate
from causalbench.wording import number

_MOST = 20
"""Donors left out at most, those with the largest weights: the others hardly move an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOneDonorOut:
    """Fits again without each donor that has weight (Abadie, Diamond, Hainmueller 2015, section 3).

    Of more than twenty weighted donors, the twenty with the largest absolute weights are left out, one at a time. A
    changed sign, or a change of more than half of the effect, asks for review; the half is a convention.
    """

    question: ClassVar[str] = "Does the answer hang on one donor?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Leave out one weighted donor at a time."""
        conclude = partial(CheckResult, name="leave-one-donor-out", question=self.question)
        if estimate.weights is None:
            return None
        weighted = list(gross_shares(estimate.weights))
        donors = sorted(weighted[:_MOST])
        if not donors or len(data.donor_pool) - 1 < estimator.requires.min_control:
            return conclude(verdict="not_evaluable", reason="There are too few donors to leave one out.")
        names = np.array(data.units)
        fits = {unit: estimator.fit(data.only(units=names != unit)) for unit in donors}
        effects = {unit: fit.effect for unit, fit in fits.items()}
        furthest = max(effects, key=lambda unit: abs(effects[unit] - estimate.value))
        low, high = min(effects.values()), max(effects.values())
        stable = all(abs(effect - estimate.value) <= abs(estimate.value) / 2 for effect in effects.values())
        reason = f"{furthest} matters most: without it the effect would be {number(effects[furthest])}."
        if len(donors) > 1:
            which = f"{len(donors)} weighted" if len(donors) == len(weighted) else f"{len(donors)} heaviest"
            span = f"{number(low)} and {number(high)}"
            reason = f"Without one of its {which} donors the effect lies between {span}; {reason}"
        return conclude(
            verdict="pass" if stable else "review",
            reason=reason,
            remedy="" if stable else f"Check whether {furthest} had events of its own after the launch.",
            statistic=abs(effects[furthest] - estimate.value),
            threshold=abs(estimate.value) / 2,
            table={
                "effects": effects,
                "gaps": {unit: fit.path.effect for unit, fit in fits.items()},
                "furthest": furthest,
                "n_weighted": len(weighted),
            },
        )
