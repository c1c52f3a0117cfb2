"""How a geo test ran: its split, its window and what the ledger of its design says, read and held against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalbench.artifacts import plain
from causalbench.data import calendar, sources
from causalbench.data.audit import audit_history
from causalbench.data.calendar import Period
from causalbench.data.launch import one_form
from causalbench.data.panel import Panel
from causalbench.data.reduce import unit_labels
from causalbench.errors import DataError, StudyError, listing, nearest
from causalbench.geo.ledger import Ledger
from causalbench.geo.markets import Markets
from causalbench.geo.split import CONTROL, LEFT_OUT, Split
from causalbench.study import GeoStudy
from causalbench.study.geo_study import CONTROL as CONTROL_NAME
from causalbench.study.geo_study import Test
from causalbench.values import IntArray
from causalbench.workflow.reading import open_source, read_history

_NONE = ("", "none", "nan", "<na>", "null", CONTROL_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Where the test lies among the periods of a table.

    Attributes
    ----------
    start, end
        Index of the first period of the test, and of the first one after it.
    last
        Index of the first period after the cooldown, whose effect still counts; later periods aren't used.
    notes
        What the reader must know about it.
    """

    start: int
    end: int
    last: int
    notes: tuple[str, ...] = ()

    @property
    def n_test(self) -> int:
        """Number of periods of the test."""
        return self.end - self.start

    @property
    def n_cooldown(self) -> int:
        """Number of periods of the cooldown that the table has."""
        return self.last - self.end


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """A geo test as it ran.

    Attributes
    ----------
    history
        All markets, from the first period of the table to the end of the cooldown; nobody is marked as treated.
    split
        Who was meant to be in which cell; aligned with the history's units.
    planned, markets
        The plan as it was made, which may name markets that the table no longer has, and the markets it is aligned with.
    cells
        Names of the treated cells.
    randomized
        Whether the split was drawn at random, by the ledger or by what the study says.
    actual
        Cell whose treatment each market got in each period, shape (n_units, n_periods); None where the table doesn't say.
    ledger
        The sealed design; None for somebody else's split.
    looks
        Periods of the test elapsed at each interim look, ascending; empty where nobody looked.
    seen
        The history before the test as its design read it.
    history_unchanged
        Whether the history is bit by bit the one that the design was drawn from; None without a ledger.
    """

    history: Panel
    split: Split
    planned: Split
    markets: tuple[str, ...]
    cells: tuple[str, ...]
    window: Window
    randomized: bool
    actual: IntArray | None
    ledger: Ledger | None
    looks: tuple[int, ...]
    seen: Panel
    history_unchanged: bool | None

    def panel(self, cell: int | None = None, *, history: Panel | None = None) -> Panel:
        """Return the markets of one cell (of all: None) and the controls, treated from the test's start on."""
        return self.split.panel(history or self.history, start=self.window.start, cell=cell)

    def paired(self, panel: Panel) -> Panel:
        """Return a panel whose clusters are the pairs that the design drew in; itself where it has none."""
        if self.split.strata is None:
            return panel
        pairs = dict(zip(self.history.units, self.split.strata.tolist(), strict=True))
        return replace(panel, cluster=tuple(f"pair {pairs[unit]}" for unit in panel.units))

    def members(self, cell: int) -> tuple[str, ...]:
        """Return the markets of a cell; 0 are the controls, -1 those left out."""
        return tuple(self.history.units[i] for i in np.flatnonzero(self.split.cells == cell).tolist())


def test_of(study: GeoStudy) -> Test:
    """Return what a study says about how its test ran.

    Raises
    ------
    StudyError
        Where it says nothing.
    """
    if study.geo.test is None:
        raise StudyError(["[geo.test] is missing: it says how the test ran (ledger or cells, start)"], where="study")
    return study.geo.test


def read_trial(study: GeoStudy) -> Trial:
    """Read how a test ran.

    Raises
    ------
    StudyError
        Where the study says nothing about the test.
    DataError
        Where markets, dates or columns that it names aren't in the table, or contradict each other.
    LockError
        Where the ledger was changed after it was sealed.
    """
    test = test_of(study)
    ledger = None if test.ledger is None else Ledger.load(study.beside(test.ledger))
    metric = study.main_metric
    whole = read_history(study, metric)
    window = window_of(test, whole.periods, date_format=study.data.date_format)
    history = whole.only(periods=np.arange(len(whole.periods)) < window.last)
    if ledger is None:
        cells = cells_of(study)
        planned, markets = split_of(study, history.units, cells, strata=strata_of(study, history.units)), history.units
    else:
        planned, markets, cells = ledger.split(ledger.units), ledger.units, ledger.cells
    seen = _seen(study, history, window.start)
    return Trial(
        history=history,
        split=_on(planned, markets, history.units),
        planned=planned,
        markets=markets,
        cells=cells,
        window=window,
        randomized=test.assignment == "random" if ledger is None else ledger.randomized,
        actual=None if test.actual is None else _actual(study, test.actual, history, cells),
        ledger=ledger,
        looks=looks_of(test, whole.periods, window, date_format=study.data.date_format),
        seen=seen,
        history_unchanged=None if ledger is None else _unchanged(ledger, seen, history),
    )


