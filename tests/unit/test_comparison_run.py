"""The run of a comparison at one time: what is published, and what an override says on top."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from causalbench.cli import main
from causalbench.data.datasets import study_path
from causalbench.errors import RefusalError
from causalbench.report.publish import run
from causalbench.study import load_study
from causalbench.workflow.readout import readout


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(study_path("lalonde").parent, tmp_path / "study")
    return tmp_path / "study"


def test_run_publishes_evidence_page_and_a_notebook_with_the_same_digest(folder, tmp_path):
    published = run(folder, out=tmp_path / "run").folder
    names = {path.name for path in published.rglob("*")}
    assert {"evidence.json", "notebook.ipynb", "report.html", "causal_graph.svg"} <= names
    assert "effect_path.svg" not in names
    found = readout(load_study(folder))
    assert (published / "evidence.json").read_text("utf-8") == found.to_json()
    assert found.digest in json.dumps(json.loads((published / "notebook.ipynb").read_text("utf-8"))["cells"][-1])
    html = (published / "report.html").read_text("utf-8")
    assert len(html.encode()) <= 300_000
    assert not re.search(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", html)
    assert html.count('role="img" aria-label="') == html.count("<svg ")
    assert "Effect by period" not in html


def test_forbidden_covariate_publishes_nothing(folder, tmp_path):
    study = folder / "study.toml"
    graph = folder / "graph.dag"
    study.write_text(study.read_text().replace('# covariates = ["age", "re74"]', 'covariates = ["age", "re74"]'))
    drawn = graph.read_text().replace("re74 -> treat ; re75 -> treat", "treat -> re74")
    graph.write_text(drawn)
    assert "treat -> re74" in drawn
    with pytest.raises(RefusalError, match=r"re74 \(mediator\).*treat -> re74 -> re78"):
        run(folder, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_override_is_said_first(folder, monkeypatch, capsys):
    from causalbench.cli.console import say_published
    from causalbench.report.publish import Published

    headline = {"override": "Shown although overlap fails.", "sentence": "S.", "answer": "A.", "why": "W."}
    say_published(Published(folder=folder, evidence={"headline": headline}))
    assert capsys.readouterr().out.splitlines()[:4] == ["Shown although overlap fails.", "S.", "A.", "W."]
    monkeypatch.setattr("sys.argv", ["causalbench", "run", str(folder / "nothing.toml")])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
