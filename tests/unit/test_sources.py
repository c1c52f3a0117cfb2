"""Every way into a table gives the same panel, names and labels survive, and a query can't leave its folder."""

import copy
import gzip

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from causalbench import Panel
from causalbench.data import sources
from causalbench.errors import DataError
from causalbench.study import Study
from causalbench.workflow.reading import read_panel

TABLE = pd.DataFrame(
    [
        (zip_code, week, float(10 * i + week**2 + 3 * (i == 0 and week > 2)) / 4)
        for i, zip_code in enumerate(["01234", "1234", "NA", "é l"])
        for week in range(1, 5)
    ],
    columns=["zip", "week", "sales"],
)
LAUNCH = {"treated": ["01234"], "start": 3}


def study(folder, *, unit="zip", period="week", outcome="sales", units=("01234",), **data):
    return Study.from_mapping(
        {
            "study": {"name": "s", "question": "q"},
            "data": {"unit": unit, "period": period, **data},
            "metric": [{"name": "sales", "column": outcome}],
            "launch": {"units": list(units), "start": 3},
            "method": {"name": "did"},
        },
        folder=folder,
    )


def read(folder, **keys):
    loaded = study(folder, **keys)
    return read_panel(loaded, loaded.metric[0])


def written(folder, name, text=None):
    text = TABLE.to_csv(index=False) if text is None else text
    content = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return name


@pytest.fixture(scope="module")
def expected():
    return Panel.from_table(TABLE, unit="zip", period="week", outcome="sales", **LAUNCH)


def relation():
    return duckdb.connect(":memory:").from_df(TABLE)


ENGINES = {
    "pandas": lambda: TABLE,
    "pandas shuffled": lambda: TABLE.sample(frac=1, random_state=5),
    "pandas nullable": lambda: TABLE.convert_dtypes(),
    "pandas arrow": lambda: TABLE.convert_dtypes(dtype_backend="pyarrow"),
    "pandas object keys": lambda: TABLE.astype({"zip": object, "week": object}),
    "polars": lambda: pl.DataFrame(TABLE),
    "polars lazy": lambda: pl.DataFrame(TABLE).lazy(),
    "polars categorical": lambda: pl.DataFrame(TABLE).with_columns(pl.col("zip").cast(pl.Categorical)),
    "arrow": lambda: pa.Table.from_pandas(TABLE),
    "arrow dictionary": lambda: pa.table(
        {"zip": pa.array(TABLE.zip).dictionary_encode(), "week": pa.array(TABLE.week), "sales": pa.array(TABLE.sales)}
    ),
    "duckdb": relation,
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_engine_gives_the_same_panel(expected, engine):
    panel = Panel.from_table(engine(), unit="zip", period="week", outcome="sales", **LAUNCH)
    assert panel.units == ("01234", "1234", "NA", "é l")
    assert panel.fingerprint == expected.fingerprint


FILES = {
    "csv": ("t.csv", TABLE.to_csv(index=False)),
    "upper-case ending": ("T.CSV", TABLE.to_csv(index=False)),
    "tsv": ("t.tsv", TABLE.to_csv(index=False, sep="\t")),
    "txt": ("t.txt", TABLE.to_csv(index=False)),
    "gz": ("t.csv.gz", TABLE.to_csv(index=False)),
    "semicolons": ("t.csv", TABLE.to_csv(index=False, sep=";")),
    "byte order mark": ("t.csv", b"\xef\xbb\xbf" + TABLE.to_csv(index=False).encode()),
    "windows lines": ("t.csv", TABLE.to_csv(index=False, lineterminator="\r\n")),
    "everything quoted": ("t.csv", TABLE.to_csv(index=False, quoting=1)),
    "no last line end": ("t.csv", TABLE.to_csv(index=False).rstrip("\n")),
    "rows in another order": ("t.csv", TABLE.iloc[::-1].to_csv(index=False)),
}


@pytest.mark.parametrize(("name", "text"), FILES.values(), ids=FILES)
def test_every_kind_of_text_file_gives_the_same_panel(tmp_path, expected, name, text):
    assert read(tmp_path, source=written(tmp_path, name, text)).fingerprint == expected.fingerprint


def test_parquet_gives_the_same_panel(tmp_path, expected):
    TABLE.to_parquet(tmp_path / "t.parquet")
    assert read(tmp_path, source="t.parquet").fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    "sql",
    [
        "select * from 't.csv'",
        'select zip, week, sales from "t.csv" order by sales',
        "select * from 't.parquet'",
        (
            "with half as (select zip, week, sales / 2 as sales from 't.parquet') "
            "select zip, week, sum(sales) as sales from (select * from half union all select * from half) group by all"
        ),
        "select p.zip, p.week, c.sales from 't.parquet' p join 't.csv' c on p.zip = c.zip and p.week = c.week::int",
    ],
    ids=["csv", "quoted name", "parquet", "aggregated", "joined"],
)
def test_sql_over_files_gives_the_same_panel(tmp_path, expected, sql):
    written(tmp_path, "t.csv")
    TABLE.to_parquet(tmp_path / "t.parquet")
    assert read(tmp_path, sql=sql).fingerprint == expected.fingerprint


