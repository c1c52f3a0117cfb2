"""Wrong tables through the command line: each is refused with its code, where, how many, and the remedy."""

import gzip
import json
import os
import random
import subprocess
import sys

import pandas as pd
import pytest

from causalbench import cli

SALES = {
    "baku": (11, 12, 12, 14, 14, 15),
    "kyiv": (7, 9, 8, 9, 10, 10),
    "lima": (10, 12, 11, 13, 20, 21),
    "oslo": (8, 9, 8, 10, 10, 11),
    "rome": (12, 13, 13, 14, 15, 15),
}
ROWS = {(city, week): f"{city},{week},{y}" for city, ys in SALES.items() for week, y in enumerate(ys, start=1)}
LAUNCH = ("--treated", "lima", "--start", "5")
MISSING_REMEDY = (
    '\n  To mend it: choose on_missing = "drop_unit", "drop_period", "zero" or "impute" '
    "(linear between neighbours in time, never across the launch) under [data], or --on-missing\n"
)
ALIGN_REMEDY = (
    '\n  To mend it: say what to do with the partly treated period: [launch] align = "next" (counts as before), '
    '"previous" (counts as after) or "drop_partial"\n'
)


def csv(changes=None, *, extra=(), header="city,week,sales"):
    rows = ROWS | (changes or {})
    return "\n".join([header, *(row for row in rows.values() if row is not None), *extra]) + "\n"


def with_column(name, value):
    """Add a column whose cells are ``value(city, week)``."""
    return csv({key: f"{row},{value(*key)}" for key, row in ROWS.items()}, header=f"city,week,sales,{name}")


