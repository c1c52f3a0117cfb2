r"""The readout of a switchback: one estimate, an exact randomization test over the design's own schedules, carry-over.

.. math:: \hat\tau = \frac{\sum_{ib} \tilde D_{ib} \bar Y_{ib}}{\sum_{ib} \tilde D_{ib}^2}

with :math:`\bar Y_{ib}` the mean of market i over the periods of block b after its washout, and :math:`\tilde D` the schedule
without market and block effects: the difference between the means of on and off, market and block effects removed. Every
market counts the same; where outcomes add up, they are shares of the market's mean before the test.

With weights :math:`w_d` of schedule d, :math:`p(\tau) = \#\{d : |w_d Y - \tau w_d D| \ge |\hat\tau - \tau|\} / n`, where D is the
actual schedule. p(0) is exact whatever carries over, since without any effect nothing does. The set of a constant effect
needs effects that are gone after the washout; :func:`carry_over_test` asks the data about that. (Randomization tests
of switchbacks: Bojinov, Simchi-Levi, Zhao 2023, Management Science, arXiv:2009.00148.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from causalbench.artifacts import plain
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.geo.switchback import (
    ENUMERATED,
    SwitchbackDesign,
    is_relative,
    relative_outcome,
    require_complete,
    smallest_p,
)
from causalbench.numerics.inversion import needed_draws, rank_set
from causalbench.numerics.schedules import carry_over_weights, contrast_weights, most_extreme
from causalbench.values import BoolArray, CheckResult, FloatArray, Interval, Uncertainty, Verdict, rejects

N_DRAWS = 9_999
_SLACK = 1e-10
_NUISANCE = 0.01
_FAIL, _REVIEW = 0.05, 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwitchbackResult:
    """What a switchback found.

    Attributes
    ----------
    value
        Effect of being on, per market and period; a share of the market's level where ``relative``.
    relative
        Whether outcomes were divided by each market's mean before the test.
    incremental
        Total over markets and periods that were on, in units of the outcome; None where outcomes don't add up.
    uncertainty
        p and set of one family of tests.
    checks
        Carry-over within the washout (why it is there) and past it (what would move the estimate).
    n_units, n_blocks, n_on
        Size of the experiment; ``n_on`` counts market-blocks that were on.
    sentences
        What to tell the reader.
    """

    value: float
    relative: bool
    incremental: float | None
    uncertainty: Uncertainty
    checks: tuple[CheckResult, ...]
    n_units: int
    n_blocks: int
    n_on: int
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values under the names of the fields."""
        result: dict[str, Any] = plain(self)
        return result


