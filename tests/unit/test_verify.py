"""Holding a run against itself: every changed byte is found, and plan, data and headline are computed again."""

from __future__ import annotations

import html
import json
import re
import shutil
import time

import numpy as np
import pandas as pd
import pytest

import causalbench as cb
from causalbench.artifacts import EVIDENCE, MANIFEST, digest, open_manifest, seal_of, sealed_json, write_manifest
from causalbench.cli import main
from causalbench.data.datasets import study_path
from causalbench.errors import LockError, OutputError
from causalbench.report import geo_publish
from causalbench.report.publish import run
from causalbench.workflow.locking import lock_path, lock_study
from causalbench.workflow.verify import verify_run

STUDY = """
[study]
name = "spring"
question = "Did it work?"
[data]
source = "sales.csv"
unit = "city"
period = "week"
[[metric]]
name = "sales"
column = "y"
[[metric]]
name = "visits"
column = "z"
role = "driver"
[launch]
units = ["aix"]
start = 19
[method]
name = "did"
inference = "permutation"
level = 0.9
"""


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["causalbench", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return leaving.value.code or 0, captured.out, captured.err


def make(folder):
    rng = np.random.default_rng(2)
    cities = ["aix", *(f"city{i:02d}" for i in range(14))]
    cells = [(city, week, *rng.uniform(50, 150, size=2).round(2)) for city in cities for week in range(1, 25)]
    folder.mkdir()
    pd.DataFrame(cells, columns=["city", "week", "y", "z"]).to_csv(folder / "sales.csv", index=False)
    (folder / "study.toml").write_text(STUDY, "utf-8")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A sealed study; a run that kept its plan, and one that changed it in two places."""
    root = tmp_path_factory.mktemp("world")
    folder = make(root / "study")
    lock_study(cb.Study.load(folder))
    run(folder, out=root / "kept")
    changed = (folder / "study.toml").read_text("utf-8").replace("level = 0.9", "level = 0.8\n[run]\nseed = 7")
    (folder / "other.toml").write_text(changed, "utf-8")
    shutil.copyfile(folder / "study.lock.json", folder / "other.lock.json")
    run(folder / "other.toml", out=root / "changed")
    return root


@pytest.fixture
def copy(world, tmp_path):
    """The same world, to be broken."""
    return shutil.copytree(world, tmp_path / "world")


def page(folder):
    text = (folder / "report.html").read_text("utf-8")
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def rewrite(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


# --- stamps -----------------------------------------------------------------------------------------------------------


def test_kept_plan_is_said_on_page_and_notebook_with_what_a_seal_cannot_prove(world):
    evidence = json.loads((world / "kept" / EVIDENCE).read_text("utf-8"))
    assert (evidence["plan"]["status"], evidence["plan"]["stamp"]) == ("kept", "")
    text = page(world / "kept")
    assert f"The plan sealed as {evidence['plan']['seal'][:12]} was kept: nothing in this run differs from it." in text
    assert "What the seal can't prove" in text
    assert "the table already held 6 periods from the launch on" in text
    assert "when to look was not sealed" in text
    for path in (world / "kept").rglob("*"):
        assert path.is_dir() or "EXPLORATORY" not in path.read_text("utf-8")
    cell = json.loads((world / "kept" / "notebook.ipynb").read_text("utf-8"))["cells"][0]
    assert "was kept: nothing in this run differs from it" in "".join(cell["source"])


def test_changed_plan_stamps_every_file(world):
    for path in (world / "changed").rglob("*"):
        assert path.is_dir() or path.name == MANIFEST or "EXPLORATORY" in path.read_text("utf-8"), path
    evidence = json.loads((world / "changed" / EVIDENCE).read_text("utf-8"))
    lines = ["[method] level: 0.9 when sealed, 0.8 now", "[run] seed: 0 when sealed, 7 now"]
    assert evidence["plan"]["differences"] == lines
    text = page(world / "changed")
    assert all(line in text for line in lines)
    assert text.index("EXPLORATORY") < text.index(evidence["headline"]["sentence"])
    assert text.count("EXPLORATORY. ") > text.count("figure")
    notebook = json.loads((world / "changed" / "notebook.ipynb").read_text("utf-8"))
    first = "".join(notebook["cells"][0]["source"])
    assert "EXPLORATORY: this run differs from its sealed plan" in first
    assert all(line.replace("[", "&#91;") in first for line in lines)


def test_command_prints_the_differences_first(copy, monkeypatch, capsys):
    from causalbench.cli.console import say_published
    from causalbench.report.publish import Published

    evidence = json.loads((copy / "changed" / EVIDENCE).read_text("utf-8"))
    say_published(Published(folder=copy / "changed", evidence=evidence, seal="f00d"))
    out = capsys.readouterr().out
    assert out.startswith("EXPLORATORY: this run differs from its sealed plan")
    assert "\n  - [method] level: 0.9 when sealed, 0.8 now\n  - [run] seed: 0 when sealed, 7 now\n" in out
    assert out.endswith("manifest.json, sealed with f00d\n")


# --- verify -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kept", "changed"])
def test_fresh_run_passes_every_step(name, world):
    begun = time.monotonic()
    found = verify_run(world / name)
    assert time.monotonic() - begun <= 60
    assert [step.name for step in found.steps] == ["files", "evidence", "plan", "data", "headline"]
    assert {step.verdict for step in found.steps} == {"pass"}
    assert found.complete
    assert found.seal == seal_of(open_manifest(world / name))
    found.require(world / name)


def test_hundred_of_a_hundred_changed_bytes_are_found(world, tmp_path):
    """Positions are drawn over all bytes of all files, so that every file is hit in proportion to its size, and each once."""
    folder = shutil.copytree(world / "kept", tmp_path / "run")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng(20260101)
    sizes = np.array([path.stat().st_size for path in files])
    spots = [(path, int(rng.integers(path.stat().st_size))) for path in files]
    at = rng.integers(sizes.sum(), size=100 - len(files))
    ends = np.cumsum(sizes)
    spots += [
        (files[i], int(a - ends[i] + sizes[i])) for a in at for i in [int(np.searchsorted(ends, a, side="right"))]
    ]
    assert len(spots) == 100
    caught = 0
    for path, position in spots:
        whole = path.read_bytes()
        other = (whole[position] + int(rng.integers(1, 256))) % 256
        path.write_bytes(whole[:position] + bytes([other]) + whole[position + 1 :])
        caught += bool(verify_run(folder).failures)
        path.write_bytes(whole)
    assert caught == 100
    assert not verify_run(folder, study=world / "study").failures


def test_bytes_all_over_a_manifest_count(world, tmp_path):
    folder = shutil.copytree(world / "kept", tmp_path / "run")
    whole = (folder / MANIFEST).read_bytes()
    for position in range(0, len(whole), 7):
        (folder / MANIFEST).write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(LockError):
            open_manifest(folder)


def test_changed_gone_and_added_files_are_named(copy, monkeypatch, capsys):
    folder = copy / "kept"
    (folder / "notes.txt").write_text("mine")
    assert verify_run(folder).steps[0].reason.endswith("byte by byte; not part of the run: notes.txt")
    rewrite(folder / "report.html", "is shown", "is not shown")
    (folder / "figures" / "effect_path.svg").unlink()
    code, out, err = call(monkeypatch, capsys, "verify", folder)
    assert code == 4
    line = "files: changed after publication: report.html; gone: figures/effect_path.svg"
    assert out == f"fail      {line}\n"
    assert f"{folder} isn't the run that was published, in 1 respect:\n  - {line}\n" in err


def forge(folder, edit):
    """Change the evidence and make everything else agree with it, as somebody would who knows how."""
    evidence = json.loads((folder / EVIDENCE).read_text("utf-8"))
    old, study = digest(evidence), open_manifest(folder)["study"]
    edit(evidence)
    (folder / EVIDENCE).write_text(json.dumps(evidence), "utf-8")
    for path in folder.rglob("*"):
        if path.is_file() and path.name != EVIDENCE and old in path.read_text("utf-8"):
            rewrite(path, old, digest(evidence))
    write_manifest(folder, evidence=digest(evidence), study=study)


def test_headline_that_was_forged_throughout_is_found_by_computing_it_again(copy):
    def edit(evidence):
        evidence["estimates"][0]["value"] *= 1.001

    forge(copy / "kept", edit)
    found = verify_run(copy / "kept")
    assert [step.verdict for step in found.steps] == ["pass", "pass", "pass", "pass", "fail"]
    assert re.match(r"value \S+ in the evidence, \S+ now", found.steps[-1].reason)


def test_deviation_that_was_struck_from_the_evidence_is_found(copy):
    def edit(evidence):
        evidence["plan"] |= {"differences": [], "status": "kept", "stamp": ""}

    forge(copy / "changed", edit)
    (failure,) = verify_run(copy / "changed").failures
    assert failure.name == "plan"
    assert "[method] level: 0.9 when sealed, 0.8 now" in failure.reason


def test_evidence_that_page_and_notebook_do_not_hold_is_found(copy):
    folder = copy / "kept"
    evidence = json.loads((folder / EVIDENCE).read_text("utf-8"))
    evidence["headline"]["verdict"] = "not shown"
    (folder / EVIDENCE).write_text(json.dumps(evidence), "utf-8")
    write_manifest(folder, evidence=digest(evidence), study=open_manifest(folder)["study"])
    first, second = verify_run(folder).failures
    assert "another one stands in " in first.reason
    assert first.reason.endswith("report.html, notebook.ipynb")
    assert second.reason == "its numbers are the same, headline computed again are others"


def test_other_data_and_another_lock_are_named(copy):
    rewrite(copy / "study" / "sales.csv", "aix,20,", "aix,20,1")
    found = {step.name: step for step in verify_run(copy / "kept").steps}
    assert found["plan"].verdict == "pass"  # the history before the launch is as it was
    assert found["data"].reason == "the data at hand aren't those of the run: sales"
    assert found["headline"].verdict == "fail"
    lock = copy / "study" / "study.lock.json"
    kept = lock.read_text("utf-8")
    content = {k: v for k, v in json.loads(kept).items() if k not in ("schema", "seal")}
    lock.write_text(sealed_json({**content, "earlier_seals": ["0" * 64]}), "utf-8")
    assert "the run was held against" in verify_run(copy / "kept").steps[2].reason
    lock.write_text(kept[:-9], "utf-8")
    assert "isn't valid JSON" in verify_run(copy / "kept").failures[0].reason
    lock.unlink()
    assert verify_run(copy / "kept").steps[2].reason == "study.lock.json isn't beside the study any more"


def test_study_that_is_gone_leaves_steps_undone_and_can_be_named(copy, monkeypatch, capsys, tmp_path):
    (copy / "study").rename(tmp_path / "moved")
    code, out, _ = call(monkeypatch, capsys, "verify", copy / "kept")
    assert code == 0
    assert out.count("not done  ") == 3
    assert "as far as this could be checked" in out
    code, out, _ = call(monkeypatch, capsys, "verify", copy / "kept", "--study", tmp_path / "moved", "--json")
    found = json.loads(out)
    assert (code, found["verified"], found["complete"]) == (0, True, True)


def test_data_that_can_not_be_read_any_more_fail_and_leave_the_plan_undone(copy):
    (copy / "study" / "sales.csv").write_text("city,week,y,z\n", "utf-8")
    found = {step.name: step for step in verify_run(copy / "kept").steps}
    assert [found[name].verdict for name in ("plan", "data", "headline")] == ["not done", "fail", "fail"]
    assert "can't be computed again" in found["data"].reason


def test_edited_study_file_leaves_the_run_verifiable(copy):
    rewrite(copy / "study" / "study.toml", "level = 0.9", "level = 0.99")
    assert not verify_run(copy / "kept").failures


@pytest.mark.slow
def test_run_without_a_plan_says_so(tmp_path):
    folder = make(tmp_path / "study")
    run(folder, out=tmp_path / "run")
    assert "No plan was sealed before the readout" in page(tmp_path / "run")
    assert verify_run(tmp_path / "run").steps[2].reason == "no plan was sealed before this run"
    lock_study(cb.Study.load(folder))
    assert "younger than the run" in verify_run(tmp_path / "run").steps[2].reason


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(OutputError, match="holds no run"):
        verify_run(tmp_path)
    (tmp_path / EVIDENCE).write_text("{}")
    assert "can't be read: No such file" in verify_run(tmp_path).failures[0].reason


@pytest.mark.slow
def test_shipped_study_is_found_wherever_the_run_is(tmp_path):
    folder = run(study_path("prop99"), out=tmp_path / "a" / "b" / "run").folder
    assert open_manifest(folder)["study"] == "shipped:prop99/study.toml"
    found = verify_run(shutil.move(folder, tmp_path / "elsewhere"))
    assert found.complete
    assert not found.failures
    assert not lock_path(cb.Study.load(study_path("prop99"))).exists()


@pytest.mark.slow
def test_comparisons_and_geo_experiments_are_computed_again(tmp_path):
    lalonde = run(study_path("lalonde"), out=tmp_path / "lalonde").folder
    geo = geo_publish.run_design(study_path("geolift_pretest"), out=tmp_path / "design").folder
    for folder in (lalonde, geo):
        found = verify_run(folder)
        assert found.complete, found
        assert not found.failures, found
    rewrite(geo / "design.json", '"seed"', '"sead"')
    assert verify_run(geo).failures[0].reason == "changed after publication: design.json"
