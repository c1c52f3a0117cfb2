"""Switchbacks from a study file: which schedule to run, and what it found."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from causalbench.artifacts import plain
from causalbench.data import calendar
from causalbench.data.audit import audit_history
from causalbench.data.panel import Panel
from causalbench.errors import DataError, StudyError, listing, nearest
from causalbench.geo.switchback import (
    COLUMNS,
    SwitchbackDesign,
    paired,
    require_complete,
    schedule_digest,
    schedule_of,
)
from causalbench.geo.switchback_power import candidates, choose
from causalbench.geo.switchback_readout import analyse_schedule
from causalbench.study import GeoStudy, Metric
from causalbench.study.geo_study import Switchback, Test
from causalbench.values import BoolArray, CheckResult, Finding
from causalbench.wording import counted
from causalbench.workflow.estimate import generator
from causalbench.workflow.reading import read_history

Tell = Callable[[str], None]

_UNDELIVERED = 0.1
"""From this share of market-periods on that weren't delivered as drawn, delivery fails."""


def design_switchback(study: GeoStudy, *, tell: Tell = lambda _: None) -> dict[str, Any]:
    """Compare block lengths and washouts on the history, choose one and draw its schedule.

    Parameters
    ----------
    study
        A study with ``[geo.switchback]``.
    tell
        Called with one line at the start of every stage.

    Returns
    -------
    dict
        Plain values: ``candidates`` (a row per block length and washout), ``chosen``, ``reason``, ``schedule`` (rows of
        schedule.csv, columns ``unit, pair, block, first, last, read_from, on``), ``schedule_digest``, ``seed``, and what was
        asked for.

    Raises
    ------
    StudyError, DataError
        Where the study has no ``[geo.switchback]``, or the table can't be used.
    RefusalError
        Where the history is too short, or no plan admits enough schedules for the level.
    """
    asked, geo = _asked(study), study.geo
    tell(f"{study.study.name}: reading the history")
    metric = study.main_metric
    history, findings = audit_history(_before(study, _taking_part(study, metric)), on_missing=study.data.on_missing)
    tell(f"playing {len(asked.block)} block lengths on {len(history.periods)} periods of {len(history.units)} markets")
    rows = candidates(
        history,
        blocks=asked.block,
        n_periods=asked.n_periods,
        washout=asked.washout,
        carry_over=asked.carry_over,
        level=geo.level,
        n_windows=geo.windows,
        sign=-1 if geo.kind == "go-dark" else 1,
        rng=generator(study.run.seed, "switchback", "power"),
    )
    effect = geo.smallest_worthwhile_effect
    best, reason = choose(rows, washout=asked.washout, power=geo.power, effect=effect)
    design = SwitchbackDesign(pairs=paired(history), block=best.block, n_blocks=best.n_blocks, washout=best.washout)
    schedule = design.draws(1, rng=generator(study.run.seed, "switchback", "schedule"))[0]
    table = design.rows(schedule, history.units)
    result: dict[str, Any] = plain(
        {
            "kind": "switchback",
            "metric": metric.name,
            "markets": history.units,
            "level": geo.level,
            "wanted_power": geo.power,
            "effect": effect,
            "carry_over": asked.carry_over,
            "n_periods": asked.n_periods,
            "n_history": len(history.periods),
            "candidates": [row.to_dict(power=geo.power, effect=effect) for row in rows],
            "chosen": best.to_dict(power=geo.power, effect=effect),
            "reason": reason,
            "unused_periods": asked.n_periods - design.n_periods,
            "schedule": table,
            "schedule_digest": schedule_digest(table),
            "seed": study.run.seed,
            "history_digest": history.fingerprint,
            "findings": findings,
        }
    )
    return result