def test_folder_with_a_quote_and_a_space_in_its_path(tmp_path, expected):
    folder = tmp_path / 'it\'s a "folder"; x'
    folder.mkdir()
    assert read(folder, source=written(folder, "sale's 1.csv")).fingerprint == expected.fingerprint
    assert read(folder, sql=f"select * from '{written(folder, 't 1.csv')}'").fingerprint == expected.fingerprint


@pytest.mark.parametrize("token", ["NA", "NaN", "nan", "null", "NULL", "N/A", ""])
def test_usual_marks_of_a_missing_outcome_are_read_as_missing(tmp_path, expected, token):
    text = TABLE.astype({"sales": str}).to_csv(index=False).replace("1234,2,3.5\n", f"1234,2,{token}\n")
    assert text.count(f",{token}\n") == 1
    panel = read(tmp_path, source=written(tmp_path, "t.csv", text))
    assert panel.units == expected.units
    assert np.argwhere(np.isnan(panel.outcome)).tolist() == [[1, 1]]
    (finding,) = [f for f in panel.findings if f.code == "CB-D004"]
    assert (finding.count, finding.units) == (1, ("1234",))
    assert finding.message == "column 'sales' is empty in 1 cells: 1234 at 2"


def test_other_words_in_the_outcome_are_refused(tmp_path):
    text = TABLE.to_csv(index=False).replace("1234,2,3.5\n", "1234,2,n.a.\n")
    with pytest.raises(
        DataError,
        match=r"CB-D020: outcome column 'sales' holds 1 texts that aren't plain numbers, for example 'n\.a\.'",
    ):
        read(tmp_path, source=written(tmp_path, "t.csv", text))


NAMES = {
    "sql keywords": ("select", "index", "from"),
    "spaces and an apostrophe": ("a b", "the period", "it's"),
    "names used inside": ("rows", "unit", "total"),
    "more names used inside": ("__period", "__unit", "low"),
    "punctuation": ("a,b", "time;", "é (€)"),
}
HARD_NAMES = {"double quote": ("a b", 'x"y', "sales"), "dot": (".w", "post.time", "a.b")}
FORMS = {
    "pandas": lambda table: table,
    "polars": pl.DataFrame,
    "arrow": pa.Table.from_pandas,
    "duckdb": lambda table: duckdb.connect(":memory:").from_df(table),
}


def renamed(names):
    return TABLE.rename(columns=dict(zip(TABLE.columns, names, strict=True)))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_column_names_of_any_kind_work_in_every_engine(expected, names, form):
    unit, period, outcome = names
    panel = Panel.from_table(form(renamed(names)), unit=unit, period=period, outcome=outcome, metric="sales", **LAUNCH)
    assert panel.fingerprint == expected.fingerprint


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_column_names_of_any_kind_work_in_files(tmp_path, expected, names):
    unit, period, outcome = names
    name = written(tmp_path, "t.csv", renamed(names).to_csv(index=False))
    assert read(tmp_path, source=name, unit=unit, period=period, outcome=outcome).fingerprint == expected.fingerprint