def analyse_schedule(
    panel: Panel, design: SwitchbackDesign, schedule: BoolArray, *, start: int, level: float, rng: Generator
) -> SwitchbackResult:
    """Estimate the effect of being on, test it over the design's own schedules, and look for carry-over.

    Don't use it where the schedule wasn't drawn, or where being on changes a market for good.

    Parameters
    ----------
    panel
        Outcomes with the whole test, nobody marked as treated.
    design, schedule
        As drawn; the schedule has shape (n_units, n_blocks).
    start
        Index of the test's first period.
    level
        Confidence level.
    rng
        Source of the schedules that the actual one is compared with, where they are too many to compare all.

    Raises
    ------
    DataError
        If the data don't reach the end of the test, a cell is missing, or the schedule isn't the design's.
    RefusalError
        If the design admits too few schedules for the level.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.simulate import factor_panel
    >>> panel = factor_panel(n_units=10, n_periods=84, n_treated=1, n_post=1, effect=0.0, rho=0.5, seed=0)
    >>> design = SwitchbackDesign(pairs=np.arange(10) // 2, block=7, n_blocks=8, washout=1)
    >>> schedule = design.draws(1, rng=np.random.default_rng(0))[0]
    >>> found = analyse_schedule(panel, design, schedule, start=28, level=0.9, rng=np.random.default_rng(1))
    >>> found.uncertainty.interval.contains(found.value), [check.verdict for check in found.checks]
    (True, ['pass', 'pass'])
    """
    end = start + design.n_periods
    if start < 0 or end > len(panel.periods):
        raise DataError(
            f"the schedule covers {design.n_periods} periods from the start of the test on, the data have "
            f"{max(len(panel.periods) - start, 0)}",
            remedy="wait for the rest of the test, or correct start",
        )
    if not design.admits(schedule):
        raise DataError("the schedule isn't one that the design could have drawn", remedy="read it from schedule.csv")
    if not rejects(smallest_p(design), level):
        raise RefusalError(
            f"the design admits {design.n_admissible:.0f} schedules, so no p is below {smallest_p(design):.3g}",
            remedy="use more blocks or markets, or a lower level",
        )
    used = panel.only(periods=np.arange(len(panel.periods)) < end)
    require_complete(used)
    before = panel.only(periods=np.arange(len(panel.periods)) < start) if start else None
    relative = before is not None and is_relative(before)
    outcome = relative_outcome(used.outcome, before) if before is not None else used.outcome
    pool = design.pool(schedule, n_draws=N_DRAWS, rng=rng)
    weights = contrast_weights(pool, by_period=design.by_period).reshape(len(pool), -1)
    value, uncertainty = _tested(design.block_means(outcome[:, start:]), pool, design, weights, level=level)
    checks = tuple(_carry_over_checks(outcome[:, start:], pool, design, weights, value=value))
    on = schedule.sum(axis=1) * design.block
    level_of = before.outcome.mean(axis=1) if before is not None and relative else np.ones(len(on))
    return SwitchbackResult(
        value=value,
        relative=relative,
        incremental=float(value * (level_of * on).sum()) if panel.additive else None,
        uncertainty=uncertainty,
        checks=checks,
        n_units=design.n_units,
        n_blocks=design.n_blocks,
        n_on=int(schedule.sum()),
        sentences=tuple(_sentences(uncertainty, checks, design, n_draws=len(pool))),
    )


def _tested(
    blocks: FloatArray, pool: BoolArray, design: SwitchbackDesign, weights: FloatArray, *, level: float
) -> tuple[float, Uncertainty]:
    effects, slopes = weights @ _centred(blocks, design).ravel(), weights @ pool[0].ravel().astype(float)
    scale, actual = float(np.abs(effects).max()), float(effects[0])
    slack = (_SLACK * scale) ** 2 + 2 * _SLACK * scale * np.abs(effects)
    found = rank_set(slopes**2 - 1, 2 * (actual - effects * slopes), effects**2 - actual**2 + slack, scale=scale)
    return actual, Uncertainty(
        interval=Interval(segments=found.segments(needed_draws(level, len(pool))), level=level, kind="confidence"),
        p_value=found.count(0.0) / len(pool),
        detail={
            "n_schedules": len(pool),
            "exact": design.n_admissible <= ENUMERATED,
            "n_admissible": design.n_admissible,
        },
    )


def _centred(blocks: FloatArray, design: SwitchbackDesign) -> FloatArray:
    """Take out what all markets share in a block, which changes no estimate and keeps ties ties."""
    centred: FloatArray = blocks - (blocks.mean(axis=0) if design.by_period else blocks.mean())
    return centred


def _carry_over_checks(
    outcome: FloatArray, pool: BoolArray, design: SwitchbackDesign, weights: FloatArray, *, value: float
) -> Iterator[CheckResult]:
    test = outcome[:, : design.n_periods].reshape(design.n_units, design.n_blocks, design.block)
    kept = test[:, :, design.washout :].mean(axis=2)
    _, effect = _tested(kept, pool, design, weights, level=1 - _NUISANCE)
    segments = effect.interval.segments if effect.interval else ()
    past = carry_over_weights(pool, by_period=design.by_period).reshape(len(pool), -1)
    if design.washout:
        early = test[:, :, : design.washout].mean(axis=2)
        yield carry_over_test(early, pool, design, past, segments=segments, value=value, within=True)
    yield carry_over_test(kept, pool, design, past, segments=segments, value=value, within=False)


