"""The ledger of a design: what a seal shows, and that its draws can be made again."""

import csv
import io
import json

import numpy as np
import pytest

from causalbench.errors import LockError
from causalbench.geo.ledger import ASSIGNMENT, LEDGER, Ledger
from causalbench.geo.split import Split
from causalbench.study import GeoStudy
from causalbench.workflow.geo_design import design
from causalbench.workflow.reading import read_history

STUDY = """\
[study]
name = "small"
question = "Which?"
[data]
source = "t.csv"
unit = "city"
period = "day"
[[metric]]
name = "sales"
column = "Y"
[geo]
durations = [5]
windows = 4
"""


def write_study(folder, more="", *, n_units=12, n_periods=48, seed=0):
    rng = np.random.default_rng(seed)
    common = 10 * np.sin(np.arange(n_periods) / 3)
    outcome = 100 + 5 * rng.normal(size=(n_units, 1)) + common + rng.normal(size=(n_units, n_periods))
    lines = [f"c{i:02d},{t},{outcome[i, t]:.4f}" for i in range(n_units) for t in range(n_periods)]
    (folder / "t.csv").write_text("\n".join(["city,day,Y", *lines]) + "\n")
    (folder / "study.toml").write_text(STUDY + more)
    return GeoStudy.load(folder)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    study = write_study(tmp_path_factory.mktemp("drawn"), 'selector = "matched-pairs"\n')
    return study, design(study)


@pytest.fixture
def sealed(drawn, tmp_path):
    ledger = drawn[1].ledger
    (tmp_path / LEDGER).write_text(ledger.to_json())
    (tmp_path / ASSIGNMENT).write_bytes(ledger.assignment_csv().encode())
    return tmp_path


def test_a_sealed_ledger_comes_back_as_it_was(drawn, sealed):
    for path in (sealed, sealed / LEDGER):
        found = Ledger.load(path)
        assert found.to_json() == drawn[1].ledger.to_json()
        assert found.seal == drawn[1].evidence["seal"]


def test_every_changed_byte_is_an_error(sealed):
    path = sealed / LEDGER
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.choice(len(whole), 60, replace=False).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LockError) as refused:
            Ledger.load(path)
        assert refused.value.exit_code == 4
    path.write_bytes(whole + b"\n")
    with pytest.raises(LockError, match="aren't those sealed"):
        Ledger.load(path)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("planned_analysis", lambda content: content["planned_analysis"].update(level=0.8)),
        ("seed", lambda content: content.update(seed=7)),
        ("assignment", lambda content: content["assignment"].update(strata=None)),
    ],
)
def test_the_changed_section_is_named(section, change, sealed):
    content = json.loads((sealed / LEDGER).read_text())
    change(content)
    (sealed / LEDGER).write_text(json.dumps(content))
    with pytest.raises(LockError, match=f"was changed after it was sealed, in: {section}"):
        Ledger.load(sealed)


def test_a_section_sealed_again_by_itself_is_found_by_the_whole_seal(drawn, sealed):
    content = json.loads((sealed / LEDGER).read_text())
    other = Ledger(content={**drawn[1].ledger.content, "seed": 7})
    content["seed"] = 7
    content["seal"]["sections"] = json.loads(other.to_json())["seal"]["sections"]
    (sealed / LEDGER).write_text(json.dumps(content))
    with pytest.raises(LockError, match="the seal itself"):
        Ledger.load(sealed)


def test_a_changed_assignment_beside_the_ledger_is_an_error_and_a_missing_one_is_none(sealed):
    table = (sealed / ASSIGNMENT).read_text()
    (sealed / ASSIGNMENT).write_text(table.replace("control", "treated", 1))
    with pytest.raises(LockError, match=r"assignment\.csv was changed"):
        Ledger.load(sealed)
    (sealed / ASSIGNMENT).unlink()
    assert Ledger.load(sealed).randomized


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{}", "it has no seal"),
        ("[1]", "it has no seal"),
        ("not json", "isn't valid JSON"),
        ('{"seal": {"sections": {}}}', "a ledger has the sections"),
    ],
)
def test_what_is_no_ledger_is_refused(text, match, tmp_path):
    (tmp_path / LEDGER).write_text(text)
    with pytest.raises(LockError, match=match):
        Ledger.load(tmp_path)


def test_a_missing_ledger_is_refused(tmp_path):
    with pytest.raises(LockError, match="can't be read: No such file"):
        Ledger.load(tmp_path / "nowhere" / LEDGER)