def window_of(test: Test, periods: Sequence[Period], *, date_format: str | None = None) -> Window:
    """Place the test among the periods of the table.

    Raises
    ------
    DataError
        Where start or end lie outside the table or between two periods, or contradict each other.
    """
    start = index_of(test.start, periods, what="[geo.test] start", date_format=date_format)
    if start == 0:
        raise DataError(
            f"[geo.test] start is {periods[0]}, the table's first period: nothing before the test to compare with",
            code="CB-D012",
            remedy="add history before the test, or correct start",
        )
    last, notes = len(periods), []
    if test.end is None:
        end = len(periods) - test.cooldown
        if end <= start:
            raise DataError(
                f"a cooldown of {test.cooldown} periods leaves none of the {len(periods) - start} from start on to the test",
                remedy="give the test's end, or correct cooldown",
            )
    else:
        end = index_of(test.end, periods, what="[geo.test] end", date_format=date_format) + 1
        if end <= start:
            raise DataError(f"[geo.test] end {test.end} lies before start {test.start}", remedy="correct one of them")
        last = min(end + test.cooldown, len(periods))
        if last < end + test.cooldown:
            notes.append(
                f"The cooldown asks for {test.cooldown} periods after the test, the table has {last - end}: effects that "
                "come later aren't counted."
            )
        if last < len(periods):
            notes.append(f"{len(periods) - last} periods after the test and its cooldown aren't used.")
    return Window(start=start, end=end, last=last, notes=tuple(notes))


def looks_of(
    test: Test, periods: Sequence[Period], window: Window, *, date_format: str | None = None
) -> tuple[int, ...]:
    """Return how many periods of the test had passed at each interim look.

    Raises
    ------
    DataError
        Where a look lies outside of the test, or they don't ascend.
    """
    at = [index_of(look, periods, what="[geo.test] looks", date_format=date_format) for look in test.looks]
    if at != sorted(set(at)) or any(not window.start <= i < window.end for i in at):
        raise DataError(
            f"[geo.test] looks must ascend and lie in the test, from {periods[window.start]} to {periods[window.end - 1]}; "
            f"found {listing(test.looks)}",
            remedy="name the last period that each look saw",
        )
    return tuple(i - window.start + 1 for i in at)


def index_of(moment: Any, periods: Sequence[Period], *, what: str, date_format: str | None = None) -> int:
    """Return the index of a period that a person named.

    Raises
    ------
    DataError
        Where it isn't one of the table's periods.
    """
    label = calendar.read_one(moment, periods[0], what=what, date_format=date_format)
    found = list(periods).index(label) if label in periods else None
    if found is not None:
        return found
    inside = periods[0] < label < periods[-1]  # type: ignore[operator]
    where = "is no period of the table" if inside else "lies outside the table"
    raise DataError(
        f"{what} {label} {where}, whose periods run from {periods[0]} to {periods[-1]}",
        code="CB-D012",
        remedy="name a period that the table has, or read a longer table",
    )


def _on(planned: Split, markets: tuple[str, ...], units: tuple[str, ...]) -> Split:
    """Return a plan for the markets of a table; those that the plan doesn't know are left out."""
    if markets == units:
        return planned
    place = {market: i for i, market in enumerate(markets)}
    at = np.array([place.get(unit, -1) for unit in units])

    def moved(values: Any, absent: float) -> Any:
        return None if values is None else np.where(at < 0, absent, np.asarray(values)[at])

    return Split(
        cells=moved(planned.cells, LEFT_OUT),
        strata=moved(planned.strata, -1),
        unit_weights=moved(planned.unit_weights, 0.0),
    )


