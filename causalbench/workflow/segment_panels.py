"""The panel of every segment: of its own units, or of its own rows of every unit."""

from __future__ import annotations

from dataclasses import replace

import narwhals as nw

from causalbench.data import sources
from causalbench.data.assembly import assemble
from causalbench.data.launch import one_form
from causalbench.data.panel import Panel
from causalbench.errors import DataError, nearest
from causalbench.study import Metric, Study
from causalbench.workflow.reading import Request, request_of

_MOST = 40
"""Segments at most: with more, a column is a number or a name and no segment."""


def segment_panels(
    study: Study, metric: Metric, column: str
) -> tuple[bool, tuple[tuple[str, Panel], ...], tuple[tuple[str, str], ...]]:
    """Read one metric's panel for every value of a column.

    Returns
    -------
    tuple
        Whether no unit lies in two segments; segments with their panels; segments without one, with the reason.

    Raises
    ------
    DataError
        When the table has no such column, or it has fewer than two or more than 40 values.
    """
    asked = request_of(study, metric)
    names = list(asked.source.frame.collect_schema())
    if column not in names:
        raise DataError(
            f"[segments] column: {asked.source.origin} has no column {column!r}{nearest(column, names)}",
            remedy="name the column that says which segment a unit or a row belongs to",
        )
    pairs = sources.collect(
        asked.source.frame.select(segment=nw.col(column), unit=nw.col(asked.columns.unit)).unique(), asked.source
    ).dropna(subset=["segment"])
    labels = sorted(pairs["segment"].unique(), key=str)
    if not 2 <= len(labels) <= _MOST:
        raise DataError(
            f"[segments] column: {column!r} has {len(labels)} values, it must have 2 to {_MOST}",
            remedy="group more coarsely, or leave [segments] out",
        )
    panels, refused = [], []
    for label in labels:
        units = {one_form(str(unit)).strip() for unit in pairs.loc[pairs["segment"] == label, "unit"]}
        try:
            panels.append((str(label), _panel(asked, column, label, units)))
        except DataError as error:
            refused.append((str(label), error.message))
    return not pairs["unit"].duplicated().any(), tuple(panels), tuple(refused)


def _panel(asked: Request, column: str, label: object, units: set[str]) -> Panel:
    """Read the rows of one segment; treated units that it doesn't hold are none of its own."""
    source = replace(asked.source, frame=asked.source.frame.filter(nw.col(column) == label))
    launch = asked.launch
    if launch.units is not None:
        own = tuple(unit for unit in launch.units if one_form(unit) in units)
        if not own:
            raise DataError("no treated unit is in it", remedy="group more coarsely")
        launch = replace(launch, units=own)
    return Panel(**assemble(source, asked.columns, launch=launch, reading=asked.reading))