def arguments(table, *flags, method="did", unit="city", period="week", outcome="sales"):
    return ["estimate", method, str(table), "--unit", unit, "--period", period, "--outcome", outcome, *flags]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, stdout and stderr."""

    def call(*command):
        monkeypatch.setattr(sys, "argv", ["causalbench", *map(str, command)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return call


@pytest.fixture
def table(tmp_path):
    """Write ``t.csv`` and return its path."""

    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


REFUSED = {
    "A1 missing cells": (
        csv({("lima", 2): None, ("oslo", 3): None, ("oslo", 6): None}),
        LAUNCH,
        "CB-D001: 3 of 30 cells (unit and period) have no row; "
        "3 cells are missing, in 2 units (lima, oslo) and 3 periods (2, 3, 6)" + MISSING_REMEDY,
    ),
    "A2 identical duplicates": (
        csv(extra=["lima,2,12", "oslo,3,8", "oslo,3,8"]),
        LAUNCH,
        (
            "CB-D002: 2 cells stand twice with the same 'sales': lima at 2, oslo at 3\n"
            '  To mend it: [data] on_duplicate = "exact" keeps one row of each\n'
        ),
    ),
    "A3 conflicting duplicates": (
        csv(extra=["lima,2,12.5", "oslo,3,8"]),
        LAUNCH,
        (
            "CB-D003: 1 cells have rows that differ in 'sales': lima at 2\n"
            '  To mend it: [data] on_duplicate = "sum" or "mean"; or grain = "event" if each row is an event\n'
        ),
    ),
    "A3 a duplicate that is empty once": (
        csv(extra=["lima,2,"]),
        LAUNCH,
        (
            "CB-D003: 1 cells have rows that differ in 'sales': lima at 2\n"
            '  To mend it: [data] on_duplicate = "sum" or "mean"; or grain = "event" if each row is an event\n'
        ),
    ),
    "A5 empty unit": (
        csv({("baku", 2): ",2,12", ("kyiv", 3): " ,3,8"}),
        LAUNCH,
        (
            "CB-D005: t.csv: column 'city' is empty in 2 rows, at row 2, 9 (at period 2, 3)\n"
            "  To mend it: fill in 'city' or remove these rows\n"
        ),
    ),
    "A6 empty period": (
        csv({("baku", 2): "baku,,12", ("kyiv", 3): "kyiv,,8"}),
        LAUNCH,
        (
            "CB-D006: t.csv: column 'week' is empty in 2 rows, at row 2, 9 (at unit baku, kyiv)\n"
            "  To mend it: fill in 'week' or remove these rows\n"
        ),
    ),
    "A7 infinite outcome": (
        csv({("baku", 2): "baku,2,inf", ("kyiv", 3): "kyiv,3,-inf", ("oslo", 6): "oslo,6,Infinity"}),
        LAUNCH,
        (
            "CB-D007: column 'sales' is infinite in 3 rows: baku at 2, kyiv at 3, oslo at 6\n"
            "  To mend it: correct these values, or leave them empty and choose on_missing\n"
        ),
    ),
    "A10 dates with two readings": (
        csv({key: f"{key[0]},03/04/2024,5" for key in ROWS}),
        LAUNCH,
        (
            "CB-D010: period column 'week': 1 labels aren't ISO dates; '03/04/2024' may be 2024-04-03 (%d/%m/%Y) or 2024-03-04 "
            "(%m/%d/%Y)\n"
            '  To mend it: say how dates are written: date_format = "%d/%m/%Y" or date_format = "%m/%d/%Y" under [data], or '
            "--date-format\n"
        ),
    ),
    "A12 launch after the data": (
        csv(),
        ("--treated", "lima", "--start", "7"),
        (
            "CB-D012: launch start 7 lies after the last period 6: 0 post periods\n"
            "  To mend it: wait for data after the launch, or correct the date\n"
        ),
    ),
    "A12 launch before the data": (
        csv(),
        ("--treated", "lima", "--start", "0"),
        (
            "CB-D012: launch start 0 lies before the first period 1: 0 pre periods\n"
            "  To mend it: add history before the launch, or correct the date\n"
        ),
    ),
    "A12 a date for numbered periods": (
        csv(),
        ("--treated", "lima", "--start", "2024-05-01"),
        (
            "CB-D012: launch start is '2024-05-01', but periods look like 1\n"
            "  To mend it: write launch start in the same form as the periods\n"
        ),
    ),
    "A13 launch between two weeks": (
        csv(
            {key: f"{key[0]},2024-01-{7 * key[1] - 6:02d},{SALES[key[0]][key[1] - 1]}" for key in ROWS if key[1] < 5}
            | {key: None for key in ROWS if key[1] >= 5}
        ),
        ("--treated", "lima", "--start", "2024-01-18"),
        "CB-D013: launch start 2024-01-18 falls between the periods 2024-01-15 and 2024-01-22" + ALIGN_REMEDY,
    ),
    "A14 launch in the first period": (
        csv(),
        ("--treated", "lima", "--start", "1"),
        (
            "CB-D023: all 1 treated units are treated from the first period 1 on: lima; without a period before the launch "
            "they say nothing about its effect\n"
            "  To mend it: add history before the launch\n"
        ),
    ),
    "A18 misspelt columns": (
        csv(header="city,weeks,Sales"),
        LAUNCH,
        (
            "CB-D018: t.csv lacks period column 'week' (did you mean 'weeks'?); outcome column 'sales' (did you mean 'Sales'?)\n"
            "  To mend it: name one of its columns: city, weeks, Sales\n"
        ),
    ),
    "A19 unit in other case": (
        csv(),
        ("--treated", "Lima,Olso,zzz", "--start", "5"),
        (
            "CB-D019: treated units not in the data: 'Lima' (did you mean 'lima'?); 'Olso' (did you mean 'oslo'?); 'zzz'\n"
            "  To mend it: the data have 5 units, for example 'baku', 'kyiv', 'lima' and 2 more\n"
        ),
    ),
    "A20 numbers written for people": (
        csv({("baku", 1): 'baku,1,"1,234.5"', ("baku", 2): "baku,2,12%", ("baku", 3): "baku,3,$3"}),
        LAUNCH,
        (
            "CB-D020: outcome column 'sales' holds 3 texts that aren't plain numbers, for example '1,234.5', '12%', '$3'\n"
            "  To mend it: take signs of currency out and divide percentages by 100 first; separators may stay, see [data] "
            "thousands\n"
        ),
    ),
    "A21 treatment switches off": (
        with_column("on", lambda city, week: int(city == "lima" and week in (3, 4))),
        ("--treatment", "on"),
        (
            "CB-D021: treatment of unit 'lima' switches on at 3 and off again at 5\n"
            "  To mend it: the methods here need a treatment that stays on; end the data before it, or study the first "
            "spell\n"
        ),
    ),
    "A22 cohort varies within a unit": (
        with_column("first", lambda city, week: (4 if week < 3 else 5) if city == "lima" else ""),
        ("--cohort", "first"),
        (
            "CB-D022: column 'first' varies within unit 'lima': 4.0, 5.0\n"
            "  To mend it: give every row of a unit the same launch period\n"
        ),
    ),
    "A22 cohort empty in some rows": (
        with_column("first", lambda city, week: 5 if city == "lima" and week > 1 else ""),
        ("--cohort", "first"),
        (
            "CB-D022: column 'first' varies within unit 'lima': 5.0, empty\n"
            "  To mend it: give every row of a unit the same launch period\n"
        ),
    ),
    "A28 constant treated unit": (
        csv({("lima", week): f"lima,{week},3" for week in range(1, 7)}),
        LAUNCH,
        (
            "CB-D028: the outcome of no treated unit ever varies: lima\n"
            "  To mend it: check that the metric is recorded for these units\n"
        ),
    ),
    "A28 nothing but zeros": (
        csv({key: f"{key[0]},{key[1]},0" for key in ROWS}),
        LAUNCH,
        (
            "CB-D028: the outcome of no treated unit ever varies: lima\n"
            "  To mend it: check that the metric is recorded for these units\n"
        ),
    ),
    "A32 wide table": (
        "city,2024-01-01,2024-01-08,2024-01-15,2024-01-22\nbaku,11,12,12,14\nlima,10,12,11,13\n",
        ("--treated", "lima", "--start", "2024-01-15"),
        (
            "CB-D032: t.csv is wide: 4 columns look like periods (2024-01-01, 2024-01-08, 2024-01-15 and 1 more)\n"
            "  To mend it: make it long first: table.melt(id_vars=['city'], var_name='week', value_name='sales')\n"
        ),
    ),
    "A33 header only": (
        "city,week,sales\n",
        LAUNCH,
        "CB-D033: t.csv has no rows\n  To mend it: check the export or the query's filters\n",
    ),
    "A33 0 bytes": ("", LAUNCH, "CB-D033: t.csv is empty (0 bytes)\n  To mend it: export the table again\n"),
}


@pytest.mark.parametrize(("text", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_table_is_refused_with_the_whole_message_and_exit_2(run, table, text, flags, message):
    assert run(*arguments(table(text), *flags)) == (2, "", message)


def test_json_flag_keeps_stdout_empty_on_refusal(run, table):
    code, out, err = run(*arguments(table(csv({("lima", 2): None})), *LAUNCH, "--json"))
    assert (code, out) == (2, "")
    assert (
        err
        == "CB-D001: 1 of 30 cells (unit and period) have no row; 1 cells are missing, in 1 units (lima) and 1 periods (2)"
        + MISSING_REMEDY
    )


def test_too_few_periods_before_the_launch_names_both_numbers(run, table):
    flags = ("--treated", "lima", "--start", "2")
    assert run(*arguments(table(csv()), *flags, method="synthetic-control")) == (
        2,
        "",
        (
            "CB-D014: synthetic-control needs at least 2 periods before the launch, the data have 1\n"
            "  To mend it: add history before the launch, or lower anticipation where it is set\n"
        ),
    )


@pytest.mark.parametrize("flags", [("--treated", ",".join(SALES), "--start", "5"), ("--cohort", "first")])
def test_no_never_treated_unit_is_refused_with_exit_3(run, table, flags):
    assert run(*arguments(table(with_column("first", lambda *_: 5)), *flags)) == (
        3,
        "",
        (
            "CB-D024: did needs at least 1 control units, the data have 0\n"
            "  To mend it: add units that never got the launch\n"
        ),
    )


def test_two_launch_dates_are_refused_with_exit_3_and_both_dates(run, table):
    text = with_column("first", lambda city, _: {"lima": 5, "oslo": 4}.get(city, ""))
    code, out, err = run(*arguments(table(text), "--cohort", "first"))
    assert (code, out) == (3, "")
    assert "did needs one launch date, the data have 2: 4, 5\n  To mend it: use group-time" in err


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (lambda city, week: "yes" if city == "lima" and week > 4 else "no", 30),
        (lambda city, week: 2 if city == "lima" and week > 4 else 0, 2),
        (lambda city, week: "" if city == "lima" and week == 5 else int(city == "lima" and week > 4), 1),
    ],
    ids=["words", "three levels", "empty"],
)
def test_treatment_that_is_not_0_or_1_is_refused_with_cells_and_count(run, table, value, count):
    code, out, err = run(*arguments(table(with_column("on", value)), "--treatment", "on"))
    assert (code, out) == (2, "")
    first = "baku at 1, baku at 2, baku at 3, baku at 4, baku at 5 and 25 more" if count == 30 else "lima at 5"
    assert f"treatment column 'on' is not plainly 0 or 1 in {count} cells: {first}" in err
    assert err.endswith("  To mend it: use 0 before the launch and 1 from it on, one value per unit and period\n")


def test_unit_with_a_trailing_space_in_the_data_shows_the_space(run, table):
    text = csv({("lima", week): ROWS["lima", week].replace("lima", "lima ") for week in range(1, 7)})
    code, _, err = run(*arguments(table(text), *LAUNCH))
    assert code in (0, 2)
    assert not err or err.startswith("CB-D019: treated units not in the data: 'lima' (did you mean 'lima '?)\n")


def test_text_periods_are_ordered_as_numbers(run, table):
    shifted = csv({(city, week): f"{city},{week + 6},{SALES[city][week - 1]}" for city, week in ROWS})
    later = run(*arguments(table(shifted), "--treated", "lima", "--start", "11", "--json"))
    plain = run(*arguments(table(csv()), *LAUNCH, "--json"))
    assert plain[0] == later[0] == 0
    assert plain[1].replace('"window":"5 to 6"', "").replace('"periods":[1,2,3,4,5,6]', "") == later[1].replace(
        '"window":"11 to 12"', ""
    ).replace('"periods":[7,8,9,10,11,12]', "")


def test_constant_donor_is_left_out_by_name_and_warned_about(run, table):
    changes = {("kyiv", week): f"kyiv,{week},4" for week in range(1, 7)}
    _, out, err = run(*arguments(table(csv(changes)), *LAUNCH, "--json", method="synthetic-control"))
    without = run(*arguments(table(csv(dict.fromkeys(changes))), *LAUNCH, "--json", method="synthetic-control"))[1]
    with_it, without_it = json.loads(out), json.loads(without)
    assert err == ""
    assert "CB-D028: 1 control units never vary: kyiv; left out of the donor pool" in with_it["warnings"]
    assert set(with_it["weights"]) == {"baku", "oslo", "rome"}
    assert with_it["n_control"] == without_it["n_control"] == 3
    assert with_it["value"] == pytest.approx(without_it["value"], rel=1e-12)
    assert with_it["weights"] == pytest.approx(without_it["weights"], rel=1e-9)


def test_order_of_rows_leaves_no_trace(run, table):
    lines = csv().splitlines()
    shuffled = "\n".join([lines[0], *sorted(lines[1:], key=lambda line: line[::-1])])
    first = run(*arguments(table(csv()), *LAUNCH, "--json"))
    assert run(*arguments(table(shuffled), *LAUNCH, "--json")) == first


PARQUET_REMEDY = "\n  To mend it: check that the file is complete and is what its ending says\n"


def test_truncated_parquet_is_refused_with_its_size(run, table, tmp_path):
    pd.DataFrame({"city": ["lima"], "week": [1], "sales": [2.0]}).to_parquet(tmp_path / "whole.parquet")
    half = (tmp_path / "whole.parquet").read_bytes()[:700]
    code, out, err = run(*arguments(table(half, "half.parquet"), *LAUNCH))
    assert (code, out) == (2, "")
    assert err.startswith("half.parquet (700 bytes) can't be read as parquet: ")
    assert "No magic bytes found at end of file" in err
    assert err.endswith(PARQUET_REMEDY)


def test_csv_named_parquet_is_refused_with_its_size(run, table):
    code, out, err = run(*arguments(table(csv(), "t.parquet"), *LAUNCH))
    assert (code, out) == (2, "")
    assert err.startswith(f"t.parquet ({len(csv())} bytes) can't be read as parquet: ")
    assert err.endswith(PARQUET_REMEDY)


def test_parquet_named_csv_is_refused(run, table, tmp_path):
    pd.DataFrame({"city": ["lima"], "week": [1], "sales": [2.0]}).to_parquet(tmp_path / "whole.parquet")
    code, out, err = run(*arguments(table((tmp_path / "whole.parquet").read_bytes()), *LAUNCH))
    assert (code, out) == (2, "")
    assert "can't be read as csv" in err or err.startswith("CB-D018")


def test_unknown_kind_of_file_is_refused_with_the_known_ones(run, table):
    assert run(*arguments(table(b"PK", "t.xlsx"), *LAUNCH)) == (
        2,
        "",
        (
            "t.xlsx: files of type '.xlsx' can't be read\n"
            "  To mend it: use one of .csv, .tsv, .txt, .gz, .parquet, or pass a data frame in Python\n"
        ),
    )


def test_missing_table_names_the_nearest_file(run, table, tmp_path):
    table(csv(), "sales_2024.csv")
    code, out, err = run(*arguments(tmp_path / "sale_2024.csv", *LAUNCH))
    assert (code, out) == (2, "")
    assert err.startswith(f"sale_2024.csv doesn't exist in {tmp_path} (did you mean 'sales_2024.csv'?)\n  To mend it: ")


def test_link_to_a_table_outside_the_folder_is_refused(run, tmp_path):
    outside, folder = tmp_path / "outside.csv", tmp_path / "study"
    outside.write_text(csv())
    folder.mkdir()
    (folder / "t.csv").symlink_to(outside)
    assert run(*arguments(folder / "t.csv", *LAUNCH)) == (
        2,
        "",
        f"{folder / 't.csv'} lies outside the study's folder\n  To mend it: put the table beside the study file\n",
    )


def test_column_without_any_number_is_refused(run, table):
    code, out, err = run(*arguments(table(csv({key: f"{key[0]},{key[1]},NA" for key in ROWS})), *LAUNCH))
    assert (code, out) == (2, "")
    assert err.startswith("CB-D004: column 'sales' holds no number\n")


def test_missing_outcomes_are_repaired_only_on_request_and_said(run, table):
    text = csv({("oslo", 2): "oslo,2,"})
    assert run(*arguments(table(text), *LAUNCH))[:2] == (2, "")
    code, out, err = run(*arguments(table(text), *LAUNCH, "--on-missing", "drop_unit", "--json"))
    assert (code, err) == (0, "")
    assert "CB-D004: column 'sales' is empty in 1 cells: oslo at 2; missing" in out
    assert 'on_missing = \\"drop_unit\\"; 5 x 6 became 4 x 6' in out


@pytest.mark.parametrize(
    ("text", "flags", "start"),
    [
        (csv(extra=["lima,2,99"]), LAUNCH, "CB-D003: 1 cells have rows that differ in 'sales': lima at 2\n"),
        (csv(), ("--treated", "lima", "--start", "9"), "CB-D012: launch start 9 lies after the last period 6: 0 post"),
    ],
    ids=["data error", "launch outside"],
)
def test_refusal_in_a_process_of_its_own(table, text, flags, start):
    command = [sys.executable, "-m", "causalbench", *arguments(table(text), *flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(start)
    assert "Traceback" not in done.stderr


def test_wide_table_with_numbered_periods_shows_the_melt(run, table):
    code, _, err = run(*arguments(table("city,2019,2020,2021\nbaku,11,12,12\nlima,10,12,11\n"), *LAUNCH))
    assert code == 2
    assert err.startswith("CB-D032: t.csv is wide: 3 columns look like periods (2019, 2020, 2021)\n")
    assert "table.melt(id_vars=['city'], var_name='week', value_name='sales')" in err


def test_empty_outcome_is_refused_by_its_own_code_and_column(run, table):
    code, _, err = run(*arguments(table(csv({("oslo", 2): "oslo,2,"})), *LAUNCH))
    assert code == 2
    assert err.startswith("CB-D004: ")
    assert "'sales'" in err
    assert "oslo" in err


def test_bad_treatment_column_has_a_code_of_its_own(run, table):
    _, _, err = run(*arguments(table(with_column("on", lambda *_: 2)), "--treatment", "on"))
    assert err.startswith("CB-D")
    assert not err.startswith("CB-D024")


def test_units_that_differ_only_by_spaces_are_refused(run, table):
    rows = {("baku", week): ROWS["baku", week].replace("baku", "baku ") for week in (2, 4)}
    code, _, err = run(*arguments(table(csv(rows)), *LAUNCH, "--on-missing", "drop_unit"))
    assert code == 2
    assert "'baku'" in err
    assert "'baku '" in err


@pytest.mark.parametrize("row", ["oslo,2,9,9", "oslo,2"])
def test_ragged_row_is_refused_with_its_number(run, table, row):
    code, _, err = run(*arguments(table(csv({("oslo", 2): row})), *LAUNCH))
    assert code == 2
    found = len(row.split(","))
    line = csv({("oslo", 2): row}).splitlines().index(row) + 1
    assert f"line {line} has {found} fields, the header has 3" in err


def test_two_units_and_two_periods_are_answered_or_refused(run, table):
    path = table("city,week,sales\na,1,5\na,2,6\nb,1,3\nb,2,4.5\n")
    code, _, err = run(*arguments(path, "--treated", "a", "--start", "2"))
    assert code in (0, 2, 3)
    assert "internal error" not in err


def test_folder_in_place_of_a_table_is_called_a_folder(run, tmp_path):
    code, _, err = run(*arguments(tmp_path, *LAUNCH))
    assert code == 2
    assert "folder" in err.splitlines()[0]
    assert "doesn't exist" not in err


def test_examples_of_unreadable_periods_come_in_order(run, table):
    text = csv({key: f"{key[0]},week {key[1]},5" for key in ROWS})
    _, _, err = run(*arguments(table(text), *LAUNCH))
    assert "for example 'week 1', 'week 2', 'week 3' and 3 more\n" in err


def test_truncated_gzip_is_refused(run, table):
    generator = random.Random(1)
    rows = [f"{city}{i},{week},{generator.random()}" for city in SALES for i in range(100) for week in range(1, 101)]
    whole = gzip.compress("\n".join(["city,week,sales", *rows]).encode())
    half = table(whole[: len(whole) // 2], "t.csv.gz")
    code, _, err = run(*arguments(half, "--treated", "baku1", "--start", "60", "--on-missing", "drop_unit"))
    assert code == 2
    assert err.startswith("t.csv.gz (")
