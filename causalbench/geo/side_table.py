"""Small tables beside a study: markets, neighbours, commuters, counties."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from causalbench.data.sources import Source, collect, from_file
from causalbench.errors import DataError, listing, nearest


def text_columns(path: Path, wanted: tuple[str, ...], *, folder: Path, key: str) -> dict[str, tuple[str, ...]]:
    """Read named columns of a CSV or Parquet file as text without surrounding blanks.

    Parameters
    ----------
    path
        The file.
    wanted
        Names of the columns; others are passed over.
    folder
        It has to lie in there or below, not behind a link to elsewhere.
    key
        Which key of the study names the file, for messages.

    Raises
    ------
    DataError
        When the file can't be read, has no such column, or a cell is empty; with column and rows.
    """
    source = _opened(path, wanted, folder=folder, key=key)
    found = source.frame.collect_schema().names()
    for name in wanted:
        if name not in found:
            raise DataError(
                f"{key}: {path.name} has no column {name!r}{nearest(name, found)}; it has {listing(found)}",
                remedy=f"give it the columns {', '.join(wanted)}",
            )
    columns = _texts(source, wanted)
    for name, values in columns.items():
        empty = [row for row, value in enumerate(values, start=1) if not value]
        if empty:
            raise DataError(
                f"{key}: column {name!r} of {path.name} is empty in {len(empty)} rows: {listing(empty)}",
                remedy="fill them in, or remove these rows",
            )
    return columns


def all_columns(path: Path, *, folder: Path, key: str) -> dict[str, tuple[str, ...]]:
    """Read every column of a CSV or Parquet file like :func:`text_columns`; cells may be empty."""
    names = _opened(path, ("",), folder=folder, key=key).frame.collect_schema().names()
    return _texts(_opened(path, names, folder=folder, key=key), names)


def _opened(path: Path, as_text: Sequence[str], *, folder: Path, key: str) -> Source:
    try:
        return from_file(path, folder=folder, unit=as_text[0], period=as_text[0], as_text=as_text)
    except DataError as error:
        raise DataError(f"{key}: {error.message}", remedy=f"mend {key}, or the file") from error


def _texts(source: Source, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    table = collect(source.frame.select(*names), source)
    return {
        name: tuple("" if value is None or value != value else str(value).strip() for value in table[name].tolist())
        for name in names
    }
