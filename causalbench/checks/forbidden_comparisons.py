"""Are units that had already launched used as controls?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import HALF
from causalbench.data.panel import Panel
from causalbench.numerics.two_way_decomposition import FORBIDDEN, TwoWayDecomposition, decompose_two_way
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray, IntArray, Verdict
from causalbench.wording import number, percent

_ROWS = 400
_NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForbiddenComparisons:
    """The usual two-way fixed-effects regression taken apart into what it compares (Goodman-Bacon 2021, equation 10a).

    With several launch dates part of its weight lies on comparisons whose controls have launched already; where
    effects change over time these subtract a change of effect. The check says what that regression would have given,
    how much of it is such comparisons, and what is left without them. It passes where the estimate at hand is another
    number; where it is that very regression it asks for review, and fails where the comparisons move it by half of
    itself or more, a convention. Units count alike, whatever their weights.
    """

    question: ClassVar[str] = "Are units that had already launched used as controls?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Decompose the two-way regression on the same panel."""
        if len(data.cohorts) < 2 or "n_eligible_treated" in estimate.detail:
            return None  # with eligible and ineligible units the two-way regression would be another question
        conclude = partial(CheckResult, name="forbidden-comparisons", question=self.question)
        if np.isnan(data.outcome).any():
            reason = "Some cells are missing; the two-way regression can be taken apart on a complete panel only."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Choose on_missing, such as drop_unit.")
        launches, counts, means = _cohorts(data)
        found = decompose_two_way(means, counts, launches)
        table = _table(found, [_label(data, launch) for launch in launches], estimate)
        same = abs(found.coefficient - estimate.value) <= 1e-8 * float(np.ptp(data.outcome))
        kept = found.allowed_coefficient
        rest = "nothing is left without them" if kept is None else f"without them it would be {number(kept)}"
        reason = (
            f"The usual two-way regression gives {number(found.coefficient)} here; {percent(found.forbidden_share)} of its "
            f"weight compares units that launch with units that had launched before, and {rest}. "
        )
        verdict: Verdict = "pass"
        if not same:
            reason += f"The estimate, {number(estimate.value)}, is not that regression."
        else:
            reason += "The estimate is that regression."
            grave = kept is None or abs(found.coefficient - kept) >= HALF * abs(found.coefficient)
            verdict = "fail" if grave else "review"
        return conclude(
            verdict=verdict,
            reason=reason,
            remedy="Use group-time, which compares with units not yet treated only." if same else "",
            statistic=found.forbidden_share,
            table=table,
        )


def _cohorts(data: Panel) -> tuple[IntArray, IntArray, FloatArray]:
    launches, codes, counts = np.unique(data.first_treated, return_inverse=True, return_counts=True)
    means = np.array([data.outcome[codes == code].mean(axis=0) for code in range(len(launches))])
    return launches, counts, means


def _label(data: Panel, launch: int) -> Any:
    return data.periods[launch] if launch < len(data.periods) else _NEVER


def _table(found: TwoWayDecomposition, labels: list[Any], estimate: Estimate) -> dict[str, Any]:
    """Return the heaviest comparisons as rows, and totals of all."""
    listed = found.comparisons[:_ROWS]
    return {
        "two_way_estimate": found.coefficient,
        "estimate": estimate.value,
        "difference": found.coefficient - estimate.value,
        "forbidden_share": found.forbidden_share,
        "estimate_without_forbidden": found.allowed_coefficient,
        "by_type": [
            {"type": kind, "weight": weight, "estimate": value, "forbidden": kind in FORBIDDEN}
            for kind, (weight, value) in found.by_kind().items()
        ],
        "comparisons": [
            {
                "type": c.kind,
                "cohort": labels[c.cohort],
                "comparison": labels[c.comparison],
                "weight": c.weight,
                "estimate": c.estimate,
            }
            for c in listed
        ],
        "n_comparisons": len(found.comparisons),
        "weight_listed": sum(c.weight for c in listed),
    }