def cells_of(study: GeoStudy) -> tuple[str, ...]:
    """Return the names of the treated cells of somebody else's split, in the order of ``[geo] cells`` where that is set.

    Raises
    ------
    StudyError
        Where ``[geo] cells`` is set and doesn't have one of them.
    """
    test = study.geo.test
    named = [name for name in (test.cells if test and test.cells else {}) if name != CONTROL_NAME]
    if not named:
        raise StudyError(
            ["[geo.test] cells: name the treated markets, such as cells = { treated = [...] }"], where="study"
        )
    if "cells" not in study.geo.model_fields_set:
        return tuple(named)
    known = study.geo.cells
    problems = [
        f"[geo.test] cells: {name!r} is no cell of [geo] cells{nearest(name, known)}"
        for name in named
        if name not in known
    ]
    problems += [f"[geo.test] cells: {name!r} has no markets" for name in known if name not in named]
    if problems:
        raise StudyError(problems, where="study")
    return known


def split_of(study: GeoStudy, units: Sequence[str], names: Sequence[str], *, strata: IntArray | None = None) -> Split:
    """Return somebody else's split.

    Without ``controls`` every market in no cell is one, but those busy elsewhere and those excluded from being one.

    Raises
    ------
    DataError
        For unknown markets, empty cells, markets in two places, or where no control is left.
    """
    test = test_of(study)
    given = {name: tuple(map(one_form, markets)) for name, markets in (test.cells or {}).items()}
    cells = {name: given[name] for name in names}
    controls = given.get(CONTROL_NAME) if test.controls is None else tuple(map(one_form, test.controls))
    named = [*cells.items(), *([] if controls is None else [("controls", controls)])]
    _require_known(named, units)
    places: dict[str, list[str]] = {}
    for name, markets in named:
        for market in markets:
            places.setdefault(market, []).append(name)
    twice = [f"{market} ({' and '.join(where)})" for market, where in places.items() if len(where) > 1]
    if twice:
        raise DataError(
            f"[geo.test]: {len(twice)} markets are in two places: {listing(twice)}",
            remedy="a market is in one cell, or a control, or neither",
        )
    codes = np.full(len(units), CONTROL if controls is None else LEFT_OUT, dtype=np.int64)
    place = {unit: i for i, unit in enumerate(units)}
    for number, markets in enumerate(cells.values(), start=1):
        codes[[place[market] for market in markets]] = number
    if controls is not None:
        codes[[place[market] for market in controls]] = CONTROL
    else:
        barred = {one_form(name) for name in (*study.geo.busy, *_not_controls(study))}
        codes[(codes == CONTROL) & np.isin(units, list(barred))] = LEFT_OUT
    if not (codes == CONTROL).any():
        raise DataError(
            f"[geo.test]: no market is left as a control: all {len(units)} are in a treated cell",
            remedy="name controls, or a test with a holdout; a switch-back needs no controls: [geo.switchback]",
        )
    kept = None if strata is None else np.where(codes == LEFT_OUT, -1, strata)
    return Split(cells=codes, strata=kept)


def _not_controls(study: GeoStudy) -> tuple[str, ...]:
    exclude = study.geo.exclude
    return tuple(exclude.get(CONTROL_NAME, ())) if isinstance(exclude, Mapping) else ()


def _require_known(named: Sequence[tuple[str, tuple[str, ...]]], units: Sequence[str]) -> None:
    known = set(units)
    for name, markets in named:
        where = "[geo.test] controls" if name == "controls" else f"[geo.test] cells, {name!r}"
        if not markets:
            raise DataError(f"{where}: no market is named", remedy="name at least one")
        unknown = [f"{market!r}{nearest(market, units)}" for market in markets if market not in known]
        if unknown:
            raise DataError(
                f"{where}: {len(unknown)} markets aren't in the table: {listing(unknown)}",
                code="CB-D019",
                remedy=f"the table has {len(units)} markets, for example {listing(map(repr, units), limit=3)}",
            )
        twice = sorted({market for market in markets if markets.count(market) > 1})
        if twice:
            raise DataError(f"{where}: named twice: {listing(twice)}", remedy="name each market once")


def strata_of(study: GeoStudy, units: Sequence[str]) -> IntArray | None:
    """Return the number of each market's pair, by the column ``pairs`` of the markets' table; None without one."""
    test = study.geo.test
    if test is None or test.pairs is None:
        return None
    if study.geo.markets is None:
        raise StudyError(["[geo.test] pairs names a column of [geo] markets, which is missing"], where="study")
    markets = Markets.read(study.beside(study.geo.markets), unit=study.data.unit, units=tuple(units))
    codes: IntArray = pd.factorize(np.array(markets.column(test.pairs), dtype=object))[0].astype(np.int64)
    return codes


