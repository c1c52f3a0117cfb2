"""Wrong study files: every problem at once, with its table, key, line, what is allowed and the nearest match."""

import dataclasses
import datetime as dt

import pytest

from causalbench.errors import StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.study import Study

GOOD = """\
[study]
name = "spring"
question = "Did it work?"
[data]
source = "there-is-no-such-table.csv"
unit = "city"
period = "week"
[[metric]]
name = "sales"
column = "Y"
[launch]
units = ["lima"]
start = 5
[method]
name = "synthetic-control"
"""
METHODS = ESTIMATORS.names()
INFERENCES = ", ".join(ESTIMATORS.load("synthetic-control").inferences)
OPTIONS = ", ".join(field.name for field in dataclasses.fields(ESTIMATORS.load("synthetic-control")))


def load(folder, text):
    path = folder / "study.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Study.load(path)


def problems(folder, text):
    with pytest.raises(StudyError) as refused:
        load(folder, text)
    error = refused.value
    assert error.exit_code == 2
    count = "1 problem" if len(error.problems) == 1 else f"{len(error.problems)} problems"
    assert str(error).splitlines()[0] == f"{folder / 'study.toml'}: {count}"
    return list(error.problems)


def edited(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


DATA_KEYS = (
    "cluster, cost, covariates, date_format, decimal, grain, on_duplicate, on_missing, period, source, sql, thousands, unit, "
    "weights"
)
METRIC_KEYS = (
    "aggregate, better, column, denominator, effects, margin, maturity, name, role, scale, transform, worthwhile"
)
RULES = "'error', 'drop_unit', 'drop_period', 'zero', 'impute' or 'keep'"
TABLES = "calendar, dag, data, launch, method, metric, run, segments, study, trade, value"
LAUNCH_KEYS = "actual, align, anticipation, assignment, cohort, end, start, treatment, units"
WRONG = {
    "unknown key": (
        GOOD + "[run]\nsed = 3\n",
        ["[run] sed (line 17) is not a key (did you mean 'seed'?); allowed here: seed"],
    ),
    "misspelt required key": (
        edited('unit = "city"', 'unti = "city"'),
        [
            "[data] unit is missing (line 4)",
            f"[data] unti (line 6) is not a key (did you mean 'unit'?); allowed here: {DATA_KEYS}",
        ],
    ),
    "unknown table": (
        GOOD + "[methods]\n",
        [f"[methods] (line 16) is not a key (did you mean 'method'?); allowed here: {TABLES}"],
    ),
    "key outside every table": (
        'dga = "graph.dag"\n' + GOOD,
        [f"[dga] (line 1) is not a key (did you mean 'dag'?); allowed here: {TABLES}"],
    ),
    "graph that isn't text": ("dag = 3\n" + GOOD, ["dag (line 1): Input should be a valid string, found 3"]),
    "key of the second metric": (
        edited("[launch]", '[[metric]]\nname = "visits"\ncolumn = "V"\nrol = "driver"\n[launch]'),
        [f"[[metric]] rol (line 14) is not a key (did you mean 'role'?); allowed here: {METRIC_KEYS}"],
    ),
    "inference of another method": (
        GOOD + 'inference = "cluster"\n',
        [f"[method] inference (line 16) = 'cluster' doesn't go with synthetic-control; allowed: {INFERENCES}"],
    ),
    "misspelt inference": (
        GOOD + 'inference = "placebo_rank"\n',
        [
            (
                "[method] inference (line 16) = 'placebo_rank' doesn't exist for synthetic-control (did you mean "
                f"'placebo-rank'?); allowed: {INFERENCES}"
            ),
        ],
    ),
    "number where a name belongs": (
        edited('unit = "city"', "unit = 3"),
        ["[data] unit (line 6): Input should be a valid string, found 3"],
    ),
    "quoted number": (
        GOOD + 'level = "0.95"\n',
        ["[method] level (line 16): Input should be a valid number, found '0.95'"],
    ),
    "negative seed": (
        GOOD + "[run]\nseed = -1\n",
        ["[run] seed (line 17): Input should be greater than or equal to 0, found -1"],
    ),
    "fractional seed": (
        GOOD + "[run]\nseed = 1.5\n",
        ["[run] seed (line 17): Input should be a valid integer, found 1.5"],
    ),
    "negative anticipation": (
        edited("start = 5", "start = 5\nanticipation = -2"),
        ["[launch] anticipation (line 14): Input should be greater than or equal to 0, found -2"],
    ),
    "word outside the list": (
        edited("start = 5", 'start = 5\nassignment = "randomised"'),
        ["[launch] assignment (line 14): Input should be 'random', 'rule', 'opt-in' or 'chosen', found 'randomised'"],
    ),
    "part of a word": (
        edited("start = 5", 'start = 5\nalign = "prev"'),
        ["[launch] align (line 14): Input should be 'error', 'next', 'previous' or 'drop_partial', found 'prev'"],
    ),
    "two ways of naming the launch": (
        edited("start = 5", 'start = 5\ncohort = "first"'),
        ["[launch] (line 11): give exactly one of units, cohort, treatment; found units, cohort"],
    ),
    "no way of naming the launch": (
        edited('units = ["lima"]\nstart = 5\n', ""),
        ["[launch] (line 11): give exactly one of units, cohort, treatment; found none"],
    ),
    "units without a start": (
        edited("start = 5\n", ""),
        ["[launch] (line 11): start goes with units, and units need a start"],
    ),
    "start beside a cohort column": (
        edited('units = ["lima"]', 'cohort = "first"'),
        ["[launch] (line 11): start goes with units, and units need a start"],
    ),
    "missing keys": (
        edited('question = "Did it work?"\n', "").replace('period = "week"\n', ""),
        ["[study] question is missing (line 1)", "[data] period is missing (line 3)"],
    ),
    "missing tables": (
        '[study]\nname = "spring"\nquestion = "Did it work?"\n',
        ["[data] is missing", "[[metric]] is missing", "[launch] is missing", "[method] is missing"],
    ),
    "empty file": (
        "",
        [f"{table} is missing" for table in ("[study]", "[data]", "[[metric]]", "[launch]", "[method]")],
    ),
    "no source": (
        edited('source = "there-is-no-such-table.csv"\n', ""),
        ["[data] (line 4): give either source (a file beside the study) or sql"],
    ),
    "two sources": (
        edited('unit = "city"', 'sql = "select 1"\nunit = "city"'),
        ["[data] (line 4): give either source (a file beside the study) or sql"],
    ),
    "duplicates of events": (
        edited('unit = "city"', 'grain = "event"\non_duplicate = "sum"\nunit = "city"'),
        ['[data] on_duplicate (line 7): does nothing with grain = "event": rows are aggregated'],
    ),
    "two metrics with one name": (
        edited("[launch]", '[[metric]]\nname = "sales"\ncolumn = "V"\n[launch]'),
        ["[[metric]] (line 8): names must be distinct, found twice: 'sales'"],
    ),
    "no metric of success": (
        edited('column = "Y"', 'column = "Y"\nrole = "driver"'),
        ['[[metric]] (line 8): one metric needs role = "success": it makes the headline'],
    ),
    "misspelt option": (
        GOOD + '[method.options]\nexclude = ["rome"]\nfixed_effect = "unit"\n',
        [
            (
                "[method.options] (line 16): option 'fixed_effect' doesn't exist for synthetic-control (did you mean "
                f"'fixed_effects'?); allowed: {OPTIONS}"
            ),
        ],
    ),
    "impossible option": (
        GOOD + '[method.options]\nfixed_effects = "both"\n',
        ["[method.options] (line 16): option fixed_effects: Input should be 'none' or 'unit', found 'both'"],
    ),
    "option of another method": (
        edited("synthetic-control", "did") + '[method.options]\nexclude = ["rome"]\n',
        ["[method.options] (line 16): option 'exclude' doesn't exist for did; allowed: covariance, convention"],
    ),
    "options that are no table": (
        GOOD + "options = 3\n",
        ["[method] options (line 16): Input should be a table, found 3"],
    ),
    "key twice": (
        edited('unit = "city"', 'unit = "city"\nunit = "geo"'),
        ["not valid TOML: Cannot overwrite a value (at line 7, column 13)"],
    ),
    "table twice": (
        GOOD + '[data]\nunit = "geo"\n',
        ["not valid TOML: Cannot declare ('data',) twice (at line 16, column 6)"],
    ),
    "word without quotes": (
        edited('unit = "city"', "unit = city"),
        ["not valid TOML: Invalid value (at line 6, column 8)"],
    ),
    "leading zero": (
        edited("start = 5", "start = 012"),
        ["not valid TOML: Expected newline or end of document after a statement (at line 13, column 10)"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_study_is_refused_with_exactly_these_problems(tmp_path, text, expected):
    assert problems(tmp_path, text) == expected


def test_good_study_loads_before_any_data_exists(tmp_path):
    study = load(tmp_path, GOOD)
    assert (study.method.name, study.method.level, study.run.seed, study.folder) == (
        "synthetic-control",
        0.95,
        0,
        tmp_path,
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("synthetic-contrl", " (did you mean 'synthetic-control'?)"),
        ("synthetic_control", " (did you mean 'synthetic-control'?)"),
        ("synth", ""),
    ],
)
def test_misspelt_method_names_the_nearest_and_all(tmp_path, name, hint):
    (problem,) = problems(tmp_path, edited("synthetic-control", name))
    assert problem.startswith(f"[method] name (line 15) = {name!r} doesn't exist{hint}; there are: {METHODS[0]}, ")
    assert "synthetic-control" in problem.partition("there are: ")[2].split(", ")


@pytest.mark.parametrize("key", ['inference = "conformal"', '[method.options]\nexclude = ["quito"]'])
def test_method_auto_chooses_inference_and_options_itself(tmp_path, key):
    (problem,) = problems(tmp_path, edited('name = "synthetic-control"\n', f'name = "auto"\n{key}\n'))
    assert problem.startswith("[method] ")
    assert problem.endswith('name = "auto" chooses it too; leave it out, or name a method')


def test_method_auto_is_a_name(tmp_path):
    assert load(tmp_path, edited("synthetic-control", "auto")).method.name == "auto"


def test_every_problem_is_listed_at_once_before_the_table_is_looked_at(tmp_path):
    text = """\
[study]
name = "spring sale"
question = "Did it work?"
[data]
source = "there-is-no-such-table.csv"
unti = "city"
period = "week"
on_missing = "drop"
[[metric]]
name = "sales"
column = "Y"
[[metric]]
name = "visits"
column = "V"
agregate = "sum"
[launch]
units = ["lima"]
start = 5
cohort = "first"
[method]
name = "synthetic-contrl"
[run]
seed = -1
"""
    found = problems(tmp_path, text)
    assert found[:-1] == [
        "[study] name (line 2): String should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$', found 'spring sale'",
        "[data] unit is missing (line 4)",
        f"[data] on_missing (line 8): Input should be {RULES}, found 'drop'",
        f"[data] unti (line 6) is not a key (did you mean 'unit'?); allowed here: {DATA_KEYS}",
        f"[[metric]] agregate (line 15) is not a key (did you mean 'aggregate'?); allowed here: {METRIC_KEYS}",
        "[run] seed (line 23): Input should be greater than or equal to 0, found -1",
        "[launch] (line 16): give exactly one of units, cohort, treatment; found units, cohort",
    ]
    assert found[-1].startswith("[method] name (line 21) = 'synthetic-contrl' doesn't exist (did you mean")


def test_file_in_another_encoding_is_refused(tmp_path):
    (problem,) = problems(tmp_path, edited("Did it work?", "Wirkte die Prämie?").encode("latin-1"))
    assert problem.startswith("the file can't be read: 'utf-8' codec can't decode byte 0xe4 in position ")


@pytest.mark.parametrize(
    "text", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()], ids=["bom", "crlf"]
)
def test_byte_order_mark_and_windows_lines_change_nothing(tmp_path, text):
    assert load(tmp_path, text).digest == load(tmp_path, GOOD).digest


def test_missing_file_names_the_nearest(tmp_path):
    load(tmp_path, GOOD)
    with pytest.raises(StudyError) as refused:
        Study.load(tmp_path / "stduy.toml")
    path = tmp_path / "stduy.toml"
    assert str(refused.value) == f"{path}: 1 problem\n  - there is no file {path} (did you mean 'study.toml'?)"


def test_folder_stands_for_its_study_file(tmp_path):
    load(tmp_path, GOOD)
    assert Study.load(tmp_path).study.name == "spring"
    with pytest.raises(StudyError, match=r"there is no file .*elsewhere"):
        Study.load(tmp_path / "elsewhere")


def test_keys_in_comments_and_strings_dont_move_the_line(tmp_path):
    text = edited('unit = "city"', '# unti = "city"\nunti = "city"').replace('"Did it work?"', '"unti = 3"')
    assert problems(tmp_path, text)[1].startswith("[data] unti (line 7) is not a key")


@pytest.mark.parametrize(
    ("written", "read"), [("5", 5), ("2024-01-04", dt.date(2024, 1, 4)), ('"2024-01-04"', "2024-01-04")]
)
def test_start_keeps_its_type(tmp_path, written, read):
    assert load(tmp_path, edited("start = 5", f"start = {written}")).launch.start == read


@pytest.mark.parametrize("level", ["95", "95.0", "1.5", "0.05", "0.5", "1.0"])
def test_impossible_level_is_refused_where_it_stands(tmp_path, level):
    (problem,) = problems(tmp_path, GOOD + f"level = {level}\n")
    assert problem.startswith("[method] level (line 16): ")
    assert f"found {float(level) if '.' in level else level}" in problem


@pytest.mark.parametrize("level", ["95", "0.05"])
def test_impossible_level_is_refused_with_the_whole_range(tmp_path, level):
    (problem,) = problems(tmp_path, GOOD + f"level = {level}\n")
    assert "0.5" in problem
    assert "give a confidence level between 0.5 and 1, such as 0.95, found" in problem


def test_wrong_start_is_one_problem(tmp_path):
    (problem,) = problems(tmp_path, edited("start = 5", "start = 4.5"))
    assert problem.startswith("[launch] start (line 13): ")


@pytest.mark.parametrize(
    ("old", "new"),
    [('units = ["lima"]', "units = [1]"), ('column = "Y"', 'colum = "Y"\ncolumn = "Y"')],
    ids=["unit", "metric"],
)
def test_wrong_only_item_is_one_problem(tmp_path, old, new):
    assert len(problems(tmp_path, edited(old, new))) == 1


@pytest.mark.parametrize("units", ['"lima"', "[]"])
def test_wrong_list_is_described_in_words_of_the_study_file(tmp_path, units):
    (problem,) = problems(tmp_path, edited('["lima"]', units))
    assert "uple" not in problem
