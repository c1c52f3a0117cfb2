"""The sealed plan: it reads nothing after the launch, holds what was decided, and says in words what has changed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import causalbench as cb
from causalbench.cli import main
from causalbench.data.datasets import study_path
from causalbench.errors import DataError, LockError, OutputError
from causalbench.plan.lock import Lock
from causalbench.workflow.before_launch import history_of, schedule_of
from causalbench.workflow.locking import compare_lock, lock_path, lock_study, sealed_choice

DAYS = [f"2021-03-{day:02d}" for day in range(1, 21)]
LAUNCH = "2021-03-15"
CITIES = ["aix", "bonn", "cork", "delft", "évry"]

STUDY = """
[study]
name = "spring"
question = "Did it work?"
[data]
{data}
unit = "city"
period = "{period}"
[[metric]]
name = "sales"
column = "y"
role = "success"
{metric}
[launch]
{launch}
[method]
name = "synthetic-control"
inference = "placebo-rank"
level = 0.9
"""
PEOPLE = """
[study]
name = "training"
question = "Did it raise earnings?"
[data]
source = "people.csv"
covariates = ["age", "education"]
[[metric]]
name = "earnings"
column = "re78"
[launch]
treatment = "treat"
assignment = "random"
[method]
name = "adjustment"
"""
NAMED = f'units = ["aix"]\nstart = "{LAUNCH}"'


def rows(days=DAYS, *, seed=1):
    """A table of sales: each value depends on city and day alone, not on which others there are."""
    values = np.random.default_rng(seed).uniform(50, 150, size=(len(CITIES), len(DAYS))).round(2)
    cells = [(city, day, values[i, DAYS.index(day)]) for i, city in enumerate(CITIES) for day in days]
    return pd.DataFrame(cells, columns=["city", "day", "y"])


def make(folder: Path, table: pd.DataFrame, *, data=None, launch=NAMED, metric="", period="day", kind="csv"):
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "csv":
        table.to_csv(folder / "sales.csv", index=False)
    else:
        table.to_parquet(folder / "sales.parquet", index=False)
    data = data or f'source = "sales.{kind}"'
    text = STUDY.format(data=data, launch=launch, metric=metric, period=period)
    (folder / "study.toml").write_text(text, "utf-8")
    return cb.Study.load(folder)


def edit(study, old, new, file="study.toml"):
    path = study.folder / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return cb.load_study(study.folder)


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["causalbench", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return leaving.value.code or 0, captured.out, captured.err


def as_text(table, *, broken="no parser takes this"):
    """The same table with outcomes as text, of which those from the launch on are no number."""
    return table.assign(y=table["y"].astype(str).where(table["day"] < LAUNCH, broken))


# --- what is read -----------------------------------------------------------------------------------------------------


def unreadable_csv(folder):
    return make(folder, as_text(rows()))


def unreadable_parquet(folder):
    return make(folder, as_text(rows()), data='source = "sales.parquet"\ndecimal = "."', kind="parquet")


def touched_in_sql(folder):
    query = (
        f"select city, day, case when day >= '{LAUNCH}' then error('a later outcome was read') else y end as y "
        "from 'sales.parquet'"
    )
    return make(folder, rows(), data=f'sql = "{query}"', kind="parquet")


def touched_in_summed_sql(folder):
    """The query adds up, so the filter has to go below its sum."""
    query = (
        f"select city, day, sum(case when day >= '{LAUNCH}' then error('a later outcome was read') else y end) as y "
        "from 'sales.parquet' group by all"
    )
    return make(folder, rows(), data=f'sql = "{query}"', kind="parquet")


def cast_in_sql_over_csv(folder):
    query = "select city, day::date as day, y::double as y from 'sales.csv'"
    return make(folder, as_text(rows()), data=f'sql = "{query}"')


def by_cohort_in_csv(folder):
    table = as_text(rows())
    table["since"] = table["city"].map({"aix": LAUNCH})
    return make(folder, table, launch='cohort = "since"')


def by_treatment_in_parquet(folder):
    table = as_text(rows())
    table["on"] = ((table["city"] == "aix") & (table["day"] >= LAUNCH)).astype(int)
    data = 'source = "sales.parquet"\ndecimal = "."'
    return make(folder, table, data=data, kind="parquet", launch='treatment = "on"')


def by_cohort_in_sql_over_csv(folder):
    table = as_text(rows())
    table["since"] = table["city"].map({"aix": LAUNCH})
    query = "select city, day, y, since from 'sales.csv'"
    return make(folder, table, data=f'sql = "{query}"', launch='cohort = "since"')


def events_in_csv(folder):
    table = pd.concat([as_text(rows()), as_text(rows(seed=2))])
    return make(folder, table, data='source = "sales.csv"\ngrain = "event"')


@pytest.mark.parametrize(
    "broken",
    [
        unreadable_csv,
        unreadable_parquet,
        touched_in_sql,
        touched_in_summed_sql,
        cast_in_sql_over_csv,
        by_cohort_in_csv,
        by_treatment_in_parquet,
        by_cohort_in_sql_over_csv,
        events_in_csv,
    ],
)
def test_rows_from_the_launch_on_are_never_read(broken, tmp_path):
    study = broken(tmp_path / "s")
    with pytest.raises(DataError):  # whoever reads them is refused
        cb.readout(study)
    lock = Lock.load(lock_study(study))
    assert lock.content["history"]["sales"]["last"] == "2021-03-14"
    assert lock.content["history"]["sales"]["n_periods"] == 14
    assert lock.content["when_sealed"]["n_from_launch"] == 6
    assert compare_lock(study).status == "kept"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_reading_up_to_the_launch_gives_the_bits_of_a_table_that_ends_there(kind, tmp_path):
    whole = make(tmp_path / "whole", rows(), kind=kind)
    short = make(tmp_path / "short", rows([day for day in DAYS if day < LAUNCH]), kind=kind)
    read = [history_of(study, study.metric[0], last="2021-03-14") for study in (whole, short)]
    assert read[0].fingerprint == read[1].fingerprint
    assert schedule_of(short).n_from_launch == 0


def test_more_labels_than_an_engine_lists_one_by_one_are_filtered_below_the_query(tmp_path):
    days = [str(day.date()) for day in pd.date_range("2010-01-01", periods=3000)]
    cells = [(city, day, float(i)) for city in CITIES[:3] for i, day in enumerate(days)]
    table = pd.DataFrame(cells, columns=["city", "day", "y"])
    query = "select city, day, case when day >= '2018-01-01' then error('read') else y end as y from 'sales.parquet'"
    launch = 'units = ["aix"]\nstart = "2018-01-01"'
    study = make(tmp_path, table, data=f'sql = "{query}"', kind="parquet", launch=launch)
    assert Lock.load(lock_study(study)).content["history"]["sales"]["n_periods"] == days.index("2018-01-01")


@pytest.mark.parametrize(
    ("written", "data"),
    [
        (lambda day: day[8:] + "/" + day[5:7] + "/" + day[:4], '\ndate_format = "%d/%m/%Y"'),
        (lambda day: int(day.replace("-", "")), ""),
        (lambda day: day + "T00:00:00", ""),
    ],
)
def test_periods_are_told_apart_however_they_are_written(written, data, tmp_path):
    table = as_text(rows())
    table["day"] = table["day"].map(written)
    study = make(tmp_path, table, data='source = "sales.csv"' + data)
    assert Lock.load(lock_study(study)).content["when_sealed"]["n_periods"] == 20
    assert schedule_of(study).n_from_launch == 6


def test_a_week_in_which_the_launch_falls_counts_as_its_rule_says(tmp_path):
    weeks = [f"2021-0{3 if day < 32 else 4}-{day if day < 32 else day - 31:02d}" for day in range(1, 50, 7)]
    cells = [(city, week, float(i + j)) for i, city in enumerate(CITIES) for j, week in enumerate(weeks)]
    table = pd.DataFrame(cells, columns=["city", "day", "y"])
    found = {}
    for align in ("next", "previous", "drop_partial"):
        launch = f'units = ["aix"]\nstart = "2021-03-24"\nalign = "{align}"'
        found[align] = schedule_of(make(tmp_path / align, table, launch=launch)).last.isoformat()
        early = schedule_of(make(tmp_path / f"{align}-early", table[table["day"] < "2021-03-24"], launch=launch))
        assert early.last.isoformat() == found[align]  # the same before the later weeks are there
        far = schedule_of(make(tmp_path / f"{align}-far", table[table["day"] < "2021-03-10"], launch=launch))
        assert far.last.isoformat() == "2021-03-08"  # it has ended long before the launch
    assert found == {"next": "2021-03-22", "previous": "2021-03-15", "drop_partial": "2021-03-15"}


def test_a_comparison_is_sealed_without_its_outcome(tmp_path):
    table = pd.read_csv(study_path("lalonde").parent / "experiment.csv")
    (tmp_path / "study.toml").write_text(PEOPLE, "utf-8")
    study = cb.load_study(tmp_path)
    table.to_csv(tmp_path / "people.csv", index=False)
    sealed = Lock.load(lock_study(study))
    assert sealed.content["when_sealed"] == {"outcome_exists": True}
    table.assign(re78="not yet").to_csv(tmp_path / "people.csv", index=False)
    assert compare_lock(study).status == "kept"
    table.drop(columns=["re78"]).to_csv(tmp_path / "people.csv", index=False)
    assert compare_lock(study).status == "kept"
    table.assign(age=table["age"] + 1).to_csv(tmp_path / "people.csv", index=False)
    assert compare_lock(study).differences == (
        "the data of earnings apart from the outcome aren't those sealed: some of their values changed",
    )


# --- what is compared -------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path):
    study = make(tmp_path / "s", rows())
    lock_study(study)
    return study


def test_lock_from_before_the_launch_is_kept_once_the_data_have_grown(tmp_path):
    study = make(tmp_path, rows(DAYS[:10]))
    path = lock_study(study)
    assert path.name == "study.lock.json"
    content = Lock.load(path).content
    assert content["when_sealed"] == {"last_period_before": "2021-03-10", "n_from_launch": 0, "n_periods": 10}
    rows().to_csv(tmp_path / "sales.csv", index=False)
    found = cb.readout(study).plan
    assert (found["status"], found["stamp"], found["differences"]) == ("kept", "", [])
    (note,) = found["notes"]
    assert "up to 2021-03-10; those from then to the launch, up to 2021-03-14, came later and are used too" in note
    assert not any("already held" in line for line in found["limits"])


def test_lock_is_the_same_bytes_whatever_the_order_of_rows(sealed):
    before = lock_path(sealed).read_bytes()
    lock_path(sealed).unlink()
    rows().sample(frac=1, random_state=3).to_csv(sealed.folder / "sales.csv", index=False)
    assert lock_study(sealed).read_bytes() == before


OTHER = "the data of sales before the launch aren't those sealed: "
CHANGES = {
    "level": (("level = 0.9", "level = 0.95"), ["[method] level: 0.9 when sealed, 0.95 now"]),
    "inference": (
        ('inference = "placebo-rank"', 'inference = "placebo"'),
        ['[method] inference: "placebo-rank" when sealed, "placebo" now'],
    ),
    "method": (
        ('name = "synthetic-control"', 'name = "synthetic-did"'),
        ['[method] name: "synthetic-control" when sealed, "synthetic-did" now'],
    ),
    "exclusion": (
        ("level = 0.9", 'level = 0.9\n[method.options]\nexclude = "cork"'),
        ['[method.options] exclude: not set when sealed, "cork" now', "donor pool: lost cork"],
    ),
    "units": (
        ('units = ["aix"]', 'units = ["aix", "bonn"]'),
        ["[launch] units: added bonn", "donor pool: lost bonn"],
    ),
    "start": (
        ('start = "2021-03-15"', 'start = "2021-03-16"'),
        ['[launch] start: "2021-03-15" when sealed, "2021-03-16" now'],
    ),
    "end": (
        ('start = "2021-03-15"', 'start = "2021-03-15"\nend = "2021-03-18"'),
        ['[launch] end: not set when sealed, "2021-03-18" now'],
    ),
    "metric": (
        ("[launch]", '[[metric]]\nname = "again"\ncolumn = "y"\nrole = "driver"\n[launch]'),
        ["metric 'again' was added after the plan was sealed"],
    ),
    "metric gone": (
        ('name = "sales"', 'name = "turnover"'),
        [
            "metric 'sales' of the sealed plan is no longer in the study",
            "metric 'turnover' was added after the plan was sealed",
        ],
    ),
    "role of a metric": (
        ('role = "success"', 'role = "success"\naggregate = "mean"'),
        ['metric \'sales\': aggregate: "sum" when sealed, "mean" now'],
    ),
    "seed": (("level = 0.9", "level = 0.9\n[run]\nseed = 4"), ["[run] seed: 0 when sealed, 4 now"]),
    "rule for gaps": (
        ('unit = "city"', 'unit = "city"\non_missing = "drop_unit"'),
        ['[data] on_missing: "error" when sealed, "drop_unit" now'],
    ),
    "question": (("Did it work?", "Did it pay?"), ['[study] question: "Did it work?" when sealed, "Did it pay?" now']),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_the_study_is_listed_in_words(name, sealed):
    (old, new), expected = CHANGES[name]
    report = compare_lock(edit(sealed, old, new))
    assert (report.status, report.stamp) == ("changed", "EXPLORATORY")
    assert list(report.differences) == expected
    assert report.text.startswith("EXPLORATORY: this run differs from its sealed plan")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.assign(y=t["y"] + ((t["city"] == "cork") & (t["day"] == "2021-03-03"))),
         [f"{OTHER}values of 1 unit changed: cork; values of 1 period changed: 2021-03-03"]),
        (lambda t: t[t["city"] != "cork"],
         ["donor pool: lost cork", f"{OTHER}units gone: cork"]),
        (lambda t: pd.concat([t, t[t["city"] == "cork"].assign(city="dax")]),
         ["donor pool: gained dax", f"{OTHER}units added: dax"]),
        (lambda t: t[t["day"] != "2021-03-02"],
         [f"{OTHER}periods gone: 2021-03-02"]),
        (lambda t: t.rename(columns={"y": "z"}),
         [f"{OTHER}they can't be read as they were (sales.csv lacks outcome column 'y')"]),
    ],
)  # fmt: skip
def test_every_change_of_the_data_before_the_launch_is_named(change, expected, sealed):
    change(rows()).to_csv(sealed.folder / "sales.csv", index=False)
    assert list(compare_lock(sealed).differences) == expected


def test_later_rows_and_spellings_of_the_same_plan_are_no_change(sealed):
    table = rows()
    table.loc[table["day"] >= LAUNCH, "y"] *= 3
    table.to_csv(sealed.folder / "sales.csv", index=False)
    edit(sealed, "level = 0.9", "level = 0.90 # as planned\n[run]\nseed = 0")
    study = edit(sealed, f'start = "{LAUNCH}"', f'anticipation = 0\nassignment = "chosen"\nstart = {LAUNCH}')
    assert compare_lock(study).status == "kept"


def test_donor_that_was_unknown_when_the_plan_was_sealed_is_named(tmp_path):
    study = make(tmp_path, rows(DAYS[:10]))
    lock_study(study)
    late = pd.concat([rows(), rows()[lambda t: t["city"] == "cork"].assign(city="dax")])
    late = late[(late["city"] != "dax") | (late["day"] > "2021-03-10")]
    late.to_csv(tmp_path / "sales.csv", index=False)
    study = edit(study, 'unit = "city"', 'unit = "city"\non_missing = "drop_period"')
    found = cb.readout(study).plan["differences"]
    assert "sales: 1 unit used that the sealed plan didn't know: dax" in found


def test_graph_of_the_study_is_sealed_with_it(tmp_path):
    folder = tmp_path / "people"
    shutil.copytree(study_path("lalonde").parent, folder)
    study = cb.load_study(folder)
    lock_study(study)
    graph = folder / study.dag
    graph.write_text(graph.read_text("utf-8") + "\n", "utf-8")
    assert compare_lock(study).differences == (f"the file {study.dag} was changed",)


def test_study_without_a_lock_says_so(tmp_path):
    report = compare_lock(make(tmp_path, rows()))
    assert (report.status, report.stamp, report.limits) == ("none", "", ())
    assert report.text.startswith("No plan was sealed before the readout")


def test_plan_of_a_version_that_knew_fewer_keys_is_kept(sealed):
    content = json.loads(json.dumps(Lock.load(lock_path(sealed)).content))
    del content["plan"]["launch"]["anticipation"], content["plan"]["metric"][0]["scale"]
    lock_path(sealed).write_text(Lock(content=content).to_json(), "utf-8")
    assert compare_lock(sealed).status == "kept"


# --- the file ---------------------------------------------------------------------------------------------------------


def test_sealing_the_same_plan_again_leaves_the_file(sealed):
    before = lock_path(sealed).stat().st_mtime_ns
    assert lock_study(sealed).stat().st_mtime_ns == before


def test_another_plan_is_sealed_only_when_asked_and_names_the_first(sealed):
    first = Lock.load(lock_path(sealed)).seal
    study = edit(sealed, "level = 0.9", "level = 0.8")
    with pytest.raises(LockError, match=r"seals another plan .*\n  - \[method\] level: 0.9 when sealed, 0.8 now"):
        lock_study(study)
    again = Lock.load(lock_study(study, replace=True))
    assert again.content["earlier_seals"] == [first]
    assert "This plan replaced 1 earlier seal." in " ".join(compare_lock(study).limits)
    assert sorted(path.name for path in sealed.folder.iterdir()) == ["sales.csv", "study.lock.json", "study.toml"]


def test_changed_byte_of_the_lock_is_refused_by_name(sealed, monkeypatch, capsys, tmp_path):
    path = lock_path(sealed)
    path.write_text(path.read_text("utf-8").replace('"level": 0.9', '"level": 0.8'), "utf-8")
    code, out, err = call(monkeypatch, capsys, "run", sealed.folder, "--out", tmp_path / "run")
    assert (code, out) == (4, "")
    assert f"{path} was changed after it was sealed, in: plan\n  To mend it: restore the lock" in err
    assert not (tmp_path / "run").exists()


def test_two_studies_in_a_folder_have_locks_of_their_own(sealed):
    other = sealed.folder / "summer.toml"
    other.write_text((sealed.folder / "study.toml").read_text("utf-8").replace("spring", "summer"), "utf-8")
    assert compare_lock(cb.Study.load(other)).status == "none"
    assert lock_study(cb.Study.load(other)).name == "summer.lock.json"


def test_typing_error_in_a_unit_is_found_before_it_is_sealed(tmp_path):
    study = make(tmp_path, rows(DAYS[:10]), launch=f'units = ["aixx"]\nstart = "{LAUNCH}"')
    with pytest.raises(DataError, match="1 unit of the study without a row before the launch: 'aixx'"):
        lock_study(study)


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ('units = ["aix"]\nstart = "2021-03-01"', "there is no period before it to seal"),
        ('units = ["aix"]\nstart = 7', "launch start is 7, but periods look like 2021-03-01"),
        ('treatment = "on"', "names no launch after the first period"),
        ('cohort = "on"', "names no launch after the first period"),
        ('cohort = "onn"', r"lacks column 'onn' \(did you mean 'on'\?\)"),
    ],
)
def test_plan_without_a_known_launch_is_refused(launch, message, tmp_path):
    table = rows().assign(on=0)
    table["on"] = table["on"] if "cohort" not in launch else np.nan
    with pytest.raises(DataError, match=message):
        lock_study(make(tmp_path, table, launch=launch))


def test_geo_study_is_sealed_by_its_design(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "lock", study_path("geolift_pretest"))
    assert code == 2
    assert "use causalbench geo design" in err


def test_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("causalbench.workflow.locking.tempfile.NamedTemporaryFile", refuse)
    with pytest.raises(OutputError, match=r"can't write .*study.lock.json: Permission denied"):
        lock_study(make(tmp_path, rows()))


def test_commit_is_recorded_and_whether_it_holds_the_study(tmp_path):
    study = make(tmp_path / "repository" / "spring", rows())
    git = ["git", "-C", str(tmp_path / "repository"), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "plan"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    made = Lock.load(lock_study(study)).content["made_with"]["git"]
    assert made == {"commit": head, "holds_study_file": True}
    study = edit(study, "0.9", "0.8")
    made = Lock.load(lock_study(study, replace=True)).content["made_with"]["git"]
    assert made == {"commit": head, "holds_study_file": False}


def test_lock_command_says_what_it_read_and_what_a_seal_cannot_show(sealed, monkeypatch, capsys):
    lock_path(sealed).unlink()
    code, out, err = call(monkeypatch, capsys, "lock", sealed.folder)
    assert (code, err) == (0, "")
    assert re.match(rf"Sealed: {lock_path(sealed)}\nSeal:   [0-9a-f]{{64}}\n", out)
    assert "sales: read 5 units, 14 periods, 2021-03-01 to 2021-03-14; nothing from the launch on\n" in out
    assert "the table already held 6 periods from the launch on" in out
    code, out, _ = call(monkeypatch, capsys, "lock", sealed.folder, "--json")
    assert json.loads(out)["seal"] == Lock.load(lock_path(sealed)).seal


# --- a method that is left to the rules --------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [unreadable_csv, unreadable_parquet, touched_in_sql, by_cohort_in_csv])
def test_rules_choose_without_a_look_at_later_outcomes(broken, tmp_path):
    study = edit(broken(tmp_path / "s"), 'name = "synthetic-control"\ninference = "placebo-rank"', 'name = "auto"')
    chosen = Lock.load(lock_study(study)).content["resolved"]["method"]["chosen"]
    assert chosen["name"] != "auto"
    found = sealed_choice(study)
    assert (found.method.name, found.method.inference) == (chosen["name"], chosen["inference"])


def test_run_of_a_sealed_choice_keeps_the_plan(tmp_path):
    study = make(tmp_path, rows(DAYS[:14]))
    study = edit(study, 'name = "synthetic-control"\ninference = "placebo-rank"', 'name = "auto"')
    chosen = Lock.load(lock_study(study)).content["resolved"]["method"]["chosen"]
    rows().to_csv(tmp_path / "sales.csv", index=False)
    found = cb.readout(study)
    assert (found.plan["status"], found.plan["differences"]) == ("kept", [])
    assert found.estimates[0].estimator == chosen["name"]


def test_method_put_in_place_of_auto_after_the_seal_is_a_change(tmp_path):
    study = make(tmp_path, rows())
    study = edit(study, 'name = "synthetic-control"\ninference = "placebo-rank"', 'name = "auto"')
    lock_study(study)
    report = compare_lock(edit(study, 'name = "auto"', 'name = "trimmed-match"'))
    assert report.differences[0] == '[method] name: "auto" when sealed, "trimmed-match" now'
