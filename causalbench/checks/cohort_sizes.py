"""Are there enough units behind every launch date?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import listing
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Verdict
from causalbench.wording import counted, percent

_FEW, _FEWEST = 10, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSizes:
    """Treated units by launch date.

    Clustered errors of a cohort's own effects rest on its units; below ten they are too small, with one or two they
    mean nothing. The ten is a convention. It fails where such cohorts of one or two hold half of the treated units. Methods
    without effects by cohort aren't asked.
    """

    question: ClassVar[str] = "Are there enough units behind every launch date?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Count the units of every cohort."""
        if len(data.cohorts) < 2 or "group_time" not in estimate.detail:
            return None
        first = data.first_treated[data.ever_treated]
        launches, counts = np.unique(first, return_counts=True)
        sizes = {str(data.periods[launch]): int(n) for launch, n in zip(launches, counts, strict=True)}
        few = [f"{launch} ({n})" for launch, n in sizes.items() if n < _FEW]
        tiny = {launch: n for launch, n in sizes.items() if n < _FEWEST}
        conclude = partial(
            CheckResult,
            name="cohort-sizes",
            question=self.question,
            statistic=float(counts.min()),
            threshold=float(_FEW),
            table={"sizes": sizes, "n_never_treated": len(data.donor_pool)},
        )
        overall = f"{counted(len(first), 'treated unit')} launched at {len(sizes)} dates"
        if not few:
            return conclude(verdict="pass", reason=f"{overall}, at least {counts.min()} at each.")
        reason = f"{overall}; fewer than {_FEW} at {listing(few)}, so errors of these cohorts' effects are too small."
        share = sum(tiny.values()) / len(first)
        if tiny:
            reason += (
                f" {counted(len(tiny), 'cohort')} of one or two units, {percent(share)} of all treated, "
                f"{'gives' if len(tiny) == 1 else 'give'} none."
            )
        verdict: Verdict = "fail" if share >= 0.5 else "review"
        remedy = "Lean on averages over cohorts; join neighbouring launch dates into longer periods."
        return conclude(verdict=verdict, reason=reason, remedy=remedy)
