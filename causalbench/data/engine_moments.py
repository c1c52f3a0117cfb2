"""Cohort moments of a table too large for a panel: the rows stay in their engine, sums by cohort come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.data.calendar import Timeline
from causalbench.data.engine_overview import (
    EngineTable,
    centres_of,
    launches_of,
    line_of,
    overview_of,
    refuse_empty,
    retell,
)
from causalbench.data.engine_sums import (
    EMPTY,
    INCOMPLETE,
    REPEATED,
    SWITCHING,
    TREATED_INCOMPLETE,
    Sums,
    UnitStage,
    cohort_sums,
    incomplete,
    named_units,
    repeated,
)
from causalbench.data.launch import LaunchRule, Treatment, kept_periods
from causalbench.data.moments import CohortMoments
from causalbench.data.outcome import Reading, on_scale
from causalbench.data.reduce import Columns, prepared, require_columns, require_numbers
from causalbench.data.sources import Source
from causalbench.errors import DataError, listing, require_one_of
from causalbench.values import Finding


def cohort_moments(
    source: Source,
    columns: Columns,
    *,
    launch: LaunchRule,
    reading: Reading,
    on_missing: Literal["error", "drop_unit"] = "error",
) -> CohortMoments:
    """Return size, mean path and scatter of every cohort, summed in the table's own engine.

    A first small query reads periods, launches and means; a second brings rows to units and units to sums of products
    about the means of the first, so that a high level costs no digits.

    Parameters
    ----------
    source, columns
        The table, one row per unit and period, with a cohort column or a treatment column of 0 and 1.
    launch, reading
        As for a panel; what needs single cells (named units, events, logarithms, ratios, weights) is refused.
    on_missing
        ``error``, or ``drop_unit`` to leave out units that lack a period.

    Raises
    ------
    DataError
        With the code of the row in the bad-input catalogue, how many units are concerned, and up to five of them.

    Notes
    -----
    Sums of floating-point numbers depend on the engine's order of addition: equal runs agree to about 1e-12, not to the bit.
    """
    _require_supported(columns, launch, reading, on_missing)
    schema = source.frame.collect_schema()
    require_columns(source, columns, schema)
    written = require_numbers(source, columns, schema)
    table = EngineTable(source=source, columns=columns, reading=reading, frame=prepared(source, columns, written))
    overview = overview_of(table, written)
    findings: list[Finding] = []
    line, raw_periods = line_of(table, overview, findings)
    first_of, partial = launches_of(table, overview, line, launch)
    stage = UnitStage(
        frame=table.frame,
        raw_periods=raw_periods,
        centres=centres_of(overview),
        first_of=first_of,
        n_units=int(overview.groupby("__at")["rows"].sum().max()),
    )
    sums = cohort_sums(stage, source)
    _refuse_units(table, stage, sums)
    _refuse_no_effect(sums, line)
    _note_left_out(table, stage, sums, line, findings)
    _judge_missing(table, stage, sums, int(overview["missing"].sum()), on_missing, findings)
    on_scale(pd.DataFrame({"value": []}), columns, reading, findings)
    return _moments(table, sums, line, partial, launch, findings)


def _require_supported(columns: Columns, launch: LaunchRule, reading: Reading, on_missing: str) -> None:
    """Refuse what needs single cells."""
    reading.require_known(columns)
    require_one_of("align", launch.align, ("error", "next", "previous", "drop_partial"))
    require_one_of("on_missing, in a table's own engine,", on_missing, ("error", "drop_unit"))
    needs = {
        "named units": launch.units is not None,
        "events": reading.grain == "event",
        "logarithms of the outcome": reading.transform is not None,
        "a denominator": columns.denominator is not None,
        "covariates": bool(columns.covariates),
        "weights": columns.weights is not None,
        "clusters": columns.cluster is not None,
    }
    found = [what for what, is_asked in needs.items() if is_asked]
    if found:
        raise DataError(
            f"sums in the table's own engine don't cover {listing(found)}",
            remedy="form one row per unit and period with a cohort column in the query; or read the table as a panel",
        )
    if (columns.cohort is None) == (columns.treatment is None):
        raise DataError(
            "the launch must be given in exactly one way",
            remedy="name a cohort column, or a treatment column of 0 and 1",
        )
    if launch.anticipation < 0:
        raise DataError(f"anticipation is {launch.anticipation}", code="CB-D062", remedy="give 0 or more periods")


def _refuse_units(table: EngineTable, stage: UnitStage, sums: Sums) -> None:
    refuse_empty(table, "unit", sums.of(EMPTY))
    if n_repeated := sums.of(REPEATED):
        units = named_units(stage, table.source, repeated(stage))
        what = f"{n_repeated} units have more than one row in a period; among the first {len(units)} of them"
        remedy = "keep one row of each cell in the query: select ... group by unit and period"
        retell(table, nw.col("__unit").is_in(units), what, remedy=remedy)
    if n_switching := sums.of(SWITCHING):
        units = named_units(stage, table.source, nw.col("__switches") == 1)
        what = f"{n_switching} units have no single launch"
        retell(table, nw.col("__unit").is_in(units), what)


def _refuse_no_effect(sums: Sums, line: Timeline) -> None:
    treated = (sums.codes >= 0) & (sums.codes < len(line.periods))
    if not treated.any() and not sums.of(TREATED_INCOMPLETE):
        raise DataError("no unit is treated within the data", code="CB-D012", remedy="check the launch")
    if (sums.codes[treated] == 0).all() and treated.any() and not sums.of(TREATED_INCOMPLETE):
        raise DataError(
            f"all {sums.of(0)} treated units are treated from the first period {line.periods[0]} on; without a period before "
            "the launch they say nothing about its effect",
            code="CB-D023",
            remedy="add history before the launch",
        )


def _note_left_out(table: EngineTable, stage: UnitStage, sums: Sums, line: Timeline, findings: list[Finding]) -> None:
    last, cases = len(line.periods), []
    cases.append((0, "CB-D023", "are treated in every period there is", "left out"))
    cases.append((last + 1, "CB-D012", f"launch after the last period {line.periods[-1]}", "used as not treated"))
    for first, code, what, action in cases:
        if n_units := sums.of(first):
            units = table.labels(named_units(stage, table.source, nw.col("__first") == first))
            message = f"{n_units} units {what}: {_some(units, n_units)}"
            findings.append(
                Finding(code=code, severity="warning", message=message, action=action, count=n_units, units=units)
            )


def _some(units: Sequence[str], n_units: int) -> str:
    return listing(units) + (f" and {n_units - len(units)} more" if n_units > len(units) else "")


def _judge_missing(
    table: EngineTable, stage: UnitStage, sums: Sums, n_empty: int, on_missing: str, findings: list[Finding]
) -> None:
    """Refuse or note units that lack a period."""
    lacking = np.isin(sums.codes, (INCOMPLETE, TREATED_INCOMPLETE))
    if not lacking.any():
        return
    n_units, n_treated = int(sums.counts[lacking].sum()), sums.of(TREATED_INCOMPLETE)
    n_cells = n_units * stage.n_periods - int(sums.filled[lacking].sum())
    flag = incomplete(stage) & (nw.col("__first") > 0)
    units = table.labels(named_units(stage, table.source, flag))
    what = f"{n_cells} cells are missing, in {n_units} units ({_some(units, n_units)})"
    if n_empty:
        what = f"column {table.columns.outcome!r} is empty in {n_empty} rows; {what}"
    if on_missing == "error":
        raise DataError(
            what,
            code="CB-D004" if n_empty else "CB-D001",
            remedy='choose on_missing = "drop_unit"; other rules need the table as a panel in memory',
        )
    if not ((sums.codes > 0) & (sums.codes < stage.n_periods)).any():
        raise DataError(
            f"every treated unit has missing cells, so dropping units leaves none; {what}",
            code="CB-D001",
            remedy="fill in the missing cells in the query",
        )
    if n_treated:
        what += f"; {n_treated} of them are treated: the effect is that on the other treated units only"
    findings.append(
        Finding(
            code="CB-D001",
            severity="warning",
            message=f'{what}; on_missing = "drop_unit"',
            action="left out",
            count=n_cells,
            units=units,
        )
    )


def _moments(
    table: EngineTable, sums: Sums, line: Timeline, partial: frozenset[int], launch: LaunchRule, findings: list[Finding]
) -> CohortMoments:
    n_periods = len(line.periods)
    used = sums.codes > 0
    first = np.minimum(sums.codes[used], n_periods)
    keep = kept_periods(line, Treatment(first=first, partial=partial), launch, findings)
    kept = np.flatnonzero(keep)
    within = np.searchsorted(kept, first)
    if n_hidden := int(sums.counts[used][(within == len(kept)) & (first < n_periods)].sum()):
        message, action = f"{n_hidden} units launch after the end of interest", "used as not treated"
        findings.append(Finding(code="CB-D012", severity="warning", message=message, action=action, count=n_hidden))
    cohorts = CohortMoments(
        first_treated=np.arange(len(within)),
        counts=sums.counts[used],
        means=sums.means()[used][:, keep],
        scatter=sums.scatter()[used][:, keep][:, :, keep],
        periods=tuple(period for period, is_kept in zip(line.periods, keep, strict=True) if is_kept),
        metric=table.reading.metric,
        unit_name=table.columns.unit,
        frequency=line.frequency,
        season=line.season,
        additive=table.reading.aggregate != "mean",
        scale=table.reading.scale,
        findings=tuple(findings),
    )
    return cohorts.regrouped(within)
