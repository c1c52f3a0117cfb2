"""Which risk ratios would a confounder need with treatment and outcome?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import Comparison, comparison
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.sensitivity import bounding_factor, e_value, risk_ratio
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate, FloatArray
from causalbench.wording import number


@dataclass(frozen=True, slots=True, kw_only=True)
class EValue:
    r"""The E-value of the effect and of the limit of its interval that is nearer to none (VanderWeele, Ding 2017).

    :math:`E = RR + \sqrt{RR (RR - 1)}`: a confounder explains the effect away only if both of its risk ratios, with treatment
    and with outcome, reach it. For an outcome of 0 and 1, RR is that of the treated and the weighted controls; for others
    :math:`\exp(0.91 d)` with the effect :math:`d` in standard deviations within the arms.

    To judge whether that is much: each covariate, split at its median, has such risk ratios itself (those with the
    outcome within the arms, the larger one), and can account for the factor :math:`ab / (a + b - 1)`. It passes where the
    limit's risk ratio lies beyond that of every covariate, and asks for review otherwise.
    """

    question: ClassVar[str] = "Which risk ratios would a confounder need with treatment and outcome?"
    shape: ClassVar[str] = "cross-section"

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Turn effect and limit into risk ratios, and look for covariates as strong."""
        found = comparison(estimator, data)
        if found is None:
            return None
        data = found.data
        conclude = partial(CheckResult, name="e-value", question=self.question)
        ratios = _ratios(found, estimate)
        if ratios is None:
            return conclude(
                verdict="not_evaluable",
                reason="The effect can't be put as a risk ratio: the outcome doesn't vary, or there is no interval.",
            )
        ratio, limit = ratios
        table: dict[str, Any] = {"risk_ratio": ratio, "risk_ratio_limit": limit, "e_value": e_value(ratio)}
        table["e_value_limit"] = e_value(limit)
        if limit == 1:
            return conclude(
                verdict="not_evaluable",
                reason=f"The effect is as a risk ratio of {number(ratio)}, and its interval holds one.",
                remedy="There is no finding that a confounder could overturn.",
                table=table,
            )
        factors = _factors(found, data)
        table["covariates"] = [{"name": name, "factor": factor} for name, factor in list(factors.items())[:10]]
        name, factor = next(iter(factors.items()), ("", 1.0))
        beyond = max(limit, 1 / limit) > factor
        reason = (
            f"The effect is as a risk ratio of {number(ratio)}. A confounder explains it away if its risk ratios with treatment "
            f"and outcome both reach {table['e_value']:.2f}, and brings zero into the interval at {table['e_value_limit']:.2f}."
        )
        if name:
            needed = max(limit, 1 / limit)
            reason += (
                f" The strongest covariate, {name}, accounts for a factor of {factor:.2f}; {needed:.2f} is needed."
            )
        return conclude(
            verdict="pass" if beyond else "review",
            reason=reason,
            remedy="" if beyond else f"Ask what as strong as {name} wasn't measured, and say so beside the effect.",
            statistic=table["e_value_limit"],
            table=table,
        )


def _ratios(found: Comparison, estimate: Estimate) -> tuple[float, float] | None:
    """Return the risk ratios of the effect and of the nearer limit, 1 where the interval holds zero."""
    if estimate.interval is None:
        return None
    limits = [0.0 if end is None else end for end in (estimate.interval.lower, estimate.interval.upper)]
    limit = 0.0 if estimate.interval.contains(0.0) else min(limits, key=abs)
    y, treated, w = found.sample.outcome, found.treated, found.weights
    if _is_binary(y):
        base = float(np.average(y[~treated], weights=w[~treated]))
        if not base > 0 or min(base + limit, base + estimate.value) <= 0:
            return None
        return (base + estimate.value) / base, (base + limit) / base
    spread = _spread(y, treated)
    return (risk_ratio(estimate.value, spread), risk_ratio(limit, spread)) if spread > 0 else None


def _spread(outcome: FloatArray, treated: BoolArray) -> float:
    """Return the standard deviation within the arms, pooled."""
    rest = outcome - np.where(treated, outcome[treated].mean(), outcome[~treated].mean())
    return float(np.sqrt((rest**2).sum() / max(len(rest) - 2, 1)))


def _factors(found: Comparison, data: CrossSection) -> dict[str, float]:
    """Return the factor that each covariate accounts for, the largest first."""
    treated, y = found.treated, found.sample.outcome
    spread = None if _is_binary(y) else _spread(y, treated)
    factors = {}
    for j, name in enumerate(data.names):
        values = data.covariates[:, j]
        high = values > np.median(values) if (values > np.median(values)).any() else values >= np.median(values)
        shares = [_share(high[treated]), _share(high[~treated])]
        with_treatment = max(max(shares) / min(shares), (1 - min(shares)) / (1 - max(shares)))
        pairs = [
            (y[arm & high], y[arm & ~high]) for arm in (treated, ~treated) if (arm & high).any() and (arm & ~high).any()
        ]
        with_outcome = max((_outcome_ratio(*pair, spread) for pair in pairs), default=1.0)
        factors[name] = bounding_factor(with_treatment, with_outcome)
    return dict(sorted(factors.items(), key=lambda item: -item[1]))


def _outcome_ratio(one: FloatArray, other: FloatArray, spread: float | None) -> float:
    """Return the risk ratio, at least one, of an outcome between two groups; without a spread that of its shares of 1."""
    if spread is None:
        shares = _share(one == 1), _share(other == 1)
        return max(shares) / min(shares)
    return risk_ratio(abs(float(one.mean() - other.mean())), spread) if spread else 1.0


def _is_binary(outcome: FloatArray) -> bool:
    return set(np.unique(outcome).tolist()) <= {0.0, 1.0}


def _share(mask: BoolArray) -> float:
    """Return a share away from 0 and 1 by half a unit."""
    return float(np.clip(mask.mean(), 0.5 / len(mask), 1 - 0.5 / len(mask)))
