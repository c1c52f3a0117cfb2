"""How unequal may the odds of treatment be within a pair?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import SHARE_OF_ODDS, comparison, level_of
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.rosenbaum import largest_gamma, nearest_pairs, signed_rank_p_value
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate
from causalbench.wording import counted

_CALIPER = 0.2
_FEWEST = 10
_GAMMAS = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RosenbaumBounds:
    r"""Bounds of the signed-rank test of matched pairs under hidden bias (Rosenbaum 2002, section 4.3).

    Pairs are formed once, each control used once at most, by the nearest log odds of treatment within .2 of their standard
    deviation (Austin 2011, https://doi.org/10.1002/pst.433). :math:`\Gamma` is by how much the odds of treatment may differ
    within a pair through something unmeasured. It passes where the effect is still shown at a :math:`\Gamma` as large as what
    leaving out the strongest covariate does to the odds for 95% of the units, and asks for review otherwise. It asks about an
    effect on the pairs, in the direction of the estimate, at half the error probability of the two-sided interval.
    """

    question: ClassVar[str] = "How unequal may the odds of treatment be within a pair?"
    shape: ClassVar[str] = "cross-section"

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Pair the units and bound the test."""
        found = comparison(estimator, data)
        if found is None or found.method != "matching":
            return None
        data = found.data
        conclude = partial(CheckResult, name="rosenbaum-bounds", question=self.question)
        p = np.clip(found.propensity, 1e-12, 1 - 1e-12)
        odds = np.log(p / (1 - p))
        treated, control = np.flatnonzero(found.treated), np.flatnonzero(~found.treated)
        pairs = nearest_pairs(odds[treated], odds[control], caliper=_CALIPER * float(odds.std()))
        if len(pairs) < _FEWEST:
            return conclude(
                verdict="not_evaluable",
                reason=f"Only {counted(len(pairs), 'pair')} can be formed within {_CALIPER} standard deviations.",
                remedy="Look at overlap.",
            )
        y = data.outcome
        differences = (y[treated[pairs[:, 0]]] - y[control[pairs[:, 1]]]) * (1.0 if estimate.value >= 0 else -1.0)
        one_sided = 1 - (1 - level_of(estimate)) / 2
        gamma = largest_gamma(differences, level=one_sided)
        table: dict[str, Any] = {
            "n_pairs": len(pairs),
            "largest_gamma": gamma,
            "bounds": [{"gamma": g, "p_value": signed_rank_p_value(differences, gamma=g)} for g in _GAMMAS],
        }
        if not gamma:
            return conclude(
                verdict="not_evaluable",
                reason=f"{len(pairs):,} pairs show no effect in the direction of the estimate even without hidden bias.",
                remedy="There is no finding that a hidden bias could overturn.",
                table=table,
            )
        strengths = found.strengths()
        name, strength = next(iter(strengths.items()), ("", 1.0))
        table["strengths"] = strengths
        enough = bool(gamma >= strength)
        reason = f"{len(pairs):,} pairs show the effect up to odds that differ {gamma:.2f} times within a pair."
        if name:
            reason += f" Leaving out {name} moves them {strength:.2f} times or less for {100 * SHARE_OF_ODDS:g}% of the units."
        return conclude(
            verdict="pass" if enough else "review",
            reason=reason,
            remedy="" if enough else "Ask what as strong as that wasn't measured, and say so beside the effect.",
            statistic=gamma,
            threshold=strength,
            table=table,
        )
