"""Reading a study's table: as a panel, or as cohort moments where the table is too long for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import narwhals as nw
import pandas as pd

from causalbench.data import sources
from causalbench.data.assembly import assemble
from causalbench.data.cross_section import CrossSection, Roles, read
from causalbench.data.engine_moments import cohort_moments
from causalbench.data.launch import LaunchRule
from causalbench.data.moments import CohortMoments
from causalbench.data.numerals import Numerals
from causalbench.data.outcome import Reading
from causalbench.data.panel import Panel
from causalbench.data.reduce import Columns
from causalbench.data.sources import WHOLE, Part, Source
from causalbench.errors import DataError, listing, nearest
from causalbench.study import ComparisonStudy, Data, GeoStudy, Metric, Study
from causalbench.workflow.graph_rules import check_launch_study

_ROWS_IN_MEMORY = 5_000_000
"""Tables with more rows are summed in their engine where the method can do with cohort moments."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """A table and how one metric of it is read."""

    source: Source
    columns: Columns
    launch: LaunchRule
    reading: Reading


def request_of(study: Study, metric: Metric) -> Request:
    """Open a study's table for one of its metrics; nothing is read yet, and covariates that its graph forbids are refused."""
    launch = study.launch
    columns = replace(_allowed_columns(study, metric), cohort=launch.cohort, treatment=launch.treatment)
    rule = LaunchRule(
        units=launch.units, start=launch.start, end=launch.end, anticipation=launch.anticipation, align=launch.align
    )
    return Request(source=_source(study, columns), columns=columns, launch=rule, reading=_reading(study.data, metric))


def _allowed_columns(study: Study, metric: Metric) -> Columns:
    """Return the columns of a metric but for the launch's, once the study's graph has let its covariates pass."""
    check_launch_study(study)
    shared = study.method.options.get("match") == "shared"  # covariates then are outcomes, a metric's own among them
    covariates = tuple(name for name in study.data.covariates if not (shared and name == metric.column))
    return _columns(study.data.model_copy(update={"covariates": covariates}), metric)


def _columns(data: Data, metric: Metric) -> Columns:
    return Columns(
        unit=data.unit,
        period=data.period,
        outcome=metric.column,
        denominator=metric.denominator,
        covariates=data.covariates,
        weights=data.weights,
        cluster=data.cluster,
        cost=None if data.cost == metric.column else data.cost,  # a metric of its own: what the launch did to spend
        numerals=Numerals(decimal=data.decimal, thousands=data.thousands) if data.decimal or data.thousands else None,
    )


def _source(study: Study | GeoStudy, columns: Columns, part: Part = WHOLE) -> Source:
    data = study.data
    if data.sql is not None:
        return sources.from_sql(data.sql, folder=study.folder, unit=data.unit, period=data.period, part=part)
    path = study.folder / str(data.source)
    return sources.from_file(
        path, folder=study.folder, unit=data.unit, period=data.period, as_text=columns.as_text(), part=part
    )


def _reading(data: Data, metric: Metric) -> Reading:
    return Reading(
        grain=data.grain,
        aggregate=metric.aggregate,
        on_duplicate=data.on_duplicate,
        metric=metric.name,
        scale=metric.scale,
        transform=metric.transform,
        date_format=data.date_format,
    )


def open_source(study: GeoStudy) -> Source:
    """Open a geo study's table; nothing is read yet."""
    return _source(study, _columns(study.data, study.metric[0]))


def read_history(study: GeoStudy, metric: Metric) -> Panel:
    """Read one metric of a geo study's table as a panel that nobody is treated in."""
    columns = _columns(study.data, metric)
    reading = _reading(study.data, metric)
    return Panel(**assemble(_source(study, columns), columns, launch=None, reading=reading))


def read_panel(study: Study, metric: Metric) -> Panel:
    """Read one metric of a study's table as a panel."""
    asked = request_of(study, metric)
    return Panel(**assemble(asked.source, asked.columns, launch=asked.launch, reading=asked.reading))


def read_part(study: Study, metric: Metric, *, part: Part) -> Panel:
    """Read part of one metric's table as a panel that nobody is treated in; nothing outside the part is looked at."""
    columns = _allowed_columns(study, metric)
    source = _source(study, columns, part)
    return Panel(**assemble(source, columns, launch=None, reading=_reading(study.data, metric)))