def schedule_csv(rows: list[Mapping[str, Any]]) -> str:
    """Return the text of schedule.csv."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        unit = str(row["unit"])
        quoted = '"' + unit.replace('"', '""') + '"' if any(mark in unit for mark in ',"\n') else unit
        lines.append(",".join([quoted, *(str(row[key]) for key in COLUMNS[1:])]))
    return "\n".join(lines) + "\n"


def analyse_switchback(study: GeoStudy, *, tell: Tell = lambda _: None) -> dict[str, Any]:
    """Read a switchback out: estimate, randomization test over its own schedules, carry-over, delivery.

    Parameters
    ----------
    study
        A study with ``[geo.switchback]`` and ``[geo.test] schedule``, ``start``.
    tell
        Called with one line at the start of every stage.

    Returns
    -------
    dict
        Plain values: ``results`` (one per metric: the fields of
        :class:`~causalbench.geo.switchback_readout.SwitchbackResult`), ``design``, ``delivery``, ``sealed`` (whether the
        schedule is the ledger's; None without a ledger), ``schedule_digest``.

    Raises
    ------
    StudyError, DataError
        Where schedule or start are missing, the schedule was edited or isn't the ledger's, or the table can't be used.
    RefusalError
        Where the design admits too few schedules for the level.
    """
    _asked(study)
    test = study.geo.test
    if test is None or test.schedule is None or test.start is None:
        raise StudyError(["[geo.test] needs schedule and start: they say how the switchback ran"], where="study")
    tell(f"{study.study.name}: reading the schedule and the table")
    rows = _read_schedule(study.beside(test.schedule))
    seal = None if test.ledger is None else _require_sealed(study.beside(test.ledger), rows)
    panels = {metric.name: _with_test(study, metric, rows) for metric in study.metric}
    panel = panels[study.main_metric.name][0]
    start = _start(test, panel, study.data.date_format)
    design, schedule = schedule_of(rows, panel.units)
    results = []
    for metric in study.metric:
        tell(f"{metric.name}: estimating, and testing over the design's own schedules")
        outcome, findings = panels[metric.name]
        found = analyse_schedule(
            outcome,
            design,
            schedule,
            start=start,
            level=study.geo.level,
            rng=generator(study.run.seed, "switchback", "readout"),
        )
        results.append({"metric": metric.name, "role": metric.role, "findings": plain(findings), **found.to_dict()})
    delivery = None if test.actual is None else _delivery(study, test.actual, panel, design, schedule, start=start)
    result: dict[str, Any] = plain(
        {
            "kind": "switchback",
            "level": study.geo.level,
            "start": panel.periods[start],
            "end": panel.periods[start + design.n_periods - 1],
            "design": {
                "block": design.block,
                "n_blocks": design.n_blocks,
                "washout": design.washout,
                "n_markets": design.n_units,
                "n_admissible": design.n_admissible,
            },
            "results": results,
            "delivery": delivery,
            "sealed": seal,
            "schedule": design.rows(schedule, panel.units),
            "schedule_digest": schedule_digest(rows),
            "seed": study.run.seed,
        }
    )
    return result


def _asked(study: GeoStudy) -> Switchback:
    if study.geo.switchback is None:
        raise StudyError(["[geo.switchback] is missing: block and n_periods say what to schedule"], where="study")
    return study.geo.switchback


def _taking_part(study: GeoStudy, metric: Metric) -> Panel:
    """Read the markets that aren't excluded and aren't busy in other tests."""
    panel, excluded = read_history(study, metric), study.geo.exclude
    names = {name for group in excluded.values() for name in group} if isinstance(excluded, Mapping) else set(excluded)
    names |= set(study.geo.busy)
    if unknown := sorted(names - set(panel.units)):
        hint = f"{unknown[0]!r}{nearest(unknown[0], panel.units)}"
        raise DataError(f"exclude or busy name {len(unknown)} markets that the table doesn't have: {hint}")
    kept = ~np.isin(panel.units, sorted(names))
    if not kept.any():
        raise DataError(f"exclude and busy leave none of {len(panel.units)} markets", remedy="leave some in")
    return panel.only(units=kept)


def _before(study: GeoStudy, panel: Panel) -> Panel:
    test = study.geo.test
    if test is None or test.start is None:
        return panel
    return panel.only(periods=np.arange(len(panel.periods)) < _start(test, panel, study.data.date_format))


def _start(test: Test, panel: Panel, date_format: str | None) -> int:
    """Return the index of the test's first period."""
    what = "[geo.test] start"
    label = calendar.read_one(test.start, panel.periods[0], what=what, date_format=date_format)
    if label not in panel.periods[1:]:
        raise DataError(
            f"{what} {label} is no period of the table after its first; they run from {panel.periods[0]} to "
            f"{panel.periods[-1]}",
            remedy="name the first period of the test, and add history before it",
        )
    return panel.periods.index(label)


def _with_test(study: GeoStudy, metric: Metric, rows: list[dict[str, str]]) -> tuple[Panel, tuple[Finding, ...]]:
    """Read the scheduled markets with their test; nothing may be dropped from it."""
    panel = read_history(study, metric)
    names = {row.get("unit", "") for row in rows}
    if absent := sorted(names - set(panel.units)):
        raise DataError(f"the schedule names {len(absent)} markets that the table doesn't have: {listing(absent)}")
    kept = panel.only(units=np.isin(panel.units, sorted(names)))
    repaired, findings = audit_history(kept, on_missing=study.data.on_missing)
    if repaired.units != kept.units or repaired.periods != kept.periods:
        raise DataError(
            f"on_missing = {study.data.on_missing!r} takes markets or periods out of a test that ran with them",
            remedy='use "zero", "impute" or "error"',
        )
    require_complete(repaired)
    return repaired, findings


def _read_schedule(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"the schedule {path.name} can't be read: {error}", remedy="name schedule.csv beside the study"
        ) from None


def _require_sealed(path: Path, rows: list[dict[str, str]]) -> bool:
    """Hold the schedule against the digest in the ledger of its design."""
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the ledger {path.name} can't be read: {error}", remedy="name design.json beside the study"
        ) from None
    sealed = _digest_in(ledger)
    if sealed is None:
        raise DataError(f"the ledger {path.name} holds no switchback", remedy="name the design.json of this schedule")
    if sealed != schedule_digest(rows):
        raise DataError(
            f"the schedule isn't the one that {path.name} sealed: {schedule_digest(rows)[:12]} against {sealed[:12]}",
            remedy="give schedule.csv as it was drawn; what was delivered instead belongs into [geo.test] actual",
        )
    return True


