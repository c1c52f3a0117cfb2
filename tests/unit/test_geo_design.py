"""The design of a geo experiment: what it may look at, how it chooses, what is published, and what is refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from test_geo_ledger import write_study

from causalbench.cli import main
from causalbench.data.datasets import study_path
from causalbench.errors import DataError, LockError, RefusalError, StudyError
from causalbench.geo.ledger import Ledger
from causalbench.report import geo_design_page, geo_figures
from causalbench.study import GeoStudy
from causalbench.study.geo_study import Geo
from causalbench.workflow import geo_ground
from causalbench.workflow.geo_candidates import able, best_candidate, best_duration, shortlist, size_verdict
from causalbench.workflow.geo_design import design, evaluate
from causalbench.workflow.geo_ground import periods_of
from causalbench.workflow.geo_headline import gap_line

CHOSEN = "market_counts = [1, 2]\n"


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["causalbench", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return leaving.value.code or 0, captured.out, captured.err


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    study = write_study(tmp_path_factory.mktemp("small"), CHOSEN)
    return study, design(study)


def test_evidence_is_plain_and_has_what_the_page_needs(small):
    evidence = small[1].to_dict()
    assert json.loads(json.dumps(evidence)) == evidence
    assert evidence["schema"] == 1
    assert {
        "history",
        "constraints",
        "selector",
        "candidates",
        "chosen",
        "power",
        "durations",
        "balance",
        "left_out",
        "map",
        "planned_analysis",
        "warnings",
        "headline",
        "seal",
    } <= set(evidence)


def test_same_study_same_bytes(small):
    assert design(small[0]).to_json() == small[1].to_json()


def test_outcomes_that_the_search_may_not_see_choose_no_market(small, monkeypatch):
    """Scrambling the later periods moves claims and nothing that was chosen."""
    study, found = small
    first = periods_of(48, study.geo.durations, study.geo.windows).first_unseen
    original = geo_ground.read_history

    def scrambled(asked, metric):
        panel = original(asked, metric)
        outcome = panel.outcome.copy()
        outcome[:, first:] = np.random.default_rng(5).normal(100, 30, size=outcome[:, first:].shape)
        return replace(panel, outcome=outcome)

    monkeypatch.setattr(geo_ground, "read_history", scrambled)
    other = design(study)
    seen = [
        [(row["cells"], row["durations"], row["score"]) for row in d.evidence["candidates"]] for d in (found, other)
    ]
    assert seen[0] == seen[1]
    assert found.evidence["chosen"]["cells"] == other.evidence["chosen"]["cells"]
    assert found.evidence["power"][0]["required"] != other.evidence["power"][0]["required"]


def test_claimed_windows_lie_where_the_search_has_not_looked(small):
    evidence = small[1].evidence
    first = evidence["periods"]["unseen"]["first"]
    assert all(window >= first for row in evidence["power"] for window in row["windows"])
    seen = [window for row in evidence["candidates"] for power in row["power"] for window in power["windows"]]
    duration = max(small[0].geo.durations)
    assert max(seen) + duration <= first


@pytest.mark.parametrize("n_periods", [20, 48, 90, 365, 1000])
@pytest.mark.parametrize("durations", [(3,), (5, 6), (14,)])
def test_search_keeps_half_of_the_history_and_the_rest_holds_the_windows(n_periods, durations):
    longest = max(durations)
    if n_periods < 3 * longest:
        with pytest.raises(RefusalError, match=f"a test of {longest} needs {3 * longest}"):
            periods_of(n_periods, durations, 10)
        return
    found = periods_of(n_periods, durations, 10)
    unseen = n_periods - found.first_unseen
    assert found.first_unseen >= n_periods // 2
    assert unseen >= longest + found.n_windows - 1
    assert 2 <= found.n_windows <= 10
    assert found.first_choice + longest <= found.first_unseen


def row(duration, *, mde=0.1, either=None, at=None, within=True, believable=True, reaches=True):
    return {
        "duration": duration,
        "mde": mde,
        "mde_either": either or mde,
        "power_at_worthwhile": at,
        "within_budget": within,
        "believable": believable,
        "reaches": reaches,
    }


def test_rule_of_durations():
    plain, worthwhile = Geo(), Geo(smallest_worthwhile_effect=0.05)
    assert best_duration([row(10, mde=0.2), row(20, mde=0.1)], plain)["duration"] == 20
    assert best_duration([row(10, mde=0.2), row(20, mde=0.1, within=False)], plain)["duration"] == 10
    assert best_duration([row(10, mde=0.2), row(20, mde=0.1)], worthwhile)["duration"] == 10
    assert best_duration([row(10, reaches=False), row(20)], worthwhile)["duration"] == 20
    assert best_duration([row(10, mde=0.04, either=0.3), row(20, mde=0.1)], plain)["duration"] == 20
    assert best_duration([row(10, mde=None, reaches=False), row(20, mde=None, reaches=False)], plain)["duration"] == 20
    assert not able(row(10, believable=False))
    assert (
        best_duration([row(10, mde=0.105), row(15, mde=0.1)], plain)["duration"] == 10
    )  # 5% above the best is as good
    assert best_duration([row(10, mde=0.106), row(15, mde=0.1)], plain)["duration"] == 15
    assert best_duration([row(10, mde=0.105, within=False), row(15, mde=0.1)], plain)["duration"] == 15


def test_few_windows_are_no_pass_of_the_gate(small):
    """Ten windows have a Monte Carlo error of at least sqrt(.1 * .9 / 10) = 9.5% at a nominal size of 10%."""
    evidence = small[1].evidence
    assert {row["size_verdict"] for row in evidence["power"]} <= {"not_evaluable", "review"}
    line = evidence["headline"]["size"]
    assert "no pass" in line or "more than chance" in line
    assert "That passes" not in line
    assert [size_verdict(0.1, error, nominal=0.1) for error in (0.05, 0.051)] == ["pass", "not_evaluable"]


@pytest.mark.parametrize(
    ("gap", "certified", "words"),
    [
        (0.02, True, "every possible pair was priced"),
        (5e-7, False, "no imbalance is below none"),
        (0.02, False, "isn't known: there are too many pairs to price"),
    ],
)
def test_a_gap_is_only_called_priced_where_pairs_were(gap, certified, words):
    assert words in gap_line({"n_pairs": 7, "gap": gap, "certified": certified})
    assert gap_line({}) == ""


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ('markets = "../m.csv"\n', "../m.csv"),
        ('[geo.buffer]\nkind = "adjacency"\ntable = "../pairs.csv"\n', "pairs.csv"),
        ('[geo.map]\nkind = "us-states"\nfile = "../map.json"\n', "../map.json"),
        ('[geo.map]\nkind = "us-counties"\ncounties = "../counties.csv"\n', "counties.csv"),
        ('[geo.test]\nledger = "../design.json"\nstart = 50\n', "../design.json"),
    ],
)
def test_files_outside_of_the_folder_are_refused(more, name, tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    for other in ("m.csv", "pairs.csv", "map.json", "counties.csv", "design.json"):
        (tmp_path / other).write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=rf"{re.escape(name)} lies outside the study's folder"):
        design(write_study(folder, more))


def test_a_cheap_candidate_goes_before_a_sharp_one_over_budget():
    geo = Geo(budget=1.0, cost_per_incremental=1.0)
    sharp, cheap = {"durations": [row(10, mde=0.01, within=False)]}, {"durations": [row(10, mde=0.3)]}
    assert best_candidate([sharp, cheap], geo) == 1


def test_shortlist_takes_turns_among_numbers_of_markets(small):
    class Fake:
        def __init__(self, n):
            self.split = type("S", (), {"treated": np.arange(10) < n})

    proposals = [Fake(5) for _ in range(9)] + [Fake(2) for _ in range(3)]
    kept = shortlist(proposals, most=4)
    assert [int(p.split.treated.sum()) for p in kept] == [5, 5, 2, 2]


def test_unreachable_power_is_still_a_design_with_what_would_help(tmp_path):
    study = write_study(
        tmp_path, CHOSEN + "smallest_worthwhile_effect = 0.0001\nbudget = 1\ncost_per_incremental = 5\n"
    )
    evidence = design(study).evidence
    assert evidence["headline"]["verdict"] == "not powered"
    assert evidence["headline"]["help"]
    assert evidence["headline"]["sentence"].startswith("Not powered")
    assert evidence["chosen"]["cells"]["treated"]
    page = geo_design_page.render(evidence, geo_figures.draw(evidence))
    assert "What would help" in page


def test_contradicting_rules_are_named(tmp_path):
    with pytest.raises(RefusalError, match=r"include \(c00\) and exclude \(c00\)"):
        design(write_study(tmp_path, 'include = ["c00"]\nexclude = ["c00"]\n'))


def test_too_short_a_history_says_how_long_it_must_be(tmp_path):
    study = write_study(tmp_path, CHOSEN.replace("]", "]") + "", n_periods=14)
    with pytest.raises(RefusalError, match="a test of 5 needs 15") as refused:
        design(study)
    assert "to 15 periods" in refused.value.remedy


def test_missing_cells_follow_on_missing_and_are_told(tmp_path):
    write_study(tmp_path, CHOSEN)
    table = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join(line for line in table if not line.startswith("c03,7,")) + "\n")
    text = (tmp_path / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(text.replace('period = "day"', 'period = "day"\non_missing = "drop_unit"'))
    evidence = design(GeoStudy.load(tmp_path)).evidence
    assert evidence["history"]["n_markets"] == 11
    assert any("drop_unit" in warning for warning in evidence["warnings"])


def test_own_split_is_judged_and_broken_rules_are_named(tmp_path):
    more = 'exclude = ["c01"]\nmax_controls = 3\n[geo.test.cells]\ntreated = ["c00", "c01"]\n'
    evidence = evaluate(write_study(tmp_path, more)).evidence
    assert evidence["selector"]["name"] == "own split"
    assert evidence["chosen"]["cells"] == {"treated": ["c00", "c01"]}
    assert len(evidence["chosen"]["controls"]) == 3
    assert any("c01" in sentence for sentence in evidence["chosen"]["violations"])
    assert any("breaks a rule" in warning for warning in evidence["warnings"])
    assert {"control", "cells", "left_out"} <= set(evidence["balance"])


def test_power_of_a_drawn_ledger_counts_over_its_own_draws(tmp_path):
    made = design(write_study(tmp_path, 'selector = "matched-pairs"\n'))
    (tmp_path / "design.json").write_text(made.ledger.to_json())
    judged = evaluate(write_study(tmp_path, '[geo.test]\nledger = "design.json"\nstart = 48\n'))
    assert judged.evidence["power_over"] == made.evidence["power_over"] == "draws"
    assert [row["required"] for row in judged.evidence["power"]] == [row["required"] for row in made.evidence["power"]]
    assert judged.evidence["planned_analysis"]["inference"] == made.evidence["planned_analysis"]["inference"]
    with pytest.raises(LockError, match="lacks 8 markets and periods"):
        evaluate(write_study(tmp_path, '[geo.test]\nledger = "design.json"\nstart = 40\n'))
    with pytest.raises(StudyError, match=r"cells are a, and those of design\.json treated"):
        evaluate(write_study(tmp_path, 'cells = ["a"]\n[geo.test]\nledger = "design.json"\nstart = 48\n'))


def test_own_split_with_a_start_never_looks_at_the_test(tmp_path):
    write_study(tmp_path, '[geo.test]\nstart = 40\n[geo.test.cells]\ntreated = ["c00"]\n')
    assert evaluate(GeoStudy.load(tmp_path)).evidence["history"]["last"] == 39


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ('treated = ["lima"]', "'lima' is no market of the history"),
        ('tretaed = ["c00"]', "'tretaed' is no cell; cells are treated"),
        ("treated = []", "treated has no market"),
        (f"treated = {[f'c{i:02d}' for i in range(12)]}", "control has no market"),
        ('treated = ["c00", "c00"]', "'c00' is named twice"),
        ('control = ["c00"]', "name the treated markets"),
    ],
)
def test_wrong_own_split_is_refused(cells, match, tmp_path):
    with pytest.raises(StudyError, match=match):
        evaluate(write_study(tmp_path, f"[geo.test.cells]\n{cells}\n"))


def test_power_of_no_split_is_refused(tmp_path, monkeypatch, capsys):
    write_study(tmp_path, CHOSEN)
    code, out, err = call(monkeypatch, capsys, "geo", "power", tmp_path)
    assert (code, out) == (2, "")
    assert "[geo.test] is missing: name the treated markets as cells" in err


def test_several_cells_share_controls_and_each_has_its_power(tmp_path):
    study = write_study(tmp_path, 'cells = ["search", "social"]\nmarket_counts = [2]\n')
    evidence = design(study).evidence
    assert list(evidence["chosen"]["cells"]) == ["search", "social"]
    assert {row["cell"] for row in evidence["power"]} == {"search", "social"}
    assert evidence["durations"][0]["mde"] == max(row["mde"] for row in evidence["power"])
    assert geo_design_page.render(evidence, geo_figures.draw(evidence)).count("search") > 3


def test_drawn_design_says_how_many_draws_there_are(tmp_path):
    evidence = design(write_study(tmp_path, 'selector = "matched-pairs"\n')).evidence
    assert evidence["planned_analysis"]["inference"] == "randomization"
    assert evidence["selector"]["n_admissible"] == {"value": 64.0, "exact": True}
    assert "The markets are drawn among 64 admissible ones, with seed 0" in evidence["headline"]["assignment"]
    assert len(evidence["candidates"]) == 1


def test_another_seed_draws_other_markets(tmp_path):
    study = write_study(tmp_path, 'selector = "matched-pairs"\n')
    cells = [
        design(study.model_copy(update={"run": study.run.model_copy(update={"seed": seed})})).ledger.content[
            "assignment"
        ]["cells"]
        for seed in (0, 1, 2)
    ]
    assert len({tuple(row) for row in cells}) > 1


def test_loss_is_looked_for_where_something_goes_dark(tmp_path):
    evidence = design(write_study(tmp_path, CHOSEN + 'kind = "go-dark"\n')).evidence
    assert evidence["planned_analysis"]["direction"] == -1
    assert "smallest loss detected" in evidence["headline"]["answer"]


def test_places_of_markets_make_a_map(tmp_path):
    rows = [f"c{i:02d},{30 + i},{-120 + 3 * i}" for i in range(12)]
    (tmp_path / "m.csv").write_text("\n".join(["city,latitude,longitude", *rows]) + "\n")
    evidence = design(write_study(tmp_path, CHOSEN + 'markets = "m.csv"\nbusy = ["c11"]\n')).evidence
    assert len(evidence["map"]["markets"]) == 12
    assert {row["market"]: row["reason"] for row in evidence["left_out"]} == {"c11": "in another test"}
    drawing = next(d for d in geo_figures.draw(evidence) if d.name == "market_map")
    assert "left out" in drawing.svg


def test_outlines_of_states_make_a_map(tmp_path):
    names = [
        "Utah",
        "Nevada",
        "Idaho",
        "Ohio",
        "Texas",
        "Maine",
        "Iowa",
        "Kansas",
        "Alaska",
        "Hawaii",
        "Oregon",
        "Nowhere",
    ]
    write_study(tmp_path, CHOSEN + '[geo.map]\nkind = "us-states"\n')
    text = (tmp_path / "t.csv").read_text()
    for i, name in enumerate(names):
        text = text.replace(f"c{i:02d},", f"{name},")
    (tmp_path / "t.csv").write_text(text)
    evidence = design(GeoStudy.load(tmp_path)).evidence
    assert evidence["map"]["unknown"] == ["Nowhere"]
    assert any("can't be found on the map: Nowhere" in warning for warning in evidence["warnings"])
    assert len(json.dumps(evidence["map"])) < 400_000
    drawing = next(d for d in geo_figures.draw(evidence) if d.name == "market_map")
    assert "1 market the map doesn't hold" in drawing.caption


def test_json_alone_prints_the_evidence_and_writes_nothing(tmp_path, monkeypatch, capsys):
    study = write_study(tmp_path, CHOSEN)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out, _ = call(monkeypatch, capsys, "geo", "design", tmp_path, "--json")
    assert code == 0
    assert json.loads(out) == design(study).to_dict()
    assert sorted(tmp_path.iterdir()) == before


def test_folder_holds_ledger_assignment_evidence_page_figures_and_notebook(tmp_path, monkeypatch, capsys):
    hostile = "<script>alert('x')</script>"
    write_study(tmp_path, CHOSEN)
    table = (tmp_path / "t.csv").read_text().replace("c00,", f'"{hostile}",')
    (tmp_path / "t.csv").write_text(table)
    folder = tmp_path / "out"
    code, out, err = call(monkeypatch, capsys, "geo", "design", tmp_path, "--out", folder)
    assert code == 0, err
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert {"assignment.csv", "design.json", "evidence.json", "notebook.ipynb", "report.html"} <= set(names)
    assert "figures/power_curves.svg" in names
    ledger = Ledger.load(folder)
    evidence = json.loads((folder / "evidence.json").read_text())
    assert ledger.seal == evidence["seal"]
    assert ledger.seal in out
    page = (folder / "report.html").read_text()
    assert not re.search(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", page)
    assert page.count('role="img" aria-label="') == page.count("<svg ")
    assert ledger.seal in page
    assert "<script" not in "".join(path.read_text() for path in (folder / "figures").iterdir())
    code, _, err = call(monkeypatch, capsys, "geo", "design", tmp_path, "--out", folder)
    assert code == 2
    assert "already holds a run" in err


def test_power_and_check_and_parity_commands(tmp_path, monkeypatch, capsys):
    write_study(tmp_path, '[geo.test.cells]\ntreated = ["c00", "c01"]\n')
    code, out, _ = call(monkeypatch, capsys, "geo", "power", tmp_path)
    assert code == 0
    assert "No rule is broken." in out
    assert re.search(r"cell +periods +detectable", out)
    code, out, _ = call(monkeypatch, capsys, "check", study_path("geolift_pretest"))
    assert code == 0
    assert "sales: 40 markets, 90 periods, 2021-01-01 to 2021-03-31" in out
    assert "include (chicago)" in out
    code, out, _ = call(monkeypatch, capsys, "geo", "parity", "--json")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert max(row["rel_difference"] for row in rows) < 1e-6


def test_switchback_is_sealed_with_its_schedule(tmp_path, monkeypatch, capsys):
    write_study(tmp_path)
    plain = (tmp_path / "study.toml").read_text().replace("durations = [5]\n", "")
    (tmp_path / "study.toml").write_text(plain + "[geo.switchback]\nblock = [2, 4]\nn_periods = 16\n")
    folder = tmp_path / "out"
    code, _, err = call(monkeypatch, capsys, "geo", "design", tmp_path, "--out", folder)
    assert code == 0, err
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["design.json", "evidence.json", "manifest.json", "report.html", "schedule.csv"]
    ledger = Ledger.load(folder)
    assert ledger.content["assignment"]["schedule_digest"] in (folder / "report.html").read_text()
    (folder / "schedule.csv").write_text((folder / "schedule.csv").read_text() + "\n")
    with pytest.raises(Exception, match=r"schedule.csv was changed"):
        Ledger.load(folder)


def test_level_that_no_window_can_reach_is_said_in_words(tmp_path):
    evidence = design(write_study(tmp_path, CHOSEN + "level = 0.99\n", n_periods=20)).evidence
    assert evidence["chosen"]["mde"] is None
    assert evidence["headline"]["verdict"] == "not powered"
    assert evidence["headline"]["answer"].startswith("No effect that was tried is detected")
    assert "none" in geo_design_page.render(evidence, geo_figures.draw(evidence))


def test_a_rate_has_no_total_and_no_price(tmp_path):
    write_study(tmp_path, CHOSEN)
    text = (tmp_path / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(text.replace('column = "Y"', 'column = "Y"\naggregate = "mean"'))
    evidence = design(GeoStudy.load(tmp_path)).evidence
    assert evidence["chosen"]["shares"] == {"treated": None}
    assert all(row["incremental"] is None and row["mde"] is not None for row in evidence["power"])
    assert "in total" not in evidence["headline"]["answer"]
    geo_design_page.render(evidence, geo_figures.draw(evidence))


def test_help_of_the_commands_lists_them(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "geo", "--help")
    assert code == 0
    assert all(name in out for name in ("design", "power", "parity"))


def test_looks_that_the_readout_could_not_give_are_refused_before_the_test(tmp_path):
    """12 markets make 6 pairs, 2 ** 6 = 64 assignments; interim looks count the design's own draws and need thousands."""
    for folder in ("pairs", "chosen"):
        (tmp_path / folder).mkdir()
    with pytest.raises(RefusalError, match="64 assignments, interim looks need at least") as refused:
        design(write_study(tmp_path / "pairs", 'selector = "matched-pairs"\nlooks = 3\n'))
    assert "look once" in refused.value.remedy
    with pytest.raises(RefusalError, match="3 looks need a design that is drawn at random"):
        design(write_study(tmp_path / "chosen", CHOSEN + "looks = 3\n"))
