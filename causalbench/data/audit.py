"""Holds a panel against what an estimator needs: refusals, warnings, and repairs that the study asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from causalbench.data.calendar import Period
from causalbench.data.moments import CohortMoments
from causalbench.data.outliers import note_outliers
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing, require_one_of
from causalbench.protocols import Requirements
from causalbench.values import Audit, BoolArray, Finding, FloatArray
from causalbench.wording import counted

OnMissing = Literal["error", "drop_unit", "drop_period", "zero", "impute", "keep"]


def audit(panel: Panel, requires: Requirements, *, method: str, on_missing: OnMissing = "error") -> tuple[Panel, Audit]:
    """Return the panel an estimator may use, and what was found and changed on the way.

    Raises
    ------
    DataError
        If cells are missing and no rule says what to do, or no treated unit ever varies.
    RefusalError
        If the method can't answer with these units, periods or launch dates.
    """
    require_one_of("on_missing", on_missing, get_args(OnMissing))
    _refuse_unused_columns(panel, requires, method)
    findings = list(panel.findings)
    _note_unused_cost(panel, requires, method, findings)
    panel = panel if requires.cost else replace(panel, cost=None)
    repaired = _with_missing_kept(panel, requires, method, findings) if on_missing == "keep" else None
    repaired = repaired or _without_missing(panel, on_missing, findings)
    repaired = _without_constant_units(repaired, requires, findings)
    _judge_constant_treated(repaired, findings)
    _refuse_too_little(repaired, requires, method)
    _warn_short_history(repaired, requires, findings)
    note_outliers(panel, findings)
    coverage = _coverage(panel, "before") | _coverage(repaired, "used")
    return repaired, Audit(
        findings=tuple(findings),
        treated=repaired.treated_units,
        launches=_launches(repaired),
        coverage=coverage,
        fingerprint=repaired.fingerprint,
    )


def audit_history(panel: Panel, *, on_missing: OnMissing = "error") -> tuple[Panel, tuple[Finding, ...]]:
    """Return a history in which nobody is treated yet as a design may use it, and what was found and changed on the way.

    Raises
    ------
    DataError
        If cells are missing and no rule says what to do, or the rule leaves nothing.
    """
    require_one_of("on_missing", on_missing, get_args(OnMissing))
    missing = int(np.isnan(panel.outcome).sum())
    if missing and on_missing == "keep":
        raise DataError(
            f"a design needs every cell, {missing} of {panel.outcome.size} are missing",
            code="CB-D001",
            remedy='choose another on_missing, such as "drop_unit"',
        )
    findings = list(panel.findings)
    repaired = _without_missing(panel, on_missing, findings)
    flat = tuple(unit for unit, same in zip(repaired.units, _constant(repaired), strict=True) if same)
    if flat:
        message = f"{len(flat)} markets never vary: {listing(flat)}"
        findings.append(
            Finding(code="CB-D028", severity="warning", message=message, action="kept", count=len(flat), units=flat)
        )
    note_outliers(panel, findings)
    return repaired, tuple(findings)


def audit_moments(moments: CohortMoments, requires: Requirements, *, method: str) -> Audit:
    """Hold cohort moments against what an estimator needs; repairs were made where the moments come from.

    Raises
    ------
    DataError, RefusalError
        If the method can't answer with these units, periods or launch dates.
    """
    findings = list(moments.findings)
    _refuse_too_little(moments, requires, method)
    _warn_short_history(moments, requires, findings)
    coverage = {
        "treated_units_used": moments.n_treated,
        "control_units_used": moments.n_control,
        "pre_periods_used": moments.n_pre,
        "post_periods_used": moments.n_post,
        "treated_cells_used": moments.n_treated * len(moments.periods),
        "control_cells_used": moments.n_control * len(moments.periods),
    }
    launches = zip(moments.cohorts, moments.counts[moments.ever_treated].tolist(), strict=True)
    return Audit(
        findings=tuple(findings),
        treated=(),
        launches=tuple(launches),
        coverage=coverage,
        fingerprint=moments.fingerprint,
    )


def recount(record: Audit, panel: Panel, findings: Sequence[Finding]) -> Audit:
    """Return the record of a panel from which the estimator left out units after the audit."""
    coverage = {**record.coverage, **_coverage(panel, "used")}
    return replace(
        record,
        findings=(*record.findings, *findings),
        treated=panel.treated_units,
        launches=_launches(panel),
        coverage=coverage,
        fingerprint=panel.fingerprint,
    )


def _launches(panel: Panel) -> tuple[tuple[Period, int], ...]:
    starts, counts = np.unique(panel.first_treated[panel.ever_treated], return_counts=True)
    return tuple((panel.periods[start], int(count)) for start, count in zip(starts, counts, strict=True))


def _coverage(panel: Panel, when: str) -> dict[str, int]:
    treated = panel.ever_treated
    present = ~np.isnan(panel.outcome)
    return {
        f"treated_units_{when}": int(treated.sum()),
        f"control_units_{when}": int((~treated).sum()),
        f"pre_periods_{when}": panel.n_pre,
        f"post_periods_{when}": panel.n_post,
        f"treated_cells_{when}": int(present[treated].sum()),
        f"control_cells_{when}": int(present[~treated].sum()),
        f"missing_cells_{when}": int((~present).sum()),
    }


def _constant(panel: Panel) -> BoolArray:
    filled = ~np.isnan(panel.outcome)
    if filled.all():
        same: BoolArray = (panel.outcome[:, 1:] == panel.outcome[:, :1]).all(axis=1)
        return same if panel.outcome.shape[1] > 1 else ~same
    low = np.where(filled, panel.outcome, np.inf).min(axis=1)
    high = np.where(filled, panel.outcome, -np.inf).max(axis=1)
    flat: BoolArray = (filled.sum(axis=1) > 1) & (low == high)
    return flat


def _without_constant_units(panel: Panel, requires: Requirements, findings: list[Finding]) -> Panel:
    flat = _constant(panel) & ~panel.ever_treated
    if not flat.any():
        return panel
    names = tuple(unit for unit, is_flat in zip(panel.units, flat, strict=True) if is_flat)
    action = "left out of the donor pool" if requires.varying_controls else "kept as controls"
    message = f"{len(names)} control units never vary: {listing(names)}"
    findings.append(
        Finding(code="CB-D028", severity="warning", message=message, action=action, count=len(names), units=names)
    )
    return panel.only(units=~flat) if requires.varying_controls else panel


def _judge_constant_treated(panel: Panel, findings: list[Finding]) -> None:
    flat = _constant(panel) & panel.ever_treated
    names = tuple(unit for unit, is_flat in zip(panel.units, flat, strict=True) if is_flat)
    if len(names) == len(panel.treated_units):
        raise DataError(
            f"the outcome of no treated unit ever varies: {listing(names)}",
            code="CB-D028",
            remedy="check that the metric is recorded for these units",
        )
    if names:
        message = f"{len(names)} of {len(panel.treated_units)} treated units never vary: {listing(names)}"
        findings.append(
            Finding(code="CB-D028", severity="warning", message=message, action="kept", count=len(names), units=names)
        )


def _note_unused_cost(panel: Panel, requires: Requirements, method: str, findings: list[Finding]) -> None:
    if panel.cost is None or requires.cost:
        return
    message = f"the study names a cost, {method} doesn't use it"
    action = "left aside: time-based-regression, geo-based-regression and trimmed-match give the return on it"
    findings.append(Finding(code="CB-D066", severity="info", message=message, action=action))


def _missing(panel: Panel) -> BoolArray:
    """Which cells lack an outcome, or a cost where there is one; shape (n_units, n_periods)."""
    missing: BoolArray = np.isnan(panel.outcome)
    return missing if panel.cost is None else missing | np.isnan(panel.cost)


def _without_missing(panel: Panel, rule: OnMissing, findings: list[Finding]) -> Panel:
    missing = _missing(panel)
    if not missing.any():
        return panel
    rows, columns = np.flatnonzero(missing.any(axis=1)), np.flatnonzero(missing.any(axis=0))
    units = tuple(panel.units[i] for i in rows)
    where = (
        f"{int(missing.sum())} cells are missing, in {len(rows)} units ({listing(units)}) and {len(columns)} periods"
    )
    where += f" ({listing(panel.periods[j] for j in columns)})"
    if rule == "error":
        met = [finding for finding in panel.findings if finding.code in ("CB-D001", "CB-D004")]
        raise DataError(
            "; ".join([*(finding.message for finding in met), where]),
            code="CB-D004" if any(finding.code == "CB-D004" for finding in met) else "CB-D001",
            remedy='choose on_missing = "drop_unit", "drop_period", "zero" or "impute" (linear between neighbours in time, '
            "never across the launch) under [data], or --on-missing",
        )
    if rule == "zero" and panel.scale != "linear":
        what = (
            "a logarithm of 0 is an outcome of 1"
            if panel.scale == "log"
            else "a ratio of 0 isn't an absent denominator"
        )
        raise DataError(
            f'{where}; on_missing = "zero" would fill in what isn\'t zero: {what}',
            code="CB-D060" if panel.scale == "log" else "CB-D061",
            remedy='choose on_missing = "drop_unit", "drop_period" or "impute"',
        )
    repaired = {"drop_unit": _drop_units, "drop_period": _drop_periods, "zero": _zero, "impute": _interpolate}[rule](
        panel
    )
    message = f'{where}; on_missing = "{rule}"'
    action = (
        f"{panel.outcome.shape[0]} x {panel.outcome.shape[1]} became {len(repaired.units)} x {len(repaired.periods)}"
    )
    findings.append(
        Finding(
            code="CB-D001", severity="warning", message=message, action=action, count=int(missing.sum()), units=units
        )
    )
    lost = tuple(unit for unit in panel.treated_units if unit not in repaired.units)
    if lost:
        message = (
            f"{len(lost)} of {len(panel.treated_units)} treated units are dropped for missing cells: {listing(lost)}"
        )
        action = "the effect is that on the other treated units only"
        findings.append(
            Finding(code="CB-D001", severity="warning", message=message, action=action, count=len(lost), units=lost)
        )
    return repaired


def _drop_units(panel: Panel) -> Panel:
    complete: BoolArray = ~np.asarray(_missing(panel).any(axis=1))
    needed = panel.ever_treated if panel.n_treated else np.ones(len(panel.units), dtype=bool)
    if not (complete & needed).any():
        who = (
            f"treated unit has missing cells ({listing(panel.treated_units)})"
            if panel.n_treated
            else "unit has missing cells"
        )
        raise DataError(
            f"every {who}, so dropping units leaves none",
            code="CB-D001",
            remedy='choose another on_missing, such as "drop_period"',
        )
    return panel.only(units=complete)


def _drop_periods(panel: Panel) -> Panel:
    complete: BoolArray = ~np.asarray(_missing(panel).any(axis=0))
    if not complete[: panel.n_pre].any() or (panel.n_post and not complete[panel.n_pre :].any()):
        raise DataError(
            "no period before or none after the launch is complete, so dropping periods leaves nothing to compare"
            if panel.n_post
            else "no period is complete, so dropping periods leaves none",
            code="CB-D001",
            remedy='choose another on_missing, such as "drop_unit"',
        )
    launches = [panel.periods[start] for start in sorted(set(panel.first_treated[panel.ever_treated].tolist()))]
    lost = [period for period in launches if not complete[panel.periods.index(period)]]
    if lost:
        raise DataError(
            f"dropping periods would drop the launches at {listing(lost)}, whose units would count as launched later",
            code="CB-D001",
            remedy='choose another on_missing, such as "drop_unit"',
        )
    return panel.only(periods=complete)


def _zero(panel: Panel) -> Panel:
    cost = None if panel.cost is None else np.nan_to_num(panel.cost, nan=0.0)
    return replace(panel, outcome=np.nan_to_num(panel.outcome, nan=0.0), cost=cost)


def _interpolate(panel: Panel) -> Panel:
    """Fill in linearly between neighbours in time, on one side of the launch only."""
    outcome, stuck = _interpolated(panel, panel.outcome)
    cost = panel.cost
    if cost is not None:
        cost, more = _interpolated(panel, cost)
        stuck += more
    if stuck:
        raise DataError(
            f"cells at the edge of the data or of the launch can't be interpolated: {listing(dict.fromkeys(stuck))}",
            code="CB-D001",
            remedy='choose on_missing = "drop_unit" or "drop_period"',
        )
    return replace(panel, outcome=outcome, cost=cost)


def _interpolated(panel: Panel, cells: FloatArray) -> tuple[FloatArray, list[str]]:
    """Return the filled cells, and the units with cells at an edge, which have no neighbour on one side."""
    filled = cells.copy()
    position = _calendar_position(panel.periods)
    stuck: list[str] = []
    for i, launch in enumerate(np.minimum(panel.first_treated, panel.n_pre)):
        for side in (slice(0, launch), slice(launch, None)):
            values, when = filled[i, side], position[side]
            known = np.flatnonzero(~np.isnan(values))
            holes = np.flatnonzero(np.isnan(values))
            if len(holes) and (not len(known) or holes[0] < known[0] or holes[-1] > known[-1]):
                stuck.append(panel.units[i])
            elif len(holes):
                filled[i, np.arange(len(panel.periods))[side][holes]] = np.interp(
                    when[holes], when[known], values[known]
                )
    return filled, stuck


def _calendar_position(periods: Sequence[Period]) -> FloatArray:
    """Place periods on a line: their number, or seconds since the first."""
    first = periods[0]
    steps = [period - first for period in periods]  # type: ignore[operator]
    return np.array([step.total_seconds() if isinstance(step, dt.timedelta) else step for step in steps], dtype=float)


def _refuse_unused_columns(panel: Panel, requires: Requirements, method: str) -> None:
    """Refuse columns that the study names and the method would not look at; nothing is left out in silence."""
    given = (
        (bool(panel.covariate_names) and requires.covariates == "none", "covariates"),
        (panel.weights is not None and not requires.weights, "weights"),
        (panel.cluster is not None and not requires.clusters, "clusters"),
    )
    for unused, what in given:
        if unused:
            raise RefusalError(
                f"{method} uses no {what}", remedy=f"leave {what} out, or choose a method that uses them"
            )
    if requires.covariates in ("unit", "cell"):
        _refuse_empty_covariates(panel)
    if requires.covariates == "unit":
        _ = panel.unit_covariates  # refuses what varies within a unit


def _refuse_empty_covariates(panel: Panel) -> None:
    for name, cells in zip(panel.covariate_names, np.moveaxis(panel.covariates, 2, 0), strict=True):
        rows, columns = np.nonzero(np.isnan(cells) & ~np.isnan(panel.outcome))
        if len(rows):
            where = listing(f"{panel.units[i]} at {panel.periods[t]}" for i, t in zip(rows, columns, strict=True))
            raise DataError(
                f"covariate {name!r} is empty in {len(rows)} cells: {where}",
                code="CB-D042",
                remedy="fill in one number for every row, or leave this covariate out",
            )


def _with_missing_kept(panel: Panel, requires: Requirements, method: str, findings: list[Finding]) -> Panel:
    missing = int(np.isnan(panel.outcome).sum())
    if missing and not requires.missing_cells:
        raise RefusalError(
            f"{method} needs every cell, {missing} of {panel.outcome.size} are missing",
            code="CB-D001",
            remedy='choose another on_missing, such as "drop_unit"',
        )
    if missing:
        message = f"{missing} of {panel.outcome.size} cells are missing"
        findings.append(
            Finding(code="CB-D001", severity="warning", message=message, action="kept as missing", count=missing)
        )
    return panel


def _refuse_too_little(panel: Panel | CohortMoments, requires: Requirements, method: str) -> None:
    if requires.max_cohorts is not None and len(panel.cohorts) > requires.max_cohorts:
        raise RefusalError(
            f"{method} needs one launch date, the data have {len(panel.cohorts)}: {listing(panel.cohorts)}",
            remedy="use group-time, which compares each cohort with units that aren't treated yet",
        )
    if panel.n_control < requires.min_control:
        raise RefusalError(
            f"{method} needs at least {requires.min_control} control units, the data have {panel.n_control}",
            code="CB-D024",
            remedy="add units that never got the launch",
        )
    if panel.n_pre < requires.min_pre:
        raise DataError(
            f"{method} needs at least {requires.min_pre} periods before the launch, the data have {panel.n_pre}",
            code="CB-D014",
            remedy="add history before the launch, or lower anticipation where it is set",
        )


def _warn_short_history(panel: Panel | CohortMoments, requires: Requirements, findings: list[Finding]) -> None:
    wanted = max(requires.recommended_pre, 2 * panel.season if panel.season > 1 else 0)
    if panel.n_pre < wanted:
        message = (
            f"{counted(panel.n_pre, 'period')} before the launch, {wanted} are recommended (spacing: {panel.frequency})"
        )
        action = "used as they are; the fit before the launch may be luck"
        findings.append(Finding(code="CB-D014", severity="warning", message=message, action=action, count=panel.n_pre))
