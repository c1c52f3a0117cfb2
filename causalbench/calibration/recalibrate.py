r"""Intervals from the errors that a method made on this history, next to the ones it claims.

The interval is :math:`\hat\tau \pm s\,\hat q`, with :math:`\hat q` a quantile of :math:`|e_b| / s_b` over placebos and
:math:`s_b = v_b^{\hat\gamma}`. :math:`v_b` is how volatile the placebo's units were against all others *before* its window, so
that it is known for the real launch too: the spread about a line through their mean, or about their mean, whichever the errors
of this method on this history grow with, and :math:`\hat\gamma`, between 0 and 1, how. Units of unequal size or noise are so put
on one scale, and so are short and long histories where units drift apart, as far as this history supports it.

**How many errors there are.** 500 placebos of 31 units in overlapping windows aren't 500 draws. The quantile's share is
raised for :math:`n_e` effective ones (:mod:`causalbench.numerics.conformal_scale` has the derivation), where :math:`n_e` is what
the ranks of the scores are worth as a mean under two-way clustering by units and, with a triangular kernel, by time
(:mod:`causalbench.numerics.block_error`): units that are always off, and windows that hit all units at once, lower it. An
interval takes :math:`n_e \ge L / (1 - L)`, 19 for 95%; with fewer there is none, and the largest level with one is given.

**What it can't know.** The launch window is one more window: an interval covers if the errors there have the law of those
before. A break that this history never saw isn't in it; ``breakdown`` says how many times the largest error of this
history the estimate is. And it is marginal over units: a treated unit that behaves unlike the others is covered less often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from causalbench.data.calendar import Period, overlapped
from causalbench.errors import RefusalError
from causalbench.numerics.block_error import FEWEST_WINDOWS, Dependence
from causalbench.numerics.conformal_scale import attainable_level, growth, needed_errors, quantile, share_below
from causalbench.values import BoolArray, FloatArray, Interval
from causalbench.wording import counted, number, percent

if TYPE_CHECKING:
    from causalbench.calibration.backtest import Backtest


_ONE_WINDOW = (
    " All from about one window: how much windows differ isn't known, and the interval supposes that they don't."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Errors of one method on one scale.

    Attributes
    ----------
    errors
        Of every placebo, shape (n_errors,).
    volatility, own_volatility
        Of every placebo's units, shape (n_measures, n_errors), and of the treated ones before the launch, (n_measures,).
    measure, exponent
        Which measure of volatility errors grow with, and how.
    n_effective
        Number of independent errors that these are worth.
    n_windows
        Number of disjoint windows that theirs amount to; infinite where they share none.
    """

    errors: FloatArray
    volatility: FloatArray
    own_volatility: FloatArray
    measure: int
    exponent: float
    n_effective: float
    n_windows: float

    @property
    def values(self) -> FloatArray:
        """Sizes of the errors at the scale of the treated units, in units of the outcome; shape (n_errors,)."""
        return np.abs(self.scaled_errors)

    @property
    def scaled_errors(self) -> FloatArray:
        """Errors at the scale of the treated units, in units of the outcome; shape (n_errors,)."""
        if self.exponent == 0:
            return self.errors  # a window after one period has no volatility at all
        k = self.measure
        scaled: FloatArray = self.errors * (self.own_volatility[k] / self.volatility[k]) ** self.exponent
        return scaled

    @property
    def largest(self) -> float:
        """The largest error that this history has seen, at the scale of the treated units."""
        return float(self.values.max())

    def half_width(self, level: float) -> float | None:
        """Return half the width of an interval; None where the errors are too few for the level."""
        share = share_below(level, self.n_effective)
        return None if share is None else quantile(self.values, share)

    def half_width_error(self, level: float) -> float | None:
        """Return its Monte Carlo error: half the way between the quantiles one standard error of the share apart."""
        share = share_below(level, self.n_effective)
        if share is None:
            return None
        error = math.sqrt(level * (1 - level) / self.n_effective)
        return (quantile(self.values, min(share + error, 1.0)) - quantile(self.values, share - error)) / 2

    def leave_unit_out(self, level: float, shared: Dependence) -> FloatArray:
        """Return whether each placebo's error lies in the interval from placebos of other units; shape (n_errors,).

        1 or 0, NaN where the others are too few for the level.
        """
        apart = shared.shared_units == 0
        masks, which = np.unique(apart, axis=0, return_inverse=True)
        covers = np.full(len(self.errors), np.nan)
        for k, others in enumerate(masks):
            mine = np.flatnonzero(which.ravel() == k)
            share = share_below(level, self.n_effective * float(others.mean()))
            if share is None:
                continue
            measure, gamma = growth(self.errors[others], self.volatility[:, others])
            scale = self.volatility[measure] ** gamma
            covers[mine] = np.abs(self.errors[mine]) <= scale[mine] * quantile(
                np.abs(self.errors[others]) / scale[others], share
            )
        return covers


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibrated:
    """An interval from a method's own errors on this history.

    Attributes
    ----------
    interval
        None where the errors are too few for the level.
    value, level
        The estimate, and the level asked for.
    n_errors, n_effective, needed
        Placebos used, the number of independent ones that they are worth, and how many the level takes.
    attainable_level
        The largest level that they support.
    exponent
        How errors grow with the volatility of units, from 0 to 1.
    half_width, largest
        Of the interval; and the largest error of this history, at the scale of the treated units.
    breakdown
        Size of the estimate in units of ``largest``: below 1 this history has seen as much where nothing was launched.
    matched
        Whether only windows like the launch's were used, None where no calendar was given.
    reason
        In words: what the interval rests on, or why there is none.
    """

    interval: Interval | None
    value: float
    level: float
    n_errors: int
    n_effective: float
    needed: int
    attainable_level: float
    exponent: float
    half_width: float | None
    largest: float
    breakdown: float | None
    matched: bool | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = asdict(self)
        if self.interval is not None:
            found["interval"] = {
                "segments": [list(segment) for segment in self.interval.segments],
                "level": self.interval.level,
                "kind": self.interval.kind,
                "lower": self.interval.lower,
                "upper": self.interval.upper,
            }
        return found


