"""How many units had launched before the data begin?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import listing
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate
from causalbench.wording import counted, percent

_DROPPED = "CB-D023"
_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AlwaysTreated:
    """Units treated in every period have no before; they are left out, and the effect says nothing about them.

    From a tenth of the units that launched up, a convention, whom the effect is about needs review.
    """

    question: ClassVar[str] = "How many units had launched before the data begin?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Count the units that were left out for it."""
        dropped = [finding for finding in data.findings if finding.code == _DROPPED and finding.count]
        if not dropped:
            return None
        count = sum(finding.count for finding in dropped)
        names = [unit for finding in dropped for unit in finding.units]
        treated, everyone = count + len(data.treated_units), count + len(data.units)
        share = count / treated
        conclude = partial(CheckResult, name="always-treated", question=self.question, statistic=share)
        reason = (
            f"{counted(count, 'unit')} of {everyone} had launched before the data begin ({listing(names)}) and "
            f"{'is' if count == 1 else 'are'} left out: {percent(share)} of the {treated} that launched. The effect is "
            "that on the others."
        )
        few = share < _SHARE
        return conclude(
            verdict="pass" if few else "review",
            reason=reason,
            remedy="" if few else "Add history from before their launch, or say that early launches are not covered.",
            threshold=_SHARE,
            table={"n_always_treated": count, "n_treated": treated, "n_units": everyone},
        )
