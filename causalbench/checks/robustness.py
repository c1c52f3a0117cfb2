"""How strong would a confounder have to be that nobody measured?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.artifacts import plain
from causalbench.checks._comparison import comparison, level_of
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.sensitivity import (
    TreatmentRegression,
    adjusted,
    benchmark_bound,
    robustness_value,
    treatment_regression,
)
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Verdict
from causalbench.wording import interval_text, number, percent

_MULTIPLES = (1, 2, 3)
_N_BENCHMARKS = 3
_GRID = 21
_NO_SPREAD = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    r"""Robustness values and benchmark bounds of a linear regression (Cinelli, Hazlett 2020).

    The robustness value is the share of what is left of both treatment and outcome that a confounder would have to explain
    to bring the effect to zero: :math:`RV = (\sqrt{f^4 + 4 f^2} - f^2) / 2` with :math:`f = |t| / \sqrt\nu`; at a level, to
    bring zero into its interval. To judge whether that is much, it is held against confounders once, twice and three times
    as strong as the covariates that would move the effect most.

    It passes where zero stays outside beside a confounder as strong as any measured covariate, and asks for review
    otherwise. The regression of the outcome on treatment and covariates is linear with homoskedastic errors and one effect
    for everybody, whatever the estimator; where that isn't shown to have an effect, there is nothing to overturn.

    Attributes
    ----------
    benchmarks
        Covariates to compare with; by default the three that would move the effect most.
    """

    question: ClassVar[str] = "How strong would a confounder have to be that nobody measured?"
    shape: ClassVar[str] = "cross-section"

    benchmarks: tuple[str, ...] = ()

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Regress, and bound."""
        found = comparison(estimator, data)
        if found is None:
            return None
        data = found.data
        level = level_of(estimate)
        conclude = partial(CheckResult, name="robustness", question=self.question)
        if len(data.outcome) - len(data.names) < 5:
            return conclude(
                verdict="not_evaluable",
                reason=f"{len(data.outcome)} units leave too few for {len(data.names)} covariates.",
                remedy="Leave covariates out.",
            )
        regression = treatment_regression(
            found.sample.outcome, found.sample.treatment, data.covariates, weights=data.weights
        )
        # The effect may be rounding as well as its error, so the outcome's own size is the measure.
        if not regression.std_error > _NO_SPREAD * float(np.abs(found.sample.outcome).max()):
            return conclude(
                verdict="not_evaluable",
                reason="Treatment and covariates determine the outcome: nothing is left for a confounder to explain.",
                remedy="Look for a covariate that is the outcome under another name.",
            )
        places = [data.names.index(name) for name in self.benchmarks if data.column(name) is not None]
        table = robustness_table(regression, data.names, level=level, places=places)
        verdict, reason, remedy = _judge(table)
        return conclude(
            verdict=verdict,
            reason=reason,
            remedy=remedy,
            statistic=table["robustness_value_at_level"],
            table=table,
        )


def robustness_table(
    found: TreatmentRegression, names: tuple[str, ...], *, level: float, places: list[int]
) -> dict[str, Any]:
    """Return robustness values, bounds by benchmark and the contours of what would be left, as plain numbers."""
    chosen = places or _strongest(found, level=level)
    benchmarks = []
    for j in chosen:
        bounds = [benchmark_bound(found, j, multiple=k, level=level) for k in _MULTIPLES]
        benchmarks.append({"name": names[j], "bounds": [plain(bound) for bound in bounds if bound is not None]})
    value = robustness_value(found.t_value, found.dof)
    strongest = [bound for row in benchmarks for bound in row["bounds"]]
    most_treatment = max([1.3 * value, *(1.2 * bound["with_treatment"] for bound in strongest)])
    most_outcome = max([1.3 * value, *(1.2 * bound["with_outcome"] for bound in strongest)])
    axes = [np.linspace(0, min(most, 0.95), _GRID) for most in (most_treatment, most_outcome)]
    return {
        "level": level,
        "effect": found.effect,
        "std_error": found.std_error,
        "dof": found.dof,
        "partial_r2": found.partial_r2,
        "robustness_value": value,
        "robustness_value_at_level": robustness_value(found.t_value, found.dof, level=level),
        "benchmarks": benchmarks,
        "with_treatment": axes[0].tolist(),
        "with_outcome": axes[1].tolist(),
        "left": [[adjusted(found, with_treatment=a, with_outcome=b)[0] for a in axes[0]] for b in axes[1]],
    }


def _strongest(found: TreatmentRegression, *, level: float) -> list[int]:
    """Return the covariates whose likes would move the effect most; impossible ones, which explain everything, first."""
    moved = {}
    for j in np.flatnonzero(np.isfinite(found.partial_outcome)).tolist():
        bound = benchmark_bound(found, j, multiple=1, level=level)
        moved[j] = np.inf if bound is None else abs(found.effect - bound.effect)
    return sorted(moved, key=lambda j: (-moved[j], j))[:_N_BENCHMARKS]


def _judge(table: Mapping[str, Any]) -> tuple[Verdict, str, str]:
    """Return the verdict, what it rests on, and what to do."""
    level = f"{100 * table['level']:g}%"
    if table["robustness_value_at_level"] == 0:
        return (
            "not_evaluable",
            f"A linear regression gives {number(table['effect'])}, whose {level} interval holds zero without any confounder.",
            "There is no finding that a confounder could overturn.",
        )
    reason = (
        f"A confounder would have to explain {percent(table['robustness_value'])} of what is left of both treatment and "
        f"outcome to bring the effect to zero, and {percent(table['robustness_value_at_level'])} to bring zero into its "
        f"{level} interval."
    )
    if not table["benchmarks"]:
        return "review", reason + " There is no covariate to compare that with.", "Name covariates."
    first = table["benchmarks"][0]
    if not first["bounds"]:
        return (
            "review",
            f"{reason} {first['name']} explains too much of the treatment to compare with.",
            "Look at overlap.",
        )
    bound = first["bounds"][0]
    reason += f" One as strong as {first['name']} would leave {number(bound['effect'])}"
    reason += (
        f" ({interval_text({'segments': [(bound['lower'], bound['upper'])]})})." if bound["with_outcome"] < 1 else "."
    )
    if any(row["bounds"][0]["lower"] <= 0 <= row["bounds"][0]["upper"] for row in table["benchmarks"] if row["bounds"]):
        return "review", reason, "Ask what of that strength wasn't measured, and say so beside the effect."
    return "pass", reason, ""