def scores_of(found: Backtest, method: str, *, rows: BoolArray | None = None) -> Scores:
    """Put a method's errors on one scale and count what they are worth; ``rows`` restricts the placebos used."""
    errors = found.errors[found.index(method)]
    kept = ~np.isnan(errors) if rows is None else ~np.isnan(errors) & rows
    return _scores(
        errors[kept],
        volatility=found.volatility[:, kept],
        own_volatility=found.own_volatility,
        dependence=found.dependence.of_rows(kept),
    )


def _scores(
    errors: FloatArray, *, volatility: FloatArray, own_volatility: FloatArray, dependence: Dependence | None
) -> Scores:
    usable = np.where((own_volatility > 0)[:, None], volatility, 1.0)
    measure, gamma = growth(errors, usable)
    ranks = stats.rankdata(np.abs(errors) / usable[measure] ** gamma)
    worth = float(len(errors)) if dependence is None else dependence.n_effective(ranks)
    return Scores(
        errors=errors,
        volatility=usable,
        own_volatility=own_volatility,
        measure=measure,
        exponent=gamma,
        n_effective=worth,
        n_windows=math.inf if dependence is None else dependence.n_windows,
    )


def recalibrated(
    errors: FloatArray,
    value: float,
    *,
    level: float,
    volatility: FloatArray | None = None,
    own_volatility: FloatArray | None = None,
    dependence: Dependence | None = None,
    matched: BoolArray | None = None,
) -> Recalibrated:
    """Return the interval that errors on this history give an estimate.

    Parameters
    ----------
    errors
        Estimates where nothing was launched, shape (n_errors,).
    value
        The estimate.
    level
        Confidence level.
    volatility, own_volatility
        Of each placebo's units, shape (n_measures, n_errors), and of the treated ones, (n_measures,), before their
        windows; None: all errors are of one scale.
    dependence
        Which placebos share units and periods; None: none do.
    matched
        Placebos whose window is like the launch's, such as one with a holiday; used alone where they suffice.

    Raises
    ------
    RefusalError
        Without a single error.

    Examples
    --------
    >>> import numpy as np
    >>> found = recalibrated(np.linspace(-1, 1, 39), 1.5, level=0.95)
    >>> [round(end, 3) for end in found.interval.segments[0]], found.breakdown
    ([0.5, 2.5], 1.5)
    >>> recalibrated(np.linspace(-1, 1, 10), 1.5, level=0.95).interval is None
    True
    """
    errors = np.asarray(errors, dtype=float)
    if volatility is None or own_volatility is None:
        volatility, own_volatility = np.ones((1, len(errors))), np.ones(1)
    if not len(errors) or not np.isfinite(errors).all():
        raise RefusalError(
            f"{int((~np.isfinite(errors)).sum())} of {counted(len(errors), 'error')} aren't finite",
            code="CB-D017",
            remedy="backtest the method first",
        )

    def of(rows: BoolArray) -> Scores:
        part = None if dependence is None else dependence.of_rows(rows)
        return _scores(errors[rows], volatility=volatility[:, rows], own_volatility=own_volatility, dependence=part)

    every = np.ones(len(errors), dtype=bool)
    scores, used = of(every), None if matched is None else False
    if matched is not None and matched.any() and (like := of(matched)).half_width(level) is not None:
        scores, used = like, True
    half = scores.half_width(level)
    largest = scores.largest
    return Recalibrated(
        interval=None
        if half is None
        else Interval(segments=((value - half, value + half),), level=level, kind="conformal"),
        value=value,
        level=level,
        n_errors=len(scores.errors),
        n_effective=scores.n_effective,
        needed=needed_errors(level),
        attainable_level=attainable_level(scores.n_effective),
        exponent=scores.exponent,
        half_width=half,
        largest=largest,
        breakdown=abs(value) / largest if largest > 0 else None,
        matched=used,
        reason=_reason(scores, level, half=half, matched=used),
    )


