"""One door for every table: data frames, Arrow, DuckDB relations, and files or SQL inside a study's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw

from causalbench.errors import DataError, nearest

_MISSING_TOKENS = ["NA", "NaN", "nan", "null", "NULL", "N/A"]
_DUCKDB_FILES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".gz": "csv", ".parquet": "parquet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table that hasn't been read yet.

    Attributes
    ----------
    frame
        Lazy where the engine is: aggregation runs there.
    origin
        What to call the table in messages: a file name, the SQL, or the type of the object.
    """

    frame: nw.LazyFrame[Any]
    origin: str


def from_object(table: Any) -> Source:
    """Wrap a pandas, Polars or Arrow table, or a DuckDB relation; the object itself is never changed."""
    try:
        native = nw.from_native(table)
    except TypeError:
        raise DataError(
            f"a {type(table).__name__} isn't a table",
            remedy="pass a pandas, Polars or Arrow table, or a DuckDB relation",
        ) from None
    return Source(frame=native.lazy(), origin=f"{type(table).__module__.partition('.')[0]} {type(table).__name__}")


def from_file(path: Path, *, folder: Path, unit: str, period: str) -> Source:
    """Open a CSV or Parquet file; units and periods of a CSV stay text, so that ``01234`` keeps its zero.

    Raises
    ------
    DataError
        If the file is missing, outside the study's folder, empty, or not what its name says.
    """
    resolved = path.resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise DataError(f"{path} lies outside the study's folder", remedy="put the table beside the study file")
    if not resolved.is_file():
        siblings = [p.name for p in folder.iterdir() if p.suffix in _DUCKDB_FILES] if folder.is_dir() else []
        raise DataError(
            f"{path.name} doesn't exist in {folder}{nearest(path.name, siblings)}", remedy="mend [data] source"
        )
    if resolved.stat().st_size == 0:
        raise DataError(f"{path.name} is empty (0 bytes)", code="CB-D033", remedy="export the table again")
    kind = _DUCKDB_FILES.get(resolved.suffix.lower())
    if kind is None:
        raise DataError(
            f"{path.name}: files of type {resolved.suffix!r} can't be read",
            remedy=f"use one of {', '.join(_DUCKDB_FILES)}, or pass a data frame in Python",
        )
    connection = _locked_connection(folder)
    try:
        relation = connection.sql(_reader(connection, resolved, kind, unit, period))
    except duckdb.Error as error:
        raise DataError(
            f"{path.name} ({resolved.stat().st_size} bytes) can't be read as {kind}: {_first_line(error)}",
            remedy="check that the file is complete and is what its ending says",
        ) from None
    return Source(frame=nw.from_native(relation).lazy(), origin=path.name)


def from_sql(query: str, *, folder: Path, unit: str, period: str) -> Source:
    """Run a query over the files beside the study, in an engine that sees no other folder and no network.

    A file goes by its name: ``select * from 'sales.parquet'``.
    """
    connection = _locked_connection(folder)
    try:
        for path in sorted(folder.resolve().iterdir()):
            kind = _DUCKDB_FILES.get(path.suffix.lower())
            if kind and path.name in query:
                reader = _reader(connection, path, kind, unit, period)
                connection.execute(f"CREATE VIEW {_identifier(path.name)} AS {reader}")
        relation = connection.sql(query)
    except duckdb.Error as error:
        raise DataError(f"the query failed: {_first_line(error)}\n  {query}", remedy="mend [data] sql") from None
    if relation is None:
        raise DataError(f"the query returns no table\n  {query}", remedy="[data] sql takes one select statement")
    return Source(frame=nw.from_native(relation).lazy(), origin=f"sql: {query}")


def _reader(connection: duckdb.DuckDBPyConnection, path: Path, kind: str, unit: str, period: str) -> str:
    """Write the query that reads one file.

    Text columns of a CSV become numbers when everything in them is one or a usual mark of a missing value (``NA``).
    Units and periods stay text: a market may be called ``NA`` and a postcode may begin with zero.
    """
    if kind == "parquet":
        return f"SELECT * FROM read_parquet({_literal(path)})"  # noqa: S608
    table = f"read_csv({_literal(path)}, sample_size=-1, all_varchar=true, nullstr='')"
    columns = connection.sql(f"SELECT * FROM {table} LIMIT 0").columns  # noqa: S608
    candidates = [name for name in columns if name not in (unit, period)]
    if not candidates:
        return f"SELECT * FROM {table}"  # noqa: S608
    tokens = ", ".join(f"'{token}'" for token in _MISSING_TOKENS)
    texts = ", ".join(
        f"count(*) FILTER ({column} NOT IN ({tokens}) AND TRY_CAST({column} AS DOUBLE) IS NULL)"
        for column in map(_identifier, candidates)
    )
    counts = connection.sql(f"SELECT {texts} FROM {table}").fetchone() or ()  # noqa: S608
    numbers = [name for name, text in zip(candidates, counts, strict=True) if text == 0]
    replaced = ", ".join(
        f"CASE WHEN {column} NOT IN ({tokens}) THEN CAST({column} AS DOUBLE) END AS {column}"
        for column in map(_identifier, numbers)
    )
    return f"SELECT * {f'REPLACE ({replaced})' if numbers else ''} FROM {table}"  # noqa: S608


def _locked_connection(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open an engine that reads one folder, loads no extension and can't be reconfigured by a query."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET allowed_directories = [{_literal(folder)} || '/']")
    for setting in (
        "enable_external_access = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _literal(path: Path) -> str:
    return "'" + str(path.resolve()).replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