def test_assignment_holds_every_market_with_its_cell_and_pair(drawn):
    ledger = drawn[1].ledger
    rows = list(csv.DictReader(io.StringIO(ledger.assignment_csv())))
    assert [row["market"] for row in rows] == list(ledger.units)
    split = ledger.split(ledger.units)
    names = {-1: "left out", 0: "control", 1: "treated"}
    assert [row["cell"] for row in rows] == [names[cell] for cell in split.cells.tolist()]
    assert split.strata is not None
    assert [row["stratum"] for row in rows] == ["" if s < 0 else str(s) for s in split.strata.tolist()]


def test_split_follows_the_order_of_the_units_and_leaves_strangers_out(drawn):
    ledger = drawn[1].ledger
    units = ("stranger", *reversed(ledger.units))
    found = ledger.split(units)
    assert found.cells[0] == -1
    assert found.cells[1:].tolist() == ledger.split(ledger.units).cells[::-1].tolist()
    used = [u for u, cell in zip(ledger.units, ledger.split(ledger.units).cells, strict=True) if cell >= 0]
    with pytest.raises(LockError, match=rf"1 markets of the design aren't in the table: {used[0]}"):
        ledger.split([unit for unit in ledger.units if unit != used[0]])


def test_draws_are_made_again_from_the_ledger_alone_and_are_the_designs_own(drawn, sealed):
    study = drawn[0]
    panel = read_history(study, study.metric[0])
    ledger = Ledger.load(sealed)
    first = ledger.draws(panel, 50, rng=np.random.default_rng(3))
    again = ledger.draws(panel, 50, rng=np.random.default_rng(3))
    assert (first == again).all()
    planned = ledger.split(ledger.units)
    assert first.shape == (50, len(planned.cells))
    limits = ledger.constraints(ledger.searched(panel))
    assert limits.admissible(first).all()
    for row in first:  # of every pair exactly one is treated, as in the design
        pairs = np.bincount(planned.strata[planned.strata >= 0], weights=(row == 1)[planned.strata >= 0])
        assert (pairs == 1).all()
    assert len(np.unique(first, axis=0)) > 10


def test_draws_look_at_the_designs_periods_only(drawn):
    study, found = drawn
    panel = read_history(study, study.metric[0])
    ledger = found.ledger
    longer = panel.outcome.copy()
    later = type(panel)(
        outcome=np.hstack([longer, 1e3 + np.random.default_rng(0).normal(size=(len(panel.units), 5))]),
        treated=np.zeros((len(panel.units), len(panel.periods) + 5), dtype=bool),
        units=panel.units,
        periods=(*panel.periods, *range(len(panel.periods), len(panel.periods) + 5)),
        metric=panel.metric,
    )
    draws = [ledger.draws(p, 20, rng=np.random.default_rng(0)) for p in (panel, later)]
    assert (draws[0] == draws[1]).all()
    assert ledger.unchanged(later)
    assert not ledger.unchanged(
        type(panel)(
            outcome=longer + 1e-9, treated=panel.treated, units=panel.units, periods=panel.periods, metric=panel.metric
        )
    )
    with pytest.raises(LockError, match="lacks 1 markets and periods"):
        ledger.draws(panel.only(periods=np.arange(len(panel.periods)) > 0), 5, rng=np.random.default_rng(0))


def test_a_chosen_design_has_no_draws(tmp_path):
    study = write_study(tmp_path, "market_counts = [2]\n")
    ledger = design(study).ledger
    panel = read_history(study, study.metric[0])
    with pytest.raises(LockError, match="chosen by 'search', not drawn"):
        ledger.draws(panel, 5, rng=np.random.default_rng(0))


def test_rules_about_neighbours_and_quotas_come_back_without_their_files(tmp_path):
    rows = [f"c{i:02d},{'north' if i < 6 else 'south'}" for i in range(12)]
    (tmp_path / "m.csv").write_text("\n".join(["city,region", *rows]) + "\n")
    (tmp_path / "n.csv").write_text("a,b\nc00,c01\nc02,c03\n")
    more = """market_counts = [2]
markets = "m.csv"
[[geo.quotas]]
column = "region"
value = "north"
min = 1
max = 1
[geo.buffer]
kind = "adjacency"
table = "n.csv"
"""
    study = write_study(tmp_path, more)
    found = design(study)
    for name in ("m.csv", "n.csv"):
        (tmp_path / name).unlink()
    panel = read_history(study, study.metric[0])
    limits = found.ledger.constraints(found.ledger.searched(panel))
    split = found.ledger.split(panel.units)
    assert limits.violations(split) == ()
    wrong = np.zeros(12, dtype=int)
    wrong[[0, 2]] = 1
    assert len(limits.violations(Split(cells=wrong))) >= 2