def carry_over_test(
    blocks: FloatArray,
    pool: BoolArray,
    design: SwitchbackDesign,
    weights: FloatArray,
    *,
    segments: tuple[tuple[float, float], ...],
    value: float,
    within: bool,
) -> CheckResult:
    r"""Test whether the block before still shows, given the present one.

    The statistic is the coefficient of the previous block's treatment beside the present one's. If the past doesn't matter,
    outcomes are :math:`Y^0 + \tau D` with a constant :math:`\tau`, and under schedule d the statistic would be
    :math:`v_d Y - \tau v_d D`. What :math:`\tau` is isn't known, so p is the largest over a 99% set of it, plus .01 (Berger,
    Boos 1994, Journal of the American Statistical Association 89, 1012-1016): the test holds its size, and is a little
    cautious.

    Parameters
    ----------
    blocks
        Block means of the periods in question, shape (n_units, n_blocks).
    pool
        Schedules, the actual one first.
    design
        The plan.
    weights
        Those of :func:`~causalbench.numerics.schedules.carry_over_weights`, shape (n_schedules, n_units * n_blocks).
    segments
        A 99% set of the effect.
    value
        The estimated effect, which the carry-over is compared with.
    within
        Whether the periods are those of the washout.
    """
    where = "within the washout" if within else "past the washout" if design.washout else "into the next block"
    name = "carry-over-within-washout" if within else "carry-over"
    question = f"Does the block before still show {where}?"
    if not weights[0].any():
        reason = "the schedule doesn't tell the previous block from the present one"
        return CheckResult(name=name, question=question, verdict="not_evaluable", reason=reason)
    p_value = _largest_p(blocks, pool, design, weights, segments)
    if p_value is None:
        reason = f"{len(pool)} schedules allow no bounded 99% set of the effect"
        return CheckResult(name=name, question=question, verdict="not_evaluable", reason=reason)
    size = float(weights[0] @ _centred(blocks, design).ravel())
    share = f", {100 * size / value:.0f}% of the effect" if value else ""
    found = f"the block before adds {size:.3g}{share} {where}, p = {p_value:.3g}"
    verdict: Verdict = "pass"
    if within:
        remedy = ""
        reason = f"{found}: {'so the washout is needed' if p_value <= _FAIL else 'no sign that a washout was needed'}"
    else:
        verdict = "fail" if p_value <= _FAIL else "review" if p_value <= _REVIEW else "pass"
        reason = found if verdict != "pass" else f"{found}: no sign of it, which is no proof of none"
        remedy = "" if verdict == "pass" else "repeat with longer blocks or a longer washout"
    return CheckResult(
        name=name,
        question=question,
        verdict=verdict,
        reason=reason,
        remedy=remedy,
        statistic=p_value,
        threshold=_FAIL,
        table={"carry_over": size, "effect": value},
    )


def _largest_p(
    blocks: FloatArray,
    pool: BoolArray,
    design: SwitchbackDesign,
    weights: FloatArray,
    segments: tuple[tuple[float, float], ...],
) -> float | None:
    """Return the largest p over the effects of a 99% set, plus .01; None where that set is unbounded."""
    if not segments or not np.isfinite(segments).all():
        return None
    statistics, slopes = weights @ _centred(blocks, design).ravel(), weights @ pool[0].ravel().astype(float)
    scale, actual = float(np.abs(statistics).max()), float(statistics[0])
    slack = (_SLACK * scale) ** 2 + 2 * _SLACK * scale * np.abs(statistics)
    found = rank_set(slopes**2, -2 * statistics * slopes, statistics**2 - actual**2 + slack, scale=scale)
    most = max(most_extreme(found.lower, found.upper, low, high) for low, high in segments)
    return min(most / len(pool) + _NUISANCE, 1.0)


def _sentences(
    uncertainty: Uncertainty, checks: tuple[CheckResult, ...], design: SwitchbackDesign, *, n_draws: int
) -> Iterator[str]:
    how = (
        f"{n_draws - 1:,} schedules drawn like the actual one"
        if design.n_admissible > ENUMERATED
        else f"all {n_draws:,} schedules that the design admits"
    )
    yield f"p = {uncertainty.p_value:.3g} by the randomization that was carried out: the actual schedule among {how}."
    last = checks[-1]
    if last.verdict == "fail":
        yield (
            "Carry-over: p of no effect at all still holds, size and set of the effect don't: they take an effect to be gone "
            f"after {design.washout} periods, and {last.reason}."
        )
    elif last.verdict in ("review", "not_evaluable"):
        yield f"Carry-over isn't ruled out: {last.reason}. The set takes an effect to be gone after {design.washout} periods."
