"""Documents run: README commands, docstring examples, notebooks; generated files are up to date."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import causalbench
from causalbench.report import notebook
from causalbench.workflow.scaffold import scaffold, templates

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [line.strip() for line in lines if line.strip().startswith("causalbench ")]


def modules():
    found = pkgutil.walk_packages(causalbench.__path__, "causalbench.")
    return sorted(module.name for module in found if module.name != "causalbench.__main__")


@pytest.fixture
def workplace(tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    return tmp_path


def test_readme_leads_with_the_two_commands():
    first = blocks("sh")[0]
    assert "make demo" in first
    assert "make test" in first


@pytest.mark.parametrize("command", commands())
def test_readme_command_runs(command, workplace):
    words = shlex.split(command.partition("  #")[0])
    done = subprocess.run([sys.executable, "-m", *words], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readme_python_runs_and_prints_what_it_says():
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 3
    assert found.failed == 0


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_generated_documents_are_up_to_date():
    path = ROOT / "tools" / "docs.py"
    spec = importlib.util.spec_from_file_location("docs_tool", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    stale = [str(path.relative_to(ROOT)) for path, text in tool.documents().items() if path.read_text("utf-8") != text]
    assert stale == [], "run `make docs`"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_short_plain_and_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert len(code) <= 12
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    assert not [cell for cell in code if re.search(r"^\s*(def|class|lambda)\b", cell.source, flags=re.MULTILINE)]
    assert sum("parameters" in cell.metadata.get("tags", ()) for cell in code) == 1


@pytest.mark.parametrize("template", templates())
def test_notebook_runs_in_a_new_folder(template, tmp_path):
    scaffold(tmp_path / "mine", template=template)
    document = nbformat.read(tmp_path / "mine" / f"{template}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path / "mine")}}
    notebook._run(NotebookClient(document, timeout=120, kernel_name="python3", resources=resources))
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)


def test_changelog_has_a_place_for_numerical_changes():
    assert "### Numerical changes" in (ROOT / "CHANGELOG.md").read_text("utf-8")
