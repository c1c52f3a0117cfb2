"""The main job: what is published, what is refused, what is left behind when something fails."""

import json
import re
import shutil
from pathlib import Path

import pytest

from causalbench.artifacts import EVIDENCE, run_folder
from causalbench.cli import main
from causalbench.data.datasets import study_path
from causalbench.errors import NotebookError, OutputError
from causalbench.report import notebook
from causalbench.report.publish import run
from causalbench.study import Study
from causalbench.workflow.readout import readout

HOSTILE = {"chicago": "<script>alert('x')</script>", "miami": "{{ 7*7 }} $x^2$", "cincinnati": "=cmd()|'\"&amp;"}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "geolift"
    return run(study_path("geolift"), out=folder).folder


@pytest.fixture
def study_folder(tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study_path("prop99").parent, folder)
    return folder


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["causalbench", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return leaving.value.code or 0, captured.out, captured.err


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_run_publishes_evidence_notebook_page_and_figures(published):
    assert names(published) == [
        "decision.html",
        "evidence.json",
        "figures/backtest_leaderboard.svg",
        "figures/donor_weights.svg",
        "figures/effect_path.svg",
        "figures/leave_one_out.svg",
        "figures/method_agreement.svg",
        "figures/placebo_gaps.svg",
        "manifest.json",
        "notebook.ipynb",
        "report.html",
    ]


def test_evidence_is_the_readouts_canonical_json_and_the_notebook_holds_its_digest(published):
    found = readout(Study.load(study_path("geolift")))
    assert (published / EVIDENCE).read_text("utf-8") == found.to_json()
    document = json.loads((published / "notebook.ipynb").read_text("utf-8"))
    assert found.digest in json.dumps(document["cells"][-1])


def test_second_run_of_the_same_study_has_the_same_bytes(published, tmp_path):
    again = run(study_path("geolift"), out=tmp_path / "again").folder
    assert [(again / name).read_bytes() for name in names(again)] == [
        (published / name).read_bytes() for name in names(published)
    ]


def test_page_is_one_offline_file_with_words_for_every_picture(published):
    page = (published / "report.html").read_text("utf-8")
    assert len(page.encode()) <= 300_000
    assert not re.search(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", page)
    assert page.count('role="img" aria-label="') == page.count("<svg ")
    assert "<math" in page
    assert "prefers-color-scheme: dark" in page
    assert "An effect on sales is not shown at the 90% level." in page
    assert not re.search(r"/(?:root|home|tmp|work)/", page)


def test_hostile_unit_names_show_as_text(study_folder, tmp_path):
    shutil.copytree(study_path("geolift").parent, study_folder, dirs_exist_ok=True)
    table = (study_folder / "geolift_test.csv").read_text("utf-8")
    for name, hostile in HOSTILE.items():
        quoted = '"' + hostile.replace('"', '""') + '"'
        table = table.replace(f'"{name}",', f"{quoted},")
    (study_folder / "geolift_test.csv").write_text(table, "utf-8")
    text = (study_folder / "study.toml").read_text("utf-8")
    text = text.replace('"chicago"', json.dumps(HOSTILE["chicago"])).replace('"sales"', '"<b>sales</b>"')
    (study_folder / "study.toml").write_text(text, "utf-8")
    folder = run(study_folder, out=tmp_path / "run").folder
    page = (folder / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "<b>sales" not in page
    assert "&lt;script&gt;alert" in page
    assert "{{ 7*7 }} $x^2$" in page
    assert "<script" not in (folder / "figures" / "donor_weights.svg").read_text("utf-8")
    assert "<script>alert('x')" not in notebook_html(folder)


def notebook_html(folder):
    document = json.loads((folder / "notebook.ipynb").read_text("utf-8"))
    outputs = [output for cell in document["cells"] for output in cell.get("outputs", ())]
    return "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)


@pytest.mark.slow
def test_existing_run_is_kept_without_force_and_replaced_with_it(published, monkeypatch, capsys, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(published, folder)
    (folder / "mine.txt").write_text("note")
    code, out, err = call(monkeypatch, capsys, "run", study_path("geolift"), "--out", folder)
    assert (code, out) == (2, "")
    assert (
        f"{folder} already holds a run\n  To mend it: name another folder with --out, or replace it with --force" in err
    )
    assert (folder / "mine.txt").exists()
    code, _, _ = call(monkeypatch, capsys, "run", study_path("geolift"), "--out", folder, "--force")
    assert code == 0
    assert not (folder / "mine.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_folder_that_is_no_run_is_never_replaced(monkeypatch, capsys, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    code, _, err = call(monkeypatch, capsys, "run", study_path("prop99"), "--out", tmp_path / "photos", "--force")
    assert code == 2
    assert "isn't a run of this tool, so it is left alone" in err
    assert names(tmp_path) == ["photos/a.jpg"]


def test_failure_while_writing_leaves_what_was_there_and_nothing_else(tmp_path):
    def fail():
        with run_folder(tmp_path / "run", replace=False) as work:
            (work / "half.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_second_writer_of_one_folder_is_turned_away(tmp_path):
    with run_folder(tmp_path / "run", replace=False) as work:
        (work / EVIDENCE).write_text("{}")
        with pytest.raises(OutputError, match="another run is writing"), run_folder(tmp_path / "run", replace=False):
            pass
    assert names(tmp_path) == ["run/evidence.json"]


def test_full_disk_exits_5_and_publishes_nothing(tmp_path, monkeypatch, capsys):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("causalbench.report.page.write", full)
    code, _, err = call(monkeypatch, capsys, "run", study_path("prop99"), "--out", tmp_path / "run")
    assert code == 5
    assert re.search(r"the disk is full: \d+ MiB free at", err)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("x")
    code, _, err = call(monkeypatch, capsys, "run", study_path("prop99"), "--out", tmp_path / "file" / "run")
    assert code == 2
    assert "can't write to" in err


def test_notebook_with_other_evidence_is_not_published(study_folder, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(NotebookError, match="the notebook found evidence") as caught:
        notebook.execute(study_folder, "0" * 64, tmp_path / "out", failed=tmp_path / "x.failed.ipynb")
    assert caught.value.exit_code == 7
    assert names(tmp_path / "out") == []
    assert (tmp_path / "x.failed.ipynb").exists()


def test_failing_notebook_exits_7_keeps_the_partial_notebook_and_publishes_nothing(
    study_folder, tmp_path, monkeypatch, capsys
):
    original = notebook.template

    def broken(name):
        document = original(name)
        next(cell for cell in document.cells if "cb.readout(" in cell.source).source = "1 / 0"
        return document

    monkeypatch.setattr(notebook, "template", broken)
    code, _, err = call(monkeypatch, capsys, "run", study_folder, "--out", tmp_path / "run")
    assert code == 7
    assert "the notebook failed: ZeroDivisionError: division by zero" in err
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "run.failed.ipynb").exists()


def test_check_reads_and_audits_but_estimates_nothing(study_folder, monkeypatch, capsys):
    monkeypatch.setattr("causalbench.estimators.synthetic_control.SyntheticControl.fit", None)
    code, out, _ = call(monkeypatch, capsys, "check", study_folder)
    assert code == 0
    assert out.splitlines() == [
        "prop99: the study file is valid, the data fit synthetic-control",
        "packs per head: 1 treated and 38 control units, 19 periods before the launch and 12 from it on",
        "  info CB-D009: periods in column 'Year' are text; read as whole number",
    ]


def test_run_json_prints_one_object_on_stdout_and_progress_on_stderr(study_folder, monkeypatch, capsys, tmp_path):
    code, out, err = call(monkeypatch, capsys, "run", study_folder, "--out", tmp_path / "run", "--json")
    assert code == 0
    assert json.loads(out)["schema"] == 1
    assert "executing the notebook" in err


@pytest.mark.slow
def test_default_folder_is_named_by_study_and_digest(study_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = run(study_folder).folder
    assert re.fullmatch(r"runs/prop99-[0-9a-f]{12}", str(folder))


def test_demo_runs_again_and_again_but_spares_other_runs(published, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published, tmp_path / "mine")
    text = (tmp_path / "mine" / EVIDENCE).read_text("utf-8").replace('"name": "geolift"', '"name": "other"')
    (tmp_path / "mine" / EVIDENCE).write_text(text, "utf-8")
    assert call(monkeypatch, capsys, "demo", "--out", "mine")[0] == 2
    shutil.copytree(published, tmp_path / "demo")
    assert call(monkeypatch, capsys, "demo", "--out", "demo")[0] == 0


def test_several_metrics_share_a_page_and_the_first_success_metric_leads(study_folder, tmp_path):
    with (study_folder / "study.toml").open("a") as handle:
        handle.write('\n[[metric]]\nname = "again"\ncolumn = "PacksPerCapita"\nrole = "driver"\n')
    published = run(study_folder, out=tmp_path / "run")
    assert published.evidence["headline"]["metric"] == "packs per head"
    assert [estimate["metric"] for estimate in published.evidence["estimates"]] == ["packs per head", "again"]
    page = (published.folder / "report.html").read_text("utf-8")
    assert "again (driver, not part of the verdict)" in page
    assert Path(published.folder / "figures" / "effect_path_2.svg").exists()


def test_small_numbers_keep_their_digits_in_pictures(study_folder, tmp_path):
    table = (study_folder / "prop99.csv").read_text("utf-8").splitlines()
    rows = [line.rpartition(",") for line in table[1:]]
    small = [table[0], *(f"{head},{float(value) * 1e-6:.12g}" for head, _, value in rows)]
    (study_folder / "prop99.csv").write_text("\n".join(small), "utf-8")
    folder = run(study_folder, out=tmp_path / "run").folder
    picture = (folder / "figures" / "effect_path.svg").read_text("utf-8")
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    assert any(re.fullmatch(r"0\.0001\d*", label) for label in labels), labels


def test_interrupt_during_the_notebook_exits_130_and_leaves_nothing(study_folder, tmp_path):
    import signal
    import subprocess
    import sys
    import time

    words = [sys.executable, "-m", "causalbench", "run", str(study_folder), "--out", str(tmp_path / "out" / "run")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seen = ""
    while "executing the notebook" not in seen:
        seen += process.stderr.readline()
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert list((tmp_path / "out").iterdir()) == []


def test_repeated_flags_are_refused(monkeypatch, capsys):
    words = ["--unit", "u", "--period", "t", "--outcome", "y", "--treated", "a", "--start", "1", "--treated", "b"]
    code, out, err = call(monkeypatch, capsys, "estimate", "did", "t.csv", *words)
    assert (code, out) == (2, "")
    assert err == "command line: 1 problem\n  - --treated is given twice; give it once, several names with commas\n"


def test_name_too_long_for_the_file_system_is_refused_before_computing(monkeypatch, capsys, tmp_path):
    code, _, err = call(monkeypatch, capsys, "run", study_path("prop99"), "--out", tmp_path / ("x" * 300))
    assert code == 2
    assert "can't write to" in err
    assert "File name too long" in err


def test_demo_spares_a_folder_with_broken_evidence(monkeypatch, capsys, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / EVIDENCE).write_text('{"schema": 1, "stu', "utf-8")
    code, _, err = call(monkeypatch, capsys, "demo", "--out", tmp_path / "demo")
    assert code == 2
    assert "already holds a run" in err
