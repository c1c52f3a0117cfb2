"""Who was treated when: named units, a cohort column or an indicator column, read onto the periods of a panel."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from causalbench.data import calendar
from causalbench.data.calendar import Align, Period, Timeline
from causalbench.data.reduce import Columns, name_cells
from causalbench.errors import DataError, listing, nearest
from causalbench.values import Finding

_NEVER = ("", "inf", "na", "nan", "nat", "never", "none", "null")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRule:
    """Who was treated from when on; ``units`` and ``start``, unless a column says so."""

    units: tuple[str, ...] | None
    start: Any
    end: Any = None
    anticipation: int = 0
    align: Align = "error"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Treatment:
    """Index of each unit's first treated period (n_periods: never), and periods treated only in part."""

    first: np.ndarray[Any, np.dtype[np.int64]]
    partial: frozenset[int]


def treatment_of(
    table: pd.DataFrame,
    units: tuple[str, ...],
    line: Timeline,
    columns: Columns,
    launch: LaunchRule,
    findings: list[Finding],
) -> Treatment:
    """Read the launch in whichever of the three ways it is given.

    Raises
    ------
    DataError
        When it is given in none or several ways, contradicts itself, switches off, or lies outside the data.
    """
    given = [launch.units is not None, columns.cohort is not None, columns.treatment is not None]
    if sum(given) != 1 or (launch.units is not None) != (launch.start is not None):
        raise DataError(
            "the launch must be given in exactly one way",
            remedy="name the treated units and a start, or a cohort column, or a treatment column of 0 and 1",
        )
    if columns.cohort:
        treatment = _from_cohort(table, line, columns.cohort, launch.align, findings)
    elif columns.treatment:
        treatment = _from_indicator(table, line, columns.treatment, findings)
    else:
        treatment = _from_names(units, line, launch)
    if (treatment.first == len(line.periods)).all():
        raise DataError("no unit is treated within the data", code="CB-D012", remedy="check the launch")
    treated = treatment.first[treatment.first < len(line.periods)]
    if (treated == 0).all():
        always = [unit for unit, first in zip(units, treatment.first, strict=True) if first == 0]
        raise DataError(
            f"all {len(always)} treated units are treated from the first period {line.periods[0]} on: {listing(always)}; "
            "without a period before the launch they say nothing about its effect",
            code="CB-D023",
            remedy="add history before the launch",
        )
    return treatment


def untreated(units: tuple[str, ...], line: Timeline) -> Treatment:
    """Return the treatment of units that nothing was launched in yet."""
    return Treatment(first=np.full(len(units), len(line.periods), dtype=np.int64), partial=frozenset())


def one_form(name: str) -> str:
    """Write letters with accents in one way, whichever way the keyboard or the export wrote them."""
    return unicodedata.normalize("NFC", name)


def _from_names(units: tuple[str, ...], line: Timeline, launch: LaunchRule) -> Treatment:
    wanted = tuple(map(one_form, launch.units or ()))
    unknown = [name for name in wanted if name not in units]
    if unknown or not wanted:
        found = "; ".join(f"{name!r}{nearest(name, units)}" for name in unknown) or "an empty list"
        raise DataError(
            f"treated units not in the data: {found}",
            code="CB-D019",
            remedy=f"the data have {len(units)} units, for example {listing(map(repr, units), limit=3)}",
        )
    start = calendar.read_one(launch.start, line.periods[0], what="launch start", date_format=line.date_format)
    index, partial = calendar.launch_index(line, start, align=launch.align)
    first = np.where(np.isin(units, wanted), index, len(line.periods)).astype(np.int64)
    return Treatment(first=first, partial=frozenset() if partial is None else frozenset({partial}))


def _from_cohort(table: pd.DataFrame, line: Timeline, column: str, align: Align, findings: list[Finding]) -> Treatment:
    unit, units = pd.factorize(table["unit"])
    code, values = pd.factorize(pd.concat([table["cohort_low"], table["cohort_high"]], ignore_index=True))
    low, high = np.full(len(units), len(values)), np.full(len(units), -1)
    np.minimum.at(low, np.tile(unit, 2), np.where(code < 0, len(values), code))
    np.maximum.at(high, np.tile(unit, 2), code)
    empty = np.bincount(unit, weights=table["cohort_missing"].to_numpy(dtype=float)) > 0
    varies = (high >= 0) & ((low != high) | empty)
    if varies.any():
        _refuse_varying(table[unit == varies.argmax()], column)
    first, partial = np.full(len(units), len(line.periods), dtype=np.int64), set()
    later: list[str] = []
    for number, value in enumerate(values):
        members = high == number
        start = cohort_start(value, line, column)
        if start is None or not members.any():
            continue
        if start > line.periods[-1]:  # type: ignore[operator]
            later += list(units[members])
        elif start < line.periods[0]:  # type: ignore[operator]
            first[members] = 0
        else:
            index, part = calendar.launch_index(line, start, align=align, what=f"launch of {units[members.argmax()]!r}")
            first[members] = index
            partial |= set() if part is None else {part}
    if later:
        message = f"{len(later)} units launch after the last period {line.periods[-1]}: {listing(sorted(later))}"
        action = "used as not treated"
        findings.append(
            Finding(
                code="CB-D012",
                severity="warning",
                message=message,
                action=action,
                count=len(later),
                units=tuple(sorted(later)),
            )
        )
    return Treatment(first=first, partial=frozenset(partial))