@pytest.mark.parametrize("form", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("names", HARD_NAMES.values(), ids=HARD_NAMES)
def test_column_names_with_quotes_and_dots_work_in_memory(expected, names, form):
    unit, period, outcome = names
    table = FORMS[form](renamed(names))
    panel = Panel.from_table(table, unit=unit, period=period, outcome=outcome, metric="sales", **LAUNCH)
    assert panel.fingerprint == expected.fingerprint


@pytest.mark.parametrize("names", HARD_NAMES.values(), ids=HARD_NAMES)
def test_column_names_with_quotes_and_dots_work_in_files(tmp_path, expected, names):
    unit, period, outcome = names
    name = written(tmp_path, "t.csv", renamed(names).to_csv(index=False))
    assert read(tmp_path, source=name, unit=unit, period=period, outcome=outcome).fingerprint == expected.fingerprint


REFUSED = {
    "system file": "select * from read_csv('/etc/passwd')",
    "system file as text": "select * from read_text('/etc/passwd')",
    "system file by name": "select * from '/etc/passwd'",
    "listing": "select * from glob('/etc/*')",
    "neighbour": "select * from read_csv('{outside}/secret.csv')",
    "way up": "select * from read_csv('{folder}/../secret.csv')",
    "relative way up": "select * from read_csv('../secret.csv')",
    "link out of the folder": "select * from read_csv('{folder}/link.csv')",
    "link by name": "select * from 'link.csv'",
    "network": "select * from 'https://example.invalid/x.csv'",
    "install": "install httpfs",
    "load": "load httpfs",
    "unlock": "set lock_configuration = false",
    "open access": "set enable_external_access = true",
    "reset": "reset enable_external_access",
    "pragma": "pragma memory_limit = '1GB'",
    "setting after a query": "select 1; set threads = 1",
    "attach": "attach '{outside}/x.db'",
    "copy out": "copy (select 1) to '{outside}/copy.csv'",
    "secret": "create secret (type s3)",
    "variable of the program": "select * from connection",
}


@pytest.fixture
def folders(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    written(folder, "t.csv")
    written(tmp_path, "secret.csv")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    return folder, tmp_path


@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED)
def test_query_cant_leave_its_folder_or_change_the_engine(folders, sql):
    folder, outside = folders
    before = sorted(path.name for path in outside.rglob("*"))
    query = sql.format(folder=folder, outside=outside)
    with pytest.raises(DataError) as refused:
        read(folder, sql=query)
    assert str(refused.value).startswith("the query ")
    assert query in str(refused.value)
    assert "[data] sql" in refused.value.remedy
    assert sorted(path.name for path in outside.rglob("*")) == before


@pytest.mark.parametrize("sql", ["", " ;", "create table x as select 1", "begin"])
def test_query_without_a_table_is_refused(folders, sql):
    with pytest.raises(DataError, match="the query returns no table"):
        sources.from_sql(sql, folder=folders[0], unit="zip", period="week")


def test_query_without_rows_names_the_query(folders):
    sql = "select * from 't.csv' where zip = 'nowhere'"
    with pytest.raises(DataError) as refused:
        read(folders[0], sql=sql)
    assert (
        str(refused.value) == f"CB-D033: sql: {sql} has no rows\n  To mend it: check the export or the query's filters"
    )


@pytest.mark.parametrize(
    "sql",
    ["copy (select 1) to '{folder}/t.csv'", "attach '{folder}/x.db'", "export database '{folder}/all'"],
    ids=["overwrite the table", "attach", "export"],
)
def test_query_cant_write_into_its_own_folder(folders, sql):
    folder, _ = folders
    before = {path.name: path.stat().st_size for path in folder.iterdir()}
    with pytest.raises(DataError):
        read(folder, sql=sql.format(folder=folder))
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "sql",
    [
        "select zip, week, cast(zip as double) as sales from 't.csv'",
        "select zip, week, error('boom') as sales from 't.csv'",
    ],
    ids=["cast", "error"],
)
def test_query_that_fails_while_it_runs_is_refused(folders, sql):
    with pytest.raises(DataError, match="the query failed"):
        read(folders[0], sql=sql)


def test_damaged_parquet_is_refused(tmp_path):
    TABLE.to_parquet(tmp_path / "t.parquet")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[4:60] = b"\xff" * 56
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet"):
        read(tmp_path, source="t.parquet")


def test_star_in_a_file_name_reads_that_file_only(tmp_path, expected):
    written(tmp_path, "t1.csv", TABLE.assign(sales=0.0).to_csv(index=False))
    assert read(tmp_path, source=written(tmp_path, "t*.csv")).fingerprint == expected.fingerprint


@pytest.mark.parametrize("form", ["pandas", "polars", "arrow"])
def test_callers_table_is_left_as_it_was(form):
    table = FORMS[form](TABLE.sample(frac=1, random_state=2))
    kept = copy.deepcopy(table)
    Panel.from_table(table, unit="zip", period="week", outcome="sales", **LAUNCH)
    assert table.equals(kept)
    if form == "pandas":
        pd.testing.assert_frame_equal(table, kept)


@pytest.mark.parametrize("thing", [None, [1, 2], {"zip": ["a"]}, np.zeros((2, 2)), "t.csv", TABLE["sales"]], ids=repr)
def test_other_objects_are_refused_by_their_type(thing):
    with pytest.raises(DataError) as refused:
        Panel.from_table(thing, unit="zip", period="week", outcome="sales", **LAUNCH)
    assert str(refused.value) == (
        f"a {type(thing).__name__} isn't a table\n  To mend it: pass a pandas, Polars or Arrow table, or a DuckDB relation"
    )


def test_relation_is_aggregated_in_its_engine_and_left_usable():
    events = duckdb.connect(":memory:").sql(
        "select 'z' || (i % 3) as zip, 1 + (i // 3) % 4 as week, 1.0 as sales from range(1200) t(i)"
    )
    panel = Panel.from_table(
        events, unit="zip", period="week", outcome="sales", treated=["z0"], start=3, grain="event", aggregate="sum"
    )
    assert panel.outcome.tolist() == [[100.0] * 4] * 3
    assert len(events) == 1200


@pytest.mark.parametrize(
    "table",
    [
        TABLE.pivot_table(index="zip", columns="week", values="sales").reset_index(),
        pd.concat([TABLE, TABLE[["sales"]]], axis=1),
        pd.concat({"x": TABLE}, axis=1),
    ],
    ids=["numbers", "repeated", "two levels"],
)
def test_odd_column_names_of_a_data_frame_are_refused(table):
    with pytest.raises(DataError):
        Panel.from_table(table, unit="zip", period="week", outcome="sales", **LAUNCH)