def _seen(study: GeoStudy, history: Panel, start: int) -> Panel:
    """Return the history before the test as a design reads it: missing cells filled in where the study says how, no cost."""
    before = replace(history.only(periods=np.arange(len(history.periods)) < start), cost=None)
    if study.data.on_missing in ("zero", "impute") and np.isnan(before.outcome).any():
        return audit_history(before, on_missing=study.data.on_missing)[0]
    return before


def _unchanged(ledger: Ledger, seen: Panel, history: Panel) -> bool:
    """Tell whether the history is the sealed one; a cost column read since then is no change of it."""
    if set(ledger.units) - set(seen.units) or {plain(p) for p in ledger.content["data"]["periods"]} - set(
        plain(seen.periods)
    ):
        return False
    return ledger.unchanged(seen) or ledger.unchanged(history)


def _actual(study: GeoStudy, column: str, history: Panel, cells: tuple[str, ...]) -> IntArray:
    """Read who got which cell's treatment when; a market without a row got none."""
    marks = read_marks(study, column, history)
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(cells, start=1)}
    unknown = sorted({mark for mark in marks.ravel().tolist() if mark not in numbers and mark.casefold() not in _NONE})
    if unknown:
        raise DataError(
            f"[geo.test] actual: column {column!r} names cells that the test doesn't have: {listing(map(repr, unknown))}",
            remedy=f"write one of {', '.join(map(repr, cells))} where the market got that treatment, else {CONTROL_NAME!r}",
        )
    codes: IntArray = np.vectorize(lambda mark: numbers.get(mark, CONTROL), otypes=[np.int64])(marks)
    return codes


def read_marks(study: GeoStudy, column: str, history: Panel) -> NDArray[np.object_]:
    """Read a column of words onto a panel's grid, shape (n_units, n_periods); empty where a cell has no row.

    Raises
    ------
    DataError
        Where the column isn't there, or a cell has several words.
    """
    source = open_source(study)
    schema = source.frame.collect_schema()
    if column not in schema:
        raise DataError(
            f"{source.origin} has no column {column!r}{nearest(column, schema.names())}",
            code="CB-D033",
            remedy=f"its columns are {', '.join(schema.names())}",
        )
    wanted = {"unit": study.data.unit, "period": study.data.period, "mark": column}
    frame = source.frame.select(*(nw.col(name).alias(alias) for alias, name in wanted.items())).unique()
    table = sources.collect(frame, source)
    units = [one_form(label).replace("\u200b", "").strip() for label in unit_labels(table["unit"])]
    distinct = table["period"].astype(object).unique().tolist()
    labels, _ = calendar.read_labels(distinct, column=study.data.period, date_format=study.data.date_format)
    label = dict(zip(distinct, labels, strict=True))
    rows = {unit: i for i, unit in enumerate(history.units)}
    places = {period: j for j, period in enumerate(history.periods)}
    marks = np.full(history.outcome.shape, None, dtype=object)
    for unit, period, mark in zip(units, table["period"].astype(object), table["mark"], strict=True):
        i, j = rows.get(unit), places.get(label[period])
        if i is None or j is None:
            continue
        word = "" if pd.isna(mark) else _word(mark)
        if marks[i, j] is not None and marks[i, j] != word:
            raise DataError(
                f"column {column!r} has several values for {unit!r} at {label[period]}: {marks[i, j]!r} and {word!r}",
                remedy="give every row of a market and period the same value",
            )
        marks[i, j] = word
    return np.array([["" if mark is None else mark for mark in row] for row in marks], dtype=object)


def _word(mark: Any) -> str:
    return str(int(mark)) if isinstance(mark, float) and mark.is_integer() else str(mark).strip()


def described(trial: Trial) -> dict[str, Any]:
    """Return how the test ran as plain JSON values, for the evidence."""
    periods, window = trial.history.periods, trial.window
    found: dict[str, Any] = plain(
        {
            "source": "cells" if trial.ledger is None else "ledger",
            "start": periods[window.start],
            "end": periods[window.end - 1],
            "last": periods[window.last - 1],
            "n_pre": window.start,
            "n_test": window.n_test,
            "n_cooldown": window.n_cooldown,
            "n_markets": len(trial.history.units),
            "unit_name": trial.history.unit_name,
            "frequency": trial.history.frequency,
            "cells": [{"name": name, "markets": trial.members(k)} for k, name in enumerate(trial.cells, start=1)],
            "controls": trial.members(CONTROL),
            "left_out": trial.members(LEFT_OUT),
            "randomized": trial.randomized,
            "notes": window.notes,
        }
    )
    return found