def _refuse_varying(rows: pd.DataFrame, column: str) -> NoReturn:
    """Refuse a unit whose rows name several launches, or one in some rows only."""
    raw = sorted({str(v) for side in ("low", "high") for v in rows[f"cohort_{side}"].dropna()})
    values = listing([*raw, *(["empty"] if rows["cohort_missing"].sum() else [])])
    raise DataError(
        f"column {column!r} varies within unit {rows['unit'].iloc[0]!r}: {values}",
        code="CB-D022",
        remedy="give every row of a unit the same launch period",
    )


def cohort_start(value: Any, line: Timeline, column: str) -> Period | None:
    """Read a cohort; None for never treated: missing, infinite, or 0 below the first period."""
    if value is None or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
        return None
    if str(value).strip().casefold() in _NEVER:
        return None
    if isinstance(line.periods[0], int) and line.periods[0] > 0 and str(value) in ("0", "0.0"):
        return None
    return calendar.read_one(value, line.periods[0], what=f"column {column!r}", date_format=line.date_format)


def _from_indicator(table: pd.DataFrame, line: Timeline, column: str, findings: list[Finding]) -> Treatment:
    low, high = (pd.to_numeric(table[f"treatment_{side}"], errors="coerce") for side in ("low", "high"))
    bad = table[~low.isin([0, 1]) | ~high.isin([0, 1]) | (low != high) | (table["treatment_missing"] > 0)]
    if len(bad):
        found = listing(sorted(set(map(str, bad["treatment_low"])) | set(map(str, bad["treatment_high"]))))
        raise DataError(
            f"treatment column {column!r} is not plainly 0 or 1 in {len(bad)} cells: {name_cells(bad)}; it holds {found}",
            code="CB-D057",
            remedy="use 0 before the launch and 1 from it on, one value per unit and period",
        )
    # Rows are sorted by unit and period.
    unit, units = pd.factorize(table["unit"])
    position = {period: j for j, period in enumerate(line.periods)}
    at, on = table["period"].map(position).to_numpy(dtype=np.int64), (low == 1).to_numpy()
    begun = pd.Series(on).groupby(unit).cummax().to_numpy()
    if (begun & ~on).any():
        back = int((begun & ~on).argmax())
        start = at[(unit == unit[back]) & on].min()
        raise DataError(
            f"treatment of unit {units[int(unit[back])]!r} switches on at {line.periods[start]} and off again at "
            f"{line.periods[at[back]]}",
            code="CB-D021",
            remedy="the methods here need a treatment that stays on; end the data before it, or study the first spell",
        )
    first = np.full(len(units), len(line.periods), dtype=np.int64)
    np.minimum.at(first, unit[on], at[on])
    before = np.full(len(units), -1)
    np.maximum.at(before, unit[~on], at[~on])
    for number in np.flatnonzero((first < len(line.periods)) & (before >= 0) & (first - before > 1)).tolist():
        n_unknown = int(first[number] - before[number] - 1)
        message = f"unit {units[number]!r} has no row in the {n_unknown} periods before its treatment shows"
        action = f"taken as launched at {line.periods[first[number]]}"
        findings.append(
            Finding(
                code="CB-D001",
                severity="warning",
                message=message,
                action=action,
                count=n_unknown,
                units=(str(units[number]),),
            )
        )
    return Treatment(first=first, partial=frozenset())


def kept_periods(
    line: Timeline, treatment: Treatment, launch: LaunchRule, findings: list[Finding]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Leave out partly treated periods, those that may anticipate the launch, and those after the end of interest."""
    keep = np.ones(len(line.periods), dtype=bool)
    dates = set(treatment.first.tolist()) - {len(line.periods)}
    if launch.anticipation and len(dates) > 1:
        raise DataError(
            f"anticipation = {launch.anticipation} under [launch] leaves out periods before one launch date, the data have "
            f"{len(dates)}",
            code="CB-D062",
            remedy="set it under [method.options] of group-time instead, which moves each cohort's reference period",
        )
    start = min(dates)
    reasons = [("CB-D013", "are treated in part", sorted(treatment.partial))]
    reasons.append(("CB-D062", "may anticipate the launch", list(range(max(start - launch.anticipation, 0), start))))
    if launch.end is not None:
        end = calendar.read_one(launch.end, line.periods[0], what="launch end", date_format=line.date_format)
        if end < line.periods[start]:
            raise DataError(
                f"launch end {end} lies before the launch {line.periods[start]}",
                code="CB-D012",
                remedy="correct one of them",
            )
        after = [j for j, period in enumerate(line.periods) if period > end]  # type: ignore[operator]
        reasons.append(("CB-D012", f"lie after the end {end}", after))
    for code, reason, indices in reasons:
        left = [j for j in indices if keep[j]]
        if left:
            keep[left] = False
            message = f"{len(left)} periods {reason}: {listing(line.periods[j] for j in left)}"
            findings.append(Finding(code=code, severity="info", message=message, action="left out", count=len(left)))
    return keep
