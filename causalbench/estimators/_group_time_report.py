"""How group-time effects are summarised and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from causalbench.estimators._cell_effects import CellEffects
from causalbench.numerics import aggregation
from causalbench.numerics.aggregation import Grouped, Summary
from causalbench.numerics.comparisons import Cell
from causalbench.numerics.pre_trends import joint_test
from causalbench.values import BoolArray, EffectPath, EventStudy, FloatArray, IntArray

FEWEST = 3
"""Cohorts of fewer clusters have no spread to estimate a standard error from."""

_AGGREGATES = {"dynamic": "event_time", "group": "cohort", "calendar": "period"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """Cells, summaries and event study of group-time effects.

    Attributes
    ----------
    effects
        Of all cells.
    periods, positions
        Their labels and places in time.
    own, long
        The cells of the chosen base period, and those against the last period before each launch.
    spread
        Which cohorts have clusters enough for an error of their own, shape (n_cohorts,).
    has_errors
        Whether there are clusters enough for any standard error.
    anticipation
        Periods before a launch that may react.
    degrees
        Degrees of freedom behind the covariance.
    """

    effects: CellEffects
    periods: tuple[Any, ...]
    positions: IntArray
    own: frozenset[Cell]
    long: frozenset[Cell]
    spread: BoolArray
    has_errors: bool
    anticipation: int
    degrees: float

    def parts(self, wanted: frozenset[Cell]) -> tuple[list[Cell], list[Summary]]:
        """Return some cells with their effects as summaries."""
        every = aggregation.cell_summaries(self.effects.values, len(self.effects.shares))
        chosen = [(cell, part) for cell, part in zip(self.effects.cells, every, strict=True) if cell in wanted]
        return [cell for cell, _ in chosen], [part for _, part in chosen]

    def simple(self) -> Summary:
        """Return the average over treated cells."""
        return aggregation.simple(*self.parts(self.own), self.effects.shares)

    def errors(self, summaries: Sequence[Summary]) -> FloatArray:
        """Return the standard errors of summaries."""
        return np.sqrt(np.maximum(np.diag(self._covariance(summaries)), 0.0))

    def _covariance(self, summaries: Sequence[Summary]) -> FloatArray:
        _, weights, by_share = aggregation.stack(summaries)
        return self.effects.influence.combine(weights, by_share).covariance()

    def event_study(self) -> EventStudy | None:
        """Return the averages by event time against the common base; those that no cohort with a spread is in are left out."""
        cells, parts = self.parts(self.long)
        found = aggregation.dynamic(cells, parts, self.effects.shares)
        cohorts = [sorted({cell.cohort for cell in cells if cell.event_time == time}) for time in found.by]
        kept = [k for k, own in enumerate(cohorts) if self.spread[own].any() or not self.has_errors]
        if not kept:
            return None
        covariance = self._covariance([found.parts[k] for k in kept])
        bases = {int(self.positions[cell.base] - self.positions[cell.period]) + cell.event_time for cell in cells}
        return EventStudy(
            event_times=np.array([found.by[k] for k in kept]),
            values=np.array([found.parts[k].value for k in kept]),
            covariance=covariance if self.has_errors else np.full_like(covariance, np.nan),
            n_treated=np.array([int(self.effects.counts[cohorts[k]].sum()) for k in kept]),
            shares=np.array([float(self.effects.shares[cohorts[k]].sum()) for k in kept]),
            reference=bases.pop() if len(bases) == 1 else -1 - self.anticipation,
        )

    def left_out(self) -> list[int]:
        """Return the event times that the event study leaves out."""
        study = self.event_study()
        times = {cell.event_time for cell in self.effects.cells if cell in self.long}
        return sorted(times - set(study.event_times.tolist() if study else []))

    def path(self) -> EffectPath:
        """Return the mean of the ever treated by period, and without the gaps of their cohorts to the controls.

        NaN from the first launch on where a treated cohort has no control.
        """
        effects = self.effects
        treated = effects.first_treated < len(self.periods)
        after = np.arange(len(self.periods)) >= effects.first_treated[:, None]
        gaps = np.where(after, np.nan, 0.0)
        for cell, value in zip(effects.cells, effects.values, strict=True):
            if cell in self.long:
                gaps[cell.cohort, cell.period] = value
        shares = effects.shares[treated] / effects.shares[treated].sum()
        observed = shares @ effects.means[treated]
        return EffectPath(periods=self.periods, observed=observed, counterfactual=observed - shares @ gaps[treated])

    def covered(self) -> BoolArray:
        """Return which treated cells have an effect, shape (n_cohorts, n_periods)."""
        found = np.zeros(self.effects.means.shape, dtype=bool)
        for cell in self.effects.cells:
            if cell.event_time >= 0:
                found[cell.cohort, cell.period] = True
        return found

    def joint_covariance(self) -> FloatArray | None:
        """Return the covariance of the cells of the chosen base period; None without errors."""
        if not self.has_errors:
            return None
        chosen = np.array([cell in self.own for cell in self.effects.cells])
        return self.effects.influence.only(chosen).covariance()

    def detail(self, joint: FloatArray | None) -> dict[str, Any]:
        """Return cells, summaries and the test before the launch as the evidence holds them."""
        cells, parts = self.parts(self.own)
        errors = np.full(len(cells), np.nan) if joint is None else np.sqrt(np.maximum(np.diag(joint), 0.0))
        group_time = [
            {
                "cohort": self._label("cohort", cell.cohort),
                "period": self.periods[cell.period],
                "value": part.value,
                "std_error": self._shown(error, [cell.cohort]),
            }
            for cell, part, error in zip(cells, parts, errors.tolist(), strict=True)
        ]
        aggregates: dict[str, Any] = {"simple": {**self._summary(self.simple()), "by": []}}
        for name, label in _AGGREGATES.items():
            found: Grouped = getattr(aggregation, name)(cells, parts, self.effects.shares)
            aggregates[name] = {**self._summary(found.overall), "by": self._by(label, found, cells)}
        return {"group_time": group_time, "aggregates": aggregates, "pretest": self._pretest(cells, joint)}

    def _summary(self, summary: Summary) -> Mapping[str, Any]:
        (error,) = self.errors([summary]).tolist()
        return {"value": summary.value, "std_error": self._shown(error, range(len(self.spread)))}

    def _by(self, label: str, found: Grouped, cells: list[Cell]) -> list[Mapping[str, Any]]:
        key_of = {"event_time": lambda c: c.event_time, "cohort": lambda c: c.cohort, "period": lambda c: c.period}[
            label
        ]
        rows: list[Mapping[str, Any]] = []
        for key, part, error in zip(found.by, found.parts, self.errors(found.parts).tolist(), strict=True):
            cohorts = sorted({cell.cohort for cell in cells if key_of(cell) == key})
            rows.append({label: self._label(label, key), "value": part.value, "std_error": self._shown(error, cohorts)})
        return rows

    def _shown(self, error: float, cohorts: Sequence[int]) -> float | None:
        """Return a standard error; None where none of the cohorts behind it has a spread."""
        return error if self.has_errors and self.spread[list(cohorts)].any() else None

    def _label(self, kind: str, key: int) -> Any:
        if kind == "event_time":
            return key
        return self.periods[int(self.effects.first_treated[key]) if kind == "cohort" else key]

    def _pretest(self, cells: list[Cell], joint: FloatArray | None) -> dict[str, Any] | None:
        """Test that every cell before its launch and anticipation is zero; None where there is none or they are collinear.

        ``p_value`` is chi-squared's, right with very many clusters; ``p_value_small_sample`` Hotelling's.
        """
        before = [
            k for k, cell in enumerate(cells) if cell.event_time < -self.anticipation and self.spread[cell.cohort]
        ]
        if joint is None or not before:
            return None
        values = np.array(
            [value for cell, value in zip(self.effects.cells, self.effects.values, strict=True) if cell in self.own]
        )
        tested = joint[np.ix_(before, before)]
        if np.linalg.matrix_rank(tested, hermitian=True) < len(before):
            return None
        statistic = float(values[before] @ np.linalg.solve(tested, values[before]))
        small = joint_test(values[before], tested, degrees=self.degrees)
        return {
            "statistic": statistic,
            "df": len(before),
            "p_value": float(stats.chi2.sf(statistic, len(before))),
            "p_value_small_sample": None if small is None else small.p_value,
        }
