"""Did a unit jump to another level at a date at which nothing was launched?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._donors import gross_shares, half_width, some_donors
from causalbench.checks._event_times import HALF, SIZE, period_word
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.numerics.level_shifts import (
    FEWEST_PERIODS,
    FEWEST_SERIES,
    LevelShifts,
    find_level_shifts,
    shares_found,
)
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate, FloatArray, IntArray
from causalbench.wording import counted, number, percent

_TOO_MUCH = 0.3
_MOST = 150
"""Units of each arm that are looked at, at most."""

_DRAWS = 100
_SIZES = np.array([0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0])
_OFTEN = 0.8
_FALSE_ALARMS = "in simulated random walks without a jump, 6% of panels alarm (Monte Carlo error 1.7)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelShift:
    """Units whose gap from the others changes level, and when: a change of logging, an outage, a price.

    Units never treated are looked at over all periods, treated ones before their launch, after which a jump is the effect.
    A unit is named when a lasting step at the best of all dates is too large for its own history, at a nominal size of 5%
    corrected for the number of units and dates, and abrupt beside its other changes (see ``numerics/level_shifts.py``). A
    treated unit that jumps, or controls with more than 30% of the absolute weight (of the control units where there are no
    weights; a convention), fail; else review is asked for. One step is looked for in each unit, and what moves most units
    alike is no step of any.
    How small a jump is found in 80% of cases is measured in the data at hand, by putting 100 jumps into units that don't
    jump at random dates, and told with the verdict. With 40 markets and noise of 2%, three that log 8% more for the last 10
    of 120 days before a launch are all named with their date in 92% (60 draws, Monte Carlo error 3.6). How often some unit is
    named where none jumps is measured for one law of random walks only: in 6% of 200 panels (Monte Carlo error 1.7). For
    other noise the nominal 5% isn't shown yet; ``tests/simulation/test_launch_check_sizes.py`` holds the laws to show it.
    """

    question: ClassVar[str] = "Did a unit jump to another level at a date at which nothing was launched?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Locate jumps, say how small a one would be found, and fit again without the units that jump."""
        conclude = partial(CheckResult, name="level-shift", question=self.question, threshold=SIZE)
        shares = gross_shares(estimate.weights or {})
        rows, lengths = _looked_at(data, shares, rng)
        pool = lengths == len(data.periods)
        problem = _problem(data, int(pool.sum()))
        if problem:
            return conclude(
                verdict="not_evaluable",
                reason=problem,
                remedy="Ask whether logging or anything else changed in single units.",
            )
        found = find_level_shifts(data.outcome[rows], lengths, pool, n_fit=data.n_pre, season=data.season, size=SIZE)
        shares_by_size = shares_found(found, lengths, _SIZES, size=SIZE, rng=rng, n_draws=_DRAWS)
        noticed = _noticed(shares_by_size)
        names = [data.units[i] for i in rows]
        table = _table(data, rows, found, shares_by_size)
        conclude = partial(conclude, statistic=float(found.p_value.min()))
        measured = _measured(data, rows, found, noticed, estimate.metric)
        if not found.suspect.any():
            return _nothing(conclude, data, estimate, noticed, shares, f"{_none(names, found)} {measured}", table)
        suspects = [names[j] for j in np.flatnonzero(found.suspect)]
        share = _weight_on(data, suspects, shares)
        treated = sorted(set(suspects) & set(data.treated_units))
        without = _effect_without(estimator, data, suspects)
        reason = f"{_told(data, rows, found, estimate.metric)}{_moved(estimate, without, suspects, share, treated)} {measured}"
        harmless = not treated and bool(shares) and not share
        return conclude(
            verdict="pass" if harmless else "fail" if treated or share > _TOO_MUCH else "review",
            reason=reason,
            remedy=""
            if harmless
            else "Ask what changed there on that date; mend the data, or leave these units or the periods before it out.",
            table=table | {"weight_on_suspects": share, "effect_without": without},
        )


def _problem(data: Panel, n_pool: int) -> str:
    if data.n_pre < FEWEST_PERIODS:
        return f"{counted(data.n_pre, 'period')} before the launch can't tell a jump from chance: {FEWEST_PERIODS} are needed."
    if n_pool < FEWEST_SERIES:
        return (
            f"{counted(n_pool, 'unit')} never treated and without missing cells can't tell a jump from chance: {FEWEST_SERIES} "
            f"are needed."
        )
    return ""


def _looked_at(data: Panel, shares: Mapping[str, float], rng: Generator) -> tuple[IntArray, IntArray]:
    """Return the rows that can be judged, and over how many periods each."""
    usable: BoolArray = np.minimum(data.first_treated, len(data.periods)) >= FEWEST_PERIODS
    for i in np.flatnonzero(usable).tolist():
        past = data.outcome[i, : int(data.first_treated[i])]
        usable[i] = bool(np.isfinite(past).all()) and float(np.ptp(past[: data.n_pre])) > 0
    donors = some_donors(data, np.flatnonzero(usable & ~data.ever_treated), shares, most=_MOST, rng=rng)
    treated = np.flatnonzero(usable & data.ever_treated)
    if len(treated) > _MOST:
        treated = np.sort(rng.choice(treated, size=_MOST, replace=False))
    rows = np.sort(np.concatenate([donors, treated]))
    lengths: IntArray = data.first_treated[rows].astype(np.int64)
    return rows, lengths


def _noticed(shares: FloatArray) -> float | None:
    """Return the multiple of a unit's limit from which on 80% of jumps are found; None where none of them does."""
    enough = np.flatnonzero(shares >= _OFTEN)
    if not len(enough):
        return None
    k = int(enough[0])
    if k == 0:
        return float(_SIZES[0])
    low, high = shares[k - 1], shares[k]
    return float(_SIZES[k - 1] + (_SIZES[k] - _SIZES[k - 1]) * (_OFTEN - low) / (high - low))


