"""Are differences before the launch shown to be small?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import HALF, SIZE, arises, leads
from causalbench.data.panel import Panel
from causalbench.numerics.pre_trends import equivalence_bound
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Verdict
from causalbench.wording import counted, number, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTrendEquivalence:
    """Smallest bound within which every lead is shown to lie, held against the effect.

    The burden of proof is turned round: differences count as large until the data show that they are small (Hartman,
    Hidalgo 2018; Dette, Schumann 2024, equation 3.1). A bound below half of the effect passes, a convention; nothing
    in the data can say which differences are negligible.
    """

    question: ClassVar[str] = "Are differences before the launch shown to be small?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Find the smallest bound that two one-sided tests of each lead show."""
        study = estimate.event_study
        if not arises(study, n_leads=1):
            return None
        conclude = partial(CheckResult, name="pre-trend-equivalence", question=self.question)
        before = leads(study, data)
        if before.problem:
            return conclude(verdict="not_evaluable", reason=before.problem, remedy="Add units or clusters.")
        bound = equivalence_bound(before.values, before.std_errors, level=1 - SIZE, degrees=before.degrees)
        largest = float(np.abs(before.values).max())
        limit = HALF * abs(estimate.value)
        verdict: Verdict = "pass" if bound < limit else "review"
        share = f", {percent(bound / abs(estimate.value))} of the estimate's size" if estimate.value else ""
        reason = (
            f"The largest of {counted(len(before.values), 'lead')} is {number(largest)} in size; with {1 - SIZE:.0%} "
            f"confidence all lie within plus or minus {number(bound)}{share}. "
        )
        reason += (
            f"That is less than half of it, {number(limit)}; it says nothing of a change of trend at the launch itself."
            if verdict == "pass"
            else f"Differences as large as half of it, {number(limit)}, are not ruled out."
        )
        remedy = "Don't call the trends parallel; add history or units, or say which difference would be negligible."
        return conclude(
            verdict=verdict,
            reason=reason + before.note,
            remedy="" if verdict == "pass" else remedy,
            statistic=bound,
            threshold=limit,
            table={"bound": bound, "largest": largest, "level": 1 - SIZE, "degrees": before.degrees},
        )