def recalibrate(
    found: Backtest, method: str, value: float, *, level: float | None = None, matched: BoolArray | None = None
) -> Recalibrated:
    """Return the interval that a backtest gives a method's estimate; see :func:`recalibrated`."""
    errors = found.errors[found.index(method)]
    kept = ~np.isnan(errors)
    return recalibrated(
        errors[kept],
        value,
        level=found.level if level is None else level,
        volatility=found.volatility[:, kept],
        own_volatility=found.own_volatility,
        dependence=found.dependence.of_rows(kept),
        matched=None if matched is None else matched[kept],
    )


def holiday_matched(
    found: Backtest, periods: Sequence[Period], holidays: Sequence[tuple[Period, Period]]
) -> BoolArray | None:
    """Return which placebos' windows are like the launch's: with a holiday if that has one, without if it has none.

    Parameters
    ----------
    periods
        All periods of the panel, in order, the post period's among them.
    holidays
        First and last period of each.

    Returns
    -------
    ndarray or None
        Shape (n_placebos,); None where no holiday falls into any of the periods.
    """
    festive = np.zeros(len(periods), dtype=bool)
    for start, end in holidays:
        festive |= overlapped(periods, start, end)
    if not festive.any():
        return None
    after = festive[found.n_pre : found.n_pre + found.asked_duration]
    windows = found.start_index[:, None] + np.arange(found.duration)
    same: BoolArray = festive[windows].any(axis=1) == after.any()
    return same


