"""Is this a comparison with many donors, or with one?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from numpy.random import Generator

from causalbench.checks._donors import gross_shares
from causalbench.data.panel import Panel
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate
from causalbench.wording import VISIBLE_WEIGHT, counted, percent

_MOST = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveDonors:
    r"""How many donors with equal weights would be as concentrated, and what the largest carries.

    :math:`(\sum_j |w_j|)^2 / \sum_j w_j^2`, which lies between 1 and the number of donors whatever the signs; it is
    :math:`1 / \sum_j w_j^2` for weights that are not negative and sum to one (Kish 1965, Survey Sampling).
    One donor with 80% of the absolute weight, a convention, asks for review: what happens to it happens to the answer.
    Negative weights are named, as they reach beyond what donors did.
    """

    question: ClassVar[str] = "Is this a comparison with many donors, or with one?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Count the donors by their weights."""
        if estimate.weights is None:
            return None
        conclude = partial(CheckResult, name="effective-donors", question=self.question, threshold=_MOST)
        shares = gross_shares(estimate.weights)
        if not shares:
            return conclude(verdict="not_evaluable", reason="No donor has weight.")
        number = sum(shares.values()) ** 2 / sum(share**2 for share in shares.values())
        largest, share = next(iter(shares.items()))
        negative = -sum(weight for weight in estimate.weights.values() if weight <= -VISIBLE_WEIGHT)
        reason = (
            f"{len(shares)} of {counted(len(estimate.weights), 'donor')} {'has' if len(shares) == 1 else 'have'} weight, as "
            f"concentrated as {number:.1f} donors with equal weights would be. {largest} has the most, {share:.0%}."
        )
        if negative:
            reason += f" Negative weights of {percent(negative)} in total reach beyond what donors did."
        spread = share < _MOST
        return conclude(
            verdict="pass" if spread else "review",
            reason=reason,
            remedy=""
            if spread
            else f"Ask whether {largest} had anything of its own after the launch; add like donors.",
            statistic=share,
            table={"effective_donors": number, "largest": largest, "n_weighted": len(shares), "negative": negative},
        )
