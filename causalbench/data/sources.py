"""One door for every table: data frames, Arrow, DuckDB relations, and files or SQL inside a study's folder."""

from __future__ import annotations

import csv
import gzip
import itertools
import re
import tempfile
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw
import pandas as pd

from causalbench.errors import DataError, nearest

MISSING_TOKENS = ["NA", "NaN", "nan", "null", "NULL", "N/A"]
_TOKENS = ", ".join(f"'{token}'" for token in MISSING_TOKENS)
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LEAST_MEMORY = 2**30
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


Pick = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a file's or a query's rows that may be read; nothing outside it decides or reaches a result.

    Attributes
    ----------
    pick
        Chooses among the distinct labels of the period column those whose rows may be read; None: all rows. The choice is a
        filter in the engine, below everything that looks at values.
    columns
        The only columns that will be asked for, so that no value of another is looked at; None: all.
    types
        For a query over text files: chooses the rows that decide which of their columns hold numbers; None: as ``pick``.
    unseen
        Columns of a text file that hold numbers nobody may look at yet, so that no value decides their type.
    """

    pick: Pick | None = None
    columns: tuple[str, ...] | None = None
    types: Pick | None = None
    unseen: tuple[str, ...] = ()


WHOLE = Part()


def from_object(table: Any) -> Source:
    """Wrap a pandas, Polars or Arrow table, or a DuckDB relation; the object itself is never changed."""
    try:
        native = nw.from_native(table)
    except nw.exceptions.DuplicateError as error:
        raise DataError(f"column names repeat: {_first_line(error)}", remedy="rename them") from None
    except TypeError:
        raise DataError(
            f"a {type(table).__name__} isn't a table",
            remedy="pass a pandas, Polars or Arrow table, or a DuckDB relation",
        ) from None
    return Source(frame=native.lazy(), origin=f"{type(table).__module__.partition('.')[0]} {type(table).__name__}")


def from_file(
    path: Path, *, folder: Path, unit: str, period: str, as_text: Sequence[str] = (), part: Part = WHOLE
) -> Source:
    """Open a CSV or Parquet file; units and periods of a CSV stay text, so that ``01234`` keeps its zero.

    So do the columns ``as_text``, whose numbers are written in a way of their own (``1.234`` may be a thousand). ``part`` says
    which rows and columns may be read.

    Raises
    ------
    DataError
        If the file is missing, outside the study's folder, empty, or not what its name says.
    """
    resolved = path.resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise DataError(f"{path} lies outside the study's folder", remedy="put the table beside the study file")
    if resolved.is_dir():
        raise DataError(f"{path} is a folder, not a table", remedy="name a file in it")
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
    if resolved.suffix.lower() == ".gz":
        _require_whole_archive(resolved)
    connection = _locked_connection(folder)
    try:
        reader = _reader(connection, resolved, kind, (unit, period, *as_text), period=period, part=part)
        relation = _limited(connection.sql(reader), period, part)
    except duckdb.Error as error:
        raise DataError(
            f"{path.name} ({resolved.stat().st_size} bytes) can't be read as {kind}: {_first_line(error)}",
            remedy="check that the file is complete and is what its ending says",
        ) from None
    return Source(frame=nw.from_native(relation).lazy(), origin=path.name)


def from_sql(query: str, *, folder: Path, unit: str, period: str, part: Part = WHOLE) -> Source:
    """Run a query over the files beside the study, in an engine that sees no other folder and no network.

    A file goes by its name: ``select * from 'sales.parquet'``. Rows outside ``part`` are filtered from the query's result, and
    the engine moves that filter down to the files; a query that itself looks across periods, such as a running total, reads
    what it asks for.
    """
    connection = _locked_connection(folder)
    types = Part(pick=part.types or part.pick, unseen=part.unseen)
    try:
        _require_one_select(query)
        for path in sorted(folder.resolve().iterdir()):
            kind = _DUCKDB_FILES.get(path.suffix.lower())
            if kind and path.name in query:
                reader = _reader(connection, path, kind, (unit, period), period=period, part=types)
                connection.execute(f"CREATE VIEW {identifier(path.name)} AS {reader}")
        relation = connection.sql(query)
        if relation is not None:
            relation = _limited(relation, period, part)
    except duckdb.Error as error:
        raise DataError(f"the query failed: {_first_line(error)}\n  {query}", remedy="mend [data] sql") from None
    if relation is None:
        raise DataError(f"the query returns no table\n  {query}", remedy="[data] sql takes one select statement")
    return Source(frame=nw.from_native(relation).lazy(), origin=f"sql: {query}")


def collect(frame: nw.LazyFrame[Any], source: Source) -> pd.DataFrame:
    """Run a lazy frame in its engine; what fails while rows are read is refused like what fails before."""
    try:
        return frame.collect(backend="pandas").to_pandas()
    except duckdb.Error as error:
        raise DataError(
            f"the query failed while {source.origin} was read: {_first_line(error)}",
            remedy="mend [data] sql, or check that the file is complete",
        ) from None


def _require_one_select(query: str) -> None:
    """Refuse anything but one select: ``copy`` and ``attach`` may write into the study's own folder."""
    kinds = [statement.type for statement in duckdb.extract_statements(query)]
    if kinds != [duckdb.StatementType.SELECT]:
        raise DataError(f"the query returns no table\n  {query}", remedy="[data] sql takes one select statement")


