"""Do groups of units react in opposite ways?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import Adjusts, fitted_to, level_of
from causalbench.data.cross_section import CrossSection
from causalbench.errors import DataError, RefusalError, listing
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.numerics.segments import adjusted_p_values, opposite_effects
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate, FloatArray, rejects
from causalbench.wording import counted, number

_FEWEST = 20
_MOST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    r"""The effect in groups of units, and whether effects have opposite signs.

    Groups are the levels of text covariates and of covariates with two values; the method is fitted again in each, with the
    other covariates that vary there in both arms, and with linear learners. P-values of the effects are adjusted over all
    groups for the false discovery rate (Benjamini, Hochberg 1995). For each covariate, whose groups share no unit, the
    hypothesis that no two effects have opposite signs is tested with :math:`\min(Q^+, Q^-)` (Gail, Simon 1985), adjusted over
    covariates alike. Rejection asks for review: an average near zero then hides effects, and isn't a null. Groups with fewer
    than 20 units in an arm, or that the method refuses, are left out and named; covariates that follow from the treatment
    must not be here.

    Attributes
    ----------
    columns
        Covariates to group by; by default all that are text or have two values, up to 40 groups.
    """

    question: ClassVar[str] = "Do groups of units react in opposite ways?"
    shape: ClassVar[str] = "cross-section"

    columns: tuple[str, ...] = ()

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Estimate in every group, and test signs."""
        if not isinstance(estimator, Adjusts):
            return None
        groupings = list(_groupings(data, self.columns))
        if not groupings:
            return None
        level = level_of(estimate)
        conclude = partial(CheckResult, name="segments", question=self.question, threshold=1 - level)
        rows: list[dict[str, Any]] = []
        small: list[str] = []
        for column, groups in groupings:
            for label, mask in groups:
                row = _row(estimator, data, estimate, mask, level=level, rng=rng)
                if row is None:
                    small.append(f"{column} = {label}")
                else:
                    rows.append({"column": column, "segment": label, **row})
        if not rows:
            return conclude(
                verdict="not_evaluable",
                reason=f"No group has {_FEWEST} units in both arms.",
                remedy="Group more coarsely.",
            )
        for row, p in zip(rows, adjusted_p_values(np.array([row["p_value"] for row in rows])), strict=True):
            row["adjusted_p_value"] = float(p)
        tests = _tests(rows)
        table = {"level": level, "segments": rows, "tests": tests, "left_out": small}
        opposite = [test for test in tests if rejects(test["adjusted_p_value"], level)]
        return conclude(
            verdict="review" if opposite else "pass",
            reason=_reason(rows, opposite, small, level),
            remedy="Decide by group: the average is about nobody in particular." if opposite else "",
            statistic=min((test["adjusted_p_value"] for test in tests), default=None),
            table=table,
        )


def _groupings(data: CrossSection, wanted: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, BoolArray]]]]:
    """Yield each column with the labels and masks of its groups; the first level of a text is all others' complement."""
    texts: dict[str, list[tuple[str, FloatArray]]] = {}
    left = _MOST
    for j, name in enumerate(data.names):
        column, equals, level = name.partition("=")
        values = data.covariates[:, j]
        if equals and set(np.unique(values).tolist()) <= {0.0, 1.0}:
            texts.setdefault(column, []).append((level, values))
        elif (not wanted or name in wanted) and len(pair := np.unique(values)) == 2 and left >= 2:
            left -= 2
            yield name, [(f"{value:g}", values == value) for value in pair.tolist()]
    firsts = dict(data.first_levels)
    for column, levels in texts.items():
        if (wanted and column not in wanted) or left < len(levels) + 1:
            continue
        left -= len(levels) + 1
        first = ~np.any([values == 1 for _, values in levels], axis=0)
        yield column, [(firsts.get(column, "another"), first), *((level, values == 1) for level, values in levels)]


def _row(
    estimator: Estimator[CrossSection],
    data: CrossSection,
    estimate: Estimate,
    mask: BoolArray,
    *,
    level: float,
    rng: Generator,
) -> dict[str, Any] | None:
    """Return effect, error and interval in a group; None where it is too small or can't be estimated."""
    part = varying(data.only(mask))
    estimator = fitted_to(estimator, part, linear=True)
    if min(part.n_treated, part.n_control) < _FEWEST:
        return None
    try:
        fit = estimator.fit(part)
        result = INFERENCES.create(estimate.inference, estimate.inference_options).infer(
            estimator, part, fit, level=level, rng=rng
        )
    except (DataError, RefusalError):
        return None
    if result.p_value is None or not result.std_error or result.interval is None:
        return None
    return {
        "n_treated": part.n_treated,
        "n_control": part.n_control,
        "effect": fit.effect,
        "std_error": result.std_error,
        "p_value": result.p_value,
        "lower": result.interval.lower,
        "upper": result.interval.upper,
    }


def varying(data: CrossSection) -> CrossSection:
    """Return the cross-section without the covariates that don't vary in one of its arms, which they would separate."""
    arms = (data.covariates[data.treatment], data.covariates[~data.treatment])
    kept = np.flatnonzero(np.all([np.ptp(arm, axis=0) > 0 for arm in arms if len(arm)], axis=0))
    return replace(data, covariates=data.covariates[:, kept], names=tuple(data.names[j] for j in kept.tolist()))


def _tests(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the test for opposite signs of every column with two groups or more."""
    tests = []
    for column in dict.fromkeys(row["column"] for row in rows):
        part = [row for row in rows if row["column"] == column]
        if len(part) < 2:
            continue
        statistic, p_value = opposite_effects(
            np.array([row["effect"] for row in part]), np.array([row["std_error"] for row in part])
        )
        tests.append({"column": column, "statistic": statistic, "p_value": p_value})
    adjusted = adjusted_p_values(np.array([test["p_value"] for test in tests], dtype=float))
    return [{**test, "adjusted_p_value": float(p)} for test, p in zip(tests, adjusted, strict=True)]


def _reason(rows: list[dict[str, Any]], opposite: list[dict[str, Any]], small: list[str], level: float) -> str:
    if opposite:
        test = opposite[0]
        part = sorted((row for row in rows if row["column"] == test["column"]), key=lambda row: row["effect"])
        both = " and ".join(
            f"{number(row['effect'], sign=True)} ({number(row['lower'])} to {number(row['upper'])}) for "
            f"{row['column']} = {row['segment']}"
            for row in (part[-1], part[0])
        )
        reason = f"Not null: opposite effects, {both} (p = {test['adjusted_p_value']:.2g}, Gail and Simon)."
    else:
        shown = sum(rejects(row["adjusted_p_value"], level) for row in rows)
        reason = (
            f"No covariate has groups with effects shown to be opposite. Of {counted(len(rows), 'group')}, {shown} "
            f"{'has' if shown == 1 else 'have'} an effect of {'its' if shown == 1 else 'their'} own, corrected for their number."
        )
    return reason + (f" Too few units to say: {listing(small)}." if small else "")
