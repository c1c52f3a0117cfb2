"""A folder to start from: a notebook, a study file to fill in, and a small real table with which both run at once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from pydantic import ValidationError

from causalbench.artifacts import run_folder, shipped, shipped_names
from causalbench.errors import OutputError, StudyError, nearest
from causalbench.study import About


def templates() -> tuple[str, ...]:
    """Return the names of the notebooks that a folder can start from."""
    return shipped_names("notebooks", ".ipynb")


def scaffold(folder: Path, *, template: str) -> tuple[str, ...]:
    """Make a folder with a study file, its table and a notebook, whole or not at all.

    Parameters
    ----------
    folder
        Where; its last part becomes the study's name.
    template
        One of :func:`templates`. The notebook's metadata name the shipped launch that it is told with, and the method that
        its study starts with where that isn't the shipped study's.

    Returns
    -------
    tuple of str
        Names of the files in the folder.

    Raises
    ------
    StudyError
        When the template doesn't exist or a study can't have that name.
    OutputError
        When the folder exists or can't be written.
    """
    if template not in templates():
        hint = f"{nearest(template, templates())}; there are: {', '.join(templates())}"
        raise StudyError([f"template {template!r} doesn't exist{hint}"], where="command line")
    _require_name(folder.name)
    if folder.exists() or folder.is_symlink():
        raise OutputError(f"{folder} exists already, so it is left alone", remedy="give the new folder another name")
    notebook = shipped("notebooks", f"{template}.ipynb")
    told = json.loads(notebook.read_text("utf-8"))["metadata"]["causalbench"]
    with run_folder(folder, replace=False) as work:
        for path in (*shipped("data", told["example"]).iterdir(), notebook):
            shutil.copyfile(path, work / path.name)
        study = work / "study.toml"
        named = re.sub(
            r'^name = ".*"$', f'name = "{folder.name}"', study.read_text("utf-8"), count=1, flags=re.MULTILINE
        )
        study.write_text(_starting_with(named, told["method"]) if "method" in told else named, "utf-8")
    return tuple(sorted(path.name for path in folder.iterdir()))


def _starting_with(study: str, method: str) -> str:
    """Name another method in a study's text, without the inference and the options of the one before."""

    def rewrite(found: re.Match[str]) -> str:
        kept = [line for line in found[0].splitlines() if line.startswith(("level", "#"))]
        return "\n".join(["[method]", f'name = "{method}"', *kept, "", ""])

    return re.sub(r"^\[method\]$.*?(?=^\[(?!method\.)|\Z)", rewrite, study, flags=re.MULTILINE | re.DOTALL)


def _require_name(name: str) -> None:
    try:
        About(name=name, question="?")
    except ValidationError:
        problem = f"{name!r} can't name a study: use letters, digits, '.', '_' and '-', at most 60, with a letter or digit first"
        raise StudyError([problem], where="command line") from None
