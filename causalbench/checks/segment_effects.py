"""Do segments react in opposite ways?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.audit import audit
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.numerics.segments import adjusted_p_values, opposite_effects, opposite_signs
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Fit, Uncertainty, rejects
from causalbench.wording import counted, number, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentEffects:
    r"""The effect in every segment of the study's own column, and whether effects have opposite signs.

    The method and its inference are run again on each segment's units, or on each segment's rows of every unit; where the
    inference refuses a segment for its size, the method's own choice takes its place. P-values are
    adjusted over segments for the false discovery rate (Benjamini, Hochberg 1995), and intervals of K segments are formed at
    :math:`1 - (1 - level) / K`: with probability ``level`` all of them hold (Bonferroni). That no two segments have effects of
    opposite signs is tested with :math:`\min(Q^+, Q^-)` where segments share no unit or cluster and the inference has standard
    errors (Gail, Simon 1985); else by the larger of the smallest one-sided p-values of either sign, times the number of
    segments, which holds however segments depend on each other. Rejection asks for review: an average near zero then hides
    effects, and isn't a null. Simulated with three segments of 40 markets and no effect in any, opposite effects are claimed in
    at most 5%; with +6 and -6% in two of them and noise of 2%, in at least 95% (100 draws, Monte
    Carlo error 2.2; ``tests/simulation/test_launch_check_sizes.py``).

    Attributes
    ----------
    column
        The column of segments.
    panels
        Name and panel of each segment.
    refused
        Name of each segment without a panel, and why.
    disjoint
        Whether no unit lies in two segments.
    level
        Confidence level of all segments' intervals together.
    """

    question: ClassVar[str] = "Do segments react in opposite ways?"

    column: str = ""
    panels: Any = ()
    refused: Any = ()
    disjoint: bool = True
    level: float = 0.95

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Estimate in every segment, and test signs."""
        if not self.column:
            return None
        conclude = partial(CheckResult, name="segment-effects", question=self.question, threshold=1 - self.level)
        rows, left_out = [], [f"{label} ({why})" for label, why in self.refused]
        each = 1 - (1 - self.level) / max(len(self.panels), 1)
        for label, panel in self.panels:
            row = _row(estimator, panel, estimate, level=each, rng=rng)
            if isinstance(row, str):
                left_out.append(f"{label} ({row})")
            else:
                rows.append({"column": self.column, "segment": label, **row})
        out = f" Left out: {listing(left_out)}." if left_out else ""
        if len(rows) < 2:
            reason = f"{'Only one segment has' if rows else 'No segment has'} an effect with a p-value.{out}"
            return conclude(
                verdict="not_evaluable", reason=reason, remedy="Group more coarsely, or choose another inference."
            )
        for row, p in zip(rows, adjusted_p_values(np.array([row["p_value"] for row in rows])), strict=True):
            row["adjusted_p_value"] = float(p)
        apart = self.disjoint and _clusters_apart(self.panels)
        test = _test(rows, self.column, disjoint=apart)
        opposite = rejects(test["p_value"], self.level)
        return conclude(
            verdict="review" if opposite else "pass",
            reason=_reason(rows, test, self.level) + out,
            remedy="Decide by segment: the average is about nobody in particular." if opposite else "",
            statistic=test["p_value"],
            table={
                "level": self.level,
                "interval_level": each,
                "segments": rows,
                "tests": [test],
                "left_out": left_out,
            },
        )


def _row(
    estimator: Estimator[Panel], panel: Panel, estimate: Estimate, *, level: float, rng: Generator
) -> dict[str, Any] | str:
    """Return effect, error and interval in a segment; why not, where it can't be estimated."""
    try:
        used, _ = audit(estimator.sample(panel), estimator.requires, method=estimate.estimator)
        fit = estimator.fit(used)
        name, found = _infer(estimator, used, fit, estimate, level=level, rng=rng)
    except (DataError, RefusalError) as refusal:
        return refusal.message
    if found.p_value is None or found.interval is None:
        return "its inference gives no p-value"
    counterfactual = (used.treated_mean if fit.treated_mean is None else fit.treated_mean) - fit.effect
    return {
        "n_treated": used.n_treated,
        "n_control": used.n_control,
        "effect": fit.effect,
        "relative": fit.effect / counterfactual if counterfactual > 0 and used.scale != "log" else None,
        "inference": name,
        "std_error": found.std_error,
        "p_value": found.p_value,
        "lower": found.interval.lower,
        "upper": found.interval.upper,
    }


def _infer(
    estimator: Estimator[Panel], used: Panel, fit: Fit, estimate: Estimate, *, level: float, rng: Generator
) -> tuple[str, Uncertainty]:
    """Infer as the study does; where that refuses a segment for its size, as the method itself would choose."""
    try:
        own = INFERENCES.create(estimate.inference, estimate.inference_options)
        return estimate.inference, own.infer(estimator, used, fit, level=level, rng=rng)
    except RefusalError:
        other = estimator.default_inference(used)
        if other == estimate.inference:
            raise
        return other, INFERENCES.create(other).infer(estimator, used, fit, level=level, rng=rng)


def _clusters_apart(panels: Sequence[tuple[str, Panel]]) -> bool:
    """Tell whether no cluster has units in two segments."""
    seen: set[str] = set()
    for _, panel in panels:
        own = set(panel.cluster or ())
        if own & seen:
            return False
        seen |= own
    return True


def _test(rows: Sequence[dict[str, Any]], column: str, *, disjoint: bool) -> dict[str, Any]:
    effects = np.array([row["effect"] for row in rows])
    if disjoint and all(row["std_error"] for row in rows):
        statistic, p_value = opposite_effects(effects, np.array([row["std_error"] for row in rows]))
        return {"column": column, "test": "Gail and Simon", "statistic": statistic, "p_value": p_value}
    p_value = opposite_signs(effects, np.array([row["p_value"] for row in rows]))
    return {"column": column, "test": "one-sided tests of either sign", "statistic": None, "p_value": p_value}


def _reason(rows: Sequence[dict[str, Any]], test: dict[str, Any], level: float) -> str:
    told = f"(p = {number(test['p_value'], digits=2)}, {test['test']})"
    if rejects(test["p_value"], level):
        ordered = sorted(rows, key=lambda row: float(row["effect"]))
        both = " and ".join(_said(row) for row in (ordered[-1], ordered[0]))
        return (
            f"Not null: opposite effects, {both} {told}. P-value and intervals are corrected for all "
            f"{counted(len(rows), 'segment')}."
        )
    shown = [row for row in rows if rejects(row["adjusted_p_value"], level)]
    which = f": {listing([_said(row) for row in shown], limit=4)}" if shown else ""
    return (
        f"Effects of opposite signs are not shown {told}. Of {counted(len(rows), 'segment')}, {len(shown)} "
        f"{'has' if len(shown) == 1 else 'have'} an effect that is shown, corrected for their number{which}."
    )


def _said(row: dict[str, Any]) -> str:
    rel = f", {percent(row['relative'], sign=True)}" if row["relative"] is not None else ""
    ends = ["unbounded" if row[end] is None else number(row[end]) for end in ("lower", "upper")]
    return f"{number(row['effect'], sign=True)} ({ends[0]} to {ends[1]}{rel}) for {row['segment']}"
