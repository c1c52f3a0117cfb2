"""What every geo design stands on: the audited history, what is known about its markets, and which periods a search may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causalbench.data.audit import audit_history
from causalbench.data.calendar import read_one
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.geo.buffers import near
from causalbench.geo.constraints import Constraints
from causalbench.geo.geography import Geography
from causalbench.geo.markets import Markets
from causalbench.study import GeoStudy, Metric
from causalbench.values import BoolArray, Finding
from causalbench.workflow.reading import read_history

_LEAST_SHARE = 3
"""One period in so many is kept from the search at least,"""
_HISTORY = 3
"""So many times the longest test is the shortest history: its half holds such a window and some periods before it."""
_TESTS = 3
"""and so many times the longest test: windows within fewer periods overlap so much that they are worth one or two."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Periods:
    """Which part of the history is used for what, as indices of periods.

    Attributes
    ----------
    first_unseen
        The search and the choice among its proposals look at periods before this one; power is claimed on windows that
        start here or later.
    first_choice
        The windows by which proposals are compared start here or later, and end before ``first_unseen``.
    n_windows
        How many windows each of the two measures power on, at most.
    """

    first_unseen: int
    first_choice: int
    n_windows: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """The history of a study's first success metric and everything that rules about markets need."""

    study: GeoStudy
    metric: Metric
    history: Panel
    periods: Periods
    findings: tuple[Finding, ...]
    markets: Markets | None
    geography: Geography | None
    near: BoolArray | None
    constraints: Constraints

    @property
    def searched(self) -> Panel:
        """The part of the history that the search may see."""
        return searched(self.history, self.periods)


def ground(study: GeoStudy) -> Ground:
    """Read and audit the history, and compile the study's constraints.

    Raises
    ------
    DataError, StudyError
        When the table, or a table of markets or neighbours, can't be used.
    """
    geo, metric = study.geo, study.main_metric
    read = read_history(study, metric)
    history, findings = audit_history(_before_test(read, study), on_missing=study.data.on_missing)
    units, folder = history.units, study.folder
    markets = (
        None if geo.markets is None else Markets.read(study.beside(geo.markets), unit=study.data.unit, units=units)
    )
    geography = None if geo.map is None else Geography.read(geo.map, units, folder)
    close = None
    if geo.buffer is not None:
        close = near(geo.buffer, units=units, markets=markets, geography=geography, folder=folder)
    periods = periods_of(len(history.periods), geo.durations, geo.windows)
    return Ground(
        study=study,
        metric=metric,
        history=history,
        findings=findings,
        markets=markets,
        geography=geography,
        near=close,
        periods=periods,
        constraints=Constraints.compile(geo, searched(history, periods), markets=markets, near=close),
    )


def searched(history: Panel, periods: Periods) -> Panel:
    """Return the part of a history that the search may see."""
    return history.only(periods=np.arange(len(history.periods)) < periods.first_unseen)


def check_geo(study: GeoStudy) -> dict[str, Any]:
    """Audit the history of a geo study and hold its rules against each other, without searching anything.

    Raises
    ------
    CausalbenchError
        When the table can't be used, or the rules contradict each other.
    """
    geo, metric = study.geo, study.main_metric
    history, findings = audit_history(read_history(study, metric), on_missing=study.data.on_missing)
    rules: tuple[str, ...] = ()
    if geo.test is None and geo.switchback is None:
        constraints = ground(study).constraints
        constraints.require_feasible()
        rules = tuple(rule.name for rule in constraints.rules)
    return {
        "metric": metric.name,
        "n_markets": len(history.units),
        "n_periods": len(history.periods),
        "first": history.periods[0],
        "last": history.periods[-1],
        "fingerprint": history.fingerprint,
        "findings": findings,
        "rules": rules,
    }


def _before_test(panel: Panel, study: GeoStudy) -> Panel:
    """Cut off the test where the study says that one ran: no design may look at it."""
    start = None if study.geo.test is None else study.geo.test.start
    if start is None:
        return panel
    first = read_one(start, panel.periods[0], what="[geo.test] start", date_format=study.data.date_format)
    before = np.array([label < first for label in panel.periods])  # type: ignore[operator]
    if not before.any():
        raise DataError(
            f"no period lies before the test's start {start}", remedy="set [geo.test] start to its first period"
        )
    return panel.only(periods=before)


def periods_of(n_periods: int, durations: tuple[int, ...], n_windows: int) -> Periods:
    """Say which periods the search may see: all but the last third, but three times the longest test, or all but the last half.

    Of these, the largest part that leaves the search half of the history is kept from it. W overlapping windows of D periods
    need D + W - 1 periods; where half of the history isn't enough, there are fewer windows.

    Raises
    ------
    RefusalError
        When the history is shorter than three times the longest test.

    Examples
    --------
    >>> periods_of(90, (10, 15), 10)
    Periods(first_unseen=45, first_choice=22, n_windows=10)
    >>> periods_of(365, (10, 15), 10)
    Periods(first_unseen=244, first_choice=122, n_windows=10)
    """
    longest = max(durations)
    most = n_periods // 2
    windows = min(n_windows, most - longest + 1)
    if n_periods < _HISTORY * longest or windows < 2:
        needed = max(_HISTORY * longest, 2 * longest + 2)
        raise RefusalError(
            f"the history has {n_periods} periods: a test of {longest} needs {needed}, half for the search and half on which "
            "power is measured",
            remedy=f"add history, to {needed} periods, or set shorter durations",
        )
    unseen = min(max(longest + windows - 1, n_periods // _LEAST_SHARE, _TESTS * longest), most)
    seen = n_periods - unseen
    return Periods(first_unseen=seen, first_choice=min(seen // 2, seen - longest), n_windows=windows)
