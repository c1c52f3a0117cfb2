r"""Days that stand out from their neighbours in time: outages recorded as zeros, loads counted twice. Nothing is removed.

With :math:`d_{it}` the change of unit *i* into period *t* less the median change of the units not treated, a cell's spike is

.. math:: s_{it} = \operatorname{sign}(d_{it}) \min(|d_{it}|, |d_{i,t+1}|) \text{ where } d_{it} d_{i,t+1} < 0, \text{ else } 0,

so that a shift that stays, such as the effect of a launch, has none; at both ends of the data, where one neighbour is missing,
the two periods next to it take its place. Its robust z is :math:`s_{it}` over the unit's own scale of :math:`d`, the root mean
square without the largest tenth. Where outcomes are positive the z of their logarithms must be as large: what is large there
only because the unit is large, or because the outcome is skewed, doesn't stand out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import bdtrc, gammainc, gammaincinv, stdtrit

from causalbench.data.panel import Panel
from causalbench.errors import listing
from causalbench.values import BoolArray, Finding, FloatArray, IntArray
from causalbench.wording import counted, number

_LEVEL = 0.01
"""At most this share of panels without an outlier may carry a warning; held by a simulation."""
_MIN_PERIODS, _MIN_UNITS, _MOST_UNITS = 10, 3, 2000
_TRIMMED = 0.1
_ZERO_Z = 4.0
_COMMON_FACTOR = 1.6
_LEAST_SHARE = 0.3
"""A spike smaller than this share of the unit's mean isn't worth a warning, however quiet the unit is."""


_DEGREES = 0.8
"""Degrees of freedom per period of a scale estimated from trimmed, autocorrelated changes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outliers:
    """Cells (row, column, robust z; shape (n,)) and whole periods with what is odd about them."""

    rows: IntArray
    columns: IntArray
    scores: FloatArray
    periods: tuple[tuple[int, str], ...]


def note_outliers(panel: Panel, findings: list[Finding]) -> None:
    """Warn about cells and whole periods that stand out; they are kept."""
    found = outliers(panel)
    action = "kept; look for outages, double loads or one-off events"
    if found.periods:
        days = listing(f"{panel.periods[j]} ({what})" for j, what in found.periods)
        message = f"{_standing(len(found.periods), 'period')} out from their neighbours for most units: {days}"
        findings.append(
            Finding(code="CB-D031", severity="warning", message=message, action=action, count=len(found.periods))
        )
    if len(found.rows):
        cells = zip(found.rows, found.columns, found.scores, strict=True)
        said = listing(
            f"{panel.units[i]} at {panel.periods[j]} ({number(panel.outcome[i, j])}, robust z {z:+.1f})"
            for i, j, z in cells
        )
        message = f"{_standing(len(found.rows), 'cell')} out from their neighbours in time: {said}"
        units = tuple(panel.units[i] for i in sorted(set(found.rows.tolist())))
        findings.append(
            Finding(
                code="CB-D031", severity="warning", message=message, action=action, count=len(found.rows), units=units
            )
        )


def _standing(n: int, word: str) -> str:
    return f"{counted(n, word)} {'stands' if n == 1 else 'stand'}"


def outliers(panel: Panel) -> Outliers:
    """Find cells and periods that stand out, the most extreme cell first.

    Treated cells from the launch on are judged only where they are exactly zero: effects may come and go. Units with zeros
    in more than a tenth of their periods aren't judged.
    """
    outcome, n_periods = panel.outcome, len(panel.periods)
    never = ~panel.ever_treated
    compared = never if never.sum() >= _MIN_UNITS else np.ones(len(panel.units), dtype=bool)
    if n_periods < _MIN_PERIODS or compared.sum() < _MIN_UNITS:
        return _none()
    zero = outcome == 0
    rare = zero.sum(axis=1) <= _TRIMMED * n_periods
    odd_periods = _odd_periods(panel, zero & rare[:, None], compared & rare)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = _sizes(outcome) if panel.scale != "log" else np.ones(len(outcome))
        scores, scale = _scores(outcome / size[:, None], compared)
        threshold = _threshold(n_periods, int(rare.sum()) * n_periods)
        high = np.abs(scores) > threshold
        if not (outcome < 0).any() and panel.scale != "log":
            high &= np.abs(scores) * scale[:, None] > _LEAST_SHARE
        some = np.flatnonzero((high & rare[:, None]).any(axis=1) & (panel.scale != "log"))
        if len(some):
            high[some] &= np.abs(_log_scores(outcome, compared, some)) > threshold
        scale = scale * size
        gone = _unlikely_zeros(panel, zero, scale)
    high &= rare[:, None] & (~panel.treated | zero) & ~_launch_at_an_end(panel)
    flagged = (high | gone) & ~np.isin(np.arange(n_periods), [j for j, _ in odd_periods])
    rows, columns = np.nonzero(flagged)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(high[rows, columns], scores[rows, columns], -np.nanmedian(outcome[rows], axis=1) / scale[rows])
    order = np.argsort(-np.abs(own), kind="stable")
    return Outliers(rows=rows[order], columns=columns[order], scores=own[order], periods=tuple(odd_periods))