def _require_whole_archive(path: Path) -> None:
    """Read a gzip file to its checksum; the engine stops at a cut without a word."""
    try:
        with gzip.open(path) as archive:
            while archive.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path.name} ({path.stat().st_size} bytes) can't be read as gzip: {error}",
            remedy="check that the file is complete and is what its ending says",
        ) from None


def _limited(relation: duckdb.DuckDBPyRelation, period: str, part: Part) -> duckdb.DuckDBPyRelation:
    """Keep the rows that may be read."""
    if part.pick is None or period not in relation.columns:
        return relation
    return relation.filter(_within(relation, period, part.pick))


def _within(relation: duckdb.DuckDBPyRelation, period: str, pick: Pick) -> str:
    """Write the condition that picks rows by their period, whose labels alone are read for it.

    It is made of ranges, in the column's own order: the engine moves comparisons below a query's expressions, while a long
    list of labels becomes a join above them, which would let the query see every row.
    """
    column = identifier(period)
    found = relation.project(f"{column}, CAST({column} AS VARCHAR)").distinct().order(column).fetchall()
    texts = {label: text for label, text in found if label is not None}
    picked, kind = set(pick(list(texts))), str(relation.types[relation.columns.index(period)])
    runs = [[texts[x] for x in run] for kept, run in itertools.groupby(texts, key=picked.__contains__) if kept]
    literal = "CAST({} AS {})".format
    ranges = [
        f"{column} BETWEEN {literal(_quoted(run[0]), kind)} AND {literal(_quoted(run[-1]), kind)}" for run in runs
    ]
    return " OR ".join(ranges) or "false"