def _digest_in(ledger: Any) -> str | None:
    """Find the schedule's digest at whichever depth the ledger keeps it."""
    if not isinstance(ledger, dict):
        return None
    if isinstance(ledger.get("schedule_digest"), str):
        return str(ledger["schedule_digest"])
    return next((found for value in ledger.values() if (found := _digest_in(value)) is not None), None)


def _delivery(
    study: GeoStudy, column: str, panel: Panel, design: SwitchbackDesign, schedule: BoolArray, *, start: int
) -> CheckResult:
    """Compare what was switched on with what was drawn, market by market and period by period."""
    marks = read_history(study, Metric(name=column, column=column, aggregate="mean"))
    marks = replace(marks, additive=False).only(units=np.isin(marks.units, panel.units))
    delivered = marks.outcome[:, start : start + design.n_periods]
    if marks.periods != panel.periods or not np.isin(delivered, (0.0, 1.0)).all():
        raise DataError(
            f"[geo.test] actual: column {column!r} must hold 0 or 1 in every market and period of the test",
            remedy="write 1 where the market was switched on",
        )
    wrong = (delivered == 1) != np.repeat(schedule, design.block, axis=1)
    share, question = float(wrong.mean()), "Was every market on when the schedule says so?"
    if not wrong.any():
        reason = f"all {wrong.size} market-periods were delivered as drawn"
        return CheckResult(name="delivery", question=question, verdict="pass", reason=reason, statistic=0.0)
    names = [panel.units[i] for i in np.flatnonzero(wrong.any(axis=1)).tolist()]
    return CheckResult(
        name="delivery",
        question=question,
        verdict="fail" if share >= _UNDELIVERED else "review",
        reason=f"{int(wrong.sum())} of {wrong.size} market-periods weren't delivered as drawn, in "
        f"{counted(len(names), 'market')}: {listing(names)}; p and set are about the schedule as drawn (intention to treat)",
        remedy="read the effect as that of the schedule, which is smaller than that of being on where delivery failed",
        statistic=share,
        threshold=_UNDELIVERED,
        table={"by_market": {name: int(count) for name, count in zip(panel.units, wrong.sum(axis=1), strict=True)}},
    )