def _none() -> Outliers:
    empty = np.empty(0, dtype=np.int64)
    return Outliers(rows=empty, columns=empty, scores=np.empty(0), periods=())


def _threshold(n_periods: int, n_cells: int) -> float:
    """Return the quantile of Student's t that none of the cells exceeds in all but 1% of panels."""
    return float(-stdtrit(_DEGREES * n_periods, _LEVEL / (4 * max(n_cells, 1))))


def _sizes(outcome: FloatArray) -> FloatArray:
    """Return each unit's mean where no outcome is negative, else 1: what large units have in common they have in proportion."""
    known = np.isfinite(outcome)
    filled = np.where(known, outcome, 0.0)
    size = filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(size > 0, size, 1.0) if filled.min() >= 0 else np.ones(len(outcome))


def _scores(values: FloatArray, compared: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return robust z of every cell, shape (n_units, n_periods), 0 where it has no spike, and each unit's scale."""
    changes = np.diff(values, axis=1)
    changes -= _median_change(changes, compared)
    scale = _scale(changes)
    return _spikes(changes) / scale[:, None], scale


def _median_change(changes: FloatArray, compared: BoolArray) -> FloatArray:
    rows = np.flatnonzero(compared)
    rows = rows[:: -(-len(rows) // _MOST_UNITS)]
    some = changes[rows]
    known = np.isfinite(some)
    ordered = np.sort(np.where(known, some, np.inf), axis=0)
    count = known.sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(rows) - 1)
    each = np.arange(some.shape[1])
    median: FloatArray = np.where(count > 0, (ordered[low, each] + ordered[high, each]) / 2, 0.0)
    return median


def _scale(changes: FloatArray) -> FloatArray:
    """Return the root mean square of each row without its largest tenth, as of a normal distribution; shape (n_rows,)."""
    known = np.isfinite(changes)
    squares = np.where(known, changes, 0.0) ** 2
    n_changes = squares.shape[1]
    n_kept = n_changes - max(2, round(_TRIMMED * n_changes))
    kept = np.partition(squares, n_kept, axis=1)[:, :n_kept].sum(axis=1)
    counts = known.sum(axis=1) - (n_changes - n_kept)
    share = n_kept / n_changes
    normal = gammainc(1.5, gammaincinv(0.5, share)) / share
    scale: FloatArray = np.where(counts >= _MIN_PERIODS // 2, np.sqrt(kept / np.maximum(counts, 1) / normal), np.inf)
    return np.where(scale > 0, scale, np.inf)


def _spikes(changes: FloatArray) -> FloatArray:
    """Return how far each cell stands out from both neighbours on the same side; shape (n_rows, n_changes + 1)."""
    before = np.concatenate([-(changes[:, :1] + changes[:, 1:2]), changes], axis=1)  # the first cell against the third
    after = np.concatenate(
        [-changes, changes[:, -1:] + changes[:, -2:-1]], axis=1
    )  # the last one against the last but two
    low = np.minimum(np.abs(before), np.abs(after))
    return np.where(before * after > 0, np.copysign(low, before), 0.0)


def _log_scores(outcome: FloatArray, compared: BoolArray, some: IntArray) -> FloatArray:
    """Return robust z of the logarithms of some units; infinite for units with a negative value, which have none.

    A zero counts as half the unit's smallest positive value.
    """
    rows = np.flatnonzero(compared)
    rows = rows[:: -(-len(rows) // _MOST_UNITS)]
    chosen = np.concatenate([rows, some])
    values = outcome[chosen]
    floor = np.where(values > 0, values, np.inf).min(axis=1, keepdims=True) / 2
    logs = np.log(np.where(values > 0, values, np.where(values == 0, floor, np.nan)))
    is_compared = np.arange(len(chosen)) < len(rows)
    scores, _ = _scores(logs, is_compared)
    negative = (values < 0).any(axis=1) | ~np.isfinite(floor[:, 0])
    return np.where(negative[:, None], np.inf, scores)[len(rows) :]


def _unlikely_zeros(panel: Panel, zero: BoolArray, scale: FloatArray) -> BoolArray:
    """Mark exact zeros of units that are otherwise well above it, however many follow each other.

    Well above: no other value below half the median, and the median at least four scales from zero.
    """
    units = np.flatnonzero(zero.any(axis=1))
    marked = np.zeros(zero.shape, dtype=bool)
    if not len(units):
        return marked
    values, at_zero = panel.outcome[units], zero[units]
    n_periods = zero.shape[1]
    middle = np.nanmedian(values, axis=1)
    others = np.where(at_zero | np.isnan(values), np.inf, values).min(axis=1)
    stands_out = (
        (at_zero.sum(axis=1) <= _TRIMMED * n_periods) & (others >= middle / 2) & (middle >= _ZERO_Z * scale[units])
    )
    marked[units] = at_zero & stands_out[:, None]
    ended = (zero | ~panel.treated).all(axis=1) & panel.ever_treated
    return marked & ~(panel.treated & ended[:, None])


def _launch_at_an_end(panel: Panel) -> BoolArray:
    """Mark cells whose only neighbours lie on the other side of the unit's own launch."""
    marked = np.zeros(panel.outcome.shape, dtype=bool)
    marked[:, 0] = panel.first_treated == 1
    marked[:, -1] = panel.first_treated == len(panel.periods) - 1
    return marked


def _odd_periods(panel: Panel, zero: BoolArray, compared: BoolArray) -> list[tuple[int, str]]:
    """Find periods in which many units are zero at once, or most of them are about double or half."""
    n_units = int(compared.sum())
    if n_units < _MIN_UNITS:
        return []
    n_periods = len(panel.periods)
    zeros = (zero & ~panel.treated)[compared].sum(axis=0)
    elsewhere = (zeros.sum() - zeros + 1) / (n_units * (n_periods - 1))
    chance = bdtrc(zeros - 1.0, n_units, np.minimum(elsewhere, 1.0))
    odd = (zeros >= max(_MIN_UNITS, 0.2 * n_units)) & (chance < _LEVEL / n_periods)
    found = {int(j): f"{zeros[j]} of {n_units} units at zero" for j in np.flatnonzero(odd)}
    return sorted((_doubled(panel, compared) | found).items())


def _doubled(panel: Panel, compared: BoolArray) -> dict[int, str]:
    """Find periods that lie by a large factor above or below both neighbours, with four in five of the units."""
    if panel.scale == "log":
        logs = panel.outcome[compared]
    else:
        values = panel.outcome[compared]
        values = values[~(values <= 0).any(axis=1)]
        logs = np.log(values)
    if len(logs) < _MIN_UNITS:
        return {}
    logs = logs[:: -(-len(logs) // _MOST_UNITS)]
    changes = np.diff(logs, axis=1)
    common = _median_change(changes, np.ones(len(changes), dtype=bool))[None]
    spike = _spikes(common)[0]
    with np.errstate(invalid="ignore"):
        same: Any = (_spikes(changes) * np.sign(spike) > np.log(_COMMON_FACTOR) / 2).mean(axis=0)
    n_periods = len(panel.periods)
    odd = (np.abs(spike) >= np.log(_COMMON_FACTOR)) & (same >= 0.8)
    odd &= np.abs(spike) > _threshold(n_periods, n_periods) * _scale(common)[0]
    return {int(j): f"{np.exp(spike[j]):.2g} times its neighbours" for j in np.flatnonzero(odd)}