def _reader(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    kind: str,
    as_text: Sequence[str],
    *,
    period: str,
    part: Part,
) -> str:
    """Write the query that reads one file.

    Text columns of a CSV become numbers when everything in them is one or a usual mark of a missing value (``NA``).
    Columns ``as_text`` stay text, units and periods above all: a market may be called ``NA`` and a postcode may begin with zero.
    Types are decided by the ``part`` alone; the query holds every row, and a number is only made where one is asked for.
    """
    if kind == "parquet":
        return f"SELECT * FROM read_parquet({_pattern(path)})"  # noqa: S608
    table = f"read_csv({_pattern(path)}, header=true, sample_size=-1, all_varchar=true, nullstr='')"
    columns = connection.sql(f"SELECT * FROM {table} LIMIT 0").columns  # noqa: S608
    _refuse_repeated_header(connection, path)
    if len(columns) == 1:
        _refuse_ragged_rows(path, columns[0])
    unseen = [name for name in columns if name in part.unseen and name not in as_text]
    candidates = [name for name in columns if name not in (*as_text, *unseen)]
    candidates = [name for name in candidates if part.columns is None or name in part.columns]
    rows = connection.sql(f"SELECT * FROM {table}")  # noqa: S608
    if part.pick is not None and period in columns:
        rows = rows.filter(_within(rows, period, part.pick))
    numbers = [*unseen, *_number_columns(rows, candidates)]
    cast = (
        "CAST" if part == WHOLE else "TRY_CAST"
    )  # a row outside the part may hold anything, until it is filtered away
    replaced = ", ".join(
        f"CASE WHEN {column} NOT IN ({_TOKENS}) THEN {cast}({column} AS DOUBLE) END AS {column}"
        for column in map(identifier, numbers)
    )
    return f"SELECT * {f'REPLACE ({replaced})' if numbers else ''} FROM {table}"  # noqa: S608


def _number_columns(rows: duckdb.DuckDBPyRelation, candidates: Sequence[str]) -> list[str]:
    """Return the columns of text in which everything is a number or a usual mark of a missing value."""
    if not candidates:
        return []
    texts = ", ".join(
        f"count(*) FILTER ({column} NOT IN ({_TOKENS}) AND (TRY_CAST({column} AS DOUBLE) IS NULL OR contains({column}, '_')))"
        for column in map(identifier, candidates)
    )
    counts = rows.aggregate(texts).fetchone() or ()
    return [name for name, text in zip(candidates, counts, strict=True) if text == 0]


def _refuse_repeated_header(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Refuse a name that stands twice in the header; the engine would rename the second without a word."""
    first = f"SELECT * FROM read_csv({_pattern(path)}, header=false, all_varchar=true) LIMIT 1"  # noqa: S608
    names = [name for name in connection.sql(first).fetchone() or () if name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path.name}: column names repeat: {', '.join(twice)}", remedy="rename them")


def _refuse_ragged_rows(path: Path, header: str) -> None:
    """Name the first row with another number of fields than the header; the engine then reads one wide column."""
    separator = next((mark for mark in ",;\t" if mark in header), None)
    if separator is None:
        return
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter=separator), start=1):
            if len(row) != header.count(separator) + 1:
                raise DataError(
                    f"{path.name}: line {number} has {len(row)} fields, the header has {header.count(separator) + 1}",
                    code="CB-D010",
                    remedy="quote fields that hold the separator, and fill in missing ones",
                )


def _locked_connection(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open an engine that reads one folder, loads no extension and can't be reconfigured by a query.

    It takes at most half of the machine's memory; what doesn't fit goes to a file that is gone when the engine is.
    """
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET allowed_directories = [{_literal(folder)} || '/']")
    spill = Path(tempfile.gettempdir()) / f"causalbench-{uuid.uuid4().hex}"
    for setting in (
        f"memory_limit = '{_memory_limit(connection) // 1024}KiB'",
        f"temp_directory = {_literal(spill)}",
        "enable_external_access = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _memory_limit(connection: duckdb.DuckDBPyConnection) -> int:
    """Return half of the memory that the machine or its container has; the engine's own limit is four fifths."""
    (own,) = connection.execute("SELECT current_setting('memory_limit')").fetchone() or ("1.0 GiB",)
    return min(byte_count(own), max(byte_count(own) * 5 // 8, _LEAST_MEMORY))


def byte_count(text: str) -> int:
    """Read an amount of memory as the engine writes it, such as ``18.8 GiB``."""
    amount, unit = text.split()
    return int(float(amount) * _UNITS[unit])


def _literal(path: Path) -> str:
    return _quoted(str(path.resolve()))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _pattern(path: Path) -> str:
    """Write a path for a reader, which would take ``*``, ``?`` and ``[`` as a pattern."""
    return _quoted(re.sub(r"([*?\[])", r"[\1]", str(path.resolve())))


def identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