def _reason(scores: Scores, level: float, *, half: float | None, matched: bool | None) -> str:
    n, worth = len(scores.errors), f"{scores.n_effective:.0f}"
    like = {True: " in windows like the launch's", False: "", None: ""}[matched]
    what = f"{counted(n, 'error')}{like}, worth {worth} independent ones"
    missed = "; windows like the launch's were too few and all are used" if matched is False else ""
    single = _ONE_WINDOW if scores.n_windows < FEWEST_WINDOWS else ""
    if half is None:
        return (
            f"No {percent(level)} interval: {what}, and it takes {needed_errors(level)}. "
            f"They support at most {percent(attainable_level(scores.n_effective))}{missed}.{single}"
        )
    return f"From {what}: the estimate give or take {number(half)}{missed}.{single}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemotionRule:
    """When a backtest takes the primary's place away; part of the plan.

    Attributes
    ----------
    rmse_ratio
        Largest root mean squared error, in units of the best eligible method's.
    coverage
        Least coverage of the method's own interval; None: an interval may miss twice as often as it says, so .90 at .95.
    """

    rmse_ratio: float = 1.25
    coverage: float | None = None

    def __post_init__(self) -> None:
        if self.rmse_ratio < 1:
            raise ValueError(f"rmse_ratio is {self.rmse_ratio}, it must be 1 or more")
        if self.coverage is not None and not 0 < self.coverage < 1:
            raise ValueError(f"coverage is {self.coverage}, it must lie strictly between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demotion:
    """Whether the primary keeps its place.

    Attributes
    ----------
    demoted, primary, replacement
        Verdict, the method that the plan named, and the one that takes its place (None where it keeps it).
    rmse_ratio, rmse_ratio_mc_error
        Root mean squared error in units of the best method's.
    coverage, coverage_mc_error
        Of the primary's own interval; None where it wasn't measured.
    reason
        In words.
    """

    demoted: bool
    primary: str
    replacement: str | None
    rmse_ratio: float | None
    rmse_ratio_mc_error: float | None
    coverage: float | None
    coverage_mc_error: float | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def demotion(found: Backtest, primary: str, rule: DemotionRule | None = None) -> Demotion:
    """Apply the plan's rule to a backtest.

    The coverage counts as too small only where it is so by two Monte Carlo errors; a method whose coverage is too small never
    takes the primary's place, one whose coverage wasn't measured may.
    """
    rule = rule or DemotionRule()
    table = {row["method"]: row for row in found.table}
    least = 1 - 2 * (1 - found.level) if rule.coverage is None else rule.coverage
    if primary not in table:
        why = found.refused.get(primary, "it wasn't among the methods")
        return _kept(primary, f"{primary} could not be backtested: {why}")
    poor = {name for name, row in table.items() if _covers_less(row, least)}
    best = next((name for name in table if name not in poor), next(iter(table)))
    ratio, error = _ratio(found, primary, best)
    row = table[primary]
    reasons = []
    if primary in poor:
        reasons.append(
            f"its own interval held the truth in {percent(row['coverage'])} of placebos (Monte Carlo error "
            f"{percent(row['coverage_mc_error'])}), the plan asks for {percent(least)}"
        )
    if ratio > rule.rmse_ratio:
        reasons.append(f"its error was {ratio:.2f} (Monte Carlo error {error:.2f}) times that of {best}")
    demoted = bool(reasons) and best != primary and best not in poor
    kept = f"{primary} keeps its place: its error was {ratio:.2f} times that of the best method ({best})"
    if reasons:
        kept = f"{primary} keeps its place for want of a better method, although {' and '.join(reasons)}"
    return Demotion(
        demoted=demoted,
        primary=primary,
        replacement=best if demoted else None,
        rmse_ratio=ratio,
        rmse_ratio_mc_error=error,
        coverage=row["coverage"],
        coverage_mc_error=row["coverage_mc_error"],
        reason=f"{primary} gives way to {best}: {' and '.join(reasons)}." if demoted else f"{kept}.",
    )


def _kept(primary: str, reason: str) -> Demotion:
    return Demotion(
        demoted=False,
        primary=primary,
        replacement=None,
        rmse_ratio=None,
        rmse_ratio_mc_error=None,
        coverage=None,
        coverage_mc_error=None,
        reason=f"{reason}.",
    )


def _covers_less(row: dict[str, Any], least: float) -> bool:
    return row["coverage"] is not None and row["coverage"] + 2 * row["coverage_mc_error"] < least


def _ratio(found: Backtest, primary: str, best: str) -> tuple[float, float]:
    """Return the ratio of root mean squared errors on the placebos of both, and its Monte Carlo error."""
    both = found.errors[[found.index(primary), found.index(best)]]
    kept = np.asarray(~np.isnan(both).any(axis=0))
    squares = both[:, kept] ** 2
    means = squares.mean(axis=1)
    if means[1] <= 0:
        return (1.0, 0.0) if means[0] <= 0 else (math.inf, math.inf)
    ratio = math.sqrt(float(means[0] / means[1]))
    if means[0] <= 0:
        return ratio, 0.0
    influence = (squares[0] / means[0] - squares[1] / means[1]) / 2
    return ratio, ratio * found.dependence.of_rows(kept).std_error(influence)
