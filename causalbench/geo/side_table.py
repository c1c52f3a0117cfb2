"""Small tables beside a study: neighbours, commuters, counties."""

from __future__ import annotations

from pathlib import Path

from causalbench.data.sources import collect, from_file
from causalbench.errors import DataError, listing, nearest


def text_columns(path: Path, wanted: tuple[str, ...], *, key: str) -> dict[str, tuple[str, ...]]:
    """Read named columns of a CSV or Parquet file as text without surrounding blanks.

    Parameters
    ----------
    path
        The file; it has to lie in its own folder, not behind a link to another.
    wanted
        Names of the columns; others are passed over.
    key
        Which key of the study names the file, for messages.

    Raises
    ------
    DataError
        When the file can't be read, has no such column, or a cell is empty; with column and rows.
    """
    source = from_file(path, folder=path.parent, unit=wanted[0], period=wanted[0], as_text=wanted)
    found = source.frame.collect_schema().names()
    for name in wanted:
        if name not in found:
            raise DataError(
                f"{key}: {path.name} has no column {name!r}{nearest(name, found)}; it has {listing(found)}",
                remedy=f"give it the columns {', '.join(wanted)}",
            )
    table = collect(source.frame.select(*wanted), source)
    columns = {}
    for name in wanted:
        values = tuple("" if value is None or value != value else str(value).strip() for value in table[name].tolist())
        empty = [row for row, value in enumerate(values, start=1) if not value]
        if empty:
            raise DataError(
                f"{key}: column {name!r} of {path.name} is empty in {len(empty)} rows: {listing(empty)}",
                remedy="fill them in, or remove these rows",
            )
        columns[name] = values
    return columns
