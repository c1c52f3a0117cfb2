"""``causalbench new``: what the folder holds, what is refused, and that nothing half written stays."""

import errno
import json
import shutil

import pytest

from causalbench.cli import main
from causalbench.data.datasets import names as datasets
from causalbench.data.datasets import study_path
from causalbench.study import Study, load_study
from causalbench.workflow.scaffold import scaffold, templates


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["causalbench", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return leaving.value.code or 0, captured.out, captured.err


def test_folder_holds_study_table_notebook_and_the_tables_origin(monkeypatch, capsys, tmp_path):
    code, out, err = call(monkeypatch, capsys, "new", tmp_path / "my-rollout", "--template", "did")
    assert (code, err) == (0, "")
    files = ["SOURCE.md", "castle.csv", "did.ipynb", "study.toml"]
    assert sorted(path.name for path in (tmp_path / "my-rollout").iterdir()) == files
    assert out.splitlines()[1] == f"Run it:  causalbench run {tmp_path / 'my-rollout'}"


@pytest.mark.parametrize("template", templates())
def test_study_is_valid_named_by_the_folder_and_reads_the_table_beside_it(template, monkeypatch, capsys, tmp_path):
    scaffold(tmp_path / "spring.2", template=template)
    study = load_study(tmp_path / "spring.2")
    assert study.study.name == "spring.2"
    assert call(monkeypatch, capsys, "check", tmp_path / "spring.2")[0] == 0
    assert "#" in (tmp_path / "spring.2" / "study.toml").read_text("utf-8")


@pytest.mark.parametrize("template", templates())
def test_notebook_reads_the_study_beside_it_and_names_a_shipped_example(template, tmp_path):
    scaffold(tmp_path / "new", template=template)
    document = json.loads((tmp_path / "new" / f"{template}.ipynb").read_text("utf-8"))
    assert document["metadata"]["causalbench"]["example"] in datasets()
    assert 'study_file = "study.toml"' in json.dumps(document["cells"][1]["source"]).replace('\\"', '"')


def test_study_starts_with_the_method_that_the_notebook_names(tmp_path):
    scaffold(tmp_path / "new", template="causal_impact")
    method = Study.load(tmp_path / "new").method
    assert (method.name, method.inference, method.options, method.level) == ("causal-impact", None, {}, 0.9)
    shipped = study_path("geolift").read_text("utf-8")
    before, after = shipped.split("[method]")[0], shipped[shipped.index("[run]") :]
    expected = f'{before}[method]\nname = "causal-impact"\nlevel = 0.9\n\n{after}'
    assert (tmp_path / "new" / "study.toml").read_text("utf-8") == expected.replace('"geolift"', '"new"', 1)


@pytest.mark.parametrize("there", ["run", "file", "empty", "dangling"])
def test_what_is_there_stays(there, monkeypatch, capsys, tmp_path):
    target = tmp_path / "mine"
    if there == "run":
        target.mkdir()
        (target / "evidence.json").write_text("{}")
    elif there == "file":
        target.write_text("note")
    elif there == "empty":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    before = sorted(map(str, tmp_path.rglob("*")))
    code, out, err = call(monkeypatch, capsys, "new", target, "--template", "did")
    assert (code, out) == (2, "")
    assert err == f"{target} exists already, so it is left alone\n  To mend it: give the new folder another name\n"
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_unknown_template_names_the_nearest_and_all(monkeypatch, capsys, tmp_path):
    code, out, err = call(monkeypatch, capsys, "new", tmp_path / "x", "--template", "launch-readout")
    assert (code, out) == (2, "")
    listed = ", ".join(templates())
    assert f"template 'launch-readout' doesn't exist (did you mean 'launch_readout'?); there are: {listed}" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bad name", ".hidden", "a'b", 'a"b', "a\nb", "ümlaut", "x" * 61, ".."])
def test_name_that_no_study_can_have_is_refused(name, monkeypatch, capsys, tmp_path):
    code, out, err = call(monkeypatch, capsys, "new", tmp_path / name)
    assert (code, out) == (2, "")
    assert "can't name a study: use letters, digits" in err
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_refused(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("x")
    code, _, err = call(monkeypatch, capsys, "new", tmp_path / "file" / "mine")
    assert code == 2
    assert "can't write to" in err


def test_failure_half_way_leaves_nothing(monkeypatch, capsys, tmp_path):
    original, calls = shutil.copyfile, []

    def fail_late(source, target):
        calls.append(target)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(source, target)

    monkeypatch.setattr("causalbench.workflow.scaffold.shutil.copyfile", fail_late)
    code, _, err = call(monkeypatch, capsys, "new", tmp_path / "mine")
    assert code == 5
    assert "the disk is full" in err
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_templates(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "new", "--help")
    assert code == 0
    assert all(template in out for template in templates())
