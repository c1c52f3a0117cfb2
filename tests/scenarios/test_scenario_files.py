"""Simulated studies: whole, repeatable, with the truth that they claim, and a twin without it."""

import pandas as pd
import pytest

from causalbench.cli import main
from causalbench.data import scenarios
from causalbench.errors import StudyError


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["causalbench", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return leaving.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_equal_seeds_give_equal_studies_and_the_twin_differs(name):
    drawn, again = (scenarios.draw(name, seed=3) for _ in range(2))
    assert drawn == again
    assert scenarios.draw(name, seed=4).files["table.csv"] != drawn.files["table.csv"]
    assert scenarios.draw(name, seed=3, effect=False).files["table.csv"] != drawn.files["table.csv"]


@pytest.mark.parametrize("name", ["A6", "A12"])
def test_treated_markets_move_by_the_truth_and_others_not_at_all(name, tmp_path):
    with_effect, without = (
        pd.read_csv(scenarios.write(name, tmp_path / str(yes), seed=0, effect=yes).parent / "table.csv")
        for yes in (True, False)
    )
    column = with_effect.columns[-1]
    ratio = with_effect[column] / without[column]
    moved = ratio[(ratio - 1).abs() > 1e-4]  # six digits are written
    truth = scenarios.draw(name, seed=0).truth["relative"]
    assert moved.mean() - 1 == pytest.approx(truth, abs=1e-4)
    assert with_effect["market"][moved.index].nunique() == 12


def test_the_null_that_hides_two_effects_moves_two_segments_apart(tmp_path):
    tables = [
        pd.read_csv(scenarios.write("A8", tmp_path / str(yes), seed=0, effect=yes).parent / "table.csv")
        for yes in (True, False)
    ]
    ratio = (tables[0]["sessions"] / tables[1]["sessions"] - 1).groupby(tables[0]["segment"])
    assert ratio.max()["new"] == pytest.approx(0.06, abs=1e-4)
    assert ratio.min()["power"] == pytest.approx(-0.06, abs=1e-4)
    assert ratio.max()["other"] == 0


def test_unknown_names_and_occupied_folders_are_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(StudyError, match="did you mean 'A9'"):
        scenarios.draw("A99", seed=0)
    path = scenarios.write("A2", tmp_path, seed=0)
    assert scenarios.write("A2", tmp_path, seed=0) == path  # the very same files may lie there
    with pytest.raises(StudyError, match=r"holds something else: study.toml, table.csv"):
        scenarios.write("A1", tmp_path, seed=0)
    code, _, said = call(monkeypatch, capsys, "demo", "--seed", "3")
    assert code == 2
    assert "go with --scenario" in said


@pytest.mark.slow
def test_demo_answers_a_scenario_and_says_the_truth_beside(tmp_path, monkeypatch, capsys):
    code, said, _ = call(monkeypatch, capsys, "demo", "--scenario", "A2", "--out", tmp_path / "a2")
    assert code == 0
    assert "relative 0.05" in said
    assert (tmp_path / "a2" / "run" / "report.html").exists()
    assert (tmp_path / "a2" / "study" / "study.toml").exists()
