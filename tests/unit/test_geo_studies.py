"""Wrong studies of geo experiments: every problem with its table, key and line, however deep the table lies."""

import pytest

from causalbench.errors import StudyError
from causalbench.study import GeoStudy, Study

GOOD = """\
[study]
name = "walk"
question = "Which markets?"
[data]
source = "there-is-no-such-table.csv"
unit = "city"
period = "day"
[[metric]]
name = "sales"
column = "Y"
[geo]
durations = [10]
"""
BUFFER_KEYS = "hops, kind, km, share, table"
QUOTA_KEYS = "cell, column, max, min, value"
WRONG = {
    "keys of another kind of buffer": (
        'buffer = {kind = "adjacency", table = "t.csv", km = 3.0}\n',
        ["[geo.buffer] (line 13): km would do nothing with kind = 'adjacency'"],
    ),
    "keys that a switchback doesn't read": (
        "max_controls = 3\n[geo.switchback]\nblock = [4]\nn_periods = 16\n",
        ["[geo] (line 12): durations, max_controls would do nothing with [geo.switchback]"],
    ),
    "a duration twice": (
        "switchback = {block = [4, 4], n_periods = 16}\n",
        None,
    ),
    "counties of states": (
        'map = {kind = "us-states", counties = "t.csv"}\n',
        ['[geo.map] counties (line 13): joins counties to markets: set kind = "us-counties"'],
    ),
    "a budget of the controls": (
        "cost_per_incremental = 2.0\nbudget = {control = 3.0}\n",
        ["[geo] budget (line 14): control gets no treatment, so it costs nothing"],
    ),
    "key of a nested table": (
        '[geo.buffer]\nkind = "adjacency"\ntable = "t.csv"\nhop = 2\n',
        [f"[geo.buffer] hop (line 16) is not a key (did you mean 'hops'?); allowed here: {BUFFER_KEYS}"],
    ),
    "value in a nested table": (
        'markets = "m.csv"\n[geo.buffer]\nkind = "distance"\nkm = -3\n',
        ["[geo.buffer] km (line 16): Input should be greater than 0, found -3"],
    ),
    "inline table": (
        'markets = "m.csv"\nbuffer = {kind = "distance", km = 0}\n',
        ["[geo.buffer] km (line 14): Input should be greater than 0, found 0"],
    ),
    "dotted keys": (
        'markets = "m.csv"\nbuffer.kind = "distance"\nbuffer.km = 0\n',
        ["[geo.buffer] km (line 15): Input should be greater than 0, found 0"],
    ),
    "second of several tables": (
        'markets = "m.csv"\n[[geo.quotas]]\ncolumn = "r"\nvalue = "N"\n[[geo.quotas]]\ncolumn = "r"\nvalue = "S"\nmin = -1\n',
        ["[[geo.quotas]] min (line 20): Input should be greater than or equal to 0, found -1"],
    ),
    "key missing in the second of several tables": (
        'markets = "m.csv"\n[[geo.quotas]]\ncolumn = "r"\nvalue = "N"\n[[geo.quotas]]\ncolumn = "r"\n',
        ["[[geo.quotas]] value is missing (line 17)"],
    ),
    "key of one of several tables": (
        'markets = "m.csv"\n[[geo.quotas]]\ncolumn = "r"\nvalue = "N"\nmx = 1\n',
        [f"[[geo.quotas]] mx (line 17) is not a key (did you mean 'max'?); allowed here: {QUOTA_KEYS}"],
    ),
    "list written as a word": (
        'include = "lima"\n',
        ["[geo] include (line 13): Input should be an array, found 'lima'"],
    ),
    "share out of range, read as a number alone": (
        "min_share = 2.0\n",
        ["[geo] min_share (line 13): Input should be less than 1, found 2.0"],
    ),
    "share of one cell": (
        "[geo.max_share]\ntreated = 1.5\n",
        ["[geo] max_share.treated (line 14): Input should be less than 1, found 1.5"],
    ),
    "table written as a word": ('map = "us"\n', ["[geo] map (line 13): Input should be a table, found 'us'"]),
    "rules of the buffer": (
        '[geo.buffer]\nkind = "commuting"\n',
        ["[geo.buffer] (line 13): kind = 'commuting' needs table, share"],
    ),
    "distance without places": (
        '[geo.buffer]\nkind = "distance"\nkm = 5\n',
        ["[geo.buffer] (line 13): distance needs markets with latitude and longitude of every market, or [geo.map]"],
    ),
    "cell that doesn't exist": (
        '[geo.include]\nsearhc = ["lima"]\n',
        ["[geo] include (line 13): names no cell: searhc; cells are treated"],
    ),
    "cell named like the controls": (
        'cells = ["control"]\n',
        ["[geo] cells (line 13): names must be distinct, and 'control' is the cell without treatment"],
    ),
    "seven cells": (
        f"cells = {[f'c{i}' for i in range(7)]}\n",
        None,
    ),
    "budget without price": (
        "budget = 1000\n",
        ["[geo] budget (line 13): needs cost_per_incremental, which says what an effect costs"],
    ),
    "quota without a table of markets": (
        '[[geo.quotas]]\ncolumn = "r"\nvalue = "N"\n',
        ["[geo] quotas (line 13): needs markets: a table with one row per market"],
    ),
    "test from nowhere": (
        "[geo.test]\nstart = 3\n",
        ["[geo.test] (line 13): give either a ledger (design.json) or the cells with their markets"],
    ),
    "test of a ledger without start": (
        '[geo.test]\nledger = "d/design.json"\n',
        ["[geo.test] (line 13): start is missing: the first period of the test"],
    ),
    "effect in percent": (
        "smallest_worthwhile_effect = 5\n",
        ["[geo] smallest_worthwhile_effect (line 13): Input should be less than 1, found 5"],
    ),
    "inference of another method": (
        '[method]\nname = "did"\ninference = "conformal"\n',
        None,
    ),
}


@pytest.mark.parametrize(("more", "expected"), WRONG.values(), ids=WRONG)
def test_geo_study_is_refused_with_exactly_these_problems(more, expected, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(GOOD + more)
    with pytest.raises(StudyError) as refused:
        GeoStudy.load(path)
    assert refused.value.exit_code == 2
    if expected is not None:
        assert list(refused.value.problems) == expected
    assert not any("dict[" in problem or "tuple[" in problem for problem in refused.value.problems)


def test_unknown_selector_names_the_nearest_and_its_line(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(GOOD + 'selector = "serch"\n')
    with pytest.raises(
        StudyError, match=r"\[geo\] selector \(line 13\) = 'serch' doesn't exist \(did you mean 'search'"
    ):
        GeoStudy.load(path)


def test_split_of_the_users_own_needs_no_start(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(GOOD + '[geo.test.cells]\ntreated = ["lima"]\n')
    study = GeoStudy.load(path)
    assert study.geo.test is not None
    assert study.geo.test.cells == {"treated": ("lima",)}


def test_launch_study_with_a_geo_table_says_where_it_goes(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(GOOD)
    with pytest.raises(StudyError, match="a study with \\[geo\\] is for causalbench geo"):
        Study.load(path)
