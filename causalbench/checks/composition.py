"""Is the shape over event time an effect, or a change in who is averaged?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import HALF, arises, shares
from causalbench.data.panel import Panel
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray
from causalbench.wording import counted, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The path over event time beside that of the cohorts observed throughout.

    Late event times hold early cohorts only, so that a path may rise or fall although no cohort's does (Callaway,
    Sant'Anna 2021, Journal of Econometrics 225, 200-230, section 3.1). The window reaches to the last event time at
    which at least half of the treated units are observed, and over two event times at least; in it the path of all
    cohorts is held against that of the cohorts present in all of it, weighted by their units. A difference between the
    two paths' changes over the window of more than half of the average effect, a convention, asks for review.
    """

    question: ClassVar[str] = "Is the shape over event time an effect, or a change in who is averaged?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Compare the path with that of a fixed set of cohorts."""
        study = estimate.event_study
        if not arises(study, n_lags=2) or len(data.cohorts) < 2:
            return None
        conclude = partial(CheckResult, name="composition", question=self.question)
        after = study.event_times >= 0
        times, values, counts = study.event_times[after], study.values[after], study.n_treated[after]
        table: dict[str, Any] = {"event_times": times.tolist(), "n_treated": counts.tolist()}
        if counts.min() == counts.max():
            reason = f"Every event time averages the same {counted(int(counts[0]), 'treated unit')}."
            return conclude(verdict="pass", reason=reason, table=table)
        changing = (
            f"From {counted(int(counts.max()), 'treated unit')} at first to {counts[-1]} at event time {times[-1]}"
        )
        cells = estimate.detail.get("group_time")
        if not cells:
            reason = f"{changing}; without effects by cohort it can't be told what that does to the shape."
            return conclude(verdict="not_evaluable", reason=reason, table=table)
        window = times[: max(int((2 * counts >= counts.max()).sum()), 2)]
        kept, balanced = _balanced_path(cells, data, window)
        if not kept:
            reason = f"{changing}; no cohort has an effect at each of the first {len(window)} event times."
            return conclude(verdict="not_evaluable", reason=reason, table=table)
        table |= {"window": window.tolist(), "n_balanced": kept, "balanced": balanced.tolist()}
        shown = values[: len(window)]
        if not np.isfinite(shown).all():
            reason = f"{changing}; some of the first {len(window)} event times have no effect."
            return conclude(verdict="not_evaluable", reason=reason, table=table)
        difference = float((shown[-1] - shown[0]) - (balanced[-1] - balanced[0]))
        limit = HALF * abs(float(np.average(shown, weights=shares(study)[after][: len(window)])))
        same = abs(difference) <= limit
        reason = (
            f"{changing}. Up to event time {window[-1]} the average goes from {number(shown[0])} to {number(shown[-1])}; "
            f"the {counted(kept, 'unit')} observed throughout {'goes' if kept == 1 else 'go'} from {number(balanced[0])} to "
            f"{number(balanced[-1])}."
        )
        reason += "" if same else " Part of the shape comes from who is averaged."
        return conclude(
            verdict="pass" if same else "review",
            reason=reason,
            remedy="" if same else "Read the shape from the cohorts observed throughout, or cohort by cohort.",
            statistic=abs(difference),
            threshold=limit,
            table=table,
        )


def _balanced_path(cells: Sequence[Mapping[str, Any]], data: Panel, window: Any) -> tuple[int, FloatArray]:
    """Return how many units are observed over the whole window, and their mean effect by event time."""
    place = {str(period): i for i, period in enumerate(data.periods)}
    sizes = data.weights if data.weights is not None else np.ones(len(data.units))
    paths: dict[int, dict[int, float]] = {}
    for cell in cells:
        start, now = place.get(str(cell["cohort"])), place.get(str(cell["period"]))
        if start is not None and now is not None and cell["value"] is not None and math.isfinite(cell["value"]):
            since = int(data.positions[now] - data.positions[start])
            paths.setdefault(start, {})[since] = float(cell["value"])
    complete = [start for start, path in paths.items() if all(int(e) in path for e in window)]
    members = [data.first_treated == start for start in complete]
    weights = np.array([float(sizes[rows].sum()) for rows in members])
    if not weights.sum():
        return 0, np.zeros(len(window))
    rows = np.array([[paths[start][int(e)] for e in window] for start in complete])
    return int(sum(int(chosen.sum()) for chosen in members)), weights @ rows / weights.sum()