def _measured(data: Panel, rows: IntArray, found: LevelShifts, noticed: float | None, metric: str) -> str:
    """Say which jump the locator finds in these data, and how that was measured."""
    how = f"of {_DRAWS} put into single units here at random dates; {_FALSE_ALARMS}"
    multiple, often = (float(_SIZES[-1]), "fewer than 80%") if noticed is None else (noticed, "80%")
    size = multiple * float(np.median(found.limit))
    level = float(np.median(np.abs(data.outcome[rows, : data.n_pre].mean(axis=1))))
    rel = f" ({percent(size / level)} of a usual level)" if data.scale != "log" and level > 0 else ""
    return f"Lasting jumps of {number(size, digits=2)} {metric}{rel} are found in {often} {how}."


def _none(names: Sequence[str], found: LevelShifts) -> str:
    worst = int(np.argmin(found.p_value))
    return (
        f"None of {len(names)} units jumps more than chance allows; the most unusual is {names[worst]} "
        f"(p = {found.p_value[worst]:.2g} after correction for their number and the dates)."
    )


def _told(data: Panel, rows: IntArray, found: LevelShifts, metric: str) -> str:
    """Name the units that jump, by date."""
    suspects = np.flatnonzero(found.suspect)
    verb = "jumps" if len(suspects) == 1 else "jump"
    parts = []
    for date in sorted(set(found.date[suspects].tolist())):
        who = [j for j in suspects.tolist() if found.date[j] == date]
        told = [
            f"{data.units[rows[j]]} by {_size(data, int(rows[j]), float(found.shift[j]), date, metric)}" for j in who
        ]
        parts.append(f"at {data.periods[date]} ({_when(data, date)}) {listing(told, limit=6)}")
    return f"{len(suspects)} of {counted(len(rows), 'unit')} {verb} to another level: {'; '.join(parts)}."


def _size(data: Panel, row: int, shift: float, date: int, metric: str) -> str:
    before = float(data.outcome[row, :date].mean())
    rel = f" ({percent(shift / before, sign=True)})" if before > 0 and data.scale != "log" else ""
    return f"{number(shift, digits=3, sign=True)} {metric}{rel}"


def _when(data: Panel, date: int) -> str:
    """Say where a date lies relative to the first launch."""
    away = date - data.n_pre
    if away == 0:
        return "the launch date itself"
    return f"{counted(abs(away), period_word(data))} {'after' if away > 0 else 'before'} the launch"


def _weight_on(data: Panel, suspects: Sequence[str], shares: Mapping[str, float]) -> float:
    """Return the share of the comparison that rests on suspects."""
    controls = [name for name in suspects if name in set(data.donor_pool)]
    if shares:
        return sum(shares.get(name, 0.0) for name in controls)
    return len(controls) / max(data.n_control, 1)


def _effect_without(estimator: Estimator[Panel], data: Panel, suspects: Sequence[str]) -> float | None:
    """Fit again without the suspects, where enough units are left."""
    rest = ~np.isin(data.units, suspects)
    enough = (rest & data.ever_treated).any() and (rest & ~data.ever_treated).sum() >= estimator.requires.min_control
    if not enough:
        return None
    try:
        return estimator.fit(data.only(units=rest)).effect
    except (DataError, RefusalError):
        return None


def _moved(
    estimate: Estimate, without: float | None, suspects: Sequence[str], share: float, treated: Sequence[str]
) -> str:
    text = f" Treated among them: {listing(treated, limit=6)}." if treated else ""
    text += f" They make up {percent(share)} of the comparison." if share and len(suspects) > len(treated) else ""
    if without is not None:
        them = "it" if len(suspects) == 1 else "them"
        text += f" Without {them} the effect would be {number(without)} instead of {number(estimate.value)}."
    return text


def _table(data: Panel, rows: IntArray, found: LevelShifts, shares: FloatArray) -> dict[str, Any]:
    order = np.argsort(found.p_value, kind="stable")
    return {
        "units": [data.units[rows[j]] for j in order],
        "dates": [data.periods[found.date[j]] for j in order],
        "shifts": found.shift[order],
        "p_values": found.p_value[order],
        "limits": found.limit[order],
        "suspects": [data.units[rows[j]] for j in np.flatnonzero(found.suspect)],
        "detection": {"size_in_limits": _SIZES, "share_found": shares, "n_draws": _DRAWS},
    }


def _nothing(
    conclude: partial[CheckResult],
    data: Panel,
    estimate: Estimate,
    noticed: float | None,
    shares: Mapping[str, float],
    reason: str,
    table: Mapping[str, Any],
) -> CheckResult:
    """Pass where a jump that goes unnoticed in one unit could not move the effect beyond half of it or its uncertainty."""
    limits = np.asarray(table["limits"], dtype=float)
    most = max([1 / data.n_treated, *(shares.values() or [1 / max(data.n_control, 1)])])
    could = None if noticed is None else noticed * float(np.median(limits)) * most
    reach = max(HALF * abs(estimate.value), half_width(estimate.interval) or 0.0)
    if could is not None and could <= reach:
        return conclude(verdict="pass", reason=reason, table=table)
    tail = (
        ""
        if could is None
        else f" One of that size in one unit could move the effect by {number(could, digits=2)}, beside an estimate of "
        f"{number(estimate.value)}: the locator can't tell."
    )
    return conclude(
        verdict="not_evaluable",
        reason=reason + tail,
        remedy="Ask whether logging or anything else changed in single units.",
        table=table,
    )