def read_keys(study: Study, names: Sequence[str], *, types: sources.Pick) -> pd.DataFrame:
    """Return the distinct values of columns that say who and when; no other column is looked at.

    In a query over text files the rows that ``types`` picks decide which columns hold numbers.
    """
    names = tuple(dict.fromkeys(names))
    source = _source(study, _columns(study.data, study.metric[0]), Part(columns=names, types=types))
    columns = source.frame.collect_schema().names()
    unknown = [f"{name!r}{nearest(name, columns)}" for name in names if name not in columns]
    if unknown:
        raise DataError(
            f"{source.origin} lacks column {listing(unknown)}",
            code="CB-D018",
            remedy="name columns of the table under [data] and [launch]",
        )
    relation = source.frame.to_native().project(", ".join(map(sources.identifier, names))).distinct()
    return sources.collect(nw.from_native(relation).lazy(), source)


def read_moments(study: Study, metric: Metric) -> CohortMoments:
    """Sum one metric of a study's table by cohort, in the table's own engine."""
    asked, rule = request_of(study, metric), study.data.on_missing
    return cohort_moments(
        asked.source,
        asked.columns,
        launch=asked.launch,
        reading=asked.reading,
        on_missing="drop_unit" if rule == "drop_unit" else "error",
    )


def open_rows(study: ComparisonStudy, *, part: Part = WHOLE) -> Source:
    """Open the table of a comparison at one time; nothing is read yet."""
    data, unit = study.data, study.data.unit or ""
    if data.sql is not None:
        return sources.from_sql(data.sql, folder=study.folder, unit=unit, period="", part=part)
    path = study.folder / str(data.source)
    return sources.from_file(path, folder=study.folder, unit=unit, period="", part=part)


def read_cross_section(study: ComparisonStudy, metric: Metric, *, covariates: tuple[str, ...]) -> CrossSection:
    """Read one metric of a comparison's table, with the covariates that were chosen."""
    return _cross_section(study, metric, open_rows(study), covariates)


def hidden_columns(study: ComparisonStudy) -> list[str]:
    """Return the names of a comparison's columns; no metric's column is looked at."""
    return list(open_rows(study, part=_without_outcomes(study)).frame.collect_schema())


def _without_outcomes(study: ComparisonStudy) -> Part:
    return Part(unseen=tuple(item.column for item in study.metric))


def read_without_outcome(study: ComparisonStudy, metric: Metric, *, covariates: tuple[str, ...]) -> CrossSection:
    """Read a comparison's table without looking at any metric's column: the outcome is 0 for everybody."""
    source = open_rows(study, part=_without_outcomes(study))
    relation, zero = source.frame.to_native(), f"0.0::DOUBLE AS {sources.identifier(metric.column)}"
    hidden = relation.project(f"* REPLACE ({zero})" if metric.column in relation.columns else f"*, {zero}")
    return _cross_section(study, metric, replace(source, frame=nw.from_native(hidden).lazy()), covariates)


def _cross_section(study: ComparisonStudy, metric: Metric, source: Source, covariates: tuple[str, ...]) -> CrossSection:
    data = study.data
    roles = Roles(
        outcome=metric.column,
        treatment=study.launch.treatment,
        covariates=covariates,
        before=data.before,
        weights=data.weights,
        cluster=data.cluster,
        unit=data.unit,
    )
    values = read(source, roles, metric=metric.name, on_missing=data.on_missing)
    return CrossSection(**values, additive=metric.aggregate == "sum")


def suits_moments(study: Study, metric: Metric) -> bool:
    """Tell whether a table is too long for a panel, and nothing in the study needs single cells."""
    data, by_column = study.data, study.launch.units is None
    plain = not (data.covariates or data.weights or data.cluster or data.cost or metric.denominator or metric.transform)
    simple = data.grain == "cell" and data.on_duplicate == "error" and data.on_missing in ("error", "drop_unit")
    if not (by_column and plain and simple and study.method.inference in (None, "cluster")):
        return False
    source = request_of(study, metric).source
    n_rows = sources.collect(source.frame.select(n_rows=nw.len()), source)["n_rows"]
    return bool(n_rows.iloc[0] > _ROWS_IN_MEMORY)
